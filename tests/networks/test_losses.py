import keras
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from lenspipe.networks.losses import LOG_VARIANCE_RANGE, CovarianceNLL, GaussianNLL


def test_loss_is_the_gaussian_log_likelihood_without_its_constant():
    rng = np.random.default_rng(0)
    truth, mean, log_variance = rng.normal(size=(3, 50, 4)).astype(np.float32)
    got = float(GaussianNLL()(truth, np.stack([mean, log_variance], axis=-1)))
    expected = -norm.logpdf(truth, mean, np.exp(log_variance / 2)).mean() - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_log_variance_is_clipped():
    out = np.array([[[0.0, -1e4]]], np.float32)
    np.testing.assert_allclose(
        float(GaussianNLL()(np.zeros((1, 1), np.float32), out)), LOG_VARIANCE_RANGE[0] / 2
    )


def test_covariance_loss_is_the_multivariate_log_likelihood():
    rng = np.random.default_rng(0)
    truth, mean = rng.normal(size=(2, 20, 3)).astype(np.float32)
    square = rng.normal(size=(20, 3, 3)).astype(np.float32)
    got = float(CovarianceNLL()(truth, np.concatenate([mean[..., None], square], axis=-1)))
    expected = []
    for y, m, raw in zip(truth, mean, square.astype(float), strict=True):
        factor = np.tril(raw, -1) + np.diag(np.exp(-0.5 * np.diag(raw)))
        expected.append(-multivariate_normal.logpdf(y, m, np.linalg.inv(factor @ factor.T)))
    np.testing.assert_allclose(got, np.mean(expected) / 3 - 0.5 * np.log(2 * np.pi), rtol=1e-4)


def test_without_correlations_both_losses_agree():
    rng = np.random.default_rng(1)
    truth, mean, log_variance = rng.normal(size=(3, 50, 4)).astype(np.float32)
    square = log_variance[..., None] * np.eye(4, dtype=np.float32)
    full = CovarianceNLL()(truth, np.concatenate([mean[..., None], square], axis=-1))
    plain = GaussianNLL()(truth, np.stack([mean, log_variance], axis=-1))
    np.testing.assert_allclose(float(full), float(plain), rtol=1e-5)


@pytest.mark.parametrize("loss", [GaussianNLL, CovarianceNLL])
def test_losses_are_registered(loss):
    config = keras.saving.serialize_keras_object(loss())
    assert isinstance(keras.saving.deserialize_keras_object(config), loss)
