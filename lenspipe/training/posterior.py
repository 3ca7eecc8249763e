"""Posteriors of stamps from an ensemble of regressors with Monte-Carlo dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from lenspipe.networks.assemble import name_inputs
from lenspipe.networks.losses import LOG_VARIANCE_RANGE
from lenspipe.training.bundle import Bundle
from lenspipe.training.load import Network
from lenspipe.training.passes import run_passes
from lenspipe.training.targets import from_network, slope

PERCENTILES = (0.16, 0.50, 0.84)


@dataclass(frozen=True)
class Posterior:
    """Of one target for each stamp (n,), float64.

    `median`, `err_lo` = median - 16th, `err_hi` = 84th - median percentile, and the `aleatoric` and
    `epistemic` standard deviations are physical (arcsec, km/s or redshift). `mean` and `sigma` are the
    moments in transformed units (log theta_e, log sigma_v, log1p z).
    """

    median: np.ndarray
    err_lo: np.ndarray
    err_hi: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray
    mean: np.ndarray
    sigma: np.ndarray


def sample_posteriors(
    bundle: Bundle,
    image: np.ndarray,
    noise_sigma: np.ndarray,
    mc_samples: int = 200,
    seed: int = 0,
    batch_size: int = 64,
    mask: np.ndarray | None = None,
) -> dict[str, Posterior]:
    """Return the regressor's posterior of each target; parameters as for `lenspipe.training.scores.score_stamps`.

    The posterior is the mixture of one Gaussian per network and pass in transformed units, widened about
    its mean by the bundle's factor; its percentiles are found by bisection.
    """
    bundle.check_task("regressor")
    bundle.check_arrays(image, noise_sigma, mask)
    scales = bundle.calibration["sigma_scale"]
    return posteriors_with(
        bundle.networks(), bundle.targets, image, noise_sigma, mc_samples, seed, batch_size, scales, mask
    )


def posteriors_with(
    networks: Sequence[Network],
    targets: Sequence[str],
    image: np.ndarray,
    noise_sigma: np.ndarray,
    mc_samples: int,
    seed: int,
    batch_size: int,
    scales: Mapping[str, float] | None = None,
    mask: np.ndarray | None = None,
) -> dict[str, Posterior]:
    """Return the posteriors of networks that need not be a bundle; `scales` widen sigma per target."""
    scale = np.array([(scales or {}).get(target, 1.0) for target in targets])
    parts = np.empty((7, len(image), len(targets)))
    inputs = name_inputs(image, noise_sigma, mask)
    for rows, outputs in run_passes(networks, inputs, mc_samples, seed, batch_size):
        means = outputs[..., 0].astype(np.float64).reshape(len(outputs), -1, len(targets))
        variances = np.exp(np.clip(outputs[..., 1].astype(np.float64), *LOG_VARIANCE_RANGE)).reshape(
            means.shape
        )
        # components last: a sum over them must not depend on how many stamps there are
        parts[:, rows] = _summarise(_components_last(means), _components_last(variances), targets, scale)
    return {target: Posterior(*parts[:, :, k].copy()) for k, target in enumerate(targets)}


def _components_last(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(values, 1, -1))


def _summarise(
    means: np.ndarray, variances: np.ndarray, targets: Sequence[str], scale: np.ndarray
) -> np.ndarray:
    """Return the fields of `Posterior` (7, n, targets) of components (n, targets, c)."""
    mean = means.mean(axis=-1)
    aleatoric = np.sqrt(variances.mean(axis=-1))  # law of total variance
    epistemic = means.std(axis=-1)
    sigma = np.hypot(aleatoric, epistemic)
    low, middle, high = (mean + scale * (mixture_quantile(means, variances, p) - mean) for p in PERCENTILES)
    out = np.empty((7, *mean.shape))
    for k, target in enumerate(targets):
        median = from_network(middle[:, k], target)
        step = slope(middle[:, k], target) * scale[k]
        out[:, :, k] = (
            median,
            median - from_network(low[:, k], target),
            from_network(high[:, k], target) - median,
            step * aleatoric[:, k],
            step * epistemic[:, k],
            mean[:, k],
            scale[k] * sigma[:, k],
        )
    return out


def mixture_quantile(means: np.ndarray, variances: np.ndarray, probability: float) -> np.ndarray:
    """Return a quantile of equal-weight Gaussian mixtures, components (..., c) on the last axis.

    A quantile lies within sqrt((1 - p) / p) or its inverse standard deviations of the mean (Cantelli);
    24 bisections of that bracket leave 1e-6 of a standard deviation.
    """
    widths = np.sqrt(variances)
    mean = means.mean(axis=-1)
    total = np.sqrt(variances.mean(axis=-1) + means.var(axis=-1))
    odds = probability / (1 - probability)
    low, high = mean - total * odds**-0.5, mean + total * odds**0.5
    for _ in range(24):
        middle = 0.5 * (low + high)
        below = ndtr((middle[..., None] - means) / widths).mean(axis=-1) < probability
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return 0.5 * (low + high)
