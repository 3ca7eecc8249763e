import keras
import numpy as np

from lenspipe.networks.registry import build_network


def test_the_trunk_is_that_of_keras_without_preprocessing():
    trunk = build_network("detector", "efficientnet", 32, 3).get_layer("trunk")
    theirs = keras.applications.EfficientNetV2B0(
        weights=None, include_top=False, include_preprocessing=False, pooling="avg", input_shape=(32, 32, 3)
    )
    assert trunk.count_params() == theirs.count_params() == 5_919_312
    assert not [v for v in trunk.layers if isinstance(v, keras.layers.Rescaling | keras.layers.Normalization)]


def test_its_own_dropout_acts_in_training_only():
    trunk = build_network("detector", "efficientnet", 32, 1).get_layer("trunk")
    drops = [v for v in trunk.layers if isinstance(v, keras.layers.Dropout) and v.rate > 0]
    assert len(drops) == 15
    maps = np.ones((64, 2, 2, 4), np.float32)
    np.testing.assert_array_equal(drops[-1](maps, training=False), maps)
    assert np.any(keras.ops.convert_to_numpy(drops[-1](maps, training=True)) == 0)
