"""AlexNet as Hezaveh, Perreault Levasseur & Marshall 2017 (Nature 548, 555) trained it on lenses."""

from __future__ import annotations

from keras import layers

from lenspipe.networks.blocks import conv_bn_relu, dense_bn_relu

#: Channels of the convolutions behind the first two, and units of the dense layers.
THREES = (384, 384, 256)
UNITS = (4096, 4096)


def alexnet_tower(x):
    """Return features (n, 4096) of stamps (n, y, x, c), which all targets share; batch norms are ours.

    11x11/4 x 64, pool, 5x5 x 192, pool, three of 3x3, pool, then what covers the map (4x4 at 192 px) x 4096 and
    1x1 x 4096: the released code's list.
    """
    x = layers.MaxPooling2D(3, 2, padding="same")(conv_bn_relu(x, 64, 11, 4))
    x = layers.MaxPooling2D(3, 2, padding="same")(conv_bn_relu(x, 192, 5))
    for width in THREES:
        x = conv_bn_relu(x, width, 3)
    x = layers.Flatten()(layers.MaxPooling2D(3, 2, padding="same")(x))
    for units in UNITS:
        x = dense_bn_relu(x, units)
    return x
