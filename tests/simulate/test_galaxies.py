"""Field galaxies and stars: counts, sizes and colours as published."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from lenspipe.simulate.galaxies import N_UNIFORMS, count_brighter, draw_galaxies, draw_stars

BANDS = ("g", "r", "i")
U = np.random.default_rng(1).random((40_000, N_UNIFORMS))


def test_counts_are_the_science_book_s_where_it_speaks():
    """46 x 10^(0.31 (i - 25)) per arcmin^2 per its own derivative from 23 to 25."""
    step = count_brighter(25.0) - count_brighter(24.0)
    assert step == pytest.approx(46 * (1 - 10**-0.31), rel=1e-6)
    assert 30 < count_brighter(25.0) < 50
    # brighter, SDSS counts about 500 galaxies per deg^2 to i = 18 and 3,000 to i = 20 within a factor 1.6
    assert count_brighter(18.0) * 3600 == pytest.approx(400, rel=0.6)
    assert count_brighter(20.0) * 3600 == pytest.approx(2600, rel=0.6)
    mag = np.linspace(14, 27, 500)
    assert np.all(np.diff(count_brighter(mag)) > 0)


@pytest.mark.parametrize("density", [10.0, 60.0])
def test_magnitudes_follow_the_counts(density):
    mag = draw_galaxies(U, density, BANDS)["mag_i"]
    assert kstest(mag, lambda m: count_brighter(m) / density).statistic < 0.01


def test_sizes_colours_and_bulges():
    galaxies = draw_galaxies(U, 45.0, BANDS)
    at = np.abs(galaxies["mag_i"] - 23) < 0.25
    discs = at & (galaxies["n"] == 1)
    # Miller et al. 2013: median scale length at i = 23 exp(-1.145) arcsec; half-light radius 1.678 times that
    assert np.median(galaxies["r_eff"][discs]) == pytest.approx(1.678 * np.exp(-1.145), rel=0.06)
    assert 0.08 < np.mean(galaxies["n"][at] == 4) < 0.2
    bright = np.abs(galaxies["mag_i"] - 19.5) < 0.5
    spheroid = bright & (galaxies["n"] == 4)
    colour = galaxies["mag_g"] - galaxies["mag_i"]
    assert np.median(colour[spheroid]) > np.median(colour[bright & (galaxies["n"] == 1)]) + 0.4
    assert np.all((galaxies["bulge_i"] >= 0) & (galaxies["bulge_i"] <= 1))
    two = galaxies["n"] == 1
    assert np.mean(galaxies["bulge_i"][two] >= galaxies["bulge_g"][two]) > 0.98  # bulges are redder
    assert np.median(galaxies["z"][at]) > np.median(galaxies["z"][bright]) + 0.2
    assert np.all((galaxies["q"] > 0.1) & (galaxies["q"] <= 1))


def test_an_object_does_not_depend_on_its_company():
    for draw in (lambda u: draw_galaxies(u, 45.0, BANDS), lambda u: draw_stars(u, BANDS)):
        whole, part = draw(U[:50]), draw(U[20:23])
        for name, values in part.items():
            assert np.array_equal(values, whole[name][20:23], equal_nan=True)
