import keras
import numpy as np
import pytest

from lenspipe.networks.registry import build_network
from lenspipe.training.batchnorm import FusedBatchNorm, fuse_batch_norms

pytestmark = pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="TensorFlow's operation")


@pytest.mark.parametrize("shape", [(8, 6, 5, 3), (8, 3)])
def test_it_does_what_kerass_layer_does(shape):
    import tensorflow as tf

    rng = np.random.default_rng(1)
    x = tf.constant(rng.normal(3, 2, shape), tf.float32)
    weight = tf.constant(rng.normal(size=shape), tf.float32)
    found = []
    for kind in (keras.layers.BatchNormalization, FusedBatchNorm):
        layer = kind(momentum=0.7)
        layer.build(shape)
        layer.set_weights([np.array([2.0, 3, 4]), np.array([1.0, 0, -1]), np.zeros(3), np.ones(3)])
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=True) * weight)
        gradients = tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])
        found.append([loss, *gradients, *layer.get_weights(), layer(x, training=False)])
    for plain, fused in zip(*found, strict=True):
        np.testing.assert_allclose(fused, plain, rtol=2e-5, atol=2e-5)


def test_a_network_keeps_its_weights_and_its_features():
    model = build_network("detector", "swift", 32, 3, seed=1)
    fused = fuse_batch_norms(model)
    assert [w.path for w in fused.weights] == [w.path for w in model.weights]
    kinds = {type(layer) for layer in fused._flatten_layers()}
    assert FusedBatchNorm in kinds
    assert keras.layers.BatchNormalization not in kinds
    features = [m.get_layer("trunk")(np.zeros((1, 32, 32, 3), np.float32)) for m in (model, fused)]
    np.testing.assert_array_equal(*features)
