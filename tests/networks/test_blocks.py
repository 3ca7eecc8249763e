import keras
import numpy as np

from lenspipe.networks.blocks import conv_bn_relu


def test_maps_are_positive_and_have_the_channels_and_stride_asked_for():
    inputs = keras.Input((9, 9, 2))
    model = keras.Model(inputs, conv_bn_relu(inputs, 5, 3, strides=2))
    out = model.predict(np.random.default_rng(0).normal(size=(2, 9, 9, 2)), verbose=0)
    assert out.shape == (2, 5, 5, 5)
    assert out.min() == 0 < out.max()
    assert [w.name for w in model.weights] == ["kernel", "gamma", "beta", "moving_mean", "moving_variance"]
