"""From raw posteriors of a regressor to honest ones: a line, a width and conformal intervals, fitted out of fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.stats import norm

from lenspipe.training.targets import from_network, slope, to_network

#: Contents of the intervals whose coverage is told.
LEVELS = (0.5, 0.68, 0.9, 0.95)
#: Fewer out-of-fold lenses than this fix no line: the mean alone is mended.
_FEW = 50
#: What is written of each target, transformed: columns `<target>_<part>`.
_MOMENTS = ("truth", "mean", "sigma")


def fit_recalibration(oof: Mapping[str, np.ndarray], targets: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return what makes the posteriors of these targets honest, for `recalibrate` and for a bundle's card.

    Parameters
    ----------
    oof : table or mapping
        Columns ``<t>_truth``, ``<t>_mean`` and ``<t>_sigma``, transformed (log or log1p), not trained on.
    targets : sequence of str

    Returns
    -------
    dict
        By target: ``line`` (a, b), by which the truth is a + b mean (Bom et al. 2019 remove such a bias; here the
        truth is regressed on the prediction, each lens weighted by its error, so that noise is not amplified);
        ``sigma_scale``, by which sigma must be multiplied that 68 % of the truths lie within it; ``conformal``: for
        each of `LEVELS` how many (widened) sigma hold that share, with the finite-sample correction of split-conformal
        prediction (Lei et al. 2018), which needs no Gaussian.
    """
    result: dict[str, dict[str, Any]] = {"line": {}, "sigma_scale": {}, "conformal": {}}
    for target in targets:
        truth, mean, sigma = _moments(oof, target)
        a, b = _fit_line(truth, mean, sigma)
        off = np.sort(np.abs(truth - a - b * mean) / sigma)
        scale = _conformal(off, 0.68) / norm.ppf(0.84)
        result["line"][target] = [a, b]
        result["sigma_scale"][target] = scale
        result["conformal"][target] = {str(p): _conformal(off, p) / scale for p in LEVELS}
    return result


def _fit_line(truth: np.ndarray, mean: np.ndarray, sigma: np.ndarray) -> tuple[float, float]:
    weight = sigma**-2 / np.sum(sigma**-2)
    middle, aim = np.sum(weight * mean), np.sum(weight * truth)
    spread = np.sum(weight * (mean - middle) ** 2)
    if len(truth) < _FEW or not spread > 0:
        return float(aim - middle), 1.0
    b = np.sum(weight * (mean - middle) * (truth - aim)) / spread
    return float(aim - b * middle), float(b)


def _conformal(off: np.ndarray, level: float) -> float:
    """Return the ceil((n + 1) level)-th smallest of sorted distances; the largest where there are too few."""
    return float(off[min(len(off), int(np.ceil((len(off) + 1) * level))) - 1])


def complete_calibration(calibration: Mapping[str, Any], targets: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the calibration of a card with what those of early bundles lack: no line, a Gaussian's intervals."""
    plain = {str(p): float(norm.ppf(0.5 + p / 2)) for p in LEVELS}
    defaults: dict[str, Any] = {"line": [0.0, 1.0], "sigma_scale": 1.0, "conformal": plain}
    return {
        name: {target: calibration.get(name, {}).get(target, default) for target in targets}
        for name, default in defaults.items()
    }


def recalibrate(
    oof: Table, targets: Sequence[str], calibration: Mapping[str, Mapping[str, Any]], rows: Any = slice(None)
) -> Table:
    """Return rows of raw posteriors after calibration: columns as before."""
    out, calibration = oof[rows], complete_calibration(calibration, targets)
    for target in targets:
        (a, b), scale = calibration["line"][target], calibration["sigma_scale"][target]
        mean = np.asarray(out[f"{target}_mean"], np.float64)
        raw = {
            "low": np.asarray(out[target]) - np.asarray(out[f"{target}_err_lo"]),
            "middle": np.asarray(out[target]),
            "high": np.asarray(out[target]) + np.asarray(out[f"{target}_err_hi"]),
        }
        # the line moves the mean, the width stretches what lies about it
        moved = {
            name: from_network(a + b * mean + scale * (to_network(v[:, None], [target])[:, 0] - mean), target)
            for name, v in raw.items()
        }
        out[target] = moved["middle"]
        out[f"{target}_err_lo"] = moved["middle"] - moved["low"]
        out[f"{target}_err_hi"] = moved["high"] - moved["middle"]
        out[f"{target}_mean"] = a + b * mean
        out[f"{target}_sigma"] = scale * np.asarray(out[f"{target}_sigma"])
        before, after = (
            slope(to_network(v[:, None], [target])[:, 0], target) for v in (raw["middle"], moved["middle"])
        )
        for part in ("aleatoric", "epistemic"):
            out[f"{target}_{part}"] = scale * after / before * np.asarray(out[f"{target}_{part}"])
    return out


def before_calibration(
    table: Mapping[str, np.ndarray], targets: Sequence[str], calibration: Mapping[str, Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Return truth, mean and sigma of calibrated rows as they were before: columns ``<t>_<part>``."""
    out, calibration = {}, complete_calibration(calibration, targets)
    for target in targets:
        truth, mean, sigma = _moments(table, target)
        (a, b), scale = calibration["line"][target], calibration["sigma_scale"][target]
        parts = (truth, (mean - a) / b, sigma / scale)
        out |= {f"{target}_{name}": part for name, part in zip(_MOMENTS, parts, strict=True)}
    return out


def cross_recalibrate(oof: Table, targets: Sequence[str]) -> tuple[Table, dict[str, np.ndarray]]:
    """Return posteriors after calibration, each fold by what the others fit, and their conformal factors.

    So their coverage is what new data will see, not that of the lenses that the calibration was fitted to. A single
    held-out fold is divided in two halves, by groups.

    Returns
    -------
    Table, dict
        The rows in their order; for each target an array (n, levels): the factors of sigma for each of `LEVELS`.
    """
    fold = np.asarray(oof["fold"]) if "fold" in oof.colnames else np.zeros(len(oof), int)
    if len(np.unique(fold)) == 1:
        fold = np.unique(np.asarray(oof["group"]), return_inverse=True)[1] % 2
    out = oof.copy()
    factors = {target: np.empty((len(oof), len(LEVELS))) for target in targets}
    for k in np.unique(fold):
        mine, others = np.flatnonzero(fold == k), np.flatnonzero(fold != k)
        calibration = fit_recalibration(oof[others if len(others) else mine], targets)
        out[mine] = recalibrate(oof, targets, calibration, mine)
        for target in targets:
            factors[target][mine] = [calibration["conformal"][target][str(p)] for p in LEVELS]
    return out, factors


def _moments(oof: Mapping[str, np.ndarray], target: str) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(oof[f"{target}_{part}"], np.float64) for part in _MOMENTS)
