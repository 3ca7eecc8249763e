"""Power-law galaxies against direct numerical integration of the Jeans equation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from lenspipe.lensing.kinematics import (
    is_physical,
    log_reach,
    power_law_factor,
    slit_radius,
    to_half_radius,
)

POINTS = [
    (2.0, 0.0, 2.0),
    (2.0, 0.18, 2.4),
    (1.85, -0.3, 2.2),
    (2.15, 0.4, 2.5),
    (1.7, 0.1, 2.8),
    (2.3, 0.0, 2.1),
]


def integrate(what, low, high):
    return quad(what, low, high, epsabs=0, epsrel=1e-10, limit=500)[0]


def jeans(theta_e: float, alpha: float, beta: float, delta: float, weight, edge: float) -> float:
    """sigma / sigma_sis from the integrals: mass within theta_e, the Jeans equation, projection, the aperture.

    In units of G and of the mass per theta_e^2 within theta_e; `weight(R)` is the aperture's, `edge` where it ends.
    """
    # projected mass of r^-alpha within theta_e, by shells: r = theta_e / sin(t) beyond it
    inner = theta_e ** (3 - alpha) / (3 - alpha)
    outer = integrate(lambda v: v ** (alpha - 2) / (1 + np.sqrt(1 - v**2)), 0, 1) * theta_e ** (3 - alpha)
    rho = np.pi * theta_e**2 / (4 * np.pi * (inner + outer))  # of the critical surface density, 1
    mass = 4 * np.pi * rho / (3 - alpha)  # M(r) = mass r^(3 - alpha)
    # nu s_r^2 at radius 1: integral of nu M / s^2 (s)^(2 beta) outwards; elsewhere it scales
    xi = alpha + delta - 2
    at_one = mass * integrate(lambda v: v ** (-2 * beta + delta + alpha - 3), 0, 1)

    def along(power: float, anisotropy: float) -> float:
        """Integral of r^-power (1 - anisotropy / r^2) along the line of sight at R = 1; r = 1 / cos(t)."""
        return 2 * integrate(
            lambda t: np.cos(t) ** (power - 2) * (1 - anisotropy * np.cos(t) ** 2), 0, np.pi / 2
        )

    pressure = at_one * along(xi, beta)  # times R^(1 - xi)
    light = along(delta, 0.0)  # times R^(1 - delta)
    seen = integrate(lambda r: weight(r) * r ** (2 - xi), 0, edge) * pressure
    total = integrate(lambda r: weight(r) * r ** (2 - delta), 0, edge) * light
    sis = theta_e  # sigma^2: within R it has the projected mass pi sigma^2 R, here pi theta_e^2
    return np.sqrt(seen / total / sis)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("aperture", [0.7, 1.5])
def test_a_circle_with_an_edge_is_the_numerical_integral(point, aperture):
    wanted = jeans(1.1, *point, lambda r: 1.0, aperture)
    assert power_law_factor(1.1, *point, aperture) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("point", POINTS)
def test_a_fibre_with_seeing_is_the_numerical_integral(point):
    width2 = 0.5 * np.exp(log_reach(1.1, 1.5, 1.4)) * 1.1**2  # of the Gaussian weight

    def weight(r):
        return np.exp(-0.5 * r**2 / width2)

    wanted = jeans(1.1, *point, weight, 12 * np.sqrt(width2))
    assert power_law_factor(1.1, *point, 1.5, 1.4) == pytest.approx(wanted, rel=1e-6)


@given(st.floats(0.3, 5), st.floats(0.3, 5), st.floats(0.3, 3))
def test_the_isothermal_isotropic_galaxy_needs_no_factor(theta_e, aperture, seeing):
    assert power_law_factor(theta_e, 2.0, 0.0, 2.0, aperture) == pytest.approx(1.0, rel=1e-12)
    assert power_law_factor(theta_e, 2.0, 0.0, 2.0, aperture, seeing) == pytest.approx(1.0, rel=1e-12)


def test_sensitivities_at_the_usual_galaxy():
    """science.md, section 7: d gamma = +2.34 d alpha, +0.66 d beta, -1.05 d delta; an SDSS fibre, a SLACS lens."""
    point, step = np.array([2.0, 0.18, 2.4]), 1e-4

    def gamma(point):  # of a galaxy whose sigma is the usual one's
        return (
            2
            * (power_law_factor(1.2, *point, 1.5, 1.4) / power_law_factor(1.2, 2.0, 0.18, 2.4, 1.5, 1.4)) ** 2
            - 1
        )

    slopes = [(gamma(point + step * e) - gamma(point - step * e)) / (2 * step) for e in np.eye(3)]
    np.testing.assert_allclose(slopes, (2.34, 0.66, -1.05), rtol=0.01)


def test_what_no_galaxy_can_be_has_no_dispersion():
    for point in (
        (2.0, 0.99, 2.0),
        (2.0, 1.2, 2.9),
        (3.0, 0.0, 2.0),
        (1.0, 0.0, 2.0),
        (2.0, 0.0, 3.0),
        (2.6, 0.0, 2.5),
    ):
        assert is_physical(*point) == (point == (2.0, 0.99, 2.0))
        assert np.isnan(power_law_factor(1.0, *point, 1.5)) != is_physical(*point)


def test_apertures():
    assert slit_radius(1.0, np.pi) == pytest.approx(1.025)
    sigma, error = to_half_radius(200.0, 1.5, 3.0)
    assert (sigma, error) == (200.0, 0.0)
    sigma, error = to_half_radius(200.0, 1.5, 6.0)
    assert sigma == pytest.approx(200 * 2**-0.066)
    assert error == pytest.approx(0.035 * np.log(2))
