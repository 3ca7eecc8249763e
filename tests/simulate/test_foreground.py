"""Unlensed light against GalSim, in units of DES noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenspipe.imaging.observe import noise_sigma
from lenspipe.simulate.render import render
from tests.oracles.lenstronomy_scene import galsim_image, galsim_psf
from tests.simulate.scenes import GAIN, PIXEL, SKY, component, light, nothing, scene


@pytest.mark.parametrize(
    ("beta", "fwhm"), [(np.inf, 0.88), (3.0, 0.88), (2.1, 0.88), (1.8, 0.88), (np.inf, 0.55)]
)
def test_galaxies_agree_with_galsim(beta, fwhm):
    # i = 17: the centre is 300 sigma; lenstronomy at 3 x 3 samples errs by 12 sigma on such scenes
    galaxies = light(
        np.full(7, 5.7e5),
        x=[0.0, 0.13, -0.08, 2.0, 0.05, 0.1, 0.0],
        y=[0.0, -0.1, 0.03, -3.0, 0.1, 0.02, 0.0],
        r_eff=[0.8, 0.4, 1.5, 0.3, 0.6, 0.7, 1.2],
        n=[4.0, 4.0, 4.0, 1.0, 6.0, 0.5, 2.3],
        q=[0.7, 0.9, 0.5, 0.2, 0.8, 0.3, 0.1],
        phi=[0.0, 30.0, -70.0, 45.0, 90.0, 10.0, -20.0],
    )
    mine, arcs = (part[..., 0] for part in render(scene(galaxies, nothing(7), fwhm, beta), 48, PIXEL))
    assert np.all(arcs == 0.0)
    for i in range(7):
        theirs = galsim_image(component(galaxies, i), 48, PIXEL, fwhm, beta)
        error = np.abs(mine[i] - theirs) / noise_sigma(theirs, GAIN, SKY)
        assert error.max() < 0.15, i
        assert mine[i].sum() == pytest.approx(theirs.sum(), rel=5e-4)


def test_stars_are_the_psf_at_their_place():
    stars = light(np.full(4, 1e5), x=[0.0, 0.1, -1.37, 7.9], y=[0.0, 0.07, 2.22, 0.3], r_eff=0.0, n=0.5)
    mine = render(scene(stars, nothing(4), beta=3.5), 64, PIXEL)[0][..., 0]
    for i in range(4):
        psf = galsim_psf(0.88, 3.5).shift(float(stars.x[i, 0]), float(stars.y[i, 0])) * 1e5
        theirs = psf.drawImage(nx=64, ny=64, scale=PIXEL, method="auto", dtype=float).array
        np.testing.assert_allclose(mine[i], theirs, atol=4e-4 * theirs.max())


def test_light_from_outside_comes_in_and_nothing_wraps():
    edge = 0.5 * 32 * PIXEL
    stars = light(np.full(3, 1e5), x=[edge + 0.5, edge + 4.0, edge + 60.0], y=0.0, r_eff=0.0, n=0.5)
    mine = render(scene(stars, nothing(3)), 32, PIXEL)[0][..., 0]
    psf = galsim_psf(0.88, np.inf).shift(edge + 0.5, 0.0) * 1e5
    theirs = psf.drawImage(nx=32, ny=32, scale=PIXEL, method="auto", dtype=float).array
    np.testing.assert_allclose(mine[0], theirs, atol=2e-3 * theirs.max())
    assert theirs[:, -1].max() > 100 * SKY
    assert np.abs(mine[1:]).max() < 1e-3


@given(st.floats(0.3, 3.0), st.floats(0.15, 1.0), st.floats(-90, 90), st.sampled_from([0.5, 1.0, 4.0]))
@settings(max_examples=15, deadline=None)
def test_a_quarter_turn_turns_the_image_and_keeps_the_flux(r_eff, q, phi, n):
    galaxies = light(np.full(2, 1e4), r_eff=r_eff, n=n, q=q, phi=[phi, phi + 90.0])
    first, second = render(scene(galaxies, nothing(2)), 48, PIXEL)[0][..., 0]
    np.testing.assert_allclose(np.rot90(first, -1), second, atol=2e-5 * first.max())
    assert 0.3 < first.sum() / 1e4 < 1.0001
