"""How good a network is: finder and regression metrics (science.md, sections 5 and 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_auc_score, roc_curve

LEVELS = (0.5, 0.68, 0.9, 0.95)
F_BETA_SQUARED = 0.001


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
    curves = np.stack([_tpr_at(label[fold == k], score[fold == k], grid) for k in np.unique(fold)])
    return {"fpr": grid, "tpr": curves, "tpr_mean": curves.mean(axis=0), "tpr_std": curves.std(axis=0)}


def detector_metrics(oof: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the finder metrics, pooled and per fold.

    Parameters
    ----------
    oof : table or mapping
        Columns ``label`` (1 = lens), ``score`` and ``fold``.

    Returns
    -------
    dict
        The pooled metrics; ``auroc_std`` and ``folds``, a list of the same metrics for each fold.
        TPR0 and TPR10 are the highest TPR with no and with fewer than 10 false positives (Metcalf et
        al. 2019). ``f_beta`` is the largest over thresholds, at beta^2 = 0.001. ``confusion`` is
        [[TN, FP], [FN, TP]] at score 0.5.
    """
    label, score, fold = (np.asarray(oof[name]) for name in ("label", "score", "fold"))
    folds = [{"fold": int(k), **score_metrics(label[fold == k], score[fold == k])} for k in np.unique(fold)]
    aurocs = [entry["auroc"] for entry in folds]
    return {**score_metrics(label, score), "auroc_std": float(np.std(aurocs)), "folds": folds}


def score_metrics(label: np.ndarray, score: np.ndarray) -> dict[str, Any]:
    """Return the finder metrics of one set of scores; those that need both classes are NaN without."""
    label, score = np.asarray(label, int), np.asarray(score, np.float64)
    n_lens, n_nonlens = int((label == 1).sum()), int((label == 0).sum())
    both = n_lens > 0 and n_nonlens > 0
    matrix = confusion_matrix(label, score >= 0.5, labels=[0, 1])
    tpr = _tpr_at(label, score, np.array([0.0, 1e-4, 1e-3])) if both else np.full(3, np.nan)
    f_beta, threshold = _best_f_beta(label, score) if both else (np.nan, np.nan)
    return {
        "auroc": float(roc_auc_score(label, score)) if both else np.nan,
        "tpr0": float(tpr[0]),
        "tpr10": float(_tpr_at(label, score, np.array([9.0 / n_nonlens]))[0]) if both else np.nan,
        "tpr_at_fpr_1e-3": float(tpr[2]),
        "tpr_at_fpr_1e-4": float(tpr[1]),
        "f_beta": f_beta,
        "f_beta_threshold": threshold,
        "confusion": matrix.tolist(),
        "accuracy": float(np.trace(matrix) / max(1, len(label))),
        "n_lens": n_lens,
        "n_nonlens": n_nonlens,
    }


def _tpr_at(label: np.ndarray, score: np.ndarray, fpr_limit: np.ndarray) -> np.ndarray:
    fpr, tpr, _ = roc_points(label, score)
    # rates are whole counts over n, so a relative tolerance keeps "9 of n" from failing by rounding
    return tpr[np.searchsorted(fpr, fpr_limit * (1 + 1e-9), side="right") - 1]


def _best_f_beta(label: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    precision, recall, thresholds = precision_recall_curve(label, score)
    bottom = F_BETA_SQUARED * precision + recall
    f = (1 + F_BETA_SQUARED) * precision * recall / np.where(bottom > 0, bottom, 1.0)
    best = int(np.argmax(f[:-1]))  # the last point has no threshold
    return float(f[best]), float(thresholds[best])


def regressor_metrics(
    oof: Mapping[str, np.ndarray], targets: Sequence[str], temperature: Mapping[str, float] | None = None
) -> dict[str, dict[str, Any]]:
    """Return the metrics of each target.

    Parameters
    ----------
    oof : table or mapping
        Columns ``<t>_true``, ``<t>`` (median), ``<t>_mean``, ``<t>_sigma``, ``<t>_truth`` (the last
        three in transformed units), as written by `lenspipe.training.fit`.
    temperature : mapping, optional
        s of each target, by which its sigma is widened.

    Returns
    -------
    dict
        Per target, with f = (median - truth) / truth: ``bias`` = median f, ``scatter68`` = half the
        central 68 % range of f, ``mean_abs_frac`` = mean |f|, ``outlier_frac`` = fraction beyond
        3 scatter68 from the bias, ``coverage`` of central intervals, ``z_spread`` = rms z-score,
        ``n_test``.
    """
    result = {}
    for target in targets:
        truth, median = (np.asarray(oof[name], np.float64) for name in (f"{target}_true", target))
        f = (median - truth) / truth
        low, bias, high = np.percentile(f, [16, 50, 84])
        scatter = (high - low) / 2
        z = z_scores(oof, target) / (temperature or {}).get(target, 1.0)
        result[target] = {
            "bias": float(bias),
            "scatter68": float(scatter),
            "mean_abs_frac": float(np.mean(np.abs(f))),
            "outlier_frac": float(np.mean(np.abs(f - bias) > 3 * scatter)),
            "coverage": {str(p): float(np.mean(np.abs(z) <= norm.ppf(0.5 + p / 2))) for p in LEVELS},
            "z_spread": float(np.sqrt(np.mean(z**2))),
            "n_test": len(truth),
        }
    return result


def z_scores(oof: Mapping[str, np.ndarray], target: str) -> np.ndarray:
    """Return (truth - mean) / sigma of a target, in transformed units, before calibration."""
    truth, mean, sigma = (
        np.asarray(oof[f"{target}_{part}"], np.float64) for part in ("truth", "mean", "sigma")
    )
    return (truth - mean) / sigma
