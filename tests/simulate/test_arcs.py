"""Lensed light against lenstronomy's rays on a fine grid, and laws of lensing that need no oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenspipe.config import PLAIN, SimulateSection
from lenspipe.core.survey import load_survey
from lenspipe.imaging.observe import noise_sigma
from lenspipe.simulate import arcs as arcs_module
from lenspipe.simulate import render as render_module
from lenspipe.simulate.arcs import bound_window
from lenspipe.simulate.render import pack, render
from lenspipe.simulate.scene import build_scene, draw_truth
from tests.oracles.lenstronomy_scene import lensed_image
from tests.simulate.scenes import PIXEL, SKY, component, light, nothing, scene

LENS = {"theta_e": 1.4, "q": 0.7, "phi": 35.0, "x_lens": 0.05, "y_lens": -0.04, "gamma_ext": 0.05,
        "phi_ext": -20.0}  # fmt: skip


@pytest.mark.parametrize("beta", [np.inf, 3.0])
def test_arcs_agree_with_lenstronomy(beta):
    sources = light(
        np.full(4, 1500.0),
        x=[0.1, 0.35, -0.02, 0.2], y=[0.05, -0.2, 0.0, 0.2], r_eff=[0.3, 0.1, 0.5, 0.3],
        n=[1.0, 1.0, 1.0, 2.5], q=0.6, phi=[20.0, -50.0, 80.0, 0.0],
    )  # fmt: skip
    _, mine = render(scene(nothing(4), sources, beta=beta, **LENS), 64, PIXEL)
    for i in range(4):
        theirs = lensed_image(LENS, component(sources, i), 64, PIXEL, 0.88, beta)
        assert theirs.max() > 3 * SKY
        assert np.max(np.abs(mine[i, ..., 0] - theirs)) < (0.1 if i < 3 else 0.25) * SKY  # a cusp is harder
        assert mine[i].sum() == pytest.approx(
            theirs.sum(), rel=4e-3 if i < 3 else 6e-3
        )  # wings beyond the frame


def test_tiny_source_in_a_ring():
    # r_eff = 0.02" behind the caustic: a grid of lenstronomy's must be far finer than the PSF
    source = light([200.0], x=0.02, y=0.01, r_eff=0.02)
    lens = LENS | {"gamma_ext": 0.0, "q": 0.95}
    _, mine = render(scene(nothing(1), source, **lens), 33, PIXEL)
    theirs = lensed_image(lens, component(source, 0), 33, PIXEL, 0.88, np.inf, oversample=45, margin=8)
    assert theirs.sum() > 20 * 200.0  # magnification
    assert np.max(np.abs(mine[0, ..., 0] - theirs)) < 0.25 * SKY


def test_without_a_lens_the_source_is_what_it_is():
    galaxy = light([1e4], x=0.4, y=-0.3, r_eff=0.5, q=0.6, phi=30.0)
    foreground, source = render(scene(galaxy, galaxy), 48, PIXEL)
    np.testing.assert_allclose(source, foreground, atol=1e-3 * foreground.max())


@given(st.floats(0.02, 0.2), st.floats(0, 360))
@settings(max_examples=10, deadline=None)
def test_shear_alone_magnifies_by_its_determinant(gamma, angle):
    galaxy = light([1e4], x=0.3, r_eff=0.4)
    _, arcs = render(scene(nothing(1), galaxy, gamma_ext=gamma, phi_ext=angle), 64, PIXEL)
    assert arcs.sum() == pytest.approx(1e4 / (1 - gamma**2), rel=2e-3)


@given(st.floats(0.5, 0.9), st.floats(0.15, 0.4))
@settings(max_examples=10, deadline=None)
def test_magnification_of_a_sphere(theta_e, distance):
    # a point source within the ring of an SIS has mu = 2 theta_e / beta (Narayan & Bartelmann 1996, eq. 32)
    source = light([100.0], x=distance * theta_e, r_eff=0.015 * theta_e)
    _, arcs = render(scene(nothing(1), source, theta_e=theta_e), 64, PIXEL)
    assert arcs.sum() == pytest.approx(100.0 * 2.0 / distance, rel=0.02)


@given(st.floats(0.3, 2.5), st.floats(0.3, 0.99), st.floats(0, 0.1), st.floats(0, 1.0), st.floats(0.05, 0.6))
@settings(max_examples=15, deadline=None)
def test_all_images_lie_in_the_window(theta_e, q, gamma, distance, r_eff):
    lens = {"theta_e": theta_e, "q": q, "gamma_ext": gamma, "phi_ext": 70.0}
    source = light([1e4], x=distance * theta_e, r_eff=r_eff)
    whole = scene(nothing(1), source, **lens)
    arrays, _ = pack(whole, 101, PIXEL)
    window = float(arrays["window"][0])
    if window > 10.0:  # the stamp ends there
        return
    image = render(whole, 101, PIXEL)[1][0, ..., 0]
    axis = np.abs(np.arange(101) - 50) * PIXEL
    outside = np.maximum(axis[:, None], axis) > window + 1.5  # beyond the PSF
    assert image[outside].sum() < 1e-4 * image.sum()


def test_window_of_a_sphere():
    part = {"x": [[0.3]], "y": [[0.4]], "r_eff": [[0.2]], "n": [[0.5]], "q": [[1.0]], "flux": [[[1.0]]]}
    lens = {"theta_e": [1.0], "q": [1.0], "x_lens": [0.0], "y_lens": [0.0], "gamma_ext": [0.0]}
    arrays = [{k: np.array(v) for k, v in group.items()} for group in (lens, part)]
    half = float(bound_window(*arrays, reach=np.array([9.0]))[0])
    # deflection + distance + the radius within which 99.97 % of a Gaussian's light lies
    assert half == pytest.approx(1.0 + 0.5 + 0.2 * np.sqrt(np.log2(1 / 3e-4)), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["des", "lsst"])
def test_arcs_of_clumpy_sources_are_those_of_a_grid_four_times_finer(monkeypatch, name):
    survey, effects = load_survey(name), PLAIN.model_copy(update={"clumps": True})
    bands, size = survey.model_bands, survey.stamp_size
    section = SimulateSection(kind="lens", realism=effects)
    truth = draw_truth(survey, 7, range(16), section, bands)
    scene = build_scene(survey, 7, truth, bands, size, effects)
    light, found = render(scene, size, survey.pixel_scale, batch=4)
    monkeypatch.setattr(arcs_module, "CELLS_OF_KNOTS", 4 * arcs_module.CELLS_OF_KNOTS)
    render_module._compiled.cache_clear()
    fine = render(scene, size, survey.pixel_scale, batch=1)[1]
    render_module._compiled.cache_clear()
    gain = np.array([survey.bands[band].electrons_per_njy() for band in bands])
    sky = np.stack([truth[f"sky_sigma_{band}"] for band in bands], axis=-1)[:, None, None, :]
    error = np.abs((found - fine) / noise_sigma(light + fine, gain, sky)).max(axis=(1, 2, 3))
    assert np.percentile(error, 90) < 0.2
    assert np.max(np.abs(found.sum(axis=(1, 2)) / fine.sum(axis=(1, 2)) - 1)) < 0.02
