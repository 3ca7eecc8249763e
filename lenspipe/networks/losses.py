"""Losses of the regressor."""

from __future__ import annotations

import keras
from keras import ops

#: Bounds of a log variance in transformed units: errors from 0.1 % to a factor of 20.
LOG_VARIANCE_RANGE = (-14.0, 6.0)


@keras.saving.register_keras_serializable(package="lenspipe")
class GaussianNLL(keras.losses.Loss):
    """Heteroscedastic Gaussian loss, (exp(-s) (y - mu)^2 + s) / 2 (Kendall & Gal 2017, eq. 5).

    Predictions are (n, targets, 2) with mu and s = log variance, truth is (n, targets). The log
    variance is clipped, so that one lucky stamp cannot drive the loss to minus infinity.
    """

    def __init__(self, name: str = "gaussian_nll", reduction: str = "sum_over_batch_size", **kwargs):
        super().__init__(name=name, reduction=reduction, **{"dtype": "float32", **kwargs})

    def call(self, y_true, y_pred):
        """Return the loss per stamp (n,), the mean over targets."""
        y_pred = ops.cast(y_pred, "float32")
        log_variance = ops.clip(y_pred[..., 1], *LOG_VARIANCE_RANGE)
        residual = ops.cast(y_true, "float32") - y_pred[..., 0]
        misfit = ops.divide(ops.square(residual), ops.exp(log_variance))
        return ops.multiply(0.5, ops.mean(ops.add(misfit, log_variance), axis=-1))
