"""Correlated noise: its variance is kept, its correlation is the one asked for and can be measured again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.core.errors import ConfigError
from lenspipe.imaging.noise import correlate_noise, measure_correlation


def lagged(image: np.ndarray, dy: int, dx: int) -> float:
    return float(np.mean(image * np.roll(image, (dy, dx), (0, 1))) / np.mean(image**2))


@given(st.floats(-0.2, 0.3), st.floats(-0.1, 0.1))
def test_variance_is_kept_and_correlations_are_separable(first, second):
    white = np.random.default_rng(1).standard_normal((300, 200, 1))
    noise = correlate_noise(white, (first, second))[..., 0]
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    for lags, expected in (((0, 1), first), ((1, 0), first), ((2, 0), second), ((1, 1), first**2)):
        assert lagged(noise, *lags) == pytest.approx(expected, abs=0.02)


def test_none_is_none():
    white = np.random.default_rng(1).standard_normal((8, 8, 2))
    assert correlate_noise(white, ()) is white


def test_impossible_correlations_are_refused():
    with pytest.raises(ConfigError, match="noise_correlation"):
        correlate_noise(np.zeros((32, 32, 1)), (0.9,))


def test_objects_and_missing_pixels_do_not_disturb_the_measurement():
    rng = np.random.default_rng(2)
    noise = correlate_noise(rng.standard_normal((600, 600, 1)), (-0.09, 0.05))[..., 0]
    y, x = np.mgrid[:600, :600]
    for _ in range(60):
        column, row = rng.uniform(0, 600, 2)
        noise += 30 * np.exp(-0.5 * ((x - column) ** 2 + (y - row) ** 2) / 2.0**2)
    noise[:, 100:103] = np.nan
    assert measure_correlation(noise) == pytest.approx([-0.09, 0.05, 0.0], abs=0.012)
