"""CMU DeepLens (Lanusse et al. 2018, arXiv:1703.02642)."""

from __future__ import annotations

import keras
from keras import layers

STEM = 32
#: Inner and outer channels of the bottlenecks of each stage.
STAGES = ((16, 32), (32, 64), (64, 128), (128, 256), (256, 512))
BLOCKS = 3


def deeplens_trunk(size: int, channels: int) -> keras.Model:
    """Return CMU DeepLens: 46 convolutions in a row, pre-activation bottlenecks, ELU.

    The first block of each stage but the first halves the map; there the shortcut is projected, four
    convolutions that are not among the 46. Their output is one sigmoid; ours is a softmax behind MC
    dropout, as for all detectors.
    """
    inputs = keras.Input((size, size, channels), name="stamp", dtype="float32")
    x = layers.Conv2D(STEM, 7, padding="same", use_bias=False, name="stem")(inputs)
    for stage, (inner, outer) in enumerate(STAGES, 1):
        for block in range(1, BLOCKS + 1):
            strides = 2 if stage > 1 and block == 1 else 1
            x = _bottleneck(x, inner, outer, strides, f"stage{stage}_block{block}")
    x = layers.GlobalAveragePooling2D(name="pool")(_bn_elu(x, "last"))
    return keras.Model(inputs, x, name="trunk")


def _bottleneck(x, inner: int, outer: int, strides: int, name: str):
    """Return x + 1x1, 3x3, 1x1 convolutions of x, each behind a batch norm and an ELU (He et al. 2016b)."""
    active = _bn_elu(x, f"{name}_1")
    shortcut = x
    if strides > 1 or x.shape[-1] != outer:
        shortcut = layers.Conv2D(outer, 1, strides, use_bias=False, name=f"{name}_shortcut")(active)
    y = layers.Conv2D(inner, 1, strides, use_bias=False, name=f"{name}_conv1")(active)
    y = _bn_elu(y, f"{name}_2")
    y = layers.Conv2D(inner, 3, padding="same", use_bias=False, name=f"{name}_conv2")(y)
    y = _bn_elu(y, f"{name}_3")
    y = layers.Conv2D(outer, 1, use_bias=False, name=f"{name}_conv3")(y)
    return layers.Add(name=f"{name}_add")([shortcut, y])


def _bn_elu(x, name: str):
    return layers.Activation("elu", name=f"{name}_elu")(layers.BatchNormalization(name=f"{name}_bn")(x))
