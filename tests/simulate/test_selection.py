"""Collett's rules of what a survey can discover."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.core.survey import Band, load_survey
from lenspipe.simulate.polar import lens_disc
from lenspipe.simulate.selection import (
    best_seeing,
    magnification_limit,
    may_resolve,
    optimal_stack,
    resolution_limit,
    snr_limit,
)

DES = load_survey("des")
ONE = np.ones(1)


def band(**changes):
    return Band(
        **{"psf_fwhm": 1.0, "psf_scatter": 0.2, "sky": 22.0, "zero_point": 30.0, "electrons_zero_point": 26.0}
        | {"exposure": 900.0, "n_exposures": 10}
        | changes
    )


def test_a_large_ring_uses_every_exposure_and_a_small_one_the_sharp_ones():
    theta_e, r_src, mu = np.array([3.0, 0.75, 0.3]), np.full(3, 0.05), np.full(3, 100.0)
    fwhm, share = optimal_stack(band(), np.ones(3), theta_e, r_src, mu)
    assert share[0] == 1.0
    assert fwhm[0] == pytest.approx(np.exp(0.2 * 1.645), rel=1e-3)  # the worst of ten
    assert 0.3 < share[1] < 0.9
    assert fwhm[1] < np.sqrt(2) * 0.75
    assert share[2] == 0.0
    # with space-like, constant seeing the rule is theta_e > w / sqrt(2)
    steady = band(psf_scatter=0.0)
    for radius, expected in ((0.70, 0.0), (0.72, 1.0)):
        assert optimal_stack(steady, ONE, radius * ONE, 0.01 * ONE, 1e3 * ONE)[1] == expected


def test_arcs_no_longer_than_the_seeing_are_not_resolved():
    assert optimal_stack(band(psf_scatter=0.0), ONE, 2 * ONE, 0.1 * ONE, 9 * ONE)[1] == 0.0
    assert optimal_stack(band(psf_scatter=0.0), ONE, 2 * ONE, 0.1 * ONE, 11 * ONE)[1] == 1.0


def test_what_may_resolve_holds_all_that_does():
    rng = np.random.default_rng(1)
    theta_e, r_src, mu = rng.uniform(0.3, 2.0, 5000), rng.uniform(0.01, 1.0, 5000), rng.uniform(3, 40, 5000)
    coadd = 1.1 * np.exp(0.05 * rng.standard_normal(5000))
    resolved = optimal_stack(DES.bands["g"], coadd, theta_e, r_src, mu)[1] > 0
    least = mu * rng.uniform(0.3, 1.0, 5000)
    may = may_resolve(DES.bands["g"], coadd, theta_e, r_src, least)
    assert np.all(may[resolved])
    assert 0 < resolved.sum() < may.sum() < 5000


def test_no_magnification_exceeds_its_limit():
    rng = np.random.default_rng(2)
    n = 4000
    q, gamma = 1 - np.minimum(rng.rayleigh(0.25, n), 0.79), np.minimum(rng.rayleigh(0.03, n), 0.2)
    radius, r_src = np.sqrt(rng.random(n)), 10 ** rng.uniform(-1.5, -0.2, n)
    one, zero = np.ones(n), np.zeros(n)
    angle = rng.uniform(0, 2 * np.pi, n)
    ring = lens_disc(
        one, q, zero, gamma, rng.uniform(-90, 90, n), radius * np.cos(angle), radius * np.sin(angle), r_src, one, zero
    )  # fmt: skip
    assert np.mean(ring.mu > magnification_limit(radius, one, q, gamma, r_src)) < 1e-3


def test_limits_of_seeing_and_brightness():
    assert resolution_limit(np.array([1.0, 1.0]), np.array([0.0, 0.8])) == pytest.approx([2**0.5, 0.0])
    # the best of ten i-band exposures, in a field 3 sigma sharper than usual
    expected = 0.96 * np.exp(-0.136 * 1.645) * np.exp(-3 * 0.136 / 10**0.5)
    assert best_seeing(DES, ("g", "r", "i")) == pytest.approx(expected, rel=1e-3)
    faint, bright = snr_limit(DES, "g", np.array([10.0, 100.0]), 5 * np.ones(2), 0.3 * np.ones(2))
    assert bright == pytest.approx(10 * faint)
