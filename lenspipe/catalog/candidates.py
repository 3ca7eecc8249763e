"""Merge what several tiles saw of one object, and rank what is left."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.table import Table
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lenspipe.core.names import iau_name, unique_names
from lenspipe.core.schema import Flag


def merge_detections(table: Table, radius: float) -> Table:
    """Return the table with `Flag.DUPLICATE` on all but the best row of each object seen more than once.

    Detections in different tiles closer than `radius` are one object; friends of friends form one group.
    Two detections in the same tile are never joined by themselves: that tile's image tells them apart.
    The best row is the one farthest from its tile's edge (column `edge_distance`, where there is one),
    then of highest signal-to-noise (`snr`, or the best of `snr_<band>`), then first by tile and object_id.
    The result does not depend on the order of the rows.

    Parameters
    ----------
    table : Table
        With `ra`, `dec` (deg, NaN = no sky position: never merged), `tile`, `object_id`, `flags`.
    radius : float
        arcsec.

    Returns
    -------
    Table
        A copy in the same order; the bit is cleared on rows that are best or alone.
    """
    out = table.copy()
    group = _sky_groups(table, radius)
    order = _best_first(table)
    _, first = np.unique(group[order], return_index=True)
    duplicate = np.ones(len(table), dtype=bool)
    duplicate[order[first]] = False
    flags = np.asarray(out["flags"], dtype="i4")
    out["flags"] = np.where(duplicate, flags | int(Flag.DUPLICATE), flags & ~int(Flag.DUPLICATE)).astype("i4")
    for attribute in ("description", "meta"):
        setattr(out["flags"].info, attribute, getattr(table["flags"].info, attribute))
    return out


def _sky_groups(table: Table, radius: float) -> np.ndarray:
    """Return the number of each row's group; a row that matches nothing is a group of its own."""
    n_rows = len(table)
    ra, dec = np.asarray(table["ra"], dtype=float), np.asarray(table["dec"], dtype=float)
    placed = np.flatnonzero(np.isfinite(ra) & (np.abs(dec) <= 90))
    if len(placed) < 2:
        return np.arange(n_rows)
    sky = SkyCoord(ra[placed], dec[placed], unit="deg")
    i, j, _, _ = search_around_sky(sky, sky, radius * u.arcsec)
    i, j = placed[i], placed[j]
    tile = np.asarray(table["tile"], dtype=str)
    linked = tile[i] != tile[j]
    links = coo_array((np.ones(linked.sum(), dtype="i1"), (i[linked], j[linked])), shape=(n_rows, n_rows))
    return connected_components(links, directed=False)[1]


def _best_first(table: Table) -> np.ndarray:
    """Return the order of rows from best to worst; ties are settled by what the rows say, not by order."""
    edge = np.asarray(table["edge_distance"], float) if "edge_distance" in table.colnames else 0.0
    keys = [np.broadcast_to(_descending(edge), len(table)), _descending(_best_snr(table))]
    keys += [np.asarray(table[name], dtype=str) for name in ("tile", "object_id")]
    keys += [np.asarray(table[name], dtype=float) for name in ("ra", "dec")]
    return np.lexsort(keys[::-1])


def _best_snr(table: Table) -> np.ndarray:
    if "snr" in table.colnames:
        return np.asarray(table["snr"], dtype=float)
    best = np.full(len(table), -np.inf)
    for name in table.colnames:
        if name.startswith("snr_"):
            best = np.fmax(best, np.asarray(table[name], dtype=float))
    return best


def _descending(values) -> np.ndarray:
    """Return sort keys for largest first, with NaN last."""
    return np.where(np.isnan(values), np.inf, -np.asarray(values, dtype=float))


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
