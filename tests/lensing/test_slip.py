"""The slip's likelihood: closure on made samples, error sizes, bad rows, a real table."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from slip_samples import make_sample

from lenspipe.core.errors import InputError
from lenspipe.core.survey import load_survey
from lenspipe.lensing.cosmology import sis_theta_e
from lenspipe.lensing.slip import infer_gamma, isothermal_pull, predict_sigma_v
from lenspipe.lensing.slip_model import SlipModel, log_likelihood, predict
from lenspipe.lensing.slip_table import read_columns
from lenspipe.simulate.population import draw_lenses

_DEFAULT_REALDATA = Path(__file__).resolve().parents[3] / "shared" / "realdata"
AMANTE = (
    Path(os.environ.get("LENSPIPE_REALDATA", _DEFAULT_REALDATA)) / "tables/simplemc_Strong_Lensing_196.txt"
)


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
    grid = np.linspace(1, 2000, 2000)
    many = Table({name: np.full(grid.size, table[name][0]) for name in table.colnames})
    many["sigma_v"] = grid
    density = np.exp(log_likelihood(predict(read_columns(many), model), [0.4, 1.7]))
    # the galaxies of each sigma lie as densely as its own relative error asks for
    assert np.trapezoid(density, grid, axis=0) == pytest.approx([1.0, 1.0], abs=1e-4)


def test_redshift_errors_widen_the_posterior():
    table = make_sample(200, 1.0, seed=2)
    table["z_src_err"] = 0.3 * np.asarray(table["z_src"])
    wide, narrow = infer_gamma(table, 1, 1), infer_gamma(make_sample(200, 1.0, seed=2), 1, 1)
    assert wide.gamma_err_hi > 1.05 * narrow.gamma_err_hi


def test_same_seed_same_realizations_and_json():
    table = make_sample(40, 1.0, seed=1)
    one, two, other = (infer_gamma(table, 20, seed) for seed in (4, 4, 5))
    assert np.array_equal(one.realization_gammas, two.realization_gammas)
    assert not np.array_equal(one.realization_gammas, other.realization_gammas)
    summary = json.loads(json.dumps(one.summary()))
    assert set(summary) == {
        "model", "gamma", "gamma_err_lo", "gamma_err_hi", "gamma_mean", "jackknife_err", "n_lenses", "n_used",
        "realizations", "realization_mean", "realization_std", "chi2_per_n", "circular", "splits", "warnings",
    }  # fmt: skip


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


def test_a_lens_out_of_line_is_told_in_errors_of_both():
    sigma, z_lens, z_src = 250.0, 0.4, 1.5
    theta_e = sis_theta_e(sigma, z_lens, z_src)
    at = {"z_lens": z_lens, "z_src": z_src, "sigma_v": sigma, "sigma_v_err": 0.05 * sigma}
    assert isothermal_pull(theta_e, 0.0, **at) == pytest.approx(0.0, abs=1e-9)
    # sigma's 5 % are 10 % of theta_e
    assert isothermal_pull(theta_e * np.exp(0.2), 0.0, **at) == pytest.approx(2.0, rel=1e-6)
    both = isothermal_pull(theta_e * np.exp(0.2), 0.1 * theta_e * np.exp(0.2), **at)
    assert both == pytest.approx(np.sqrt(2.0), rel=1e-6)
    assert isothermal_pull(theta_e, 0.0, **at, z_src_err=0.3) == pytest.approx(0.0, abs=1e-9)
    assert np.isnan(isothermal_pull(theta_e, 0.1, **{**at, "z_src": 0.3}))
    rng = np.random.default_rng(1)
    n = 20_000
    noisy = {**at, "sigma_v": sigma * (1 + 0.05 * rng.normal(size=n))}
    pulls = isothermal_pull(theta_e * (1 + 0.05 * rng.normal(size=n)), 0.05 * theta_e, **noisy)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.03)


def test_the_simulated_des_sample_gives_general_relativity():
    """The lectures' sample: independent spectra of 9 %, a hundred realizations: 1.003 +- 0.019 there."""
    truth = draw_lenses(load_survey("des"), 3, np.arange(6000), ("g", "r", "i"))
    noise = np.random.default_rng(3).normal(size=len(truth))
    table = Table({name: np.asarray(truth[name]) for name in ("z_lens", "z_src", "theta_e")})
    table["sigma_v"] = np.asarray(truth["sigma_v"]) * (1 + 0.09 * noise)
    table["sigma_v_err"] = 0.09 * np.asarray(truth["sigma_v"])
    result = infer_gamma(table, 100, 1)
    error = 0.5 * (result.gamma_err_lo + result.gamma_err_hi)
    assert error <= 0.019
    assert abs(result.gamma - 1.0) <= 0.01
    assert np.std(result.realization_gammas) == pytest.approx(error, rel=0.25)
    # samples of six hundred, as a survey would measure them
    few = infer_gamma(table, 100, 1, drawn=600)
    assert few.gamma == pytest.approx(result.gamma, abs=1e-3)
    assert np.mean(few.realization_gammas) == pytest.approx(result.gamma, abs=0.005)
    assert np.std(few.realization_gammas) == pytest.approx(np.sqrt(10) * error, rel=0.25)
    assert np.std(few.realization_gammas) <= 0.019
    assert few.gamma_err_hi == pytest.approx(
        result.gamma_err_hi, rel=0.02
    )  # the sample's own is as exact as ever


@pytest.mark.parametrize("drawn", [3, 20, 200])
def test_realizations_have_the_scatter_of_their_size(drawn):
    table = make_sample(400, 1.0, seed=1)
    own = np.std(infer_gamma(table, 200, 2).realization_gammas)
    some = infer_gamma(table, 200, 2, drawn=drawn)
    assert np.std(some.realization_gammas) == pytest.approx(own * np.sqrt(400 / drawn), rel=0.25)
    assert some.gamma_err_hi == pytest.approx(infer_gamma(table, 1, 2).gamma_err_hi, rel=0.02)


def test_realizations_need_three_lenses():
    with pytest.raises(InputError, match="realizations of 2 lenses were asked for; take 3 or more"):
        infer_gamma(make_sample(20, 1.0, seed=1), 5, 1, drawn=2)
