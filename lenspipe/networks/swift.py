"""Swift: a small residual network of our own that scans surveys on CPUs."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from lenspipe.networks.blocks import conv_bn_relu
from lenspipe.networks.classifier import build_classifier

#: Residual blocks of the stages behind the first.
BLOCKS = (2, 2, 1)


def build_swift(
    size: int,
    bands: int,
    dropout: float = 0.1,
    bn_momentum: float = 0.9,
    seed: int = 0,
    channels: Sequence[str] = (),
    widths: Sequence[int] = (24, 48, 96, 160),
) -> keras.Model:
    """Return the small detector: 1.1 million parameters, each stage at half the resolution of the last.

    The mean of the last maps tells what a stamp holds, their maximum whether a small arc is anywhere.

    Parameters
    ----------
    size, bands, dropout, bn_momentum, seed, channels
        As for `lenspipe.networks.classifier.build_classifier`.
    widths : sequence of int
        Channels of the four stages.

    Returns
    -------
    keras.Model
        As of `lenspipe.networks.classifier.build_classifier`.
    """
    if len(widths) != 1 + len(BLOCKS):
        raise ValueError(f"swift expects {1 + len(BLOCKS)} widths, received {tuple(widths)}")

    def build_trunk(size: int, channels: int) -> keras.Model:
        inputs = keras.Input((size, size, channels), name="stamp", dtype="float32")
        x = _residual(conv_bn_relu(inputs, widths[0], 5, strides=2))
        for width, blocks in zip(widths[1:], BLOCKS, strict=True):
            x = conv_bn_relu(x, width, 3, strides=2)
            for _ in range(blocks):
                x = _residual(x)
        pooled = [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)]
        return keras.Model(inputs, layers.Concatenate()(pooled), name="trunk")

    return build_classifier(build_trunk, "swift", size, bands, dropout, bn_momentum, seed, channels)


def _residual(x):
    """Return ReLU(x + two convolutions of x) (He et al. 2016, the basic block)."""
    width = x.shape[-1]
    y = conv_bn_relu(x, width, 3)
    y = layers.BatchNormalization()(layers.Conv2D(width, 3, padding="same", use_bias=False)(y))
    return layers.ReLU()(layers.Add()([x, y]))
