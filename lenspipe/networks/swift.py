"""Swift: a small residual network of our own that scans surveys on CPUs."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from lenspipe.networks.blocks import conv_bn_relu

#: Channels of the stages.
WIDTHS = (24, 48, 96, 160)
#: Residual blocks of the stages behind the first.
BLOCKS = (2, 2, 1)


def swift_trunk(size: int, channels: int, widths: Sequence[int] = WIDTHS) -> keras.Model:
    """Return the small trunk: 1.1 million parameters, each of its four stages at half the resolution of the last.

    The mean of the last maps tells what a stamp holds, their maximum whether a small arc is anywhere.
    """
    if len(widths) != 1 + len(BLOCKS):
        raise ValueError(f"swift expects {1 + len(BLOCKS)} widths, received {tuple(widths)}")
    inputs = keras.Input((size, size, channels), name="stamp", dtype="float32")
    x = _maps(inputs, widths)
    pooled = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
    return keras.Model(inputs, layers.Concatenate()(pooled), name="trunk")


def swift_tower(x):
    """Return the last maps (n, y, x, 160) of stamps (n, y, x, c), for a regressor: where things are counts there."""
    return _maps(x, WIDTHS)


def _maps(x, widths: Sequence[int]):
    x = _residual(conv_bn_relu(x, widths[0], 5, strides=2))
    for width, blocks in zip(widths[1:], BLOCKS, strict=True):
        x = conv_bn_relu(x, width, 3, strides=2)
        for _ in range(blocks):
            x = _residual(x)
    return x


def _residual(x):
    """Return ReLU(x + two convolutions of x) (He et al. 2016, the basic block)."""
    width = x.shape[-1]
    y = conv_bn_relu(x, width, 3)
    y = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same", use_bias=False)(y))
    return layers.ReLU()(layers.Add()([x, y]))
