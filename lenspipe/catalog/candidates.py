"""Rank and name what is left after merging."""

from __future__ import annotations

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
