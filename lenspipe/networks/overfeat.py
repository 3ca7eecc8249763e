"""OverFeat as Hezaveh, Perreault Levasseur & Marshall 2017 (Nature 548, 555) trained it on lenses."""

from __future__ import annotations

from keras import layers

from lenspipe.networks.blocks import conv_bn_relu, dense_bn_relu

#: Channels of the convolutions behind the first two.
THREES = (512, 1024, 1024)


def overfeat_tower(x):
    """Return features (n, 4096) of stamps (n, y, x, c), which all targets share; batch norms are ours.

    11x11/4 x 64, pool, 5x5 x 256, pool, three of 3x3, pool, 2x2 x 3072, and 1x1 x 4096 of the mean over the map that
    is left: the released code's list.
    """
    x = layers.MaxPooling2D(2)(conv_bn_relu(x, 64, 11, 4))
    x = layers.MaxPooling2D(2, padding="same")(conv_bn_relu(x, 256, 5))
    for width in THREES:
        x = conv_bn_relu(x, width, 3)
    x = layers.MaxPooling2D(2, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(conv_bn_relu(x, 3072, 2))
    return dense_bn_relu(x, 4096)
