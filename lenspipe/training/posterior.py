"""Posteriors of stamps from an ensemble of regressors with Monte-Carlo dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lenspipe.networks.assemble import name_inputs
from lenspipe.networks.losses import LOG_VARIANCE_RANGE
from lenspipe.training.bundle import Bundle
from lenspipe.training.familiarity import Familiarity, mean_novelty
from lenspipe.training.load import Network
from lenspipe.training.mixture import Mixture
from lenspipe.training.passes import run_passes
from lenspipe.training.targets import from_network, slope

PERCENTILES = (0.16, 0.50, 0.84)
#: What a catalog tells of a target beside its median, and what a calibration needs too.
CATALOGUED = ("err_lo", "err_hi", "lo95", "hi95", "aleatoric", "epistemic")
WITH_MOMENTS = ("err_lo", "err_hi", "aleatoric", "epistemic", "mean", "sigma")


@dataclass(frozen=True)
class Posterior:
    """Of one target for each stamp (n,), float64.

    `median`, `err_lo` = median - 16th, `err_hi` = 84th - median percentile, and the `aleatoric` and
    `epistemic` standard deviations are physical (arcsec, km/s or redshift); so are `lo95` and `hi95`, the ends of the
    split-conformal 95 % interval (NaN without a calibration). `mean` and `sigma` are the
    moments in transformed units (log theta_e, log sigma_v, log1p z), `correlation` (n, targets) is that with each
    target there.
    """

    median: np.ndarray
    err_lo: np.ndarray
    err_hi: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray
    mean: np.ndarray
    sigma: np.ndarray
    lo95: np.ndarray
    hi95: np.ndarray
    correlation: np.ndarray


@dataclass(frozen=True)
class Posteriors:
    """Posteriors of all targets, by name, and how unlike the training each stamp is (n,): above 1 = unlike.

    `novelty` is NaN where the networks know nothing of their training.
    """

    by_target: dict[str, Posterior]
    novelty: np.ndarray

    def __getitem__(self, target: str) -> Posterior:
        return self.by_target[target]

    def columns(self, parts: Sequence[str] = CATALOGUED) -> dict[str, np.ndarray]:
        """Return columns for a table: ``<target>``, ``<target>_<part>``, ``novelty``."""
        return {
            name: values
            for target, posterior in self.by_target.items()
            for name, values in (
                (target, posterior.median),
                *((f"{target}_{part}", getattr(posterior, part)) for part in parts),
            )
        } | {"novelty": self.novelty}


def sample_posteriors(
    bundle: Bundle,
    image: np.ndarray,
    noise_sigma: np.ndarray,
    mc_samples: int = 200,
    seed: int = 0,
    batch_size: int = 64,
    mask: np.ndarray | None = None,
) -> Posteriors:
    """Return the regressor's posterior of each target; parameters as for `lenspipe.training.scores.score_stamps`.

    The posterior is the mixture of one Gaussian per network and pass in transformed units, moved and widened by the
    bundle's calibration.
    """
    bundle.check_task("regressor")
    bundle.check_arrays(image, noise_sigma, mask)
    return posteriors_with(
        bundle.networks(),
        bundle.targets,
        image,
        noise_sigma,
        mc_samples,
        seed,
        batch_size,
        bundle.calibration,
        mask,
        bundle.familiarities(),
    )


def posteriors_with(
    networks: Sequence[Network],
    targets: Sequence[str],
    image: np.ndarray,
    noise_sigma: np.ndarray,
    mc_samples: int,
    seed: int,
    batch_size: int,
    calibration: Mapping[str, Any] | None = None,
    mask: np.ndarray | None = None,
    familiar: Sequence[Familiarity] = (),
) -> Posteriors:
    """Return the posteriors of networks that need not be a bundle.

    `familiar` is what each of them knows of its training. `calibration` may have, of each target, a ``line`` (a, b)
    that takes the mean m to a + b m, a ``sigma_scale`` by which errors are widened, and the ``shares`` of the
    networks in the mixture; see `training.recalibrate`.
    """
    calibration, count = calibration or {}, len(targets)
    line = np.array([calibration.get("line", {}).get(target, (0.0, 1.0)) for target in targets])
    scale = np.array([calibration.get("sigma_scale", {}).get(target, 1.0) for target in targets])
    factor = [calibration.get("conformal", {}).get(target, {}).get("0.95", np.nan) for target in targets]
    even = np.full(len(networks), 1 / len(networks))
    shares = np.array([calibration.get("shares", {}).get(target, even) for target in targets])
    parts, correlation = np.empty((9, len(image), count)), np.empty((len(image), count, count))
    inputs, novelty = name_inputs(image, noise_sigma, mask), np.empty(len(image))
    for rows, outputs, features in run_passes(networks, inputs, mc_samples, seed, batch_size):
        passes = outputs.shape[2]
        # components last: a sum over them must not depend on how many stamps there are
        values = np.ascontiguousarray(
            np.moveaxis(outputs.reshape(len(outputs), -1, *outputs.shape[3:]), 1, -1), np.float64
        )
        variances, within = _spread_of(values[:, :, 1:])
        mixture = Mixture(values[:, :, 0], variances, np.repeat(shares, passes, axis=1) / passes)
        parts[:, rows] = _summarise(mixture, targets, line, scale, factor)
        correlation[rows] = mixture.correlate(within)
        novelty[rows] = mean_novelty(familiar, features)
    return Posteriors(
        {
            target: Posterior(*parts[:, :, k].copy(), correlation[:, k].copy())
            for k, target in enumerate(targets)
        },
        novelty,
    )


def _spread_of(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the variances (n, targets, c) that raw outputs stand for, and their covariances (n, k, k, c) if any.

    Raw outputs are log variances (n, targets, 1, c) or the squares of `networks.losses.CovarianceNLL` (n, k, k, c).
    """
    if raw.shape[2] == 1:
        return np.exp(np.clip(raw[:, :, 0], *LOG_VARIANCE_RANGE)), None
    raw = np.moveaxis(raw, -1, 1)
    diagonal = np.einsum("...kk->...k", raw)
    factor = np.tril(raw, -1)
    np.einsum("...kk->...k", factor)[...] = np.exp(-0.5 * np.clip(diagonal, *LOG_VARIANCE_RANGE))
    half = np.linalg.inv(factor)
    covariance = np.moveaxis(np.swapaxes(half, -1, -2) @ half, 1, -1)
    return np.ascontiguousarray(np.einsum("nkkc->nkc", covariance)), covariance


def _summarise(
    mixture: Mixture, targets: Sequence[str], line: np.ndarray, scale: np.ndarray, factor: Sequence[float]
) -> np.ndarray:
    """Return the fields of `Posterior` but the last (9, n, targets); `factor` sigma hold 95 %."""
    mean, aleatoric, epistemic = mixture.mean, mixture.aleatoric, mixture.epistemic
    moved = line[:, 0] + line[:, 1] * mean
    low, middle, high = (moved + scale * (mixture.quantile(p) - mean) for p in PERCENTILES)
    out, sigma = np.empty((9, *mean.shape)), scale * mixture.sigma
    for k, target in enumerate(targets):
        median = from_network(middle[:, k], target)
        step = slope(middle[:, k], target) * scale[k]
        out[:, :, k] = (
            median,
            median - from_network(low[:, k], target),
            from_network(high[:, k], target) - median,
            step * aleatoric[:, k],
            step * epistemic[:, k],
            moved[:, k],
            sigma[:, k],
            from_network(moved[:, k] - factor[k] * sigma[:, k], target),
            from_network(moved[:, k] + factor[k] * sigma[:, k], target),
        )
    return out
