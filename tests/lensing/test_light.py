"""The Sersic law against lenstronomy and its own normalisation."""

from __future__ import annotations

import galsim
import keras
import numpy as np
import pytest
from lenstronomy.LightModel.light_model import LightModel
from scipy.integrate import quad
from scipy.special import gammainc

from lenspipe.lensing import light
from tests.oracles.lenstronomy_scene import sersic_parameters

RNG = np.random.default_rng(6)
X, Y = RNG.uniform(-4, 4, (2, 300))


def brightness(x, y, n, flux=3.0, r_eff=0.9, q=0.6, phi=25.0, x0=0.2, y0=-0.1):
    b_n, norm = light.sersic_constants(n)
    return keras.ops.convert_to_numpy(light.sersic(x, y, flux, r_eff, n, b_n, norm, q, phi, x0, y0))


@pytest.mark.parametrize("n", [0.5, 1.0, 2.2, 4.0, 6.0])
def test_half_of_the_light_is_within_the_half_light_radius(n):
    assert gammainc(2 * n, light.sersic_bn(n)) == pytest.approx(0.5, abs=1e-12)


def test_bn_of_de_vaucouleurs():
    assert light.sersic_bn(4.0) == pytest.approx(7.66924944, abs=1e-8)


@pytest.mark.parametrize("n", [0.5, 1.0, 2.2, 4.0, 6.0])
def test_agrees_with_lenstronomy(n):
    theirs = LightModel(["SERSIC_ELLIPSE"]).surface_brightness(
        X, Y, [sersic_parameters(3.0, 0.9, n, 0.6, 25.0, 0.2, -0.1)]
    )
    np.testing.assert_allclose(brightness(X, Y, n), theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="float32 is too coarse for the integrator")
@pytest.mark.parametrize("n", [0.5, 1.0, 4.0, 6.0])
def test_total_flux(n):
    def ring(log_r):  # circular: 2 pi r^2 I d ln r
        r = np.exp(log_r)
        value = brightness(np.array([r]), np.array([0.0]), n, q=1.0, x0=0.0, y0=0.0)
        return 2 * np.pi * r * r * float(value[0])

    assert quad(ring, -16, 9, limit=300, epsabs=1e-7, epsrel=1e-6)[0] == pytest.approx(3.0, rel=1e-5)


def test_major_axis_points_where_the_angle_says():
    # phi = 25 deg from +y, counter-clockwise: towards -x
    t = np.deg2rad(25.0)
    along = brightness(np.array([-np.sin(t)]), np.array([np.cos(t)]), 1.0, x0=0.0, y0=0.0)
    across = brightness(np.array([np.cos(t)]), np.array([np.sin(t)]), 1.0, x0=0.0, y0=0.0)
    assert along > 1.5 * across


@pytest.mark.parametrize("n", [0.5, 6.0])
def test_finite_at_the_centre_in_float32(n):
    zero = np.zeros(1, np.float32)
    value = brightness(zero, zero, n, x0=0.0, y0=0.0)
    assert np.isfinite(value).all()
    assert value.dtype == np.float32


@pytest.mark.parametrize("beta", [1.8, 2.7, 4.765, np.inf])
def test_a_star_is_galsim_s(beta):
    star = galsim.Gaussian(fwhm=0.9) if np.isinf(beta) else galsim.Moffat(beta=beta, fwhm=0.9)
    for r in (0.0, 0.3, 1.0, 4.0):
        exact = star.xValue(r, 0.0)
        assert light.moffat_brightness(np.array(r), 0.9, beta) == pytest.approx(exact, rel=1e-6, abs=1e-30)
