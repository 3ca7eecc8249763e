"""The Inception network of Bom et al. 2019 (arXiv:1911.06341), as regressor and as a fast detector.

Their channel counts stand only in a figure. Here they are chosen so that a core trains about a hundred
stamps a second, and the maps are reduced to 4 x 4 before the dense layers, so that these stay small while coarse
positions survive. With a branch of one target it has the 86 layers that they count (convolutions, batch norms, ReLUs,
pooling, dense layers and the flattening), and the four of the reduction.
"""

from __future__ import annotations

import keras
from keras import layers

from lenspipe.networks.blocks import conv_bn_relu

STREAM = (24, 48)  # channels of the two 5 x 5 convolutions
BRANCH = 24  # channels of each of the four branches of a block
BLOCKS = 4
GRID = 4  # side of the last map
REDUCED = 32  # channels of the last map


def inception_trunk(size: int, channels: int) -> keras.Model:
    """Return the tower as the trunk of a detector, several times faster than ResNet50."""
    inputs = keras.Input((size, size, channels), name="stamp", dtype="float32")
    return keras.Model(inputs, layers.Flatten()(inception_tower(inputs)), name="trunk")


def inception_tower(x):
    """Return maps (n, 4, 4, 32) of stamps (n, y, x, c)."""
    for width in STREAM:
        x = layers.MaxPooling2D(2)(conv_bn_relu(x, width, 5))
    for _ in range(BLOCKS):
        x = _inception_block(x)
    x = conv_bn_relu(x, REDUCED, 1)
    return layers.AveragePooling2D(-(-x.shape[1] // GRID), padding="same")(x)


def _inception_block(x):
    """Branches 1x1; 1x1-3x3; 1x1-3x3-3x3; maxpool-1x1, concatenated at constant map size."""
    one = conv_bn_relu(x, BRANCH, 1)
    three = conv_bn_relu(layers.Conv2D(BRANCH, 1, activation="relu")(x), BRANCH, 3)
    five = layers.Conv2D(BRANCH, 1, activation="relu")(x)
    five = layers.Conv2D(BRANCH, 3, padding="same", activation="relu")(five)
    five = conv_bn_relu(five, BRANCH, 3)
    pooled = conv_bn_relu(layers.MaxPooling2D(3, strides=1, padding="same")(x), BRANCH, 1)
    return layers.Concatenate()([one, three, five, pooled])
