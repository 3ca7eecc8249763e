"""Pieces that several architectures are made of."""

from __future__ import annotations

from keras import layers


def conv_bn_relu(x, channels: int, width: int, strides: int = 1):
    """Return maps (n, y, x, channels) of a convolution of `width` px, batch-normalised, positive."""
    x = layers.Conv2D(channels, width, strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))
