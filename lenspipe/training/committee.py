"""Scores of several detectors together: other architectures, other training sets.

What the members have not in common is what their training did not pin down; where they disagree, a score is
not to be trusted, and `score_err` says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lenspipe.core.types import StampFormat
from lenspipe.io.cards import check_same_stamps
from lenspipe.training.bundle import Bundle
from lenspipe.training.calibrate import AS_IT_IS, EVEN, lens_probability
from lenspipe.training.scores import Scores, score_stamps


def score_committee(
    bundles: Sequence[Bundle],
    image: np.ndarray,
    noise_sigma: np.ndarray,
    mc_samples: int = 20,
    seed: int = 0,
    batch_size: int = 64,
    lens_prior: float | None = None,
    mask: np.ndarray | None = None,
) -> Scores:
    """Return the scores of a committee of detectors; of a single one, its own.

    The score of several is the mean of their calibrated probabilities at even odds, so that members of other
    temperatures and class balances are on one scale. Probabilities, not log odds: one sure network among
    doubtful ones cannot outvote them, and most false positives of a survey are of that kind. (Deep ensembles
    average probabilities too: Lakshminarayanan et al. 2017, arXiv:1612.01474.) Its error is that of the
    mixture: the members' mean variance, over networks and passes, and the variance between them.

    Parameters
    ----------
    bundles : sequence of Bundle
        Detectors made for the same stamps.
    image, noise_sigma, mc_samples, seed, batch_size
        As for `lenspipe.training.scores.score_stamps`.
    lens_prior : float, optional
        Fraction of lenses among the objects; that of the first bundle's survey if None.
    mask : ndarray, optional
        As for `score_stamps`; what needs none takes no notice of it.

    Returns
    -------
    Scores
        `score_fold` has the networks of all bundles, in their order.

    Raises
    ------
    ModelMismatch
        If the bundles were made for different stamps, or not for these.
    InputError
        If a stamp is not finite.
    """
    check_same_stamps([(b.path, StampFormat(b.bands, b.size, b.pixel_scale)) for b in bundles])
    settings = (mc_samples, seed, batch_size)
    if len(bundles) == 1:
        return score_stamps(bundles[0], image, noise_sigma, *settings, lens_prior, mask)
    members = [score_stamps(bundle, image, noise_sigma, *settings, EVEN, mask) for bundle in bundles]
    errors = [_calibrate_error(bundle, member) for bundle, member in zip(bundles, members, strict=True)]
    votes = np.stack([member.p_lens for member in members])
    score = votes.mean(axis=0)
    score_err = np.sqrt(np.mean(np.square(errors), axis=0) + votes.var(axis=0))
    prior = bundles[0].calibration["lens_prior"] if lens_prior is None else lens_prior
    p_lens = lens_probability(score, AS_IT_IS, prior)
    return Scores(score, score_err, np.concatenate([member.score_fold for member in members], axis=1), p_lens)


def _calibrate_error(bundle: Bundle, member: Scores) -> np.ndarray:
    """Return a member's error on the scale of its votes: half of what its score +- error maps to."""
    low, high = (
        lens_probability(np.clip(member.score + sign * member.score_err, 0.0, 1.0), bundle.calibration, EVEN)
        for sign in (-1, 1)
    )
    return (high - low) / 2
