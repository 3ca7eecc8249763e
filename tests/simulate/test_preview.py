"""The signal-to-noise of arcs from rays on a coarse grid: limits that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenspipe.simulate.polar import to_lens_frame
from lenspipe.simulate.preview import Seen, arcs_snr

PIXEL = 0.2


def seen(count=1, fwhm=0.8, sky=1.0, light=0.0):
    one = np.ones(count)
    column = one[:, None]
    return Seen(
        fwhm=fwhm * column, beta=np.inf * column, sky=sky * column, light=light * column,
        r_lens=one, n_lens=4.0 * one, q_light=0.8 * one, angle=20.0 * one,
    )  # fmt: skip


def lensed(count=1, theta_e=1.0, q=0.8, x=0.1, y=0.05, r_src=0.15, gamma=0.03, scale=1.0):
    values = (scale * theta_e, q, 30.0, gamma, 10.0, scale * x, scale * y, scale * r_src, 0.7, -40.0)
    return to_lens_frame(*(np.full(count, value) for value in values))


def snr(where, scene, flux=1.0, profile="exponential"):
    return arcs_snr([(profile, where, np.full(scene.fwhm.shape, flux))], scene, PIXEL)[:, 0]


def test_an_unresolved_image_has_the_signal_to_noise_of_a_star():
    # far from a weak lens there is one image, a point: a Gaussian seen in the best aperture
    star = snr(lensed(theta_e=1e-3, q=1.0, x=0.3, y=0.2, r_src=1e-3, gamma=0.0), seen())
    sigma = np.hypot(0.8 / 2.3548, PIXEL / np.sqrt(12.0))
    radius = np.linspace(0.01, 5.0, 5000) * sigma
    best = np.max((1.0 - np.exp(-0.5 * (radius / sigma) ** 2)) / np.sqrt(np.pi * radius**2))
    assert star == pytest.approx(best, rel=0.02)


def test_a_ring_has_the_signal_to_noise_of_a_ring():
    # a source straight behind a sphere: surface brightness of a Gaussian across, even along the ring
    ring = snr(lensed(theta_e=2.0, q=1.0, x=0.0, y=0.0, r_src=0.05, gamma=0.0), seen(), profile="gaussian")
    sigma = np.sqrt((0.8 / 2.3548) ** 2 + PIXEL**2 / 12.0 + (0.05 * 0.849) ** 2)
    r = np.linspace(0.0, 4.0, 4001)
    across = np.exp(-0.5 * ((r - 2.0) / sigma) ** 2) * np.sqrt(2.0 / np.maximum(r, 0.3))
    area = 2.0 * np.pi * r * (r[1] - r[0])
    order = np.argsort(-across)
    light, cells = np.cumsum((across * area)[order]) / np.sum(across * area), np.cumsum(area[order])
    assert ring == pytest.approx(np.max(light[1:] / np.sqrt(cells[1:])), rel=0.02)


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0.5, 2.5), st.floats(0.3, 0.99), st.floats(-0.6, 0.6), st.floats(0.03, 0.7), st.floats(1.5, 9.0)
)
def test_noise_and_light_scale_as_they_must(theta_e, q, x, r_src, factor):
    where = lensed(theta_e=theta_e, q=q, x=x * theta_e, r_src=r_src * theta_e)
    first = snr(where, seen())
    assert first > 0
    assert snr(where, seen(), flux=factor) == pytest.approx(factor * first, rel=1e-5)
    assert snr(where, seen(sky=factor**2)) == pytest.approx(first / factor, rel=1e-5)
    assert snr(where, seen(light=3.0)) < first
    assert snr(where, seen(fwhm=0.8 + 0.1 * factor)) < 1.01 * first


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 0.99), st.floats(0.05, 0.5))
def test_a_component_without_light_and_company_change_nothing(x, r_src):
    where, faint = lensed(3, x=x, r_src=r_src), lensed(3, x=5.0, r_src=0.01)
    scene = seen(3)
    one, none = np.ones((3, 1)), np.zeros((3, 1))
    alone = arcs_snr([("exponential", where, one)], scene, PIXEL)
    both = arcs_snr([("exponential", where, one), ("gaussian", faint, none)], scene, PIXEL)
    assert np.array_equal(alone, both)
    halves = arcs_snr([("exponential", where, 0.5 * one)] * 2, scene, PIXEL)
    assert halves == pytest.approx(alone, rel=1e-4)
    assert np.ptp(alone) == 0.0
