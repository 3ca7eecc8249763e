"""Inception-v4 (Szegedy et al. 2017, arXiv:1602.07261), which Hezaveh et al. 2017 trained on lenses.

Figures 3 to 9 of the paper, with maps kept at their size by zeros at the edges, so that stamps of any size from 32 px
pass through; stamps below 128 px keep their resolution in the first layer.
"""

from __future__ import annotations

from keras import layers

from lenspipe.networks.blocks import conv_bn_relu

#: How often each of the three kinds of blocks stands in series.
REPEATS = (4, 7, 3)


def inception_v4_tower(x):
    """Return features (n, 1536) of stamps (n, y, x, c), which all targets share."""
    x = _stem(x, 2 if x.shape[1] >= 128 else 1)
    stages = (None, _block_a), (_reduce_a, _block_b), (_reduce_b, _block_c)
    for (reduce, block), repeats in zip(stages, REPEATS, strict=True):
        x = reduce(x) if reduce else x
        for _ in range(repeats):
            x = block(x)
    return layers.GlobalAveragePooling2D()(x)


def _stem(x, stride: int):
    x = conv_bn_relu(conv_bn_relu(conv_bn_relu(x, 32, 3, stride), 32, 3), 64, 3)
    x = _join(_pool(x), conv_bn_relu(x, 96, 3, 2))
    short = conv_bn_relu(conv_bn_relu(x, 64, 1), 96, 3)
    long = conv_bn_relu(_lines(conv_bn_relu(x, 64, 1), (64, 64), 7), 96, 3)
    x = _join(short, long)
    return _join(conv_bn_relu(x, 192, 3, 2), _pool(x))


def _block_a(x):
    three = conv_bn_relu(conv_bn_relu(x, 64, 1), 96, 3)
    five = conv_bn_relu(conv_bn_relu(conv_bn_relu(x, 64, 1), 96, 3), 96, 3)
    return _join(conv_bn_relu(_mean(x), 96, 1), conv_bn_relu(x, 96, 1), three, five)


def _reduce_a(x):
    long = conv_bn_relu(conv_bn_relu(conv_bn_relu(x, 192, 1), 224, 3), 256, 3, 2)
    return _join(_pool(x), conv_bn_relu(x, 384, 3, 2), long)


def _block_b(x):
    seven = _lines(conv_bn_relu(x, 192, 1), (224, 256), 7)
    twice = _lines(_lines(conv_bn_relu(x, 192, 1), (192, 224), 7), (224, 256), 7)
    return _join(conv_bn_relu(_mean(x), 128, 1), conv_bn_relu(x, 384, 1), seven, twice)


def _reduce_b(x):
    three = conv_bn_relu(conv_bn_relu(x, 192, 1), 192, 3, 2)
    seven = conv_bn_relu(_lines(conv_bn_relu(x, 256, 1), (256, 320), 7), 320, 3, 2)
    return _join(_pool(x), three, seven)


def _block_c(x):
    short = conv_bn_relu(x, 384, 1)
    long = _lines(conv_bn_relu(x, 384, 1), (448, 512), 3)
    both = [conv_bn_relu(y, 256, shape) for y in (short, long) for shape in ((1, 3), (3, 1))]
    return _join(conv_bn_relu(_mean(x), 256, 1), conv_bn_relu(x, 256, 1), *both)


def _lines(x, channels: tuple[int, int], width: int):
    """Return a row's and a column's convolution, one after the other."""
    return conv_bn_relu(conv_bn_relu(x, channels[0], (1, width)), channels[1], (width, 1))


def _pool(x):
    return layers.MaxPooling2D(3, 2, padding="same")(x)


def _mean(x):
    return layers.AveragePooling2D(3, 1, padding="same")(x)


def _join(*maps):
    return layers.Concatenate()(list(maps))
