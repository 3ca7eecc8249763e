import numpy as np
from astropy.table import Table
from scipy.integrate import quad
from scipy.stats import norm

from lenspipe.lensing.cosmology import sis_sigma_v, sis_theta_e
from lenspipe.training.regression import look_closer, measure_against, measure_baselines, regressor_metrics


def _regression(n=20_000, spread=1.0):
    rng = np.random.default_rng(1)
    truth = rng.uniform(-0.5, 0.8, n)
    mean = truth + rng.normal(0.02, 0.1, n)
    sigma = np.full(n, 0.1 / spread)
    return {
        "theta_e_true": np.exp(truth),
        "theta_e": np.exp(mean),
        "theta_e_truth": truth,
        "theta_e_mean": mean,
        "theta_e_sigma": sigma,
        "theta_e_err_lo": np.exp(mean) - np.exp(mean - sigma),
        "theta_e_err_hi": np.exp(mean + sigma) - np.exp(mean),
    }


def test_metrics_recover_what_was_put_in():
    got = regressor_metrics(_regression(), ["theta_e"])["theta_e"]
    np.testing.assert_allclose(got["bias"], np.expm1(0.02), atol=0.003)
    np.testing.assert_allclose(got["scatter68"], 0.1 * np.exp(0.02), atol=0.003)
    assert got["n_test"] == 20_000
    assert got["outlier_frac"] < 0.01
    for level, value in got["coverage"].items():
        assert abs(value - float(level)) < 0.02
    np.testing.assert_allclose(got["coverage_err"]["0.68"], np.sqrt(0.68 * 0.32 / 20_000))


def test_scores_of_a_gaussian_are_those_by_definition():
    table = {name: values[:3] for name, values in _regression().items()}
    got = regressor_metrics(table, ["theta_e"])["theta_e"]
    crps, nll = [], []
    for y, m, s in zip(table["theta_e_truth"], table["theta_e_mean"], table["theta_e_sigma"], strict=True):
        low = quad(lambda x, m=m, s=s: norm.cdf(x, m, s) ** 2, m - 2, y)[0]
        high = quad(lambda x, m=m, s=s: norm.sf(x, m, s) ** 2, y, m + 2)[0]
        crps.append(low + high)
        nll.append(-norm.logpdf(y, m, s))
    np.testing.assert_allclose(got["crps"], np.mean(crps), rtol=1e-6)
    np.testing.assert_allclose(got["nll"], np.mean(nll), rtol=1e-9)


def test_too_narrow_errors_show_in_coverage_and_transform():
    got = regressor_metrics(_regression(spread=2.0), ["theta_e"])["theta_e"]
    assert got["coverage"]["0.68"] < 0.52
    assert got["pit"][0] > 2
    assert got["pit"][-1] > 2
    np.testing.assert_allclose(np.mean(got["pit"]), 1.0)


def test_intervals_of_other_widths_can_be_asked_for():
    wide = {"theta_e": 2 * norm.ppf(0.5 + np.array([0.5, 0.68, 0.9, 0.95]) / 2)}
    table = _regression(spread=2.0)
    got = regressor_metrics(table, ["theta_e"], wide, table)["theta_e"]
    assert abs(got["coverage"]["0.68"] - 0.68) < 0.02
    assert got["coverage_before"]["0.68"] < 0.52


def test_bias_and_scatter_in_bins_are_those_of_the_bins_rows():
    table, snr = _regression(), np.random.default_rng(2).uniform(5, 100, 20_000)
    snr[:50] = np.nan
    got = measure_against(table, "theta_e", {"snr": snr})["snr"]
    assert sum(got["n"]) == 20_000 - 50
    rows = (snr >= got["edges"][2]) & (snr < got["edges"][3])
    f = table["theta_e"][rows] / table["theta_e_true"][rows] - 1
    np.testing.assert_allclose(got["bias"][2], np.median(f), rtol=1e-9)
    for k in range(len(got["n"])):
        assert got["inside_low"][k] < got["inside"][k] < got["inside_high"][k]
        assert abs(got["inside"][k] - 0.68) < 0.05


def test_few_lenses_have_no_bins():
    table = {name: values[:30] for name, values in _regression().items()}
    assert measure_against(table, "theta_e", {"theta_e": table["theta_e_true"]}) == {}


def test_the_sie_relation_gives_sigma_v_and_the_mean_its_spread():
    rng = np.random.default_rng(3)
    z_lens, z_src = rng.uniform(0.2, 0.8, 2000), rng.uniform(1.0, 3.0, 2000)
    sigma_v = rng.normal(250, 25, 2000)
    theta_e = sis_theta_e(sigma_v, z_lens, z_src)
    names = ("theta_e", "sigma_v", "z_lens", "z_src")
    true = dict(zip(names, (theta_e, sigma_v, z_lens, z_src), strict=True))
    table = {f"{name}_true": values for name, values in true.items()} | true
    table["theta_e"] = theta_e * np.exp(rng.normal(0, 0.1, 2000))
    got = measure_baselines(table, names)
    np.testing.assert_allclose(got["sigma_v"]["mean"]["scatter68"], 0.1, rtol=0.1)
    np.testing.assert_allclose(got["sigma_v"]["sie"]["scatter68"], 0.05, rtol=0.1)
    assert got["sigma_v"]["sie_true"]["scatter68"] < 1e-6
    assert set(got["theta_e"]) == {"mean"}
    np.testing.assert_allclose(sis_sigma_v(theta_e, z_lens, z_src), sigma_v, rtol=1e-9)


def test_each_target_is_looked_at_against_all_and_the_signal():
    table = Table(_regression(1000))
    table["snr"] = np.linspace(5, 50, 1000)
    got = look_closer(table, ["theta_e"])["theta_e"]
    assert set(got["against"]) == {"theta_e", "snr"}
    assert set(got["baselines"]) == {"mean"}


def test_targets_with_a_sign_are_told_as_they_are():
    rng = np.random.default_rng(4)
    truth = rng.normal(0, 0.2, 5000)
    found = truth + rng.normal(0.01, 0.05, 5000)
    table = {
        "e1_true": truth,
        "e1": found,
        "e1_truth": truth,
        "e1_mean": found,
        "e1_sigma": np.full(5000, 0.05),
    }
    got = regressor_metrics(table, ["e1"])["e1"]
    np.testing.assert_allclose([got["bias"], got["scatter68"]], [0.01, 0.05], atol=0.004)
    np.testing.assert_allclose(measure_baselines(table, ["e1"])["e1"]["mean"]["scatter68"], 0.2, rtol=0.05)
