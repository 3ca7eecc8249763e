"""From raw scores to honest probabilities, on out-of-fold data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, logit
from sklearn.isotonic import IsotonicRegression

from lenspipe.training.bootstrap import resample_groups, spread
from lenspipe.training.completeness import binomial_rates

#: Scores are kept this far from 0 and 1 before a logit is taken.
EDGE = 1e-12
#: The fraction of lenses at which networks are compared: neither for nor against.
EVEN = 0.5
#: The calibration of what is a probability at even odds.
AS_IT_IS = {"temperature": 1.0, "train_prior": EVEN}
#: Bins of equal width in which probabilities are compared with rates (Guo et al. 2017).
BINS = 15


def score_logit(score: np.ndarray) -> np.ndarray:
    """Return the log odds of a score, finite also at 0 and 1."""
    return logit(np.clip(np.asarray(score, np.float64), EDGE, 1 - EDGE))


def fit_calibration(
    label: np.ndarray, score: np.ndarray, method: str = "temperature", weight: np.ndarray | None = None
) -> dict[str, Any]:
    """Return what turns scores into probabilities, for `lens_probability`.

    Parameters
    ----------
    label, score : ndarray (n,)
        1 = lens, and scores that were not trained on.
    method : str
        ``temperature``: one number (`fit_temperature`). ``isotonic``: any rising function (Zadrozny & Elkan 2002),
        for thousands of scores; it has steps, and no probability nearer to 0 or 1 than 1 in n.
    weight : ndarray (n,), optional
        How much each counted in training.

    Returns
    -------
    dict
        ``method``, ``train_prior`` (weighted fraction of lenses) and ``temperature``, or ``score`` and
        ``probability``: the corners of the function. Scores of one class only have temperature 1.
    """
    label, score = np.asarray(label, bool), np.asarray(score, np.float64)
    weight = np.ones(len(label)) if weight is None else np.asarray(weight, np.float64)
    prior = float(np.average(label, weights=weight))
    if method == "temperature" or label.all() or not label.any():
        temperature = fit_temperature(label, score, weight)
        return {"method": "temperature", "temperature": temperature, "train_prior": prior}
    if method != "isotonic":
        raise ValueError(f"method must be temperature or isotonic, received {method!r}")
    edge = 1 / (len(label) + 2)
    fitted = IsotonicRegression(y_min=edge, y_max=1 - edge).fit(score, label, sample_weight=weight)
    corners = {"score": fitted.X_thresholds_.tolist(), "probability": fitted.y_thresholds_.tolist()}
    return {"method": "isotonic", **corners, "train_prior": prior}


def fit_temperature(label: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Return the temperature T that minimises the log loss of sigmoid(logit(score) / T).

    Guo et al. 2017, section 4.2. T lies between 0.05 and 20; data with one class only give 1.
    """
    label = np.asarray(label, bool)
    if label.all() or not label.any():
        return 1.0
    signed = np.where(label, 1.0, -1.0) * score_logit(score)
    found = minimize_scalar(
        lambda log_t: -np.average(log_expit(signed / np.exp(log_t)), weights=weight),
        bounds=np.log([0.05, 20.0]),
        method="bounded",
    )
    return float(np.exp(found.x))


def lens_probability(score: np.ndarray, calibration: Mapping[str, Any], lens_prior: float) -> np.ndarray:
    """Return the probability of being a lens at another prior than that of the training set.

    Bayes' theorem in log odds (Saerens et al. 2002, eq. 4): logit p = logit(calibrated score)
    + logit(lens_prior) - logit(train_prior).

    Parameters
    ----------
    score : ndarray
        Network scores.
    calibration : mapping
        From `fit_calibration`, or a bundle.
    lens_prior : float
        Fraction of lenses among the objects scored.
    """
    if calibration.get("method", "temperature") == "isotonic":
        odds = score_logit(np.interp(score, calibration["score"], calibration["probability"]))
    else:
        odds = score_logit(score) / calibration["temperature"]
    return expit(odds + score_logit(lens_prior) - score_logit(calibration["train_prior"]))


def pool_probability(score_fold: np.ndarray, calibration: Mapping[str, Any], lens_prior: float) -> np.ndarray:
    """Return the probability (n,) that several networks' scores (n, k) stand for.

    Out-of-fold scores, on which a calibration is fitted, are of one network each, and the mean of several is less
    extreme than any. So each network's score is calibrated and the mean taken of that, at even odds (as scikit-learn's
    CalibratedClassifierCV does), and the lens prior comes last. Where networks disagree much it is still too modest:
    `lenspipe evaluate` on a set of its own tells how much.
    """
    even = lens_probability(score_fold, calibration, EVEN).mean(axis=1)
    return lens_probability(even, AS_IT_IS, lens_prior)


def cross_calibrate(
    label: np.ndarray, score: np.ndarray, fold: np.ndarray, method: str, weight: np.ndarray | None = None
) -> np.ndarray:
    """Return probabilities (n,) at the rows' own fraction of lenses; those of a fold are fitted on the others.

    So their error is that of the calibration on new data, not on the scores that it was fitted to.
    """
    label, score, fold = np.asarray(label), np.asarray(score, np.float64), np.asarray(fold)
    out = np.empty(len(score))
    for k in np.unique(fold):
        mine, others = fold == k, fold != k
        known = others if others.any() else mine
        calibration = fit_calibration(
            label[known], score[known], method, None if weight is None else np.asarray(weight)[known]
        )
        out[mine] = lens_probability(score[mine], calibration, float(np.mean(label)))
    return out


def measure_calibration(
    label: np.ndarray, before: np.ndarray, after: np.ndarray, group: np.ndarray, seed: int = 0
) -> dict[str, Any]:
    """Return how far probabilities are from rates, before and after calibration.

    Parameters
    ----------
    label : ndarray (n,)
        1 = lens.
    before, after : ndarray (n,)
        Probabilities at the rows' own fraction of lenses.
    group : ndarray (n,)
        Over which errors are bootstrapped.

    Returns
    -------
    dict
        ``ece_before``, ``ece``: expected calibration error, the mean distance of probability and rate over 15 bins
        weighted by their numbers (Guo et al. 2017), with ``_err``; it is never below 0, so noise alone gives some.
        ``reliability``: ``edges``, and for ``before`` and ``after`` of each bin ``n``, the mean ``probability``, the
        ``rate`` of lenses and its 68 % interval ``low``, ``high``.
    """
    label = np.asarray(label, np.float64)
    result: dict[str, Any] = {}
    diagram: dict[str, Any] = {"edges": np.linspace(0, 1, BINS + 1).tolist()}
    for name, key, p in (("before", "ece_before", before), ("after", "ece", after)):
        p = np.asarray(p, np.float64)
        place = np.clip((p * BINS).astype(int), 0, BINS - 1)
        n, hits, total = (np.bincount(place, w, BINS) for w in (np.ones(len(p)), label, p))
        result[key] = float(np.abs(total - hits).sum() / max(len(p), 1))
        excess = np.eye(BINS)[place] * (p - label)[:, None]
        draws = [
            np.abs(weight @ excess).sum(axis=1) / weight.sum(axis=1)
            for weight in resample_groups(group, seed)
        ]
        result[f"{key}_err"] = spread(np.concatenate(draws))
        with np.errstate(invalid="ignore"):
            mean = np.where(n > 0, total / n, np.nan)
        diagram[name] = {"probability": mean.tolist(), **binomial_rates(hits, n.astype(int))}
    return {**result, "reliability": diagram}
