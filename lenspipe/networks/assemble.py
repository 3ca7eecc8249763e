"""What all architectures share: inputs, stretch, augmentation, then trunk and head as sub-models.

``image, noise_sigma (, mask) (-> crop) (-> calibration_jitter) -> stretch (-> more channels) -> sky_symmetry
(-> offset) -> trunk -> head``. The trunk is deterministic at prediction and runs once per stamp; the head holds the
dropout and runs once per pass.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from lenspipe.networks.jitter import CalibrationJitter, Offset, OrientedSky, SkySymmetry, TurnBack
from lenspipe.networks.layers import MaskChannel, NoiseChannel, Stretch

#: What a trunk may see beside the stretched bands, by name: layers of (stretched image, their `source` among the
#: network's inputs), each of which appends a channel per band.
CHANNELS: dict[str, type[NoiseChannel] | type[MaskChannel]] = {"noise": NoiseChannel, "mask": MaskChannel}

#: Inputs that have pixels.
_PIXELS = {"image", "mask"}


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Make the initial weights of layers built inside the block depend on `seed` alone.

    Keras initializers without a seed take one from Python's `random`, whose state is put back after.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def input_channels(bands: int, channels: Sequence[str]) -> int:
    """Return how many channels a trunk sees."""
    return bands * (1 + len(channels))


def name_inputs(image: Any, noise_sigma: Any, mask: Any = None) -> dict[str, Any]:
    """Return arrays by the names of the inputs that they are for; a mask only where there is one."""
    return {"image": image, "noise_sigma": noise_sigma} | ({} if mask is None else {"mask": mask})


def share_margin(size: int, crop: int) -> tuple[int, int]:
    """Return how many pixels of an axis lie before and after the middle `crop` of `size`."""
    return (size - crop) // 2, size - crop - (size - crop) // 2


def assemble(
    trunk: keras.Model,
    head: keras.Model,
    size: int,
    bands: int,
    seed: int,
    name: str,
    channels: Sequence[str] = (),
    zero_point_error: float = 0.0,
    shift: int = 0,
    turning: Sequence[str] = (),
) -> keras.Model:
    """Return the whole model of a `trunk` (stamp to features) and a `head` (features to output).

    The trunk takes stamps of `input_channels` channels: the bands, then those of each of `channels`. If it is made
    for smaller ones, it sees their middle. With the channel "mask" the model has the input ``mask``
    (n, size, size, bands), uint8, 0 = good, as shards store it. In training each band's calibration is varied by
    the fraction `zero_point_error` (rms), and stamps are moved by up to `shift` pixels. Where
    answers turn with the sky, `turning` names all targets.
    """
    stamp = (size, size, bands)
    inputs = name_inputs(
        keras.Input(stamp, name="image", dtype="float32"),
        keras.Input((bands,), name="noise_sigma", dtype="float32"),
        keras.Input(stamp, name="mask", dtype="uint8") if "mask" in channels else None,
    )
    seen = dict(inputs)
    sides = share_margin(size, trunk.input_shape[1])
    if any(sides):
        for key in _PIXELS & set(inputs):
            crop = keras.layers.Cropping2D((sides, sides), name=f"crop_{key}", dtype=inputs[key].dtype)
            seen[key] = crop(inputs[key])
    # float32 whatever the policy: fluxes span more decades than bfloat16 resolves
    image = seen["image"]
    if zero_point_error:
        jitter = CalibrationJitter(
            zero_point_error, seed=seed + 2, name="calibration_jitter", dtype="float32"
        )
        image = jitter(image)
    x = Stretch(name="stretch", dtype="float32")(image, seen["noise_sigma"])
    for channel in channels:
        layer = CHANNELS[channel](name=f"{channel}_channel", dtype="float32")
        x = layer(x, seen[layer.source])
    draws, symmetry = None, {"seed": seed, "name": "sky_symmetry", "dtype": "float32"}
    if turning:
        x, draws = OrientedSky(**symmetry)(x)
    else:
        x = SkySymmetry(**symmetry)(x)
    if shift:
        x = Offset(shift, seed=seed + 3, name="offset", dtype="float32")(x)
    outputs = head(trunk(x))
    if turning:
        outputs = TurnBack(turning, name="turn_back", dtype="float32")(outputs, draws)
    return keras.Model(inputs, outputs, name=name)


def trunk_of(model: keras.Model) -> keras.Model:
    """Return the deterministic part of a model: inputs to features, without augmentation."""
    inputs = {t.name: keras.Input(t.shape[1:], name=t.name, dtype=t.dtype) for t in model.inputs}
    layers = {layer.name: layer for layer in model.layers}  # in the order in which they were called
    seen = {key: layers[f"crop_{key}"](x) if f"crop_{key}" in layers else x for key, x in inputs.items()}
    x = layers["stretch"](seen["image"], seen["noise_sigma"])
    for layer in layers.values():
        if isinstance(layer, tuple(CHANNELS.values())):
            x = layer(x, seen[layer.source])
    return keras.Model(inputs, layers["trunk"](x), name="features")
