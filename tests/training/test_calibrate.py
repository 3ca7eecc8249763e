import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit

from lenspipe.training.calibrate import (
    cross_calibrate,
    fit_calibration,
    fit_temperature,
    lens_probability,
    measure_calibration,
    pool_probability,
)


def test_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    honest = expit(rng.normal(0, 2, 50_000))
    label = rng.uniform(size=len(honest)) < honest
    overconfident = expit(3.0 * logit(honest))
    np.testing.assert_allclose(fit_temperature(label, overconfident), 3.0, rtol=0.03)
    np.testing.assert_allclose(fit_temperature(label, honest), 1.0, rtol=0.03)


def test_temperature_of_one_class_or_of_sure_scores_is_finite():
    assert fit_temperature(np.ones(3), np.array([0.2, 0.5, 1.0])) == 1.0
    assert np.isfinite(fit_temperature(np.array([0, 1]), np.array([0.0, 1.0])))


def test_networks_that_disagree_are_pooled_better_than_by_their_mean_score():
    rng = np.random.default_rng(0)
    label = rng.uniform(size=20_000) < 0.5
    seen = np.where(label, 2.0, -2.0) + rng.normal(0, 1.4, label.size)
    score = expit(1.5 * (seen[:, None] + rng.normal(0, 1.5, (label.size, 5))))
    calibration = fit_calibration(label, score[:, 0])
    alone = lens_probability(score[:, 0], calibration, 1e-3)
    np.testing.assert_allclose(pool_probability(score[:, :1], calibration, 1e-3), alone, rtol=1e-6)
    pooled = pool_probability(score, calibration, 0.5)
    naive = lens_probability(score.mean(axis=1), calibration, 0.5)
    error = measure_calibration(label, naive, pooled, np.arange(label.size))
    assert error["ece"] < 0.85 * error["ece_before"]


#: As in the cards of the first bundles, which knew one method only.
HONEST = {"temperature": 1.0, "train_prior": 0.4}


def test_probability_at_another_prior_is_bayes_theorem():
    """Two Gaussian classes of known density: the posterior is known at any prior."""
    x = np.linspace(-3, 3, 13)
    ratio = np.exp(2 * x)  # densities N(1, 1) over N(-1, 1)

    def posterior(prior):
        return prior * ratio / (prior * ratio + 1 - prior)

    np.testing.assert_allclose(lens_probability(posterior(0.4), HONEST, 1e-3), posterior(1e-3), rtol=1e-9)


def test_probability_keeps_the_order_of_scores_and_is_finite_at_the_ends():
    p = lens_probability(np.array([0.0, 0.2, 0.9, 1.0]), {"temperature": 2.0, "train_prior": 0.5}, 5e-4)
    assert np.all(np.diff(p) > 0)
    assert np.all((p >= 0) & (p <= 1))


def overconfident(n, power=3.0, seed=0):
    rng = np.random.default_rng(seed)
    honest = expit(rng.normal(0, 2, n))
    return (rng.uniform(size=n) < honest).astype(int), expit(power * logit(honest)), rng.integers(0, 5, n)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_brings_probabilities_to_rates_on_new_data(method):
    label, score, fold = overconfident(20_000)
    after = cross_calibrate(label, score, fold, method)
    got = measure_calibration(label, score, after, np.arange(len(label)))
    assert got["ece_before"] > 0.1
    assert got["ece"] < 0.02
    assert 0 < got["ece_before_err"] < 0.01
    assert 0 < got["ece_err"] < 0.01
    part = got["reliability"]["after"]
    assert sum(part["n"]) == 20_000
    inside = [
        low < p < high for low, p, high in zip(part["low"], part["probability"], part["high"], strict=True)
    ]
    assert sum(inside) >= 5


def test_isotonic_mends_what_no_temperature_can():
    rng = np.random.default_rng(1)
    honest = rng.uniform(size=20_000)
    label, score, fold = (
        (rng.uniform(size=20_000) < honest).astype(int),
        honest**4,
        rng.integers(0, 5, 20_000),
    )
    ece = {
        method: measure_calibration(
            label, score, cross_calibrate(label, score, fold, method), np.arange(len(label))
        )["ece"]
        for method in ("temperature", "isotonic")
    }
    assert ece["isotonic"] < 0.02 < 0.1 < ece["temperature"]


def test_a_fold_is_calibrated_by_the_others_alone():
    label, score, fold = overconfident(2000)
    after = cross_calibrate(label, score, fold, "temperature")
    other = label.copy()
    other[fold == 2] = (
        1 - other[fold == 2]
    )  # nonsense in fold 2 must not change what fold 2 gets, but for the prior
    again = cross_calibrate(other, score, fold, "temperature")
    shift = logit(other.mean()) - logit(label.mean())
    np.testing.assert_allclose(logit(again[fold == 2]), logit(after[fold == 2]) + shift, rtol=1e-6, atol=1e-9)
    assert not np.allclose(again[fold != 2], after[fold != 2], atol=0.01)


def test_ece_by_hand():
    p, label = np.array([0.01, 0.02, 0.99, 0.98]), np.array([0, 1, 1, 1])
    got = measure_calibration(label, p, p, np.arange(4))
    # first bin: mean 0.015, rate 0.5; last: mean 0.985, rate 1
    assert got["ece"] == pytest.approx(0.5 * 0.485 + 0.5 * 0.015)
    assert got["reliability"]["before"]["n"] == [2, *[0] * 13, 2]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["temperature", "isotonic"]), st.integers(2, 60))
def test_probabilities_rise_with_the_score_and_stay_within_bounds(seed, method, n):
    rng = np.random.default_rng(seed)
    label, score = rng.integers(0, 2, n), rng.choice([0.0, 1.0, *rng.uniform(size=5)], n)
    calibration = fit_calibration(label, score, method, rng.uniform(0.5, 5, n))
    p = lens_probability(np.linspace(0, 1, 50), calibration, 1e-3)
    assert np.all(np.isfinite(p))
    assert np.all((p >= 0) & (p <= 1))
    assert np.all(np.diff(p) >= -1e-15)


def test_weights_count_like_copies():
    label, score, _ = overconfident(500)
    times = np.random.default_rng(2).integers(1, 4, 500)
    for method in ("temperature", "isotonic"):
        weighted = fit_calibration(label, score, method, times)
        copied = fit_calibration(np.repeat(label, times), np.repeat(score, times), method)
        p = [lens_probability(np.linspace(0.01, 0.99, 9), c, 0.1) for c in (weighted, copied)]
        np.testing.assert_allclose(*p, rtol=0.01)


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="temperature or isotonic, received 'platt'"):
        fit_calibration(np.array([0, 1]), np.array([0.1, 0.9]), "platt")
