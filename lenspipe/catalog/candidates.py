"""Rank and name what is left after merging."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy.table import Table

from lenspipe.core.names import iau_name, unique_names
from lenspipe.core.schema import Flag


def rank_candidates(table: Table, threshold: float, top: int, prefix: str) -> Table:
    """Return the candidates, best first, with their IAU names.

    A candidate is not a duplicate and has a finite score of at least `threshold`. Equal scores are
    ordered by tile and object_id.

    Parameters
    ----------
    table : Table
        With `score`, `tile`, `object_id`, `ra`, `dec`, `flags`.
    threshold : float
        Least score.
    top : int
        Keep at most so many; 0 = all.
    prefix : str
        Acronym in the names. A row without sky position gets an empty name.
    """
    score = np.asarray(table["score"], dtype=float)
    single = (np.asarray(table["flags"], dtype=int) & int(Flag.DUPLICATE)) == 0
    chosen = table[np.isfinite(score) & (score >= threshold) & single]
    order = np.lexsort(
        (
            np.asarray(chosen["object_id"], dtype=str),
            np.asarray(chosen["tile"], dtype=str),
            -np.asarray(chosen["score"], dtype=float),
        )
    )
    chosen = chosen[order[:top] if top else order]
    names = unique_names(
        iau_name(float(ra), float(dec), prefix) for ra, dec in zip(chosen["ra"], chosen["dec"], strict=True)
    )
    named = np.array(names, dtype=f"U{max([1, *map(len, names)])}")
    if "name" in chosen.colnames:
        chosen.replace_column("name", named)
    else:
        chosen.add_column(named, name="name", index=0)
    return chosen


def expect_purity(candidates: Table, area: float = np.nan) -> dict[str, float]:
    """Return what calibrated probabilities promise of a list of candidates.

    Parameters
    ----------
    candidates : Table
        With `p_lens`, at the survey's prior.
    area : float
        Sky that was searched [deg^2], if known.

    Returns
    -------
    dict
        ``expected_purity``: the sum of `p_lens` over the length of the list, and ``expected_lenses``, that sum;
        where the area is known ``searched_deg2`` and ``false_positives_per_deg2``, the others over the area. Empty
        for an empty list.
    """
    p = np.asarray(candidates["p_lens"], float)
    p = p[np.isfinite(p)]
    if not len(p):
        return {}
    result = {"expected_purity": float(p.mean()), "expected_lenses": float(p.sum())}
    if np.isfinite(area) and area > 0:
        result |= {"searched_deg2": float(area), "false_positives_per_deg2": float((1 - p).sum() / area)}
    return result


def describe_purity(promise: Mapping[str, float], count: int, prior: float) -> str:
    """Return `expect_purity` of `count` candidates in a sentence; `prior` is the share of lenses among all objects."""
    text = (
        f"expected purity of the {count:,} candidates: {promise['expected_purity']:.2g}, that is "
        f"{promise['expected_lenses']:.2g} lenses, if one object in {round(1 / prior):,} is one and the sky is as "
        "the training set"
    )
    if "searched_deg2" in promise:
        text += (
            f"; {promise['false_positives_per_deg2']:.3g} false positives per deg^2 in "
            f"{promise['searched_deg2']:.3g} deg^2"
        )
    return text
