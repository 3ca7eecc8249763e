"""Non-lenses: every kind there, made of the same light as lenses."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.config import FULL, MIXTURE, IngestSection
from lenspipe.core.rng import uniforms
from lenspipe.core.survey import load_survey
from lenspipe.simulate.galaxies import N_UNIFORMS, draw_galaxies
from lenspipe.simulate.nonlens import draw_nonlenses, target_density
from lenspipe.simulate.population import draw_lenses

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
    lenses = draw_lenses(DES, 3, np.arange(500), BANDS, realism=FULL)
    kinds = np.asarray(table["kind"], str)
    hosts = table[np.isin(kinds, ("elliptical", "companion", "ring"))]
    assert np.median(hosts["mag_lens_i"]) == pytest.approx(np.median(lenses["mag_lens_i"]), abs=0.3)
    assert np.median(hosts["r_lens"]) == pytest.approx(np.median(lenses["r_lens"]), rel=0.15)
    beside = table[kinds == "companion"]
    distance = np.hypot(beside["x_src"] - beside["x_lens"], beside["y_src"] - beside["y_lens"])
    assert np.median(distance) == pytest.approx(np.median(lenses["theta_e"]), rel=0.2)


def test_galaxies_of_the_field_are_those_that_a_search_looks_at():
    table = draw_nonlenses(DES, 1, np.arange(3000), BANDS, {"field": 0.6, "ring": 0.4})
    rows = np.asarray(table["kind"], str) == "field"
    assert 0.57 < rows.mean() < 0.63
    flux = np.nansum(
        [10 ** (-0.4 * np.asarray(table[f"mag_{part}_i"][rows])) for part in ("lens", "src")], axis=0
    )
    mag = -2.5 * np.log10(flux)
    u = uniforms(1, "nonlens/field", np.flatnonzero(rows), N_UNIFORMS)
    np.testing.assert_allclose(mag, draw_galaxies(u, target_density(DES), BANDS)["mag_i"], atol=1e-6)
    assert 22 < np.median(mag) < mag.max() < IngestSection().max_mag
    again = draw_nonlenses(DES, 1, [int(np.flatnonzero(rows)[7])], BANDS, {"field": 0.6, "ring": 0.4})
    assert again["mag_lens_g"][0] == table["mag_lens_g"][rows][7]
    assert np.isnan(np.asarray(table["theta_e"][rows])).all()
