"""Which lenses a threshold finds, and what it takes for one: rates in bins and by kind, with binomial intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.stats import binom_conf_interval

#: What completeness is measured against.
AGAINST = ("theta_e", "snr", "psf_fwhm")
_MAX_BINS, _PER_BIN = 8, 25


def measure_completeness(table: Mapping[str, np.ndarray], threshold: float) -> dict[str, dict[str, list]]:
    """Return the share of lenses that score at least `threshold`, against what makes them hard.

    Parameters
    ----------
    table : table or mapping
        ``label``, ``score`` and, where known, ``theta_e`` [arcsec], ``snr`` (arcs, best band) and ``psf_fwhm``
        [arcsec, reddest band]; NaN where a lens has none.
    threshold : float

    Returns
    -------
    dict
        For each column there is: ``edges`` (bins + 1) of bins with equal numbers of lenses, ``n``, ``rate``,
        and the 68 % interval ``low``, ``high`` (Jeffreys; Cameron 2011) of each bin.
    """
    lens = np.asarray(table["label"], int) == 1
    found = np.asarray(table["score"], np.float64) >= threshold
    result = {}
    for name in AGAINST:
        if name not in table.keys():  # noqa: SIM118 - a Table is no mapping: `in` asks for something else
            continue
        values = np.asarray(table[name], np.float64)
        use = lens & np.isfinite(values)
        if use.any():
            result[name] = _rates_in_bins(values[use], found[use])
    return result


def _rates_in_bins(values: np.ndarray, found: np.ndarray) -> dict[str, list]:
    bins = int(np.clip(len(values) // _PER_BIN, 1, _MAX_BINS))
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    if len(edges) == 1:  # all alike
        edges = np.repeat(edges, 2)
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    n = np.bincount(place, minlength=len(edges) - 1)
    hits = np.bincount(place, weights=found, minlength=len(edges) - 1)
    return {"edges": edges.tolist(), **binomial_rates(hits, n)}


def rate_by_kind(table: Mapping[str, np.ndarray], threshold: float) -> dict[str, dict[str, Any]]:
    """Return the false positive rate of each kind of non-lens, the highest first.

    Parameters
    ----------
    table : table or mapping
        ``label``, ``score``, ``kind``.
    threshold : float

    Returns
    -------
    dict
        kind -> ``n``, ``false_positives``, ``rate``, and its 68 % interval ``low``, ``high``.
    """
    other = np.asarray(table["label"], int) == 0
    kinds, place = np.unique(np.asarray(table["kind"], str)[other], return_inverse=True)
    if not len(kinds):
        return {}
    taken = np.asarray(table["score"], np.float64)[other] >= threshold
    n, hits = np.bincount(place), np.bincount(place, weights=taken)
    rates = binomial_rates(hits, n)
    order = np.lexsort((kinds, -np.asarray(rates["rate"])))
    return {
        str(kinds[k]): {"n": int(n[k]), "false_positives": int(hits[k])}
        | {name: rates[name][k] for name in ("rate", "low", "high")}
        for k in order
    }


def binomial_rates(hits: np.ndarray, n: np.ndarray) -> dict[str, list]:
    """Return ``n``, ``rate`` and its 68 % interval ``low``, ``high`` (Jeffreys) as lists; NaN where n is 0."""
    known = n > 0
    rate, low, high = (np.full(len(n), np.nan) for _ in range(3))
    if known.any():
        rate[known] = hits[known] / n[known]
        low[known], high[known] = binom_conf_interval(hits[known].astype(int), n[known], interval="jeffreys")
    return {"n": n.tolist(), "rate": rate.tolist(), "low": low.tolist(), "high": high.tolist()}


def look_closer(table: Mapping[str, np.ndarray], thresholds: Mapping[str, float | None]) -> dict[str, Any]:
    """Return what becomes of whom at the threshold for FPR 1e-3: ``threshold``, ``completeness``, ``fpr_by_kind``.

    Columns and results are those of `measure_completeness` and `rate_by_kind`. Where no score had so low an FPR,
    nothing is found.
    """
    threshold = thresholds["fpr_0.001"]
    threshold = np.inf if threshold is None else threshold
    return {
        "threshold": threshold,
        "completeness": measure_completeness(table, threshold),
        "fpr_by_kind": rate_by_kind(table, threshold),
    }
