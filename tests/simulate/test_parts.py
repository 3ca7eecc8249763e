"""Galaxies alone and sources alone: fluxes, bulges, and what is not there."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.parts import galaxy_scene, move_lenses, source_scene, stack_betas
from lenspipe.simulate.render import render

BANDS = ("g", "i")


def rows(**changes) -> Table:
    values = {
        "theta_e": 1.2, "q": 0.8, "phi": 30.0, "gamma_ext": 0.02, "phi_ext": 0.0, "x_lens": 0.1, "y_lens": 0.0,
        "x_src": 0.25, "y_src": 0.1, "r_src": 0.3, "n_src": 1.0, "q_src": 0.7, "phi_src": 10.0,
        "r_lens": 0.8, "r_bulge": 0.4, "n_lens": 1.0, "q_light": 0.5, "phi_light": 20.0,
        "mag_lens_g": 21.0, "mag_lens_i": 20.0, "bulge_g": 0.1, "bulge_i": 0.3,
        "mag_src_g": 24.0, "mag_src_i": 24.5, "psf_fwhm_g": 1.1, "psf_fwhm_i": 0.9, "psf_beta": np.inf,
    }  # fmt: skip
    return Table({name: [value] for name, value in {**values, **changes}.items()})


def draw(scene) -> tuple[np.ndarray, np.ndarray]:
    light, arcs = render(scene, 75, 0.263)
    return np.asarray(light)[0], np.asarray(arcs)[0]


def test_a_galaxy_has_its_flux_and_no_arcs():
    light, arcs = draw(galaxy_scene(rows(), BANDS))
    assert light.sum(axis=(0, 1)) == pytest.approx([flux_njy(21.0), flux_njy(20.0)], rel=0.02)
    assert not arcs.any()


def test_a_bulge_makes_the_middle_brighter():
    without = rows(bulge_g=0.0, bulge_i=0.0)
    with_bulge, bare = (draw(galaxy_scene(table, BANDS))[0] for table in (rows(), without))
    assert np.all(with_bulge.max(axis=(0, 1)) > 1.05 * bare.max(axis=(0, 1)))
    one = draw(galaxy_scene(rows(n_lens=4.0, bulge_g=np.nan, bulge_i=1.0, r_bulge=np.nan), BANDS))[0]
    assert one[..., 0] * flux_njy(20.0) / flux_njy(21.0) == pytest.approx(one[..., 1], rel=0.6, abs=20)


def test_a_star_is_a_point():
    star = rows(n_lens=0.5, r_lens=0.0, r_bulge=0.0, q_light=1.0)
    light, _ = draw(galaxy_scene(star, BANDS))
    assert light.sum(axis=(0, 1)) == pytest.approx([flux_njy(21.0), flux_njy(20.0)], rel=0.01)
    width = np.sqrt(light.sum(axis=(0, 1)) / light.max(axis=(0, 1)) * 4 * np.log(2) / np.pi) * 0.263
    assert width == pytest.approx([1.1, 0.9], rel=0.06)  # and the pixel


@pytest.mark.parametrize("theta_e", [0.0, np.nan])
def test_a_source_without_a_lens_keeps_its_flux_and_one_with_is_magnified(theta_e):
    light, bare = draw(source_scene(rows(theta_e=theta_e, gamma_ext=0.0), BANDS))
    unlensed = np.array([flux_njy(24.0), flux_njy(24.5)])
    assert not light.any()
    assert bare.sum(axis=(0, 1)) == pytest.approx(unlensed, rel=0.02)
    _, arcs = draw(source_scene(rows(), BANDS))
    assert np.all(arcs.sum(axis=(0, 1)) > 3 * unlensed)


def test_each_band_may_have_wings_of_its_own():
    star = rows(n_lens=0.5, r_lens=0.0, r_bulge=0.0, q_light=1.0, psf_beta_g=np.inf, psf_beta_i=2.5)
    light, _ = draw(galaxy_scene(star, BANDS))
    alone = [draw(galaxy_scene(rows(n_lens=0.5, r_lens=0.0, r_bulge=0.0, q_light=1.0, psf_beta=beta), BANDS))[0]
             for beta in (np.inf, 2.5)]  # fmt: skip
    for b in range(2):
        assert light[..., b] == pytest.approx(alone[b][..., b], abs=float(1e-5 * light[..., b].max()))
    _, arcs = draw(source_scene(rows(psf_beta_g=np.inf, psf_beta_i=2.5), BANDS))
    for b, beta in enumerate((np.inf, 2.5)):
        _, one = draw(source_scene(rows(psf_beta=beta), BANDS))
        assert arcs[..., b] == pytest.approx(one[..., b], abs=float(1e-5 * arcs[..., b].max()))


def test_the_index_of_a_band_is_read_before_that_of_all():
    assert stack_betas(rows(psf_beta=3.0), BANDS).tolist() == [[3.0, 3.0]]
    assert stack_betas(rows(psf_beta=3.0, psf_beta_g=3.0, psf_beta_i=2.5), BANDS).tolist() == [[3.0, 2.5]]


def test_a_moved_lens_keeps_its_images():
    truth = rows(gamma_ext=0.15, phi_ext=25.0)
    moved = move_lenses(truth, 4 * 0.263, -3 * 0.263)
    _, before = draw(source_scene(truth, BANDS))
    _, after = draw(source_scene(moved, BANDS))
    assert after[5:65, 10:70] == pytest.approx(before[8:68, 6:66], abs=float(2e-3 * before.max()))
    back = move_lenses(moved, -4 * 0.263, 3 * 0.263)
    assert [back["x_src"][0], back["y_src"][0]] == pytest.approx([0.25, 0.1])
