"""Non-lenses: every kind there, made of the same light as lenses."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.config import MIXTURE, RealismSection
from lenspipe.core.survey import load_survey
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.nonlens import are_struck, draw_nonlenses, surround
from lenspipe.simulate.population import draw_lenses
from lenspipe.simulate.render import render
from lenspipe.simulate.scene import build_scene

DES = load_survey("des")
BANDS = ("g", "r", "i")


@pytest.fixture(scope="module")
def table():
    return draw_nonlenses(DES, 1, np.arange(1500), BANDS, MIXTURE)


def test_every_kind_is_there_in_its_share(table):
    assert len(table) == 1500
    kinds, counts = np.unique(np.asarray(table["kind"], str), return_counts=True)
    assert dict(zip(kinds, counts / 1500, strict=True)) == pytest.approx(MIXTURE, abs=0.03)
    assert table["kind"].dtype == np.dtype("U12")


def test_columns_say_what_there_is(table):
    kinds = np.asarray(table["kind"], str)
    for name in ("theta_e", "gamma_ext", "mu", "snr", "snr_g"):
        assert np.all(np.isnan(table[name])), name
    for kind, has_source in (("companion", True), ("ring", True), ("elliptical", False), ("star", False)):
        assert np.all(np.isfinite(table["mag_src_g"][kinds == kind]) == has_source), kind
    assert np.all(np.isnan(table["sigma_v"][kinds == "spiral"]))
    assert np.all(np.isfinite(table["sigma_v"][kinds == "companion"]))
    assert np.all(np.isnan(table["mag_lens_i"][kinds == "empty"]))


def test_one_row_is_the_same_alone(table):
    again = draw_nonlenses(DES, 1, [42], BANDS, MIXTURE)
    for name in table.colnames:
        assert again[name][0] == table[name][42] or (again[name][0] != again[name][0]), name


def test_light_is_that_of_lenses(table):
    lenses = draw_lenses(DES, 3, np.arange(500), BANDS, full=True)
    kinds = np.asarray(table["kind"], str)
    hosts = table[np.isin(kinds, ("elliptical", "companion", "ring"))]
    assert np.median(hosts["mag_lens_i"]) == pytest.approx(np.median(lenses["mag_lens_i"]), abs=0.3)
    assert np.median(hosts["r_lens"]) == pytest.approx(np.median(lenses["r_lens"]), rel=0.15)
    beside = table[kinds == "companion"]
    distance = np.hypot(beside["x_src"] - beside["x_lens"], beside["y_src"] - beside["y_lens"])
    assert np.median(distance) == pytest.approx(np.median(lenses["theta_e"]), rel=0.2)


def test_detail_keeps_the_flux_of_the_table(table):
    kinds = np.asarray(table["kind"], str)
    rows = table[np.isin(kinds, ("companion", "disc", "edge_on", "spiral", "ring", "merger", "double"))]
    light = surround(1, rows, BANDS, detailed=True)
    expected = np.stack([flux_njy(rows[f"mag_src_{band}"]) for band in BANDS], axis=-1)
    assert light.flux.sum(axis=1) == pytest.approx(expected, rel=1e-9)
    assert np.all(light.flux >= 0)
    plain = surround(1, rows, BANDS, detailed=False)
    assert plain.flux[:, 0] == pytest.approx(expected, rel=1e-9)
    assert np.all(np.isfinite(light.x) & np.isfinite(light.r_eff) & (light.q > 0))


def test_every_kind_can_be_drawn(table):
    kinds = np.asarray(table["kind"], str)
    rows = table[[int(np.flatnonzero(kinds == kind)[0]) for kind in MIXTURE]]
    for effects in (RealismSection(), RealismSection(clumps=False)):
        light, arcs = render(build_scene(DES, 1, rows, BANDS, 48, effects), 48, DES.pixel_scale)
        assert np.all(np.isfinite(light))
        assert np.all(arcs == 0)
        assert light.min() > -0.1


def test_artifacts_have_either_a_trail_or_cosmic_rays(table):
    rows = table[np.asarray(table["kind"], str) == "artifact"]
    struck = are_struck(1, rows)
    trail = np.any(surround(1, rows, BANDS, detailed=True).flux > 0, axis=(1, 2))
    assert np.array_equal(trail, ~struck)
    assert 0.2 < struck.mean() < 0.8
    assert not np.any(are_struck(1, table[np.asarray(table["kind"], str) == "ring"]))
