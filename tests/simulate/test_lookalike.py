"""The light of non-lenses: every kind can be drawn, with the flux that the table says."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.config import MIXTURE, RealismSection
from lenspipe.core.survey import load_survey
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.lookalike import are_struck, surround
from lenspipe.simulate.nonlens import draw_nonlenses
from lenspipe.simulate.render import render
from lenspipe.simulate.scene import build_scene

DES = load_survey("des")
BANDS = ("g", "r", "i")


@pytest.fixture(scope="module")
def table():
    return draw_nonlenses(DES, 1, np.arange(600), BANDS, MIXTURE)


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
