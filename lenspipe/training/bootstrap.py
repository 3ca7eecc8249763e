"""Errors of finder metrics: bootstrap over groups, so that stamps of one host or sky cell count once.

All resamplings are worked out together on the sorted scores: each is a set of whole-number weights. The bootstrap
of an extreme value, such as TPR0, shows its scatter, but is no consistent estimate of it (Bickel & Freedman 1981).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from lenspipe.core.rng import stream

RESAMPLINGS = 200
F_BETA_SQUARED = 0.001
#: Lists whose purity is told, best scores first.
TOP = (10, 100, 1000)
_AT_ONCE = 4_000_000  # weights in memory


def resample_groups(
    group: np.ndarray, seed: int, resamplings: int = RESAMPLINGS, at_once: int | None = None
) -> Iterator[np.ndarray]:
    """Yield weights (b, n), float64: how often each row is drawn when whole groups are, with replacement.

    Parameters
    ----------
    group : ndarray (n,)
        Rows of one group are drawn together.
    seed : int
    resamplings : int
        Rows of all blocks together.
    at_once : int, optional
        Rows of a block; as many as memory allows if None.
    """
    names, member = np.unique(np.asarray(group), return_inverse=True)
    rng, left = stream(seed, "bootstrap"), resamplings
    while left > 0:
        count = min(left, at_once or max(1, _AT_ONCE // max(len(member), 1)))
        drawn = rng.integers(0, len(names), (count, len(names)))
        drawn += len(names) * np.arange(count)[:, None]  # one histogram for all
        times = np.bincount(drawn.ravel(), minlength=count * len(names)).reshape(count, -1)
        yield times[:, member].astype(np.float64)
        left -= count


def bootstrap_errors(
    label: np.ndarray, score: np.ndarray, group: np.ndarray, seed: int = 0, resamplings: int = RESAMPLINGS
) -> dict[str, float | list]:
    """Return ``<name>_err`` of each finder metric: its standard deviation over resampled groups.

    Parameters
    ----------
    label, score : ndarray (n,)
        1 = lens, and the network's score.
    group : ndarray (n,)
        k-fold groups.

    Returns
    -------
    dict
        NaN where fewer than two resamplings hold both classes.
    """
    found: dict[str, list[np.ndarray]] = {}
    for weight in resample_groups(group, seed, resamplings):
        for name, values in weighted_metrics(label, score, weight).items():
            found.setdefault(name, []).append(values)
    return {f"{name}_err": spread(np.concatenate(parts)) for name, parts in found.items()}


def spread(values: np.ndarray) -> float | list:
    """Return the standard deviation over the first axis of what is finite; NaN of fewer than two."""
    finite = np.isfinite(values)
    count = finite.sum(axis=0)
    mean = np.where(finite, values, 0.0).sum(axis=0) / np.maximum(count, 1)
    square = np.where(finite, values - mean, 0.0) ** 2
    return np.where(count > 1, np.sqrt(square.sum(axis=0) / np.maximum(count - 1, 1)), np.nan).tolist()


def weighted_metrics(label: np.ndarray, score: np.ndarray, weight: np.ndarray) -> Mapping[str, np.ndarray]:
    """Return the finder metrics under each of many sets of weights (b, n): arrays (b,), ``confusion`` (b, 2, 2).

    Definitions as in `metrics.score_metrics`; what needs both classes is NaN where one has no weight.
    """
    label, score = np.asarray(label, int), np.asarray(score, np.float64)
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(score[order]) != 0, True])  # equal scores share a threshold
    lenses = np.cumsum(weight[:, order] * label[order], axis=1)[:, ends]
    others = np.cumsum(weight[:, order] * (1 - label[order]), axis=1)[:, ends]
    n_lens, n_other = lenses[:, -1], others[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        tpr = np.pad(lenses / n_lens[:, None], ((0, 0), (1, 0)))
        fpr = np.pad(others / n_other[:, None], ((0, 0), (1, 0)))
        precision, recall = lenses / (lenses + others), tpr[:, 1:]
        f = (1 + F_BETA_SQUARED) * precision * recall / (F_BETA_SQUARED * precision + recall)
        whole = weight.sum(axis=1)
        cells = np.eye(4)[2 * label + (score >= 0.5)]
        confusion = (weight @ cells).reshape(-1, 2, 2)
        result = {
            "auroc": np.trapezoid(tpr, fpr, axis=1),
            **{name: tpr_within(tpr, fpr, limit) for name, limit in fpr_limits(n_other).items()},
            "f_beta": np.max(np.where(np.isfinite(f), f, 0.0), axis=1),
            "confusion": confusion,
            "accuracy": np.trace(confusion, axis1=1, axis2=2) / whole,
        }
    unusable = (n_lens == 0) | (n_other == 0)
    for name in result:
        if name not in ("confusion", "accuracy"):
            result[name] = np.where(unusable, np.nan, result[name])
    return result | top_purity(lenses, lenses + others)


def fpr_limits(n_nonlens: np.ndarray) -> dict[str, np.ndarray]:
    """Return the highest false positive rate (b,) allowed in each of the TPR metrics (Metcalf et al. 2019)."""
    n = np.maximum(np.asarray(n_nonlens, np.float64), 1.0)
    limits = {"tpr0": 0 * n, "tpr10": 9 / n, "tpr_at_fpr_1e-3": 0 * n + 1e-3, "tpr_at_fpr_1e-4": 0 * n + 1e-4}
    # rates are whole counts over n, so a relative tolerance keeps "9 of n" from failing by rounding
    return {name: limit * (1 + 1e-9) for name, limit in limits.items()}


def tpr_within(tpr: np.ndarray, fpr: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Return the highest TPR (b,) on curves (b, m), rising from 0, at which FPR is at most `limit` (b,)."""
    last = np.maximum((fpr <= limit[:, None]).sum(axis=1) - 1, 0)
    return np.take_along_axis(tpr, last[:, None], axis=1)[:, 0]


def top_purity(lenses: np.ndarray, objects: np.ndarray) -> dict[str, np.ndarray]:
    """Return the purity (b,) of the best N for each N of `TOP` that is a list at all, and not the whole set.

    Parameters
    ----------
    lenses, objects : ndarray (b, m)
        How many score at least as high as each threshold, which fall. Among equal scores any order is as good:
        the expected number counts. A resampling with fewer than N objects is judged by those it has.
    """
    found = {}
    for top in TOP:
        if np.median(objects[:, -1]) >= top:
            inside = [
                np.interp(top, np.r_[0.0, total], np.r_[0.0, part]) / min(top, total[-1])
                for total, part in zip(objects, lenses, strict=True)
            ]
            found[f"purity_top_{top}"] = np.array(inside)
    return found
