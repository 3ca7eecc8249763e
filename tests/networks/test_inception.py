import numpy as np
import pytest

from lenspipe.networks.layers import dropout_layers
from lenspipe.networks.registry import build_network


def test_output_is_mean_and_log_variance_of_each_target(inception, stamps):
    out = inception.predict(stamps, verbose=0)
    assert out.shape == (6, 4, 2)
    # untrained outputs are standardised numbers of order one about the training mean
    assert np.all(np.abs(out[..., 0] - [0.2, 5.5, 0.4, 1.0]) < 5 * np.array([0.3, 0.2, 0.1, 0.25]))


def test_heads_have_four_dropouts_each_with_its_own_seed(inception):
    found = dropout_layers(inception)
    assert len(found) == 16
    assert len({layer.seed for layer in found}) == 16


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


def test_the_regressor_may_see_the_noise_too(stamps):
    model = build_network("regressor", "inception", 32, 3, channels=("noise",))
    assert model.get_layer("trunk").input_shape == (None, 32, 32, 6)
    assert model.predict(stamps, verbose=0).shape == (6, 4, 2)


@pytest.mark.parametrize("size", [45, 76])
def test_stamps_of_any_size_end_in_a_map_of_4_by_4(size):
    model = build_network("detector", "inception_detector", size, 3)
    assert model.get_layer("trunk").output_shape == (None, 4 * 4 * 32)
