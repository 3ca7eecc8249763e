"""Pieces that several architectures are made of."""

from __future__ import annotations

from keras import layers


def conv_bn_relu(x, channels: int, width: int | tuple[int, int], strides: int = 1):
    """Return maps (n, y, x, channels) of a convolution of `width` px, or (y, x), batch-normalised, positive."""
    x = layers.Conv2D(channels, width, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def dense_bn_relu(x, units: int):
    """Return features (n, units) of a dense layer, batch-normalised, positive."""
    return layers.ReLU()(layers.BatchNormalization()(layers.Dense(units, use_bias=False)(x)))
