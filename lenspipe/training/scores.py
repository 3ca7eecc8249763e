"""Scores of stamps from an ensemble of detectors with Monte-Carlo dropout.

The sky has no up. A detector may be asked about all eight orientations of a stamp, whose features are then averaged, so
that a turned stamp scores the same. Most stamps of a survey show nothing at the first look, which is at one of them;
only those that may be more, `WORTH_A_LOOK`, are looked at so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lenspipe.networks.assemble import name_inputs
from lenspipe.training.bundle import Bundle
from lenspipe.training.calibrate import pool_probability
from lenspipe.training.load import Network
from lenspipe.training.passes import run_passes

#: Score at the first look from which on a stamp is looked at in all orientations.
WORTH_A_LOOK = 0.01


@dataclass(frozen=True)
class Scores:
    """Of each stamp: mean score and its standard deviation over networks and passes, the mean score of
    each network (n, k), and the calibrated probability at the lens prior; all float64."""

    score: np.ndarray
    score_err: np.ndarray
    score_fold: np.ndarray
    p_lens: np.ndarray


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
    bundle.check_arrays(image, noise_sigma, mask)
    score, score_err, score_fold = score_with(
        bundle.networks(), image, noise_sigma, mc_samples, seed, batch_size, mask, bundle.views
    )
    prior = bundle.calibration["lens_prior"] if lens_prior is None else lens_prior
    return Scores(score, score_err, score_fold, pool_probability(score_fold, bundle.calibration, prior))


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
    for rows, outputs, _ in run_passes(networks, inputs, mc_samples, seed, batch_size, views):
        # 1 - p(non-lens) in float64: near 1 a float32 softmax would make ties of different objects
        nonlens = outputs[..., 0].astype(np.float64)
        lens = np.where(nonlens < 0.5, 1 - nonlens, outputs[..., 1])
        mean[rows], square[rows] = lens.mean(axis=-1), (lens**2).mean(axis=-1)
    return mean, square
