"""Scores and posteriors of stamps from an ensemble of networks with Monte-Carlo dropout.

Each (network, pass) is one draw from the approximate posterior of the weights: its dropout mask is
shared by all stamps and keyed by (seed, network, layer, pass). So the result of a stamp depends neither
on its neighbours nor on its place, and tiling a survey anew gives the same scores. Batches are filled up to
`batch_size` so that every call has the same shape: for one batch size the results are the same bits. Between
batch sizes they are so on the processors tested; other libraries may round differently in the last digit
of a float32. Memory does not grow with the number of stamps beyond the results themselves.

The sky has no up. A detector may be asked about all eight orientations of a stamp, whose features are then averaged, so
that a turned stamp scores the same. Most stamps of a survey show nothing at the first look, which is at one of them;
only those that may be more, `WORTH_A_LOOK`, are looked at so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from lenspipe.networks.assemble import name_inputs
from lenspipe.networks.losses import LOG_VARIANCE_RANGE
from lenspipe.training.bundle import Bundle
from lenspipe.training.calibrate import pool_probability
from lenspipe.training.datasets import check_stamps
from lenspipe.training.load import Network
from lenspipe.training.targets import from_network, slope

PERCENTILES = (0.16, 0.50, 0.84)
#: Score at the first look from which on a stamp is looked at in all orientations.
WORTH_A_LOOK = 0.01
#: Batches are filled up at least to this: a matrix product of one row sums in another order.
SMALLEST_BATCH = 8


@dataclass(frozen=True)
class Scores:
    """Of each stamp: mean score and its standard deviation over networks and passes, the mean score of
    each network (n, k), and the calibrated probability at the lens prior; all float64."""

    score: np.ndarray
    score_err: np.ndarray
    score_fold: np.ndarray
    p_lens: np.ndarray


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


def score_stamps(
    bundle: Bundle,
    image: np.ndarray,
    noise_sigma: np.ndarray,
    mc_samples: int = 20,
    seed: int = 0,
    batch_size: int = 64,
    lens_prior: float | None = None,
    mask: np.ndarray | None = None,
) -> Scores:
    """Return the detector's scores.

    Parameters
    ----------
    bundle : Bundle
        A detector.
    image : ndarray (n, y, x, band), float32
        nJy per pixel.
    noise_sigma : ndarray (n, band), float32
        nJy per pixel, above 0.
    mc_samples : int
        Dropout passes per network.
    seed : int
        Keys the dropout masks.
    batch_size : int
        Stamps at once.
    lens_prior : float, optional
        Fraction of lenses among the objects; the bundle's survey's if None.
    mask : ndarray (n, y, x, band), uint8, optional
        Not 0 where a pixel could not be used, as `lenspipe.io.shards` reads it. Only networks with the channel
        "mask" look at it, and they need it.

    Raises
    ------
    ModelMismatch
        If the stamps have another size or number of bands or lack the mask that the networks need, or the bundle is
        not a detector.
    InputError
        If a stamp is not finite.
    """
    bundle.check_task("detector")
    _check_input(bundle, image, noise_sigma, mask)
    score, score_err, score_fold = score_with(
        bundle.networks(), image, noise_sigma, mc_samples, seed, batch_size, mask, bundle.views
    )
    prior = bundle.calibration["lens_prior"] if lens_prior is None else lens_prior
    return Scores(score, score_err, score_fold, pool_probability(score_fold, bundle.calibration, prior))


def sample_posteriors(
    bundle: Bundle,
    image: np.ndarray,
    noise_sigma: np.ndarray,
    mc_samples: int = 200,
    seed: int = 0,
    batch_size: int = 64,
    mask: np.ndarray | None = None,
) -> dict[str, Posterior]:
    """Return the regressor's posterior of each target; parameters as for `score_stamps`.

    The posterior is the mixture of one Gaussian per network and pass in transformed units, widened about
    its mean by the bundle's factor; its percentiles are found by bisection.
    """
    bundle.check_task("regressor")
    _check_input(bundle, image, noise_sigma, mask)
    scales = bundle.calibration["sigma_scale"]
    return posteriors_with(
        bundle.networks(), bundle.targets, image, noise_sigma, mc_samples, seed, batch_size, scales, mask
    )


def score_with(
    networks: Sequence[Network],
    image: np.ndarray,
    noise_sigma: np.ndarray,
    mc_samples: int,
    seed: int,
    batch_size: int,
    mask: np.ndarray | None = None,
    views: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (score (n,), score_err (n,), score_fold (n, k)) of networks that need not be a bundle.

    With `views` above 1 the stamps that may show a lens are looked at in so many orientations.
    """
    inputs = name_inputs(image, noise_sigma, mask)
    mean, square = _score(networks, inputs, mc_samples, seed, batch_size)
    again = np.flatnonzero(mean.max(axis=1, initial=0.0) >= WORTH_A_LOOK)
    if views > 1 and len(again):
        some = {name: values[again] for name, values in inputs.items()}
        mean[again], square[again] = _score(networks, some, mc_samples, seed, batch_size, views)
    score = mean.mean(axis=1)
    variance = np.clip(square.mean(axis=1) - score**2, 0.0, None)
    return score, np.sqrt(variance), mean


def _score(
    networks: Sequence[Network],
    inputs: Mapping[str, np.ndarray],
    mc_samples: int,
    seed: int,
    batch_size: int,
    views: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over the passes of each network's score and of its square (n, networks)."""
    mean = np.empty((len(inputs["image"]), len(networks)))
    square = np.empty_like(mean)
    for rows, outputs in _run(networks, inputs, mc_samples, seed, batch_size, views):
        # 1 - p(non-lens) in float64: near 1 a float32 softmax would make ties of different objects
        nonlens = outputs[..., 0].astype(np.float64)
        lens = np.where(nonlens < 0.5, 1 - nonlens, outputs[..., 1])
        mean[rows], square[rows] = lens.mean(axis=-1), (lens**2).mean(axis=-1)
    return mean, square


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
    for rows, outputs in _run(networks, inputs, mc_samples, seed, batch_size):
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


def _run(
    networks: Sequence[Network],
    inputs: Mapping[str, np.ndarray],
    mc_samples: int,
    seed: int,
    batch_size: int,
    views: int = 1,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield, batch by batch, (rows, outputs); outputs are (n, networks, passes, ...).

    The last axes are the head's: (2,) of a detector, (targets, 2) of a regressor.
    """
    dropped = [network.draw_masks(mc_samples, seed) for network in networks]
    filled, count = max(batch_size, SMALLEST_BATCH), len(inputs["image"])
    for start in range(0, count, batch_size):
        rows = slice(start, min(start + batch_size, count))
        outputs = []
        for network, masks in zip(networks, dropped, strict=True):
            stamps = {
                name: _filled(inputs[name][rows], filled, dtype) for name, dtype in network.inputs.items()
            }
            features = np.mean(
                [network.trunk.predict_on_batch(_turned(stamps, view)) for view in range(views)],
                axis=0,
                dtype=np.float32,
            )
            out = network.passes.predict_on_batch({"features": features, "masks": masks})
            outputs.append(np.moveaxis(np.asarray(out), 0, 1)[: rows.stop - rows.start])
        yield rows, np.stack(outputs, axis=1)


def _turned(stamps: dict[str, np.ndarray], view: int) -> dict[str, np.ndarray]:
    """Return the stamps in one of the eight orientations: bit 0 flips x, bit 1 flips y, bit 2 transposes."""
    flips = tuple(axis for axis, bit in ((2, 1), (1, 2)) if view & bit)

    def turn(values: np.ndarray) -> np.ndarray:
        return np.flip(values.transpose(0, 2, 1, 3) if view & 4 else values, flips)

    return {name: turn(values) if values.ndim == 4 else values for name, values in stamps.items()}


def _filled(values: np.ndarray, length: int, dtype: str) -> np.ndarray:
    values = np.asarray(values, dtype)
    missing = length - len(values)
    return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing else values


def _check_input(bundle: Bundle, image: np.ndarray, noise_sigma: np.ndarray, mask: np.ndarray | None) -> None:
    bundle.check_shape(image.shape, noise_sigma.shape)
    bundle.check_mask(mask, image.shape)
    check_stamps(image, noise_sigma)
