import keras
import numpy as np
from scipy.stats import norm

from lenspipe.networks.losses import LOG_VARIANCE_RANGE, GaussianNLL


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


def test_loss_is_registered():
    config = keras.saving.serialize_keras_object(GaussianNLL())
    assert isinstance(keras.saving.deserialize_keras_object(config), GaussianNLL)
