"""The fourth network of Hezaveh, Perreault Levasseur & Marshall 2017 (Nature 548, 555): wide kernels, few channels."""

from __future__ import annotations

from keras import layers

from lenspipe.networks.blocks import conv_bn_relu, dense_bn_relu

#: Width [px], stride and channels of the convolutions, each followed by one of 1x1.
PAIRS = (
    (3, 1, 32),
    (5, 1, 32),
    (10, 2, 32),
    (10, 1, 32),
    (10, 2, 64),
    (10, 1, 64),
    (10, 2, 128),
    (3, 1, 256),
)


def network4_tower(x):
    """Return features (n, 512) of stamps (n, y, x, c), which all targets share; batch norms and last pooling are ours.

    The released code flattens the last map (24x24x256 at 192 px); its mean over 4x4 pixels keeps 512 units small.
    """
    for width, stride, channels in PAIRS:
        x = conv_bn_relu(conv_bn_relu(x, channels, width, stride), channels, 1)
    x = layers.Flatten()(layers.AveragePooling2D(4, padding="same")(x))
    return dense_bn_relu(x, 512)
