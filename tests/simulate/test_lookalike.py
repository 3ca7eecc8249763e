"""The light of non-lenses: every kind can be drawn, with the flux that the table says."""

from __future__ import annotations

import dataclasses

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
    light = surround(1, rows, BANDS, DES.pixel_scale, clumpy=True)
    expected = np.stack([flux_njy(rows[f"mag_src_{band}"]) for band in BANDS], axis=-1)
    assert light.flux.sum(axis=1) == pytest.approx(expected, rel=1e-9)
    assert np.all(light.flux >= 0)
    smooth = surround(1, rows, BANDS, DES.pixel_scale, clumpy=False)
    assert smooth.flux.sum(axis=1) == pytest.approx(expected, rel=1e-9)
    assert np.all(np.isfinite(light.x) & np.isfinite(light.r_eff) & (light.q > 0))


def shapes(table, kind, clumpy):
    rows = table[np.asarray(table["kind"], str) == kind][:8]
    light = surround(1, rows, BANDS, DES.pixel_scale, clumpy=clumpy)
    return np.sum(np.any(light.flux != 0, axis=2), axis=1)


def test_plain_non_lenses_keep_the_shapes_of_their_kind(table):
    for kind, least in (("spiral", 20), ("ring", 20), ("merger", 10), ("spike", 6)):
        assert np.all(shapes(table, kind, False) >= least), kind
    assert np.all(shapes(table, "disc", False) == 1)  # no knots, no bulge
    assert shapes(table, "disc", True).max() > 1
    assert set(shapes(table, "companion", False)) <= {1, 2, 3}


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
    trail = np.any(surround(1, rows, BANDS, DES.pixel_scale, clumpy=True).flux > 0, axis=(1, 2))
    assert np.array_equal(trail, ~struck)
    assert 0.2 < struck.mean() < 0.8
    assert not np.any(are_struck(1, table[np.asarray(table["kind"], str) == "ring"]))


@pytest.mark.parametrize(("name", "bands"), [("des", BANDS), ("hst", ("F814W",))])
def test_a_trail_is_seen_whatever_the_pixels(name, bands):
    survey = load_survey(name)
    size = round(16.0 / survey.pixel_scale)  # wide enough for every trail to cross
    rows = draw_nonlenses(survey, 1, np.arange(40), bands, {"artifact": 1.0})
    rows = rows[~are_struck(1, rows)]
    light = surround(1, rows, bands, survey.pixel_scale, clumpy=True)
    with_trail = build_scene(survey, 1, rows, bands, size, RealismSection(neighbours=False, satellites=0))
    host = dataclasses.replace(
        with_trail, light=dataclasses.replace(with_trail.light, flux=with_trail.light.flux * 0)
    )
    assert light.flux.shape[0] == len(rows)
    bare = dataclasses.replace(host, light=light)
    images, _ = render(bare, size, survey.pixel_scale)
    sky = np.stack([rows[f"sky_sigma_{band}"] for band in bands], axis=-1)
    peak = (images.max(axis=(1, 2)) / sky).max(axis=1)  # one band has it
    assert np.median(peak) == pytest.approx(4.5, abs=1.2)  # levels of 1 to 8
    assert peak.min() > 0.7
    assert peak.max() < 8.2
