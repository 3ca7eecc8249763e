"""ResNet50 lens finder: the lectures' detector (He et al. 2016; De Bom et al.)."""

from __future__ import annotations

import keras

from lenspipe.networks.assemble import assemble, seeded_weights
from lenspipe.networks.layers import MCDropout


def build_resnet50(
    size: int, bands: int, dropout: float = 0.1, bn_momentum: float = 0.9, seed: int = 0
) -> keras.Model:
    """Return the ResNet50 finder: 23,591,810 parameters on three bands, 23,538,690 of them trainable.

    Parameters
    ----------
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

    Returns
    -------
    keras.Model
        ``{"image": (n, size, size, bands), "noise_sigma": (n, bands)}`` [nJy per pixel] to
        (n, 2): probabilities of non-lens and lens.
    """
    with seeded_weights(seed):
        trunk = keras.applications.ResNet50(
            weights=None, include_top=False, pooling="avg", input_shape=(size, size, bands), name="trunk"
        )
        head = build_classifier_head(trunk.output_shape[-1], dropout, seed)
    set_bn_momentum(trunk, bn_momentum)
    return assemble(trunk, head, size, bands, seed, "resnet50")


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
