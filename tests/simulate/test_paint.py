"""Painting: against lenstronomy and scipy through a real PSF, and stamps into tiles."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import map_coordinates
from scipy.signal import fftconvolve

from lenspipe.core.rng import uniforms
from lenspipe.imaging.psf import centre_psf
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.morphology import CLUMP_UNIFORMS
from lenspipe.simulate.paint import add_to_band, paint_sources
from lenspipe.simulate.parts import source_scene
from lenspipe.simulate.render import render
from tests.oracles.lenstronomy_scene import lensed_brightness
from tests.simulate.test_parts import rows

BANDS, SCALE, SIZE, FINE = ("g", "i"), 0.263, 61, 9
RNG = np.random.default_rng(5)


def through(star: np.ndarray, light: np.ndarray) -> np.ndarray:
    """Return what pixels see of light on FINE points a pixel, given a star as they see it, by scipy."""
    half = len(star) // 2
    points = np.arange(-half * FINE, half * FINE + 1) / FINE + half
    kernel = map_coordinates(star, np.meshgrid(points, points, indexing="ij"), order=5)
    blurred = fftconvolve(light, kernel, mode="same")
    middle, margin = FINE // 2, (len(light) // FINE - SIZE) // 2
    return blurred[middle::FINE, middle::FINE][margin:-margin, margin:-margin]


@pytest.mark.parametrize("band", "grizY")
def test_arcs_through_a_real_des_psf_agree_with_lenstronomy(realdata, band):
    (path,) = (realdata / "des_J0330-5228_grizY").glob(f"*_{band}_psf.fits")
    given = fits.getdata(path).astype(float)
    truth = rows(r_src=0.35, q_src=0.6, x_src=0.3)
    star = centre_psf(given)
    arcs = paint_sources(truth, BANDS, SIZE, SCALE, None, np.stack([star, star])[None])[0, ..., 0]
    names = ("theta_e", "q", "phi", "x_lens", "y_lens", "gamma_ext", "phi_ext")
    source = {
        "flux": float(flux_njy(24.0)),
        "r_eff": 0.35,
        "n": 1.0,
        "q": 0.6,
        "phi": 10.0,
        "x": 0.3,
        "y": 0.1,
    }
    light = lensed_brightness(
        {name: float(truth[name][0]) for name in names}, source, (SIZE + 32) * FINE, SCALE / FINE
    )
    expected = through(given / given.sum(), light)
    assert np.max(np.abs(arcs - expected)) < 0.01 * expected.max()
    assert arcs.sum() == pytest.approx(expected.sum(), rel=0.01)
    profile = paint_sources(truth, BANDS, SIZE, SCALE)[0, ..., 0]
    assert np.max(np.abs(profile - expected)) > 0.03 * expected.max()  # so the image matters


def test_a_band_without_an_image_is_seen_through_its_profile():
    u = uniforms(1, "test", [0, 1], CLUMP_UNIFORMS)
    truth = rows(z_src=1.5)[[0, 0]]
    y, x = np.mgrid[-8:9, -8:9]
    star = (np.exp(-(x**2 + 2 * y**2) / 6.0)).astype(np.float32)
    stars = np.full((2, 2, 17, 17), np.nan, np.float32)
    profile = paint_sources(truth, BANDS, SIZE, SCALE, u)
    np.testing.assert_array_equal(paint_sources(truth, BANDS, SIZE, SCALE, u, stars), profile)
    np.testing.assert_array_equal(render(source_scene(truth, BANDS, u), SIZE, SCALE)[1], profile)
    stars[0, 1] = star / star.sum()
    mixed = paint_sources(truth, BANDS, SIZE, SCALE, u, stars)
    np.testing.assert_array_equal(mixed[1], profile[1])
    np.testing.assert_array_equal(mixed[0, ..., 0], profile[0, ..., 0])
    assert np.max(np.abs(mixed[0, ..., 1] - profile[0, ..., 1])) > 0.05 * profile[0, ..., 1].max()


def test_stamps_are_added_where_a_tile_can_be_used():
    flux, sigma = RNG.normal(size=(40, 50)).astype(np.float32), np.full((40, 50), 2.0, np.float32)
    flux[12, 21], sigma[12, 21], sigma[13, 20] = np.nan, np.inf, np.inf
    stamps = RNG.uniform(1, 9, size=(3, 7, 7)).astype(np.float32)
    stamps[0, 0] = 0.0
    x, y = np.array([20.2, 1.0, 22.0]), np.array([11.8, 39.0, 12.0])
    new, noise = add_to_band(flux, sigma, x, y, stamps, 0.5 * stamps)
    left = {0: (9, 17), 1: (36, -2), 2: (9, 19)}  # first row and column
    expected, variance = flux.astype(float), sigma.astype(float) ** 2
    for k, (row, column) in left.items():
        for i in range(7):
            for j in range(7):
                place = row + i, column + j
                if 0 <= place[0] < 40 and 0 <= place[1] < 50 and place not in ((12, 21), (13, 20)):
                    expected[place] += stamps[k, i, j]
                    variance[place] += 0.5 * stamps[k, i, j]
    np.testing.assert_allclose(new, expected, rtol=1e-5)
    np.testing.assert_allclose(noise, np.sqrt(variance), rtol=1e-5)
    untouched = expected == flux
    assert np.array_equal(new[untouched], flux[untouched], equal_nan=True)
    assert np.isnan(new[12, 21])
    assert new[13, 20] == flux[13, 20]
