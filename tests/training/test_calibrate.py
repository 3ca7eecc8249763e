import numpy as np
from scipy.special import expit, logit

from lenspipe.training.calibrate import fit_sigma_scales, fit_temperature, lens_probability


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


def test_probability_at_another_prior_is_bayes_theorem():
    """Two Gaussian classes of known density: the posterior is known at any prior."""
    x = np.linspace(-3, 3, 13)
    ratio = np.exp(2 * x)  # densities N(1, 1) over N(-1, 1)

    def posterior(prior):
        return prior * ratio / (prior * ratio + 1 - prior)

    np.testing.assert_allclose(lens_probability(posterior(0.4), 1.0, 0.4, 1e-3), posterior(1e-3), rtol=1e-9)


def test_probability_keeps_the_order_of_scores_and_is_finite_at_the_ends():
    p = lens_probability(np.array([0.0, 0.2, 0.9, 1.0]), 2.0, 0.5, 5e-4)
    assert np.all(np.diff(p) > 0)
    assert np.all((p >= 0) & (p <= 1))


def test_sigma_scale_is_the_rms_z_score():
    rng = np.random.default_rng(0)
    oof = {
        "z_src_truth": rng.normal(0, 0.3, 10_000),
        "z_src_mean": np.zeros(10_000),
        "z_src_sigma": np.full(10_000, 0.1),
    }
    np.testing.assert_allclose(fit_sigma_scales(oof, ["z_src"])["z_src"], 3.0, rtol=0.03)
