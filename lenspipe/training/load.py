"""Networks to disk, and back into memory without running anything that the file brings along."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lenspipe.core.errors import InputError
from lenspipe.core.rng import stream
from lenspipe.io.files import replacing
from lenspipe.networks.assemble import name_inputs, trunk_of
from lenspipe.networks.dropout import dropout_layers
from lenspipe.training.heads import mask_head

#: Classes that a lenspipe network is made of. Anything else in a file is refused before Keras sees it:
#: safe mode alone has been bypassed (CVE-2025-1550, CVE-2025-9906, CVE-2026-1462).
ALLOWED_CLASSES = {
    "Activation",
    "Add",
    "AveragePooling2D",
    "BatchNormalization",
    "CalibrationJitter",
    "Concatenate",
    "ConcreteDropout",
    "Conv2D",
    "Cropping2D",
    "DTypePolicy",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "EinsumDense",
    "Flatten",
    "Functional",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling2D",
    "GlorotUniform",
    "InputLayer",
    "MCDropout",
    "MaskChannel",
    "MaxPooling2D",
    "Multiply",
    "NoiseChannel",
    "Offset",
    "OrientedSky",
    "Ones",
    "ReLU",
    "Reshape",
    "SkySymmetry",
    "Stretch",
    "TargetScale",
    "TurnBack",
    "VarianceScaling",
    "ZeroPadding2D",
    "Zeros",
    "__keras_tensor__",
    "__tensor__",
}


@dataclass(frozen=True)
class Network:
    """One trained network, split for prediction: the trunk runs once, the head once per pass."""

    name: str
    trunk: keras.Model
    passes: keras.Model
    mask_rates: dict[str, np.ndarray]

    @property
    def inputs(self) -> dict[str, str]:
        """What the trunk takes: names and dtypes."""
        return {t.name: t.dtype for t in self.trunk.inputs}

    def draw_masks(self, count: int, seed: int) -> dict[str, np.ndarray]:
        """Return masks (count, 1, width) of each dropout layer, the same for every stamp.

        Drawn with NumPy and keyed by (seed, network, layer), so that they do not depend on the backend,
        on the device or on the batch; the first masks are the same for any `count`.
        """
        return {
            layer: (
                stream(seed, f"mc_dropout/{self.name}/{layer}").random((count, 1, len(rates))) >= rates
            ).astype(np.float32)
            for layer, rates in self.mask_rates.items()
        }


def save_model(model: keras.Model, path: str | Path) -> None:
    """Write a network atomically; equal networks give equal bytes.

    Keras writes the time and the memory addresses of shared objects into its archive. Here the addresses
    are numbered in order of appearance and the time is left out.
    """
    with replacing(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary) as archive:
            members = {name: archive.read(name) for name in sorted(archive.namelist())}
        addresses: dict[bytes, int] = {}
        members["config.json"] = re.sub(
            rb'("shared_object_id": )(\d+)',
            lambda found: found[1] + str(addresses.setdefault(found[2], len(addresses))).encode(),
            members["config.json"],
        )
        metadata = {**json.loads(members["metadata.json"]), "date_saved": ""}
        members["metadata.json"] = json.dumps(metadata).encode()
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name), content)  # ZipInfo's default date is 1980-01-01


def load_model(path: str | Path) -> keras.Model:
    """Return a saved network, uncompiled.

    Raises
    ------
    InputError
        If the file is missing, is no Keras archive, is damaged, lacks weights, or holds a class that lenspipe
        does not use.
    """
    path = Path(path)
    _check_archive(path)
    try:
        with warnings.catch_warnings():
            # Keras only warns when it finds no weights for a layer and leaves those it drew at random
            warnings.simplefilter("error", UserWarning)
            return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # what Keras, h5py and zipfile trip over in a damaged file has no common class
        raise InputError(f"{path} cannot be loaded as a network: {_first_line(error)}") from error


def load_network(path: str | Path, name: str) -> Network:
    """Return a saved network, ready for prediction; `name` keys its dropout masks.

    Raises
    ------
    InputError
        As `load_model`, or if the network is not made as lenspipe's are.
    """
    model = load_model(path)
    try:
        return split_network(model, name)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(
            f"{path} is not a network of lenspipe: it cannot be split into trunk and head ({_first_line(error)})"
        ) from error


def check_shapes(
    network: Network, path: str | Path, size: int, bands: int, outputs: tuple[int, ...], needs_mask: bool
) -> None:
    """Refuse a network that does not take the stamps or give the outputs that its bundle says.

    Raises
    ------
    InputError
        If the image, or the mask if it should have one, is not (size, size, bands), the noise not (bands,) or the
        output not `outputs`.
    """
    stamp = (size, size, bands)
    expected = name_inputs(stamp, (bands,), stamp if needs_mask else None), outputs
    found = {t.name: tuple(t.shape[1:]) for t in network.trunk.inputs}, network.passes.head.output_shape[1:]
    if found != expected:
        raise InputError(
            f"{path} takes {found[0]} and gives {found[1]}, but its bundle.json says {expected[0]} and "
            f"{expected[1]}; copy the whole bundle again or train it again"
        )


def split_network(model: keras.Model, name: str) -> Network:
    """Return a model with "trunk" and "head" split for prediction."""
    trunk, passes = trunk_of(model), mask_head(model.get_layer("head"))
    for part in (trunk, passes):
        # XLA's convolutions on CPUs are several times slower than oneDNN's
        part.compile(jit_compile=False if keras.config.backend() == "tensorflow" else "auto")
    rates = {layer.name: layer.rates() for layer in dropout_layers(passes.head)}
    return Network(name, trunk, passes, rates)


def _check_archive(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"the network {path} is missing; copy the whole bundle or train it again")
    if path.suffix != ".keras":  # by the suffix Keras chooses how it reads a file
        raise InputError(f"{path} is not a Keras network: its name does not end in .keras")
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
        foreign = sorted(_classes(config) - ALLOWED_CLASSES)
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError, RuntimeError, zlib.error) as error:
        raise InputError(f"{path} is not a Keras network ({_first_line(error)})") from None
    if foreign:
        raise InputError(
            f"{path} holds {', '.join(foreign)}, which no lenspipe network has; it was not loaded"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _classes(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {str(node["class_name"])} if "class_name" in node else set()
        registered = node.get("registered_name")
        if registered and ">" in str(registered):
            own.add(str(registered).removeprefix("lenspipe>"))
        return own.union(*(_classes(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(_classes(value) for value in node))
    return set()
