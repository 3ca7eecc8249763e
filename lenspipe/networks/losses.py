"""Losses of the regressor."""

from __future__ import annotations

import keras
from keras import ops

#: Bounds of a log variance in transformed units: errors from 0.1 % to a factor of 20.
LOG_VARIANCE_RANGE = (-14.0, 6.0)


class _PerStamp(keras.losses.Loss):
    def __init__(self, name: str, reduction: str = "sum_over_batch_size", **kwargs):
        super().__init__(name=name, reduction=reduction, **{"dtype": "float32", **kwargs})


@keras.saving.register_keras_serializable(package="lenspipe")
class GaussianNLL(_PerStamp):
    """Heteroscedastic Gaussian loss, (exp(-s) (y - mu)^2 + s) / 2 (Kendall & Gal 2017, eq. 5).

    Predictions are (n, targets, 2) with mu and s = log variance, truth is (n, targets). The log
    variance is clipped, so that one lucky stamp cannot drive the loss to minus infinity.
    """

    def __init__(self, name: str = "gaussian_nll", **kwargs):
        super().__init__(name, **kwargs)

    def call(self, y_true, y_pred):
        """Return the loss per stamp (n,), the mean over targets."""
        y_pred = ops.cast(y_pred, "float32")
        log_variance = ops.clip(y_pred[..., 1], *LOG_VARIANCE_RANGE)
        residual = ops.cast(y_true, "float32") - y_pred[..., 0]
        misfit = ops.divide(ops.square(residual), ops.exp(log_variance))
        return ops.multiply(0.5, ops.mean(ops.add(misfit, log_variance), axis=-1))


@keras.saving.register_keras_serializable(package="lenspipe")
class CovarianceNLL(_PerStamp):
    """Gaussian loss with correlated errors, by the Cholesky factor of the precision (Dorta et al. 2018, eq. 7).

    Predictions are (n, targets, 1 + targets): mu, and a square M of which only the lower triangle counts. The factor L
    of the precision matrix, L L^T, has exp(-M_kk / 2) on its diagonal and M_jk below it. So M_kk is the log variance
    that target k has once those after it are known; without the rest the loss is that of `GaussianNLL`.
    """

    def __init__(self, name: str = "covariance_nll", **kwargs):
        super().__init__(name, **kwargs)

    def call(self, y_true, y_pred):
        """Return the loss per stamp (n,), divided by the number of targets."""
        y_pred = ops.cast(y_pred, "float32")
        residual = ops.cast(y_true, "float32") - y_pred[..., 0]
        factor, log_variance = precision_factor(y_pred[..., 1:])
        white = ops.sum(ops.expand_dims(residual, -1) * factor, axis=-2)  # L^T r
        return ops.multiply(0.5, ops.mean(ops.add(ops.square(white), log_variance), axis=-1))


def precision_factor(raw):
    """Return the factor L (..., k, k) that `CovarianceNLL` describes, and its clipped M_kk (..., k)."""
    one = ops.eye(raw.shape[-1], dtype=raw.dtype)
    log_variance = ops.clip(ops.sum(raw * one, axis=-1), *LOG_VARIANCE_RANGE)
    diagonal = ops.expand_dims(ops.exp(-0.5 * log_variance), -1) * one
    return ops.tril(raw, -1) + diagonal, log_variance
