"""Model bundles: a folder with the networks of all folds and everything known about them.

This file does not import Keras: a bundle's card can be read without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.core.survey import same_scale
from lenspipe.io.cards import find_bundle, needs_mask, read_card
from lenspipe.io.files import digest
from lenspipe.training.familiarity import Familiarity, load_familiarity
from lenspipe.training.targets import outputs_of

if TYPE_CHECKING:
    from lenspipe.training.load import Network


@dataclass(frozen=True)
class Bundle:
    """A trained ensemble; `card` is the whole of bundle.json."""

    path: Path
    task: str
    architecture: str
    bands: tuple[str, ...]
    pixel_scale: float
    size: int
    targets: tuple[str, ...]
    weights: tuple[Path, ...]
    calibration: Mapping[str, Any]
    metrics: Mapping[str, Any]
    card: Mapping[str, Any]
    _loaded: list[Network] = field(default_factory=list, repr=False, compare=False)
    _familiar: list[Familiarity] = field(default_factory=list, repr=False, compare=False)

    @property
    def needs_mask(self) -> bool:
        """Whether the networks look at which pixels could not be used (`train.*.channels`)."""
        return needs_mask(self.card)

    @property
    def views(self) -> int:
        """In how many orientations a stamp that may show a lens is looked at (`train.*.views`)."""
        return self.card["training"].get("settings", {}).get("views", 1)

    def networks(self) -> list[Network]:
        """Return the networks, read from disk at the first call.

        Raises
        ------
        InputError
            If one cannot be loaded, or is made for other stamps or outputs than the card says.
        """
        if not self._loaded:
            from lenspipe.training.load import check_shapes, load_network  # Keras takes seconds to import

            covariance = self.card["training"].get("settings", {}).get("covariance", False)
            outputs = (2,) if self.task == "detector" else outputs_of(len(self.targets), covariance)
            networks = [load_network(path, path.stem) for path in self.weights]
            for network, path in zip(networks, self.weights, strict=True):
                check_shapes(network, path, self.size, len(self.bands), outputs, self.needs_mask)
            self._loaded.extend(networks)
        return self._loaded

    def familiarities(self) -> list[Familiarity]:
        """Return what each network knows of its training stamps; empty for detectors and for early bundles."""
        if not self._familiar:
            self._familiar.extend(
                load_familiarity(self.path / name) for name in self.card.get("familiar", ())
            )
        return self._familiar

    def check(self, bands: Sequence[str], pixel_scale: float, size: int, of: str = "") -> None:
        """Refuse data that the networks were not made for; `of` says whose they are.

        Raises
        ------
        ModelMismatch
            If bands (also their order), pixel scale [arcsec] or stamp size [px] differ.
        """
        if tuple(bands) != self.bands:
            self._refuse("bands", ",".join(self.bands), ",".join(bands), of)
        if not same_scale(pixel_scale, self.pixel_scale):
            self._refuse("a pixel scale [arcsec]", f"{self.pixel_scale:g}", f"{pixel_scale:g}", of)
        if size != self.size:
            self._refuse("a stamp size [px]", self.size, size, of)

    def check_arrays(self, image: np.ndarray, noise_sigma: np.ndarray, mask: np.ndarray | None) -> None:
        """Refuse stamps of another shape or without the mask that the networks need (`ModelMismatch`), or not finite
        (`InputError`)."""
        from lenspipe.training.datasets import check_stamps  # Keras takes seconds to import

        shape, expected = image.shape, (self.size, self.size, len(self.bands))
        if shape[1:] != expected or noise_sigma.shape != (shape[0], len(self.bands)):
            arrays = "image (n, y, x, band) and noise_sigma (n, band)"
            self._refuse(arrays, f"stamps {expected}", (shape, noise_sigma.shape))
        given = "none" if mask is None else f"{mask.dtype} {mask.shape}"
        if self.needs_mask and given not in (f"uint8 {shape}", f"bool {shape}"):
            raise ModelMismatch(
                f"the {self.task} {self.path} looks at the stamps' masks and expects one, uint8 {shape}, 0 = usable, "
                f"received {given}; give mask=, which `io.shards.read_shard(PATH, masks=True)` reads"
            )
        check_stamps(image, noise_sigma)

    def check_task(self, task: str) -> None:
        """Refuse to be used for another task; `ModelMismatch`."""
        if self.task != task:
            raise ModelMismatch(f"a {task} is needed, but the model {self.path} is a {self.task}")

    def _refuse(self, what: str, expected: Any, received: Any, of: str = "") -> None:
        raise ModelMismatch(
            f"the {self.task} {self.path} expects {what} {expected}, received {received}{of and f' of {of}'}; "
            "use a model made for these data, train one, or resample the images"
        )


def load_bundle(path: str | Path) -> Bundle:
    """Return a bundle, by folder or packaged name; its networks are read when they are first needed.

    Raises
    ------
    InputError
        If bundle.json or a network is missing, or a network is not the one that the bundle was written
        with; the message names the file.
    """
    path = find_bundle(path)
    card = read_card(path)
    for name, expected in (card["weights"] | card.get("familiar", {})).items():
        if not (path / name).is_file():
            raise InputError(f"the network {path / name} is missing; copy the whole bundle or train it again")
        try:
            same = digest(path / name) == expected
        except (OSError, BadZipFile):
            same = False
        if not same:
            raise InputError(f"{path / name} is not the network that {path / 'bundle.json'} was written with")
    return Bundle(
        path=path,
        task=card["task"],
        architecture=card["architecture"],
        bands=tuple(card["bands"]),
        pixel_scale=card["pixel_scale"],
        size=card["stamp_size"],
        targets=tuple(card["targets"]),
        weights=tuple(path / name for name in card["weights"]),
        calibration=card["calibration"],
        metrics=card["metrics"],
        card=card,
    )
