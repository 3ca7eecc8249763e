"""What all detectors share: the head over a trunk, and the settings of a trunk's batch norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras

from lenspipe.networks.assemble import assemble, input_channels, seeded_weights
from lenspipe.networks.dropout import MCDropout

#: Of (stamp size [px], channels): a model from stretched stamps to features.
TrunkBuilder = Callable[[int, int], keras.Model]


def build_classifier(
    build_trunk: TrunkBuilder,
    name: str,
    size: int,
    bands: int,
    dropout: float = 0.1,
    bn_momentum: float = 0.9,
    seed: int = 0,
    channels: Sequence[str] = (),
    crop: int = 0,
) -> keras.Model:
    """Return the detector of a trunk.

    Parameters
    ----------
    build_trunk : callable
        Builds the trunk; its last layer has the features, one axis beside the batch's.
    name : str
        Name of the model.
    size : int
        Side of a stamp [px], >= 32.
    bands : int
        Number of bands.
    dropout : float
        MC dropout rate before the last layer.
    bn_momentum : float
        Batch-norm momentum, Keras convention. Keras's own 0.99 needs some hundred steps before
        inference sees the right statistics, more than a brief training has.
    seed : int
        Seed of weights, dropout and augmentation.
    channels : sequence of str
        What the trunk sees beside the bands; see `lenspipe.networks.assemble.CHANNELS`.
    crop : int
        Side of the middle of a stamp that the trunk sees [px]; 0 = all of it.

    Returns
    -------
    keras.Model
        ``{"image": (n, size, size, bands), "noise_sigma": (n, bands)}`` [nJy per pixel], with the channel
        "mask" also ``"mask"`` (n, size, size, bands), to (n, 2): probabilities of non-lens and lens.
    """
    with seeded_weights(seed):
        trunk = build_trunk(crop or size, input_channels(bands, channels))
        head = build_classifier_head(trunk.output_shape[-1], dropout, seed)
    set_bn_momentum(trunk, bn_momentum)
    return assemble(trunk, head, size, bands, seed, name, channels)


def build_classifier_head(features: int, dropout: float, seed: int) -> keras.Model:
    """Return the head of a detector: MC dropout and a softmax over non-lens and lens."""
    inputs = keras.Input((features,), name="features", dtype="float32")
    x = MCDropout(dropout, seed=seed + 1, name="mc_dropout", dtype="float32")(inputs)
    # float32: bfloat16 would round probabilities near 1 into ties
    outputs = keras.layers.Dense(2, activation="softmax", dtype="float32", name="probabilities")(x)
    return keras.Model(inputs, outputs, name="head")


def set_bn_momentum(model: keras.Model, momentum: float) -> None:
    """Set the momentum of every batch normalisation of a (flat) model."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum
