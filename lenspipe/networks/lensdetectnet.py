"""A plain CNN like LensDetectNet, the lectures' detector before ResNet50.

Of LensDetectNet only the counts are published: 49,714,696 parameters, 2,688 of them not trainable, so that
its batch-normalised maps add up to 1,344. We searched 250,000 stacks of 3 to 9 convolutions with such maps
(windows of 3 to 11 px, 1 to 5 bands, with and without bias) before last maps of 1 to 32 px and up to three
dense layers. What fits is scattered and of odd widths, as chance would have it; with powers of two and two
outputs nothing fits. So this network is not LensDetectNet but one of its kind and size, with the same number
of parameters that are not trainable.
"""

from __future__ import annotations

import keras
from keras import layers

from lenspipe.networks.blocks import conv_bn_relu

CHANNELS = (64, 128, 256, 384, 512)
DENSE = (4096, 3072)


def lensdetectnet_trunk(size: int, channels: int) -> keras.Model:
    """Return the plain CNN: convolution, batch norm, ReLU and pooling, then dense layers.

    The maps are flattened, so that the parameters depend on the size of a stamp: with the head 49,180,610 at 64 to
    79 px in three bands.
    """
    inputs = keras.Input((size, size, channels), name="stamp", dtype="float32")
    x = inputs
    for k, width in enumerate(CHANNELS):
        x = conv_bn_relu(x, width, 3)
        if k < len(CHANNELS) - 1:
            x = layers.MaxPooling2D(2)(x)
    x = layers.Flatten()(x)
    for width in DENSE:
        x = layers.Dense(width, activation="relu")(x)
    return keras.Model(inputs, x, name="trunk")
