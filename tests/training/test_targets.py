from typing import get_args

import numpy as np
import pytest

from lenspipe.config import TARGETS, TrainSection
from lenspipe.core.errors import ConfigError
from lenspipe.lensing.sie import converge
from lenspipe.training.targets import TARGETS as KNOWN
from lenspipe.training.targets import from_network, slope, to_network, true_values


def test_every_target_of_the_config_is_known():
    allowed = TrainSection.model_fields["targets"].annotation
    assert set(get_args(get_args(allowed)[0])) == set(KNOWN)
    assert set(TARGETS) <= set(KNOWN)


def test_ellipticities_are_those_of_the_mass_in_the_array():
    """Second moments of the convergence of an SIE: e1 > 0 is long in x, e2 > 0 along the diagonal x = y."""
    y, x = np.mgrid[-60:61, -60:61] * 0.1
    for phi in (-90.0, -30.0, 0.0, 45.0, 80.0):
        kappa = np.asarray(converge(x, y, 1.0, 0.6, phi)) ** 4 * (np.hypot(x, y) > 0.5)
        xx, yy, xy = ((kappa * part).sum() for part in (x * x, y * y, x * y))
        truth = {"q": np.array([0.6]), "phi": np.array([phi])}
        e1, e2 = (true_values(truth, name)[0] for name in ("e1", "e2"))
        np.testing.assert_allclose(np.hypot(e1, e2), 0.4 / 1.6)
        turned = np.angle((e1 + 1j * e2) / (xx - yy + 2j * xy))
        assert abs(turned) < 0.05


def test_signed_targets_are_left_as_they_are():
    values = np.array([[-0.2, 0.1], [0.0, -3.0]])
    inner = to_network(values, ["e1", "y_lens"])
    np.testing.assert_array_equal(inner, values)
    np.testing.assert_array_equal(from_network(inner[:, 0], "e1"), values[:, 0])
    np.testing.assert_array_equal(slope(inner[:, 0], "e1"), [1.0, 1.0])


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
