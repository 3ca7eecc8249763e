"""Sums of Gaussians against the profiles that they stand for, seen through a PSF (scipy's quadrature)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import i0e

from lenspipe.lensing.gaussians import moffat_gaussians, sersic_gaussians
from lenspipe.lensing.light import sersic_constants

RADII = np.array([0.0, 0.1, 0.3, 1.0, 2.0, 5.0])


def blurred(brightness, tau: float, radius: float) -> float:
    """Return a round profile convolved with a Gaussian of width tau, at one radius."""

    def ring(log_r):
        r = np.exp(log_r)
        kernel = np.exp(-0.5 * ((radius - r) / tau) ** 2) * i0e(radius * r / tau**2) / tau**2
        return brightness(r) * kernel * r * r

    points = [np.log(tau), np.log(max(radius, tau))]
    return quad(ring, -30, 6, limit=500, points=points, epsrel=1e-8, epsabs=0)[0]


def total(terms, tau: float, radius):
    sigma, weight = terms
    variance = sigma**2 + tau**2
    return float(np.sum(weight * np.exp(-0.5 * radius**2 / variance) / (2 * np.pi * variance)))


@pytest.mark.parametrize("n", [0.5, 0.57, 0.75, 1.0, 1.5, 2.5, 4.0, 5.3, 6.0])
@pytest.mark.parametrize("tau", [0.15, 0.6])
def test_sersic_seen_through_a_psf(n, tau):
    b_n, norm = sersic_constants(n)
    exact = np.array([blurred(lambda r: norm * np.exp(-b_n * r ** (1 / n)), tau, r) for r in RADII])
    mine = np.array([total(sersic_gaussians(n), tau, r) for r in RADII])
    noise = np.sqrt(np.maximum(exact, 1e-5 * exact[0]) * exact[0])
    assert np.max(np.abs(mine - exact) / noise) < 4e-4


@given(st.floats(0.5, 6.0))
@settings(max_examples=30, deadline=None)
def test_flux_is_one_and_half_of_it_within_the_half_light_radius(n):
    sigma, weight = sersic_gaussians(n)
    assert weight.sum() == pytest.approx(1.0, abs=1e-12)
    assert np.sum(weight * -np.expm1(-0.5 / sigma**2)) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("beta", "error"),
    [
        (1.5, 4e-4),
        (1.8, 3e-4),
        (2.1, 2e-4),
        (2.49, 2e-4),
        (2.5, 8e-4),
        (3.0, 4e-4),
        (4.765, 2e-4),
        (12.0, 1e-4),
    ],
)
def test_moffat(beta, error):
    r = np.linspace(0.0, 8.0, 60)
    steepness = 4.0 * (2.0 ** (1.0 / beta) - 1.0)
    exact = (beta - 1.0) / np.pi * steepness * (1.0 + steepness * r**2) ** -beta
    mine = np.array([total(moffat_gaussians(beta), 0.0, radius) for radius in r])
    assert np.max(np.abs(mine - exact) / np.sqrt(exact * exact[0])) < error
    assert mine[0] / 2 == pytest.approx(total(moffat_gaussians(beta), 0.0, 0.5), rel=2e-3)  # FWHM 1


@given(st.floats(1.5, 2.499))
@settings(max_examples=20, deadline=None)
def test_broad_wings_hold_their_flux_and_no_more(beta):
    sigma, weight = moffat_gaussians(beta)
    radius = np.array([1.0, 4.0, 8.0, 16.0])
    mine = np.sum(weight * -np.expm1(-0.5 * (radius[:, None] / sigma) ** 2), axis=1)
    exact = 1.0 - (1.0 + 4.0 * (2.0 ** (1.0 / beta) - 1.0) * radius**2) ** (1.0 - beta)
    np.testing.assert_allclose(mine, exact, atol=5e-5)


@pytest.mark.parametrize("beta", [np.inf, np.nan])
def test_a_moffat_without_an_index_is_a_gaussian(beta):
    assert total(moffat_gaussians(beta), 0.0, 0.5) == pytest.approx(
        total(moffat_gaussians(beta), 0.0, 0.0) / 2
    )


def test_what_has_no_finite_flux_is_refused():
    with pytest.raises(ValueError, match="exceed 1, received 1"):
        moffat_gaussians(1.0)
    with pytest.raises(ValueError, match=r"0\.5 to 6, received 7"):
        sersic_gaussians(7.0)
