"""The slip's likelihood: closure on made samples, error sizes, bad rows, a real table."""

from __future__ import annotations

import json
import os
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from lenspipe.core.errors import InputError
from lenspipe.lensing.cosmology import sis_theta_e
from lenspipe.lensing.slip import infer_gamma, predict_sigma_v
from lenspipe.lensing.slip_model import SlipModel, log_likelihood, predict
from lenspipe.lensing.slip_table import read_columns, usable_rows

_DEFAULT_REALDATA = Path(__file__).resolve().parents[3] / "shared" / "realdata"
AMANTE = (
    Path(os.environ.get("LENSPIPE_REALDATA", _DEFAULT_REALDATA)) / "tables/simplemc_Strong_Lensing_196.txt"
)


def make_sample(n: int, gamma: float, seed: int, sigma_err: float = 0.1, theta_err: float = 0.0) -> Table:
    rng = np.random.default_rng(seed)
    z_lens = rng.uniform(0.1, 0.9, n)
    z_src = z_lens + rng.uniform(0.4, 2.0, n)
    sigma = rng.uniform(180, 340, n)
    theta = sis_theta_e(sigma, z_lens, z_src) * (1 + gamma) / 2
    table = Table({"z_lens": z_lens, "z_src": z_src, "theta_e": theta * (1 + theta_err * rng.normal(size=n))})
    table["sigma_v"] = sigma * (1 + sigma_err * rng.normal(size=n))
    table["sigma_v_err"] = sigma * sigma_err
    table["theta_e_err"] = theta * theta_err
    return table


def per_lens_gamma(table: Table) -> np.ndarray:
    gr = predict_sigma_v(table["theta_e"], table["z_lens"], table["z_src"], 1.0)
    return 2.0 * (gr / table["sigma_v"]) ** 2 - 1.0


def test_prediction_is_the_formula():
    theta, zl, zs = 1.3, 0.4, 1.7
    sigma = predict_sigma_v(theta, zl, zs, 0.6)
    assert sis_theta_e(sigma, zl, zs) * (1 + 0.6) / 2 == pytest.approx(theta, rel=1e-12)


@pytest.mark.parametrize("gamma", [0.8, 1.0, 1.2])
def test_closure(gamma):
    result = infer_gamma(make_sample(20_000, gamma, seed=3), realizations=5, seed=1)
    error = 0.2 * (1 + gamma) / np.sqrt(20_000)
    assert result.gamma == pytest.approx(gamma, abs=4 * error)
    assert result.chi2_per_n == pytest.approx(1.0, abs=0.05)


def test_averaging_per_lens_values_is_biased_and_the_likelihood_is_not():
    table = make_sample(20_000, 1.0, seed=5)
    averaged = float(np.mean(per_lens_gamma(table)))
    assert averaged - 1.0 == pytest.approx(0.063, abs=0.02)
    assert abs(infer_gamma(table, 1, 1).gamma - 1.0) < 0.012


@pytest.mark.parametrize(("n", "expected"), [(100, 0.041), (443, 0.020)])
def test_error_of_the_design_sample(n, expected):
    result = infer_gamma(make_sample(n, 1.0, seed=7, theta_err=0.05), realizations=400, seed=1)
    formula = 2.0 * np.sqrt((2 * 0.1) ** 2 + 0.05**2) / np.sqrt(n)
    assert formula == pytest.approx(expected, abs=0.001)
    posterior = 0.5 * (result.gamma_err_lo + result.gamma_err_hi)
    assert posterior == pytest.approx(formula, rel=0.1)
    # the bootstrap knows nothing of the errors, only of the scatter: an independent measure
    assert np.std(result.realization_gammas) == pytest.approx(formula, rel=0.25)


def test_posteriors_cover_the_truth():
    pulls = []
    for seed in range(150):
        result = infer_gamma(make_sample(30, 1.0, seed=seed, theta_err=0.05), realizations=1, seed=1)
        error = result.gamma_err_lo if result.gamma > 1 else result.gamma_err_hi
        pulls.append((result.gamma - 1.0) / error)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.2)  # sampling error 0.06
    assert abs(np.mean(pulls)) < 0.3


@pytest.mark.parametrize(
    "model", [SlipModel(), SlipModel("powerlaw"), SlipModel("powerlaw", sigma_floor=0.1)]
)
def test_likelihood_is_a_density_in_sigma(model):
    table = make_sample(1, 1.0, seed=1, theta_err=0.1)
    grid = np.linspace(1, 2000, 40_000)
    many = Table({name: np.full(grid.size, table[name][0]) for name in table.colnames})
    many["sigma_v"] = grid
    density = np.exp(log_likelihood(predict(read_columns(many), model), [0.4, 1.7]))
    assert np.trapezoid(density, grid, axis=0) == pytest.approx([1.0, 1.0], abs=1e-6)


def test_redshift_errors_widen_the_posterior():
    table = make_sample(200, 1.0, seed=2)
    table["z_src_err"] = 0.3 * np.asarray(table["z_src"])
    wide, narrow = infer_gamma(table, 1, 1), infer_gamma(make_sample(200, 1.0, seed=2), 1, 1)
    assert wide.gamma_err_hi > 1.05 * narrow.gamma_err_hi


def test_rows_that_cannot_be_used_are_named():
    table = make_sample(8, 1.0, seed=1)
    table["sigma_v"][1] = np.nan
    table["z_src"][2] = table["z_lens"][2]
    table["sigma_v"][3] = -5.0
    table["sigma_v_err"][4] = 0.0
    table["theta_e"][5] = 0.0
    mask, reasons = usable_rows(table)
    assert mask.tolist() == [True, False, False, False, False, False, True, True]
    expected = ["", "sigma_v is not a finite number", "z_src <= z_lens", "sigma_v <= 0", "sigma_v_err <= 0"]
    assert reasons.tolist() == [*expected, "theta_e <= 0", "", ""]
    result = infer_gamma(table, 10, 1)
    assert (result.n_lenses, result.n_used) == (8, 3)
    assert result.lenses["reason"].tolist() == reasons.tolist()
    assert np.isfinite(result.lenses["chi2"][0])
    assert any("only 3 lenses" in text for text in result.warnings)


def test_missing_columns_and_empty_samples_are_the_users_mistake():
    table = make_sample(3, 1.0, seed=1)
    with pytest.raises(InputError, match="2 of the table's 2 lenses can be used, 3 are needed"):
        infer_gamma(table[:2])
    with pytest.raises(InputError, match="no column sigma_v"):
        infer_gamma(table[[name for name in table.colnames if name != "sigma_v"]])
    table["sigma_v"] = np.nan
    with pytest.raises(InputError, match="sigma_v is not a finite number"):
        infer_gamma(table)
    with pytest.raises(InputError, match="empty"):
        infer_gamma(table[:0])
    table["sigma_v"] = ["fast", "slow", "?"]
    with pytest.raises(InputError, match="column sigma_v must hold numbers"):
        infer_gamma(table)


def test_units_and_masks_are_understood():
    table = make_sample(50, 1.0, seed=1)
    other = table.copy()
    other["sigma_v"] = (np.asarray(table["sigma_v"]) * u.km / u.s).to(u.m / u.s)
    other["theta_e"] = (np.asarray(table["theta_e"]) * u.arcsec).to(u.mas)
    other["z_lens"] = MaskedColumn(table["z_lens"], mask=np.arange(50) == 7)
    assert infer_gamma(other, 1, 1).gamma == pytest.approx(infer_gamma(table[np.arange(50) != 7], 1, 1).gamma)
    assert infer_gamma(other, 1, 1).n_used == 49


def test_same_seed_same_realizations_and_json():
    table = make_sample(40, 1.0, seed=1)
    one, two, other = (infer_gamma(table, 20, seed) for seed in (4, 4, 5))
    assert np.array_equal(one.realization_gammas, two.realization_gammas)
    assert not np.array_equal(one.realization_gammas, other.realization_gammas)
    summary = json.loads(json.dumps(one.summary()))
    assert set(summary) == {
        "model", "gamma", "gamma_err_lo", "gamma_err_hi", "gamma_mean", "jackknife_err", "n_lenses", "n_used",
        "realizations", "chi2_per_n", "circular", "splits", "warnings",
    }  # fmt: skip


def test_warnings_say_what_is_wrong():
    result = infer_gamma(make_sample(100, 1.0, seed=1), 5, 1, circular=True)
    assert result.circular
    assert any("circular" in text for text in result.warnings)
    table = make_sample(100, 1.0, seed=1)
    table["sigma_v_err"] /= 3
    assert any("underestimated" in text for text in infer_gamma(table, 5, 1).warnings)
    table = make_sample(3, 3.8, seed=1)
    assert any("edge of the prior" in text for text in infer_gamma(table, 5, 1).warnings)


@pytest.mark.skipif(not AMANTE.exists(), reason=f"real lens table not here: {AMANTE} (set LENSPIPE_REALDATA)")
def test_real_lenses():
    lines = [line.split("#")[0].split() for line in AMANTE.read_text().splitlines()]
    values = np.array([row[:6] for row in lines if row], dtype=float)
    names = ("z_lens", "z_src", "theta_e", "theta_e_err", "sigma_v", "sigma_v_err")
    result = infer_gamma(Table(values, names=names), 50, 1)
    assert result.n_lenses == 196
    assert result.n_used > 180
    # weighted least squares of sigma_v = slope sigma_GR, and gamma from the slope: another way to the same
    weights = 1.0 / values[:, 5] ** 2
    gr = predict_sigma_v(values[:, 2], values[:, 0], values[:, 1], 1.0)
    slope = np.sum(weights * gr * values[:, 4]) / np.sum(weights * gr**2)
    assert result.gamma == pytest.approx(2.0 / slope**2 - 1.0, abs=0.1)
    # a bare SIS puts these lenses high (1.37: no apertures, a few faulty sigmas), and it does not fit
    assert 1.0 < result.gamma < 1.6
    assert result.chi2_per_n > 1.5
    assert any("chi2 per lens" in text for text in result.warnings)
