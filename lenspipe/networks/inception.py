"""The Inception network of Bom et al. 2019 (arXiv:1911.06341), as regressor and as a fast detector.

Their channel counts stand only in a figure. Here they are chosen so that a core trains about a hundred
stamps a second, and the maps are reduced to 4 x 4 before the dense layers, so that stochastic passes
through the heads are cheap while coarse positions survive.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from lenspipe.networks.assemble import assemble, input_channels, seeded_weights
from lenspipe.networks.blocks import conv_bn_relu
from lenspipe.networks.classifier import set_bn_momentum
from lenspipe.networks.layers import MCDropout, TargetScale

STREAM = (24, 48)  # channels of the two 5 x 5 convolutions
BRANCH = 24  # channels of each of the four branches of a block
BLOCKS = 4
GRID = 4  # side of the last map
REDUCED = 32  # channels of the last map
HEAD = (512, 256, 128, 64)


def build_inception(
    size: int,
    bands: int,
    dropout: float = 0.1,
    bn_momentum: float = 0.9,
    seed: int = 0,
    target_mean: Sequence[float] = (0.0, 0.0, 0.0, 0.0),
    target_std: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    channels: Sequence[str] = (),
    crop: int = 0,
) -> keras.Model:
    """Return the regressor: one shared trunk, a head of dense layers per target.

    Parameters
    ----------
    size, bands, dropout, bn_momentum, seed, channels, crop
        As for `lenspipe.networks.classifier.build_classifier`.
    target_mean, target_std : sequence of float
        Mean and standard deviation of each transformed target over the training folds; their number
        is the number of targets.

    Returns
    -------
    keras.Model
        ``{"image", "noise_sigma"}`` to (n, targets, 2): mean and log variance of each transformed
        target (log theta_e, log sigma_v, log1p z).
    """
    with seeded_weights(seed):
        trunk = inception_trunk(crop or size, input_channels(bands, channels))
        head = _build_heads(trunk.output_shape[-1], dropout, bn_momentum, seed, target_mean, target_std)
    set_bn_momentum(trunk, bn_momentum)
    return assemble(trunk, head, size, bands, seed, "inception", channels)


def inception_trunk(size: int, channels: int) -> keras.Model:
    """Return the trunk, for the regressor and for a detector several times faster than ResNet50."""
    inputs = keras.Input((size, size, channels), name="stamp", dtype="float32")
    x = inputs
    for width in STREAM:
        x = layers.MaxPooling2D(2)(conv_bn_relu(x, width, 5))
    for _ in range(BLOCKS):
        x = _inception_block(x)
    x = conv_bn_relu(x, REDUCED, 1)
    x = layers.AveragePooling2D(-(-x.shape[1] // GRID), padding="same")(x)
    return keras.Model(inputs, layers.Flatten()(x), name="trunk")


def _inception_block(x):
    """Branches 1x1; 1x1-3x3; 1x1-3x3-3x3; maxpool-1x1, concatenated at constant map size."""
    one = conv_bn_relu(x, BRANCH, 1)
    three = conv_bn_relu(layers.Conv2D(BRANCH, 1, activation="relu")(x), BRANCH, 3)
    five = layers.Conv2D(BRANCH, 1, activation="relu")(x)
    five = layers.Conv2D(BRANCH, 3, padding="same", activation="relu")(five)
    five = conv_bn_relu(five, BRANCH, 3)
    pooled = conv_bn_relu(layers.MaxPooling2D(3, strides=1, padding="same")(x), BRANCH, 1)
    return layers.Concatenate()([one, three, five, pooled])


def _build_heads(
    features: int, dropout: float, momentum: float, seed: int, mean: Sequence[float], std: Sequence[float]
) -> keras.Model:
    inputs = keras.Input((features,), name="features", dtype="float32")
    outputs = []
    for target in range(len(mean)):
        x = inputs
        for depth, units in enumerate(HEAD):
            x = layers.Dense(units, use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=momentum)(x))
            # each layer its own seed: equal seeds would drop the same units in every head
            x = MCDropout(
                dropout, seed=seed + 1 + len(HEAD) * target + depth, name=f"mc_dropout_{target}_{depth}"
            )(x)
        x = layers.Dense(2, dtype="float32")(x)
        outputs.append(layers.Reshape((1, 2), dtype="float32")(x))
    joined = outputs[0] if len(outputs) == 1 else layers.Concatenate(axis=1, dtype="float32")(outputs)
    scaled = TargetScale(mean, std, name="target_scale", dtype="float32")(joined)
    return keras.Model(inputs, scaled, name="head")
