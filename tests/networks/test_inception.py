import numpy as np
import pytest

from lenspipe.networks.registry import build_network


def test_a_branch_of_one_target_has_the_86_layers_of_bom_and_the_four_of_the_reduction():
    model = build_network("regressor", "inception", 76, 3, target_mean=[0.0], target_std=[1.0])
    kinds = (
        "Conv2D", "BatchNormalization", "ReLU", "MaxPooling2D", "AveragePooling2D", "Dense", "EinsumDense", "Flatten"
    )  # fmt: skip
    layers = [*model.get_layer("trunk").layers, *model.get_layer("head").layers]
    assert sum(type(layer).__name__ in kinds for layer in layers) == 86 + 4


def test_weights_depend_on_the_seed_alone_and_global_random_state_is_left():
    import random

    random.seed(1)
    expected = random.random()
    random.seed(1)
    first = build_network("detector", "inception_detector", 32, 1, seed=7)
    assert random.random() == expected
    again = build_network("detector", "inception_detector", 32, 1, seed=7)
    other = build_network("detector", "inception_detector", 32, 1, seed=8)
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


@pytest.mark.parametrize("size", [45, 76])
def test_stamps_of_any_size_end_in_a_map_of_4_by_4(size):
    model = build_network("detector", "inception_detector", size, 3)
    assert model.get_layer("trunk").output_shape == (None, 4 * 4 * 32)
