import keras
from support import convolutions

from lenspipe.networks.registry import build_network


def test_alexnet_is_the_published_list():
    model = build_network("regressor", "alexnet", 192, 1, target_mean=[0.0] * 5, target_std=[1.0] * 5)
    assert convolutions(model) == [(11, 11, 64), (5, 5, 192), (3, 3, 384), (3, 3, 384), (3, 3, 256)]
    dense = [
        layer.units for layer in model.get_layer("trunk").layers if isinstance(layer, keras.layers.Dense)
    ]
    assert dense == [4096, 4096]
