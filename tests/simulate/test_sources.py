"""Source galaxies against the catalogue they imitate, and the tables that they are drawn from."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM

from lenspipe.simulate.sources import (
    axis_ratio,
    brightest_colour,
    distance_to,
    draw_behind,
    interpolate,
    quantiles,
    redshift_of,
    source_colours,
    source_size,
)

U = (np.arange(20_000) + 0.5) / 20_000
MIDDLE = np.full(1, 0.5)


def test_distances_are_astropys():
    z = np.array([0.05, 0.5, 1.7, 5.9])
    expected = FlatLambdaCDM(H0=70, Om0=0.3, Tcmb0=0).comoving_distance(z).value
    assert distance_to(z) == pytest.approx(expected, rel=1e-6)
    assert redshift_of(expected) == pytest.approx(z, rel=1e-4)


def test_quantiles_are_those_of_the_density():
    x = np.linspace(0.0, 10.0, 5001)
    table = quantiles(np.exp(-x), x)
    expected = -np.log1p(-U * (1 - np.exp(-10)))
    assert interpolate(table, U)[100:-100] == pytest.approx(expected[100:-100], rel=2e-3)
    assert interpolate(table, np.array([0.0, 1.0])) == pytest.approx([0.0, 10.0])


def test_shapes_are_a_rayleigh_distribution_cut_at_a_fifth():
    flattening = 1 - axis_ratio(U, 0.3)
    assert flattening.max() < 0.8
    assert np.median(flattening) == pytest.approx(0.3 * np.sqrt(2 * np.log(2)), rel=0.03)


def test_sources_grow_more_distant_and_more_numerous_with_magnitude():
    mag, z = draw_behind(np.repeat(U, 5), np.tile(np.linspace(0.1, 0.9, 5), U.size))
    assert np.all((mag >= 18) & (mag <= 29))
    assert np.all((z > 0) & (z <= 6))
    faint = mag > 26
    assert np.median(z[faint]) > np.median(z[mag < 24]) + 0.2
    assert np.sum((mag > 25) & (mag < 26)) > 1.5 * np.sum((mag > 24) & (mag < 25))


# medians of the first 137 galaxies of lsst.1sqdegree_catalog2: M_r - (i - DM) and g - i
@pytest.mark.parametrize(("z", "colour"), [(1.15, 0.46), (1.5, 0.26), (1.9, -0.04), (2.3, -0.10)])
def test_colours_are_the_catalogues(z, colour):
    u = np.linspace(0.01, 0.99, 99)
    ours = np.median(source_colours(u, np.full(99, z), ["g"])["g"])
    assert ours == pytest.approx(colour, abs=0.25)


def test_size_of_a_galaxy_by_hand():
    # i = 25 at z = 1.5: DM 45.22, M_r = 25 - 45.22 - 0.2 - 0.54 = -20.96; 8.46 kpc per arcsec
    kpc = 10 ** (2.96 / 4 - 1.2 * np.log10(2.5 / 1.6))
    size = source_size(np.zeros(1), np.array([25.0]), np.array([1.5]))
    assert size == pytest.approx(kpc / 8.46, rel=0.02)
    scatter = source_size(np.ones(1), np.array([25.0]), np.array([1.5])) / size
    assert np.log10(scatter) == pytest.approx(np.hypot(0.35, 0.225), rel=1e-6)


@pytest.mark.parametrize("band", ["g", "r", "VIS", "F160W"])
def test_no_source_is_bluer_than_the_bluest(band):
    rng = np.random.default_rng(1)
    colour = source_colours(rng.random(5000), rng.uniform(0.05, 5.9, 5000), [band])[band]
    assert colour.min() > brightest_colour(band) - 0.01
