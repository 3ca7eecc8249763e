"""Shapes made of Gaussians: fluxes kept, geometry as asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenspipe.simulate import morphology as m

BANDS = ("g", "r", "i")
RNG = np.random.default_rng(4)


def uniforms(count, columns):
    return RNG.random((count, columns))


def moments(light, k=0):
    """Return mean x, y and the position angle [deg from +y] of the flux of one object."""
    w, x, y = light.flux[k].sum(axis=-1), light.x[k], light.y[k]
    w = w / w.sum()
    mx, my = (w * x).sum(), (w * y).sum()
    xx, yy, xy = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum(), (w * (x - mx) * (y - my)).sum()
    angle = np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)) - 90.0
    return mx, my, 90.0 - (90.0 - angle) % 180.0


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31), z=st.floats(0.0, 4.0), q=st.floats(0.1, 1.0), lumpiness=st.floats(0.0, 1.0)
)
def test_discs_and_spirals_keep_their_flux_and_have_no_negative_light(seed, z, q, lumpiness):
    rng = np.random.default_rng(seed)
    flux = 10 ** rng.uniform(0, 4, (3, 3))
    one = np.ones(3)
    shape = (0.1 * one, -0.2 * one, one, q * one, 30.0 * one, z * one, flux, BANDS)
    for light in (
        m.clumpy_disc(*shape, rng.random((3, m.CLUMP_UNIFORMS)), lumpiness),
        m.spiral(*shape, rng.random((3, m.SPIRAL_UNIFORMS))),
    ):
        assert light.flux.sum(axis=1) == pytest.approx(flux, rel=1e-9)
        assert np.all(light.flux >= 0)
        assert np.all((light.q > 0) & (light.q <= 1) & (light.r_eff > 0))


def test_a_ring_is_an_ellipse_of_its_radius_and_angle():
    one = np.ones(2)
    u = uniforms(2, m.RING_UNIFORMS)
    u[:, 1], u[:, 3] = 0.0, 0.0  # evenly bright
    light = m.ring(0.3 * one, 0.1 * one, 2.0 * one, 0.5 * one, np.array([20.0, -70.0]), np.ones((2, 3)), u)
    x, y, angle = moments(light)
    assert (x, y) == (pytest.approx(0.3), pytest.approx(0.1))
    assert angle == pytest.approx(20.0)
    assert moments(light, 1)[2] == pytest.approx(-70.0)
    distance = np.hypot(light.x - 0.3, light.y - 0.1)
    assert distance.max() == pytest.approx(2.0 / np.sqrt(0.5), rel=0.02)
    assert distance.min() == pytest.approx(2.0 * np.sqrt(0.5), rel=0.02)


def test_tails_lead_away_from_the_other_galaxy():
    one, nought = np.ones(20), np.zeros(20)
    light = m.tails(nought, nought, 4.0 * one, nought, np.ones((20, 3)), uniforms(20, m.TAIL_UNIFORMS))
    half = m.TAIL_KNOTS
    assert np.all(light.x[:, half - 1] < 0)
    assert np.all(light.x[:, -1] > 4)
    assert light.flux.sum(axis=1) == pytest.approx(1.0)


def test_a_ghost_is_dark_in_the_middle_and_spikes_are_at_right_angles():
    u = uniforms(4, 6)
    light = m.spikes(np.zeros(4), np.zeros(4), np.full((4, 3), 1e6), u)
    brightness = light.flux / (light.r_eff**2)[:, :, None]
    assert brightness[:, -2] + brightness[:, -1] == pytest.approx(np.zeros((4, 3)), abs=1e-9)
    assert np.all(np.count_nonzero(light.flux[:, -1], axis=1) == 1)  # in one band
    assert light.phi[:, 1] - light.phi[:, 0] == pytest.approx(90.0)


def test_a_trail_is_a_line():
    light = m.trail(np.zeros(3), np.zeros(3), np.ones((3, 3)), np.ones((3, 3)), uniforms(3, 2))
    assert np.all(light.q < 0.01)
    assert light.r_eff / np.sqrt(light.q) == pytest.approx(m.TRAIL_LENGTH)


def test_placed_rows_leave_the_others_dark():
    part = m.sersic([1.0, 2.0], 0.0, 1.0, 4.0, 0.5, 10.0, np.ones((2, 3)))
    light = m.place(part, np.array([3, 1]), 5)
    assert light.x[[3, 1], 0].tolist() == [1.0, 2.0]
    assert light.flux.sum(axis=(1, 2)).tolist() == [0, 3, 0, 3, 0]
    assert m.join([light, light]).flux.shape == (5, 2, 3)
