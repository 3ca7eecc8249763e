"""How good a detector is: finder metrics (science.md, section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_auc_score, roc_curve

from lenspipe.training.bootstrap import F_BETA_SQUARED, bootstrap_errors, fpr_limits, spread, top_purity


def roc_points(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return false and true positive rates and thresholds, every step kept."""
    return roc_curve(label, score, drop_intermediate=False)


def roc_curves(oof: Mapping[str, np.ndarray], points: int = 200) -> dict[str, np.ndarray]:
    """Return the ROC of each fold on one grid of false positive rates, with mean and spread.

    Parameters
    ----------
    oof : table or mapping
        Columns ``label``, ``score`` and ``fold``, out of fold.
    points : int
        Points of the grid: logarithmic from 1e-5 to 1, and 0.

    Returns
    -------
    dict
        ``fpr`` (points + 1,), ``tpr`` (folds, points + 1), ``tpr_mean``, ``tpr_std``. The value at an
        FPR is the highest TPR reached with at most that FPR: a step function, never interpolated.
    """
    grid = np.concatenate([[0.0], np.geomspace(1e-5, 1.0, points)])
    label, score, fold = (np.asarray(oof[name]) for name in ("label", "score", "fold"))
    curves = np.stack(
        [_tpr_at(label[fold == k], score[fold == k], grid * (1 + 1e-9)) for k in np.unique(fold)]
    )
    return {"fpr": grid, "tpr": curves, "tpr_mean": curves.mean(axis=0), "tpr_std": curves.std(axis=0)}


def roc_by_threshold(oof: Mapping[str, np.ndarray], points: int = 60) -> dict[str, list[float]]:
    """Return the ROC of the folds summarised at each threshold, as the lectures do it.

    Parameters
    ----------
    oof : table or mapping
        Columns ``label``, ``score`` and ``fold``, out of fold.
    points : int
        Thresholds, at most: those at which the pooled FPR is 0 or nearest below a logarithmic grid.

    Returns
    -------
    dict
        ``threshold``, falling; mean, median and standard deviation over folds of the rates of what scores at least
        as high: ``tpr_mean``, ``tpr_median``, ``tpr_std`` and likewise ``fpr_``. A fold without lenses (or
        non-lenses) has no say in that rate.
    """
    label, score, fold = (np.asarray(oof[name]) for name in ("label", "score", "fold"))
    fpr, _, threshold = roc_points(label, score)
    grid = np.geomspace(max(1e-5, 1 / max(1, int((label == 0).sum()))), 1.0, points - 1)
    chosen = np.searchsorted(fpr, np.concatenate([[0.0], grid]) * (1 + 1e-9), side="right") - 1
    threshold = np.unique(threshold[chosen])[::-1]
    threshold = threshold[np.isfinite(threshold)]
    result: dict[str, list[float]] = {"threshold": threshold.tolist()}
    for name, value in (("tpr", 1), ("fpr", 0)):
        each = [np.sort(score[(fold == k) & (label == value)]) for k in np.unique(fold)]
        rates = np.array(
            [(len(one) - np.searchsorted(one, threshold)) / len(one) for one in each if len(one)]
        )
        for part in ("mean", "median", "std"):
            result[f"{name}_{part}"] = getattr(np, part)(rates, axis=0).tolist()
    return result


def find_thresholds(oof: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return the lowest score thresholds that keep false positive rates of 1e-2, 1e-3 and 1e-4: ``fpr_<rate>``."""
    fpr, _, threshold = roc_points(np.asarray(oof["label"]), np.asarray(oof["score"]))
    return {
        f"fpr_{limit:g}": float(threshold[np.searchsorted(fpr, limit * (1 + 1e-9), side="right") - 1])
        for limit in (1e-2, 1e-3, 1e-4)
    }


def detector_metrics(oof: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, Any]:
    """Return the finder metrics, pooled and per fold.

    Parameters
    ----------
    oof : table or mapping
        Columns ``label`` (1 = lens), ``score`` and ``fold``; ``group``, over which errors are bootstrapped (each
        row for itself without).
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        The pooled metrics with their errors; ``auroc_std`` over folds (NaN of one) and ``folds``, a list of the same
        metrics for each fold, without errors.
    """
    label, score, fold = (np.asarray(oof[name]) for name in ("label", "score", "fold"))
    group = np.asarray(oof["group"]) if "group" in list(oof.keys()) else np.arange(len(label))
    folds = [{"fold": int(k), **score_metrics(label[fold == k], score[fold == k])} for k in np.unique(fold)]
    aurocs = [entry["auroc"] for entry in folds]
    return {**score_metrics(label, score, group, seed), "auroc_std": spread(np.array(aurocs)), "folds": folds}


def score_metrics(
    label: np.ndarray, score: np.ndarray, group: np.ndarray | None = None, seed: int = 0
) -> dict[str, Any]:
    """Return the finder metrics of one set of scores; those that need both classes are NaN without.

    Parameters
    ----------
    label, score : ndarray (n,)
        1 = lens, and the score.
    group : ndarray (n,), optional
        With it each metric has ``<name>_err``, its scatter over 200 resamplings of the groups.
    seed : int
        Of the resamplings.

    Returns
    -------
    dict
        TPR0 and TPR10 are the highest TPR with no and with fewer than 10 false positives (Metcalf et al. 2019).
        ``f_beta`` is the largest over thresholds, at beta^2 = 0.001. ``confusion`` is [[TN, FP], [FN, TP]] and
        ``accuracy`` the share of right answers at score 0.5. ``purity_top_<N>`` is the share of lenses among the
        N best scores, where there are as many.
    """
    label, score = np.asarray(label, int), np.asarray(score, np.float64)
    n_lens, n_nonlens = int((label == 1).sum()), int((label == 0).sum())
    both = n_lens > 0 and n_nonlens > 0
    matrix = confusion_matrix(label, score >= 0.5, labels=[0, 1])
    f_beta, threshold = _best_f_beta(label, score) if both else (np.nan, np.nan)
    limits = fpr_limits(np.array([n_nonlens]))
    return {
        "auroc": float(roc_auc_score(label, score)) if both else np.nan,
        **{
            name: float(_tpr_at(label, score, limit)[0]) if both else np.nan for name, limit in limits.items()
        },
        "f_beta": f_beta,
        "f_beta_threshold": threshold,
        "confusion": matrix.tolist(),
        "accuracy": float(np.trace(matrix) / max(1, len(label))),
        **{name: float(value[0]) for name, value in _purity(label, score).items()},
        "n_lens": n_lens,
        "n_nonlens": n_nonlens,
        **(bootstrap_errors(label, score, group, seed) if group is not None and len(label) else {}),
    }


def _purity(label: np.ndarray, score: np.ndarray) -> dict[str, np.ndarray]:
    if not len(label):
        return {}
    steps, place = np.unique(-score, return_inverse=True)
    lenses, objects = (np.cumsum(np.bincount(place, w, len(steps)))[None] for w in (label, None))
    return top_purity(lenses, objects)


def _tpr_at(label: np.ndarray, score: np.ndarray, fpr_limit: np.ndarray) -> np.ndarray:
    fpr, tpr, _ = roc_points(label, score)
    return tpr[np.searchsorted(fpr, fpr_limit, side="right") - 1]


def _best_f_beta(label: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    precision, recall, thresholds = precision_recall_curve(label, score)
    bottom = F_BETA_SQUARED * precision + recall
    f = (1 + F_BETA_SQUARED) * precision * recall / np.where(bottom > 0, bottom, 1.0)
    best = int(np.argmax(f[:-1]))  # the last point has no threshold
    return float(f[best]), float(thresholds[best])
