"""PSFs given as images: against the same PSF as a profile, and against scipy's convolution."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.signal import fftconvolve

from lenspipe.simulate.render import render
from lenspipe.simulate.spectrum import transform_psf
from tests.oracles.lenstronomy_scene import galsim_psf
from tests.simulate.scenes import PIXEL, SKY, light, nothing, scene

LENS = {"theta_e": 1.4, "q": 0.7, "phi": 35.0, "x_lens": 0.05, "gamma_ext": 0.05, "phi_ext": -20.0}


def test_image_and_profile_of_a_psf_agree():
    star = galsim_psf(0.88, np.inf).drawImage(nx=41, ny=41, scale=PIXEL, dtype=float).array
    galaxies = light(
        np.full(3, 2e5), x=[0.0, 0.1, 3.0], r_eff=[0.8, 1.5, 0.4], n=[4.0, 4.0, 1.0], q=0.6, phi=20.0
    )
    sources = light(np.full(3, 900.0), x=0.2, r_eff=0.3)
    profile = scene(galaxies, sources, **LENS)
    image = dataclasses.replace(profile, psf_image=np.broadcast_to(1.3 * star, (3, 1, 41, 41)))
    for one, other in zip(render(profile, 48, PIXEL), render(image, 48, PIXEL), strict=True):
        assert np.max(np.abs(one - other)) < 0.03 * SKY


def test_a_star_is_the_given_image():
    rng = np.random.default_rng(4)
    # lopsided, with a companion, and not normalised
    rows, columns = np.mgrid[-12:13, -12:13]
    star = np.exp(-(rows**2 + columns**2 + 0.6 * rows * columns) / 5.0)
    star += 0.3 * np.exp(-((rows - 4) ** 2 + (columns + 3) ** 2) / 6.0)
    star *= rng.uniform(0.8, 1.8)
    lone = scene(light([1e4], r_eff=0.0, n=0.5), nothing(1), psf_image=star[None, None])
    mine = render(lone, 33, PIXEL)[0][0, ..., 0]
    np.testing.assert_allclose(mine[4:29, 4:29], 1e4 * star / star.sum(), atol=0.02)
    # a wide galaxy hardly differs from its pixels convolved
    wide = light([1e4], x=0.7, r_eff=2.0, n=0.5, q=0.7, phi=40.0)
    sharp = render(scene(wide, nothing(1), fwhm=0.05), 33, PIXEL)[0][0, ..., 0]
    mine = render(scene(wide, nothing(1), psf_image=star[None, None]), 33, PIXEL)[0][0, ..., 0]
    blurred = fftconvolve(sharp, star / star.sum(), mode="same")
    np.testing.assert_allclose(mine[10:23, 10:23], blurred[10:23, 10:23], rtol=0.02)


def test_light_wider_than_the_frame_is_seen_through_the_whole_psf():
    """A flat disc, long enough to wrap round, is blurred across by all of a Moffat, not by its core."""
    star = galsim_psf(1.0, 2.5).drawImage(nx=41, ny=41, scale=PIXEL, dtype=float).array
    disc = light([5e5], r_eff=10.0, n=0.5, q=0.1, phi=30.0)
    profile = scene(disc, nothing(1), fwhm=1.0, beta=2.5)
    image = dataclasses.replace(profile, psf_image=star[None, None])
    one, other = (render(each, 76, PIXEL)[0] for each in (profile, image))
    np.testing.assert_allclose(one, other, atol=2e-3 * one.max())


@pytest.mark.parametrize(
    ("image", "message"),
    [(np.ones((1, 1, 4, 4)), "odd side"), (np.zeros((1, 1, 5, 5)), "positive flux")],
)
def test_what_is_no_psf_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        transform_psf(image, 33)
