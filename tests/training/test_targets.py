import numpy as np
import pytest

from lenspipe.config import TARGETS
from lenspipe.core.errors import ConfigError
from lenspipe.training.targets import TRANSFORMS, from_network, slope, to_network


def test_every_target_of_the_config_has_a_transformation():
    assert set(TRANSFORMS) == set(TARGETS)


def test_there_and_back():
    values = np.random.default_rng(0).uniform(0.1, 3, (20, 4))
    inner = to_network(values, TARGETS)
    for k, target in enumerate(TARGETS):
        np.testing.assert_allclose(from_network(inner[:, k], target), values[:, k], rtol=1e-12)
        step = 1e-6
        numeric = (from_network(inner[:, k] + step, target) - from_network(inner[:, k] - step, target)) / (
            2 * step
        )
        np.testing.assert_allclose(slope(inner[:, k], target), numeric, rtol=1e-6)


def test_unknown_target():
    with pytest.raises(ConfigError, match="unknown target 'q'"):
        to_network(np.ones((1, 1)), ["q"])
