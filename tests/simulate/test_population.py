"""The drawn population: reproducible, within its limits, and close to LensPop's DES table."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.core.errors import LenspipeError
from lenspipe.core.survey import load_survey
from lenspipe.lensing.cosmology import sis_theta_e
from lenspipe.simulate.nonlens import CLASSES, draw_nonlenses
from lenspipe.simulate.population import (
    MIN_MAGNIFICATION,
    axis_ratio,
    draw_lenses,
    early_type,
    source_redshift,
)

DES = load_survey("des")
BANDS = ("g", "r", "i")


@pytest.fixture(scope="module")
def lenses():
    return draw_lenses(DES, 1, np.arange(1500), BANDS)


def test_as_many_as_asked_with_all_columns(lenses):
    expected = [
        "sample_id", "kind", "group", "z_lens", "z_src", "sigma_v", "theta_e", "q", "phi", "x_lens", "y_lens",
        "gamma_ext", "phi_ext", "x_src", "y_src", "r_src", "n_src", "q_src", "phi_src", "r_lens", "n_lens",
        "q_light", "phi_light", "psf_beta",
    ]  # fmt: skip
    expected += [f"{name}_{b}" for name in ("mag_src", "mag_lens", "psf_fwhm", "sky_sigma") for b in BANDS]
    assert len(lenses) == 1500
    assert set(expected) == set(lenses.colnames)
    assert np.unique(lenses["group"]).size == 1500
    for name in expected:
        if lenses[name].dtype.kind == "f" and name != "psf_beta":
            assert np.all(np.isfinite(lenses[name])), name
    empty = draw_lenses(DES, 1, [], BANDS)
    assert (len(empty), empty.colnames) == (0, lenses.colnames)


def test_sample_is_the_same_in_any_batch(lenses):
    some = draw_lenses(DES, 1, [1234, 7], BANDS)
    for name in lenses.colnames:
        assert some[name][0] == lenses[name][1234], name
        assert some[name][1] == lenses[name][7], name


def test_seeds_attempts_and_purposes_give_other_lenses(lenses):
    ids = np.arange(20)
    for other in (draw_lenses(DES, 2, ids, BANDS), draw_lenses(DES, 1, ids, BANDS, attempt=1)):
        assert not np.any(np.isin(other["theta_e"], lenses["theta_e"]))


def test_physics_and_limits_hold(lenses):
    t = lenses
    assert np.asarray(t["theta_e"]) == pytest.approx(
        sis_theta_e(t["sigma_v"], t["z_lens"], t["z_src"]), rel=1e-12
    )
    assert np.all(t["z_src"] > t["z_lens"])
    assert np.all((t["q"] > 0.2) & (t["q"] < 1))
    offset = np.hypot(t["x_src"] - t["x_lens"], t["y_src"] - t["y_lens"])
    assert np.all(offset < t["theta_e"])
    assert np.all(2 * t["theta_e"] / offset > MIN_MAGNIFICATION)
    assert np.all(t["r_src"] < t["theta_e"])
    for name in ("phi", "phi_src", "phi_ext", "phi_light"):
        assert np.all((t[name] > -90) & (t[name] <= 90))
    assert np.max(np.hypot(t["x_lens"], t["y_lens"])) < DES.pixel_scale * np.sqrt(2)
    assert np.all((t["gamma_ext"] >= 0) & (t["gamma_ext"] <= 0.2))


# medians of the released LensPop table (science.md, section 4)
@pytest.mark.parametrize(
    ("column", "median", "tolerance"),
    [
        ("theta_e", 1.29, 0.15), ("z_lens", 0.431, 0.15), ("z_src", 1.85, 0.15), ("sigma_v", 270, 0.15),
        ("q", 0.75, 0.15), ("r_lens", 0.83, 0.20), ("r_src", 0.28, 0.20),
    ],
)  # fmt: skip
def test_des_medians_are_lenspops(lenses, column, median, tolerance):
    assert np.median(lenses[column]) == pytest.approx(median, rel=tolerance)


def test_des_magnitudes_and_correlations_are_lenspops(lenses):
    assert np.median(lenses["mag_lens_i"]) == pytest.approx(18.2, abs=0.6)
    assert np.median(lenses["mag_src_g"]) == pytest.approx(24.4, abs=0.4)
    for a, b, r in (("theta_e", "sigma_v", 0.70), ("theta_e", "z_lens", -0.32), ("z_lens", "z_src", 0.51)):
        assert np.corrcoef(lenses[a], lenses[b])[0, 1] == pytest.approx(r, abs=0.12)


def test_a_hopeless_survey_is_an_error_not_a_short_table(monkeypatch):
    monkeypatch.setattr("lenspipe.simulate.population._MAX_ROUNDS", 3)
    with pytest.raises(LenspipeError, match="5 of 5 lenses were not found"):
        draw_lenses(DES, 1, np.arange(5), BANDS, min_snr=1e6)


def test_early_types_follow_their_scaling_relations():
    middle = np.full(1, 0.5)
    out = early_type(np.array([0.3]), np.array([200.0]), middle, np.zeros(1), np.zeros(1), ("r",))
    # log10 R_e = 2.46 - 2.79 V + 0.84 V^2 = 0.488 at 200 km/s, and 4.45 kpc per arcsec at z = 0.3
    assert out["r_lens"][0] == pytest.approx(10**0.488 / 4.454, rel=0.01)
    assert out["q"][0] == pytest.approx(1 - (0.378 - 0.1144) * np.sqrt(2 * np.log(2)), abs=0.01)


def test_distributions_drawn_by_inversion():
    u = (np.arange(100_000) + 0.5) / 100_000
    one_minus = 1 - axis_ratio(u, 0.3)
    assert one_minus.max() < 0.8
    assert np.median(one_minus) == pytest.approx(0.3 * np.sqrt(2 * np.log(2)), rel=0.03)
    assert np.all(np.diff(source_redshift(u, np.full(u.size, 24.0))) >= 0)
    assert source_redshift(0.5, np.array(26.0)) > source_redshift(0.5, np.array(23.0))


def test_nonlenses_have_every_class_and_do_not_tell_by_brightness(lenses):
    t = draw_nonlenses(DES, 1, np.arange(1500), BANDS)
    assert len(t) == 1500
    kinds, counts = np.unique(t["kind"], return_counts=True)
    assert dict(zip(kinds, counts / 1500, strict=True)) == pytest.approx(CLASSES, abs=0.04)
    assert np.all(np.isnan(t["theta_e"]))
    assert np.all(np.isnan(t["mag_src_g"]))
    assert np.median(t["mag_lens_i"]) == pytest.approx(np.median(lenses["mag_lens_i"]), abs=0.25)
    assert np.std(t["mag_lens_i"]) > np.std(lenses["mag_lens_i"])
    assert not np.any(np.isin(t["z_lens"], lenses["z_lens"]))
    late = t["kind"] == "spiral"
    colour = np.asarray(t["mag_lens_g"] - t["mag_lens_i"])
    assert np.median(colour[late]) < np.median(colour[t["kind"] == "elliptical"]) - 0.5
    again = draw_nonlenses(DES, 1, [42], BANDS)
    for name in t.colnames:
        assert again[name][0] == t[name][42] or (again[name][0] != again[name][0]), name
