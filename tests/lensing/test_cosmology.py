"""Distances against astropy."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM
from scipy.integrate import quad

from lenspipe.lensing import cosmology as ours

THEIRS = FlatLambdaCDM(H0=70.0, Om0=0.3, Tcmb0=0.0)
Z_LENS = np.array([0.01, 0.137, 0.5, 1.234, 2.0])
Z_SRC = np.array([0.02, 0.7, 1.85, 3.3, 9.7])


def between(z_lens, z_src):
    """Angular diameter distance by quadrature, for a flat universe; astropy's own call was renamed."""
    hubble_distance = 299_792.458 / 70.0
    pairs = zip(np.atleast_1d(z_lens), np.atleast_1d(z_src), strict=True)
    chi = [
        quad(lambda z: 1 / np.sqrt(0.3 * (1 + z) ** 3 + 0.7), a, b, epsabs=0, epsrel=1e-11)[0]
        for a, b in pairs
    ]
    return hubble_distance * np.array(chi) / (1 + np.atleast_1d(z_src))


def test_distances_agree_with_astropy():
    assert ours.comoving_distance(Z_SRC) == pytest.approx(THEIRS.comoving_distance(Z_SRC).value, rel=1e-6)
    assert ours.angular_diameter_distance(Z_SRC) == pytest.approx(
        THEIRS.angular_diameter_distance(Z_SRC).value, rel=1e-6
    )
    ratio = between(Z_LENS, Z_SRC) / THEIRS.angular_diameter_distance(Z_SRC).value
    assert ours.distance_ratio(Z_LENS, Z_SRC) == pytest.approx(ratio, rel=1e-6)
    assert ours.distance_modulus(Z_SRC) == pytest.approx(THEIRS.distmod(Z_SRC).value, rel=1e-6)
    assert ours.comoving_volume(Z_SRC) == pytest.approx(THEIRS.comoving_volume(Z_SRC).value, rel=3e-6)


def test_another_cosmology_is_another_grid():
    other = FlatLambdaCDM(H0=100.0, Om0=0.25, Tcmb0=0.0)
    assert ours.comoving_distance(1.0, 0.25, 1.0) == pytest.approx(
        other.comoving_distance(1.0).value, rel=1e-6
    )


def test_einstein_radius_and_back():
    theta = ours.sis_theta_e(250.0, 0.5, 2.0)
    ratio = between(0.5, 2.0) / THEIRS.angular_diameter_distance(2.0).value
    assert theta == pytest.approx(4 * np.pi * (250 / 299792.458) ** 2 * ratio * 206264.80625, rel=1e-6)
    assert ours.sis_sigma_v(theta, 0.5, 2.0) == pytest.approx(250.0, rel=1e-12)


def test_what_has_no_answer_is_nan_or_negative_not_a_number_that_looks_right():
    assert ours.distance_ratio(1.0, 0.5) < 0
    assert np.isnan(ours.sis_sigma_v(1.0, 1.0, 0.5))
    assert np.isnan(ours.comoving_distance(-0.1))
    assert np.isnan(ours.comoving_distance(1000.0))
    assert np.isnan(ours.distance_ratio(0.0, 0.0))
