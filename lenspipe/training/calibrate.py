"""From raw network outputs to honest probabilities and errors, on out-of-fold data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, logit

from lenspipe.training.metrics import z_scores

#: Scores are kept this far from 0 and 1 before a logit is taken.
EDGE = 1e-12


def score_logit(score: np.ndarray) -> np.ndarray:
    """Return the log odds of a score, finite also at 0 and 1."""
    return logit(np.clip(np.asarray(score, np.float64), EDGE, 1 - EDGE))


def fit_temperature(label: np.ndarray, score: np.ndarray) -> float:
    """Return the temperature T that minimises the log loss of sigmoid(logit(score) / T).

    Guo et al. 2017, section 4.2. T lies between 0.05 and 20; data with one class only give 1.
    """
    label = np.asarray(label, bool)
    if label.all() or not label.any():
        return 1.0
    signed = np.where(label, 1.0, -1.0) * score_logit(score)
    found = minimize_scalar(
        lambda log_t: -log_expit(signed / np.exp(log_t)).mean(), bounds=np.log([0.05, 20.0]), method="bounded"
    )
    return float(np.exp(found.x))


def lens_probability(
    score: np.ndarray, temperature: float, train_prior: float, lens_prior: float
) -> np.ndarray:
    """Return the probability of being a lens at another prior than that of the training set.

    Bayes' theorem in log odds (Saerens et al. 2002, eq. 4): logit p = logit(score) / T
    + logit(lens_prior) - logit(train_prior).

    Parameters
    ----------
    score : ndarray
        Network scores.
    temperature : float
        From `fit_temperature`.
    train_prior, lens_prior : float
        Fraction of lenses in the training set, and among the objects scored.
    """
    shift = logit(lens_prior) - logit(np.clip(train_prior, EDGE, 1 - EDGE))
    return expit(score_logit(score) / temperature + shift)


def fit_sigma_scales(oof: Mapping[str, np.ndarray], targets: Sequence[str]) -> dict[str, float]:
    """Return per target the factor s by which its sigma must be widened: s^2 = mean z^2."""
    return {target: float(np.sqrt(np.mean(z_scores(oof, target) ** 2))) for target in targets}
