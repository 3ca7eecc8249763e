import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from lenspipe.training.mixture import Mixture, find_quantile


def _mixture(stamps=5, targets=3, components=7, seed=0, spread=2.0):
    rng = np.random.default_rng(seed)
    shape = (stamps, targets, components)
    weights = rng.dirichlet(np.ones(components), targets)
    return Mixture(rng.normal(0, spread, shape), rng.uniform(0.01, 4, shape), weights)


@pytest.mark.parametrize("probability", [0.025, 0.16, 0.5, 0.84])
def test_quantiles_invert_the_mixture(probability):
    m = _mixture()
    at = find_quantile(m.means, m.variances, m.weights, probability)
    below = (m.weights * norm.cdf(at[..., None], m.means, np.sqrt(m.variances))).sum(axis=-1)
    np.testing.assert_allclose(below, probability, atol=1e-5)


@given(st.integers(0, 10**6), st.floats(1e-3, 50), st.floats(0.01, 0.99))
def test_quantiles_are_found_however_far_apart_the_components_lie(seed, spread, probability):
    m = _mixture(2, 1, 5, seed, spread)
    at = find_quantile(m.means, m.variances, m.weights, probability)
    below = (m.weights * norm.cdf(at[..., None], m.means, np.sqrt(m.variances))).sum(axis=-1)
    np.testing.assert_allclose(below, probability, atol=1e-3)


def test_moments_are_those_of_draws():
    m = _mixture(1, 2, 4)
    rng = np.random.default_rng(1)
    for k in range(2):
        chosen = rng.choice(4, 400_000, p=m.weights[k])
        draws = rng.normal(m.means[0, k, chosen], np.sqrt(m.variances[0, k, chosen]))
        np.testing.assert_allclose(m.mean[0, k], draws.mean(), atol=0.02)
        np.testing.assert_allclose(m.sigma[0, k], draws.std(), rtol=0.01)


def test_many_components_have_the_quantiles_of_all_of_them():
    rng = np.random.default_rng(2)
    means, variances = rng.normal(0, 0.3, (4, 2, 1000)), rng.uniform(0.5, 2, (4, 2, 1000))
    m = Mixture(means, variances, np.full((2, 1000), 1e-3))
    for p in (0.16, 0.5, 0.84):
        np.testing.assert_allclose(m.quantile(p), find_quantile(means, variances, m.weights, p), atol=0.01)


def test_a_stamps_quantile_does_not_depend_on_the_others():
    m = _mixture(6)
    alone = Mixture(m.means[3:4], m.variances[3:4], m.weights)
    np.testing.assert_array_equal(alone.quantile(0.16), m.quantile(0.16)[3:4])


def test_correlations_join_those_within_and_between_components():
    rng = np.random.default_rng(3)
    means = rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], 50).T[None]
    within = np.repeat(np.array([[2.0, -1.5], [-1.5, 2.0]])[None, :, :, None], 50, axis=-1)
    m = Mixture(means, np.full((1, 2, 50), 2.0), np.full((2, 50), 0.02))
    between = np.cov(means[0], bias=True)
    for given_within, expected in ((None, between + 2 * np.eye(2)), (within, between + within[0, :, :, 0])):
        sigma = np.sqrt(np.diag(expected))
        np.testing.assert_allclose(m.correlate(given_within)[0], expected / np.outer(sigma, sigma), rtol=1e-9)
