"""Correlated noise: its variance is kept, its correlation is the one asked for and can be measured again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.core.errors import ConfigError
from lenspipe.imaging.noise import (
    correlate_bands,
    correlate_noise,
    correlation_factors,
    find_empty,
    measure_correlation,
    tabulate_correlation,
)


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


TABLE = ((1.0, -0.08, 0.055), (-0.07, 0.03, 0.015), (0.05, 0.015, 0.01))


def test_a_table_need_not_be_separable_and_is_measured_again():
    noise = correlate_noise(np.random.default_rng(3).standard_normal((500, 700, 1)), TABLE)[..., 0]
    assert noise.std() == pytest.approx(1.0, abs=0.01)
    assert tabulate_correlation(noise, 3)[:3, :3] == pytest.approx(np.array(TABLE), abs=0.008)
    assert tabulate_correlation(noise, 3)[3] == pytest.approx(np.zeros(4), abs=0.008)
    assert lagged(noise, 1, -1) == pytest.approx(0.03, abs=0.008)


def test_a_table_wider_than_the_image_is_cut():
    noise = correlate_noise(np.random.default_rng(3).standard_normal((3, 4, 1)), TABLE)
    assert noise.shape == (3, 4, 1)
    assert np.all(np.isfinite(noise))


def test_each_band_has_its_own_correlation():
    white = np.random.default_rng(4).standard_normal((300, 300, 2))
    noise = correlate_bands(white, [(0.2,), ()])
    assert lagged(noise[..., 0], 0, 1) == pytest.approx(0.2, abs=0.02)
    assert np.array_equal(noise[..., 1], white[..., 1])
    alike = correlate_bands(white, [(0.2,), (0.2,)])
    assert alike == pytest.approx(correlate_noise(white, (0.2,)), abs=1e-12)


def test_empty_pixels_hold_no_object():
    noise = np.random.default_rng(5).standard_normal((200, 200))
    y, x = np.mgrid[:200, :200]
    noise += 50 * np.exp(-0.5 * ((x - 60) ** 2 + (y - 90) ** 2) / 3.0**2)
    noise[10, 10] = np.nan
    empty = find_empty(noise)
    assert not empty[10, 10]
    assert not empty[np.hypot(x - 60, y - 90) < 9].any()
    assert empty.mean() > 0.9


@pytest.mark.parametrize("correlation", [(), (0.24, -0.07, 0.05), [[1.0, 0.3], [0.2, 0.15]]])
def test_matrices_correlate_noise_as_the_transform_does(correlation):
    white = np.random.default_rng(2).normal(size=(40, 40, 1))
    factors = correlation_factors(40, correlation)
    found = sum(a @ white[..., 0] @ b.T for a, b in factors) if len(factors) else white[..., 0]
    np.testing.assert_allclose(found, correlate_noise(white, correlation)[..., 0], atol=3e-3)
    assert len(factors) <= 3
