"""How good a regressor is: biases, scatter, coverage and scores of its posteriors (science.md, section 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from astropy.stats import binom_conf_interval
from astropy.table import Table
from scipy.stats import norm

from lenspipe.lensing.cosmology import sis_sigma_v
from lenspipe.training.recalibrate import LEVELS
from lenspipe.training.targets import is_signed

#: Bins of equal numbers in which bias and scatter are told, and the fewest lenses of one.
_MAX_BINS, _PER_BIN = 8, 50
_PIT_BINS = 20


def regressor_metrics(
    table: Mapping[str, np.ndarray],
    targets: Sequence[str],
    factors: Mapping[str, np.ndarray] | None = None,
    before: Mapping[str, np.ndarray] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the metrics of each target.

    Parameters
    ----------
    table : table or mapping
        Columns ``<t>_true``, ``<t>`` (median), ``<t>_mean``, ``<t>_sigma``, ``<t>_truth`` (the last three in
        transformed units), as written by `lenspipe.training.fit`; after calibration.
    targets : sequence of str
    factors : mapping of str to ndarray (n, levels) or (levels,), optional
        How many sigma hold the share `LEVELS` (`recalibrate.fit_recalibration`); those of a Gaussian if None.
    before : table or mapping, optional
        The same before calibration, for ``coverage_before``.

    Returns
    -------
    dict
        Per target, with f = (median - truth) / truth, of targets that have a sign median - truth: ``bias`` = median
        f, ``scatter68`` = half the central 68 % range of f, ``mean_abs_frac`` = mean |f|, ``outlier_frac`` =
        fraction beyond 3 scatter68 from the bias; ``coverage`` of central intervals with its binomial error
        ``coverage_err``, ``z_spread`` = rms z-score; in transformed units the mean ``crps`` and ``nll`` of the
        Gaussian of mean and sigma, and ``pit``, the histogram of its probability integral transform (20 bins, 1 =
        even); ``n_test``.
    """
    return {
        target: _measure(table, target, None if factors is None else factors[target], before)
        for target in targets
    }


def _measure(
    table: Mapping[str, np.ndarray],
    target: str,
    factors: np.ndarray | None,
    before: Mapping[str, np.ndarray] | None,
) -> dict[str, Any]:
    bias, scatter, f = _bias_and_scatter(table[f"{target}_true"], table[target], target)
    z, sigma = z_scores(table, target), np.asarray(table[f"{target}_sigma"], np.float64)
    gauss = norm.ppf(0.5 + np.array(LEVELS) / 2)
    covered = _coverage(z, gauss if factors is None else factors)
    crps = sigma * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - np.pi**-0.5)
    counts = np.histogram(norm.cdf(z), np.linspace(0, 1, _PIT_BINS + 1))[0]
    return {
        "bias": bias,
        "scatter68": scatter,
        "mean_abs_frac": float(np.mean(np.abs(f))),
        "outlier_frac": float(np.mean(np.abs(f - bias) > 3 * scatter)),
        "coverage": covered,
        "coverage_err": {p: float(np.sqrt(float(p) * (1 - float(p)) / len(z))) for p in covered},
        **({} if before is None else {"coverage_before": _coverage(z_scores(before, target), gauss)}),
        "z_spread": float(np.sqrt(np.mean(z**2))),
        "crps": float(np.mean(crps)),
        "nll": float(np.mean(0.5 * z**2 + np.log(sigma) + 0.5 * np.log(2 * np.pi))),
        "pit": (counts * _PIT_BINS / len(z)).tolist(),
        "n_test": len(z),
    }


def _bias_and_scatter(true: np.ndarray, found: np.ndarray, target: str) -> tuple[float, float, np.ndarray]:
    f = (np.asarray(found, np.float64) - np.asarray(true, np.float64)) / _unit(true, target)
    low, bias, high = np.percentile(f, [16, 50, 84])
    return float(bias), float((high - low) / 2), f


def _unit(true: np.ndarray, target: str) -> np.ndarray:
    """Return what errors are divided by: the truth, or 1 where it has a sign."""
    true = np.asarray(true, np.float64)
    return np.ones_like(true) if is_signed(target) else true


def _coverage(z: np.ndarray, factors: np.ndarray) -> dict[str, float]:
    inside = np.abs(z)[:, None] <= factors
    return {str(p): float(share) for p, share in zip(LEVELS, inside.mean(axis=0), strict=True)}


def z_scores(table: Mapping[str, np.ndarray], target: str) -> np.ndarray:
    """Return (truth - mean) / sigma of a target, in transformed units."""
    truth, mean, sigma = (
        np.asarray(table[f"{target}_{part}"], np.float64) for part in ("truth", "mean", "sigma")
    )
    return (truth - mean) / sigma


def measure_against(
    table: Mapping[str, np.ndarray], target: str, columns: Mapping[str, np.ndarray]
) -> dict[str, dict[str, list]]:
    """Return bias and scatter of a target's fractional error in bins of what may make it hard.

    Parameters
    ----------
    table : table or mapping
        ``<t>_true`` and ``<t>``, and ``<t>_err_lo``, ``<t>_err_hi``.
    target : str
    columns : mapping of str to ndarray (n,)
        What the bins are made of; values that are not finite are left out.

    Returns
    -------
    dict
        Of each column with enough lenses: ``edges`` (bins + 1) of bins of equal numbers, ``n``, ``bias``,
        ``scatter68``, ``error`` (the median half width of the 68 % interval, as a fraction of the truth) and
        ``inside``, the share of truths within it, with ``inside_low`` and ``inside_high``.
    """
    true = np.asarray(table[f"{target}_true"], np.float64)
    half = 0.5 * (np.asarray(table[f"{target}_err_lo"]) + np.asarray(table[f"{target}_err_hi"]))
    half = half / _unit(true, target)
    off = np.asarray(table[target], np.float64) - true
    inside = (off <= np.asarray(table[f"{target}_err_lo"])) & (-off <= np.asarray(table[f"{target}_err_hi"]))
    result = {}
    for name, values in columns.items():
        use = np.isfinite(np.asarray(values, np.float64))
        bins = min(_MAX_BINS, int(use.sum()) // _PER_BIN)
        edges = np.unique(np.quantile(values[use], np.linspace(0, 1, bins + 1))) if bins else np.empty(0)
        if len(edges) < 2:
            continue
        place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
        told: dict[str, list] = {"edges": edges.tolist()}
        for k in range(len(edges) - 1):
            rows = use & (place == k)
            bias, scatter, _ = _bias_and_scatter(true[rows], np.asarray(table[target])[rows], target)
            low, high = binom_conf_interval(int(inside[rows].sum()), int(rows.sum()), interval="jeffreys")
            row = {
                "n": int(rows.sum()),
                "bias": bias,
                "scatter68": scatter,
                "error": float(np.median(half[rows])),
                "inside": float(inside[rows].mean()),
                "inside_low": float(low),
                "inside_high": float(high),
            }
            for key, value in row.items():
                told.setdefault(key, []).append(value)
        result[name] = told
    return result


def measure_baselines(
    table: Mapping[str, np.ndarray], targets: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    """Return ``bias`` and ``scatter68`` of what needs no network, by target and baseline.

    ``mean``: the median of these very truths, for every lens. ``sie``: sigma_v from the network's own theta_e and
    redshifts by the relation of the singular isothermal ellipsoid (science.md, section 3); ``sie_true``: from the true
    ones; ``profile``: a perceptron that sees radial profiles, where columns ``<t>_profile`` hold its answers
    (`lenspipe.training.profiles`). A network that finds sigma_v no better than the first has learnt nothing.
    """
    result: dict[str, dict[str, dict[str, float]]] = {}
    for target in targets:
        true = np.asarray(table[f"{target}_true"], np.float64)
        result[target] = {"mean": _told(true, np.full(len(true), np.median(true)), target)}
        if f"{target}_profile" in _names(table):
            result[target]["profile"] = _told(true, np.asarray(table[f"{target}_profile"]), target)
    if {"theta_e", "sigma_v", "z_lens", "z_src"} <= set(targets):
        for name, suffix in (("sie", ""), ("sie_true", "_true")):
            theta_e, z_lens, z_src = (
                np.asarray(table[f"{t}{suffix}"], np.float64) for t in ("theta_e", "z_lens", "z_src")
            )
            behind = z_src > z_lens + 0.01  # medians need not be in order
            found = sis_sigma_v(theta_e[behind], z_lens[behind], z_src[behind])
            result["sigma_v"][name] = _told(np.asarray(table["sigma_v_true"])[behind], found, "sigma_v")
    return result


def _names(table: Mapping[str, np.ndarray]) -> Sequence[str]:
    return table.colnames if isinstance(table, Table) else list(table)


def _told(true: np.ndarray, found: np.ndarray, target: str) -> dict[str, float]:
    bias, scatter, _ = _bias_and_scatter(true, found, target)
    return {"bias": bias, "scatter68": scatter}


def look_closer(table: Table, targets: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return for each target ``against``, see `measure_against`, of all targets and the S/N, and ``baselines``."""
    columns = {name: np.asarray(table[f"{name}_true"], np.float64) for name in targets}
    if "snr" in table.colnames:
        columns["snr"] = np.asarray(table["snr"], np.float64)
    baselines = measure_baselines(table, targets)
    return {
        target: {"against": measure_against(table, target, columns), "baselines": baselines[target]}
        for target in targets
    }
