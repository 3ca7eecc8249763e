import numpy as np
import pytest
from astropy.table import Table

from lenspipe.training.recalibrate import (
    LEVELS,
    before_calibration,
    complete_calibration,
    cross_recalibrate,
    fit_recalibration,
    recalibrate,
)
from lenspipe.training.targets import from_network


def posteriors(n=20_000, line=(0.05, 0.9), too_sure=2.0, tails=None, seed=0, folds=4):
    """Raw posteriors of a network that is biased and too sure of itself: truth = a + b mean + noise."""
    rng = np.random.default_rng(seed)
    mean, sigma = rng.normal(0.2, 0.3, n), rng.uniform(0.02, 0.2, n)
    noise = rng.normal(size=n) if tails is None else rng.standard_t(tails, n)
    truth = line[0] + line[1] * mean + too_sure * sigma * noise
    table = Table({"group": np.arange(n) // 2, "fold": np.arange(n) // 2 % folds})
    for name, values in {"truth": truth, "mean": mean, "sigma": sigma}.items():
        table[f"theta_e_{name}"] = values
    table["theta_e_true"], table["theta_e"] = np.exp(truth), np.exp(mean)
    table["theta_e_err_lo"] = np.exp(mean) - np.exp(mean - sigma)
    table["theta_e_err_hi"] = np.exp(mean + sigma) - np.exp(mean)
    table["theta_e_aleatoric"] = table["theta_e_epistemic"] = sigma
    return table


def test_the_line_and_the_width_that_were_put_in_are_found():
    got = fit_recalibration(posteriors(), ["theta_e"])
    np.testing.assert_allclose(got["line"]["theta_e"], (0.05, 0.9), atol=0.01)
    np.testing.assert_allclose(got["sigma_scale"]["theta_e"], 2.0, rtol=0.03)


@pytest.mark.parametrize("tails", [None, 3])
def test_intervals_hold_what_they_say_on_lenses_that_were_not_fitted_also_with_long_tails(tails):
    oof = posteriors(tails=tails)
    after, factors = cross_recalibrate(oof, ["theta_e"])
    off = np.abs(np.asarray(after["theta_e_truth"] - after["theta_e_mean"])) / after["theta_e_sigma"]
    held = np.mean(np.asarray(off)[:, None] <= factors["theta_e"], axis=0)
    np.testing.assert_allclose(held, LEVELS, atol=4 * np.sqrt(0.25 / len(oof)))
    inside = (np.asarray(after["theta_e_true"]) >= after["theta_e"] - after["theta_e_err_lo"]) & (
        np.asarray(after["theta_e_true"]) <= after["theta_e"] + after["theta_e_err_hi"]
    )
    assert abs(np.mean(inside) - 0.6827) < 0.02


def test_a_single_fold_is_calibrated_by_halves_that_share_no_group():
    oof = posteriors(folds=1)
    after, _ = cross_recalibrate(oof, ["theta_e"])
    shift = np.asarray(after["theta_e_mean"] - oof["theta_e_mean"] * 0.9)
    half = np.unique(np.round(np.asarray(after["theta_e_sigma"] / oof["theta_e_sigma"]), 9))
    assert len(half) == 2
    assert np.abs(shift - 0.05).max() < 0.05


def test_the_line_is_left_alone_where_lenses_are_few():
    got = fit_recalibration(posteriors(20), ["theta_e"])
    assert got["line"]["theta_e"][1] == 1.0


def test_rows_before_calibration_come_back():
    oof = posteriors(500)
    calibration = fit_recalibration(oof, ["theta_e"])
    again = before_calibration(recalibrate(oof, ["theta_e"], calibration), ["theta_e"], calibration)
    for name, values in again.items():
        np.testing.assert_allclose(values, oof[name], rtol=1e-9, atol=1e-12)


def test_the_median_moves_with_the_line():
    oof = posteriors(500)
    calibration = fit_recalibration(oof, ["theta_e"])
    a, b = calibration["line"]["theta_e"]
    after = recalibrate(oof, ["theta_e"], calibration)
    np.testing.assert_allclose(
        after["theta_e"], from_network(a + b * oof["theta_e_mean"], "theta_e"), rtol=1e-9
    )
    width = np.log((after["theta_e"] + after["theta_e_err_hi"]) / after["theta_e"])
    np.testing.assert_allclose(width, calibration["sigma_scale"]["theta_e"] * oof["theta_e_sigma"], rtol=1e-9)


def test_cards_of_early_bundles_are_completed():
    """They had a width and nothing else."""
    early = {"sigma_scale": {"theta_e": 1.5}}
    whole = complete_calibration(early, ["theta_e"])
    assert whole["line"]["theta_e"] == [0.0, 1.0]
    assert whole["sigma_scale"]["theta_e"] == 1.5
    np.testing.assert_allclose(whole["conformal"]["theta_e"]["0.95"], 1.959964, rtol=1e-6)
    oof = posteriors(100)
    after = recalibrate(oof, ["theta_e"], early)
    np.testing.assert_allclose(after["theta_e_sigma"], 1.5 * oof["theta_e_sigma"])
    np.testing.assert_allclose(
        before_calibration(after, ["theta_e"], early)["theta_e_sigma"], oof["theta_e_sigma"]
    )
