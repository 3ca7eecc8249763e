"""What all architectures share: inputs, stretch, augmentation, then trunk and head as sub-models.

``image, noise_sigma -> stretch (-> more channels) -> sky_symmetry -> trunk -> head``. The trunk is
deterministic at prediction and runs once per stamp; the head holds the dropout and runs once per pass.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras

from lenspipe.networks.layers import NoiseChannel, SkySymmetry, Stretch

#: What a trunk may see beside the stretched bands, by name: layers of (stretched image, noise_sigma), each of
#: which appends a channel per band.
CHANNELS: dict[str, type[keras.layers.Layer]] = {"noise": NoiseChannel}


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


def assemble(
    trunk: keras.Model,
    head: keras.Model,
    size: int,
    bands: int,
    seed: int,
    name: str,
    channels: Sequence[str] = (),
) -> keras.Model:
    """Return the whole model of a `trunk` (stamp to features) and a `head` (features to output).

    The trunk takes stamps of `input_channels` channels: the bands, then those of each of `channels`.
    """
    image = keras.Input((size, size, bands), name="image", dtype="float32")
    noise_sigma = keras.Input((bands,), name="noise_sigma", dtype="float32")
    # float32 whatever the policy: fluxes span more decades than bfloat16 resolves
    x = Stretch(name="stretch", dtype="float32")(image, noise_sigma)
    for channel in channels:
        x = CHANNELS[channel](name=f"{channel}_channel", dtype="float32")(x, noise_sigma)
    x = SkySymmetry(seed=seed, name="sky_symmetry", dtype="float32")(x)
    return keras.Model({"image": image, "noise_sigma": noise_sigma}, head(trunk(x)), name=name)


def trunk_of(model: keras.Model) -> keras.Model:
    """Return the deterministic part of a model: inputs to features, without augmentation."""
    image, noise_sigma = (keras.Input(t.shape[1:], name=t.name, dtype="float32") for t in model.inputs)
    x = model.get_layer("stretch")(image, noise_sigma)
    for layer in model.layers:  # in the order in which they were called
        if isinstance(layer, tuple(CHANNELS.values())):
            x = layer(x, noise_sigma)
    features = model.get_layer("trunk")(x)
    return keras.Model({"image": image, "noise_sigma": noise_sigma}, features, name="features")
