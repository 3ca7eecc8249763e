"""Each object of the sky once, however many tiles show it."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from lenspipe.catalog.cells import image_noise
from lenspipe.core.schema import Flag
from lenspipe.imaging.astrometry import sky_cells

#: What an image may be blamed for.
_BLEMISHES = (Flag.PADDED, Flag.MASKED, Flag.SATURATED)
#: Two images of an object are not farther apart than this [radius]: positions may scatter by half of it.
_SCATTER = 0.6
#: Costs [squares of the radius]: of a match beyond the scatter, and of having none. Any number of matches within
#: the scatter comes before one beyond it, that before the distances; all are far from float64's limits.
_DOUBTFUL, _ALONE = 1e9 - 1e4, 1e9
#: Detections matched in one go.
_BATCH = 256


def merge_detections(table: Table, radius: float) -> Table:
    """Return the table with `Flag.DUPLICATE` on all but the best row of each object, and each row's sky cell.

    Detections in different tiles closer than `radius` are one object; two detections in one tile never are,
    since that tile's image tells them apart. Where both rules meet (close pairs), the tiles are laid over each
    other one by one: as many detections as possible find a counterpart within the usual scatter (0.6 radii), as
    many of the others as possible one within `radius`, at the least sum of squared distances, and the rest are
    objects of their own. The tile that separates most objects comes first. So where one tile shows them all,
    its list is the result, whatever their separations, as long as no position is off by more than 0.3 radii;
    where none does (all end within a radius or so), close neighbours of different tiles may be taken for one.
    Every duplicate lies within `radius` of another row of its object.

    The best row is that of the image with the fewest blemishes (padded, masked, saturated); then of the lowest
    noise around the object (`cells.image_noise`: one image serves a whole cell of the sky, so that neighbours are
    seen alike); then of the highest signal-to-noise (`snr`, or the best of `snr_<band>`); then the first by tile
    and object_id. The distance to the tile's edge does not count: a stamp that reaches beyond it is padded, and
    one that does not is as good as any. In close pairs all rows are from one tile where it has them. The result
    depends neither on the order of rows nor on that of tiles.

    Parameters
    ----------
    table : Table
        With `ra`, `dec` (deg, NaN = no sky position: never merged), `tile`, `object_id`, `flags`.
    radius : float
        arcsec.

    Returns
    -------
    Table
        A copy in the same order with the column `healpix`; the bit is cleared on rows that are best or alone.
    """
    out = table.copy()
    cell = sky_cells(table["ra"], table["dec"])
    duplicate = _find_duplicates(table, cell, radius)
    flags = np.asarray(out["flags"], dtype="i4")
    out["flags"] = np.where(duplicate, flags | int(Flag.DUPLICATE), flags & ~int(Flag.DUPLICATE)).astype("i4")
    for attribute in ("description", "meta"):
        setattr(out["flags"].info, attribute, getattr(table["flags"].info, attribute))
    out["healpix"] = cell
    return out


def _find_duplicates(table: Table, cell: np.ndarray, radius: float) -> np.ndarray:
    duplicate = np.zeros(len(table), dtype=bool)
    tile = np.unique(np.asarray(table["tile"], dtype=str), return_inverse=True)[1]
    pairs, distance = _near_pairs(table, np.flatnonzero(cell >= 0), radius)
    apart = tile[pairs[:, 0]] != tile[pairs[:, 1]]
    if not apart.any():
        return duplicate
    # from here on a row is one that has a neighbour in another tile, and its number is its rank: 0 is the best
    rows = np.unique(pairs[apart])
    rows = rows[_best_first(table[rows], tile[rows], image_noise(table, tile, cell)[rows])]
    rank = np.empty(len(table), dtype=int)
    rank[rows] = np.arange(len(rows))
    pairs, cost = rank[pairs[apart]], (distance[apart] / radius) ** 2
    patch = _join(pairs, len(rows))
    turn, crowded = _take_turns(patch, tile[rows])
    found = np.where(crowded, -1, patch)
    _lay_over(found, np.where(crowded, turn, -1), pairs, cost)
    order = np.lexsort((np.where(crowded, turn, 0), found))  # stable: the best first where turns do not count
    duplicate[rows[order[1:]]] = found[order[1:]] == found[order[:-1]]
    return duplicate


def _near_pairs(table: Table, placed: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs (m, 2) of rows closer than `radius` [arcsec], and their distances [arcsec]."""
    ra, dec = (np.radians(np.asarray(table[name], dtype=float)[placed]) for name in ("ra", "dec"))
    place = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    arcsec = np.radians(1 / 3600)
    pairs = cKDTree(place).query_pairs(2 * np.sin(0.5 * radius * arcsec), output_type="ndarray")
    chord = np.sqrt(((place[pairs[:, 0]] - place[pairs[:, 1]]) ** 2).sum(axis=1))
    return placed[pairs], 2 * np.arcsin(0.5 * chord) / arcsec


def _join(pairs: np.ndarray, n_rows: int) -> np.ndarray:
    """Return the number of each row's patch: all that hangs together through pairs."""
    links = coo_array((np.ones(len(pairs), dtype="i1"), (pairs[:, 0], pairs[:, 1])), shape=(n_rows, n_rows))
    return connected_components(links, directed=False)[1]


def _take_turns(patch: np.ndarray, tile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the turn of each row's tile in its patch, and whether any tile has two rows in the patch.

    The tile with most rows comes first; among equals the one whose worst row is the best.
    """
    _, group = np.unique(patch * (tile.max() + 1) + tile, return_inverse=True)
    count = np.bincount(group)
    worst, where = np.empty(len(count), dtype=int), np.empty(len(count), dtype=int)
    worst[group], where[group] = np.arange(len(group)), patch  # of equal indices the last one stays
    order = np.lexsort((worst, -count, where))
    start = np.flatnonzero(np.r_[True, np.diff(where[order]) != 0])
    turn = np.empty(len(count), dtype=int)
    turn[order] = np.arange(len(count)) - np.repeat(start, np.diff(np.r_[start, len(count)]))
    crowded = np.zeros(patch.max() + 1, dtype=bool)
    crowded[where[count > 1]] = True
    return turn[group], crowded[patch]


def _lay_over(found: np.ndarray, turn: np.ndarray, pairs: np.ndarray, cost: np.ndarray) -> None:
    """Fill in the numbers of the objects of rows with a turn >= 0: each turn's rows are matched to what is there.

    All patches take the same turn at once: they do not touch each other.
    """
    swap = turn[pairs[:, 0]] < turn[pairs[:, 1]]
    later, earlier = np.where(swap[:, None], pairs[:, ::-1], pairs).T
    by_turn = np.argsort(turn[later], kind="stable")
    later, earlier, cost = later[by_turn], earlier[by_turn], cost[by_turn]
    for t in range(turn.max(initial=-1) + 1):
        now = slice(*np.searchsorted(turn[later], [t, t + 1]))
        row, match = _match(later[now], found[earlier[now]], cost[now])
        found[row] = match
        alone = np.flatnonzero((turn == t) & (found < 0))
        found[alone] = len(found) + alone  # other numbers than those of patches


def _match(row: np.ndarray, number: np.ndarray, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and the objects' numbers that go together."""
    if not len(row):
        return row, number
    order = np.lexsort((cost, number, row))  # an object may be near through several of its rows
    nearest = order[np.r_[True, (np.diff(row[order]) != 0) | (np.diff(number[order]) != 0)]]
    rows, i = np.unique(row[nearest], return_inverse=True)
    numbers, j = np.unique(number[nearest], return_inverse=True)
    # what hangs together is matched together; the solver's time goes with the square of the problem
    clump = _join(np.stack([i, len(rows) + j], axis=1), len(rows) + len(numbers))[: len(rows)]
    before = np.cumsum(np.r_[0, np.bincount(clump)])
    batch = (before[:-1] // _BATCH)[clump[i]]
    order = np.argsort(batch, kind="stable")
    batches = np.split(order, np.flatnonzero(np.diff(batch[order])) + 1)
    found = [_assign(i[part], j[part], cost[nearest][part]) for part in batches]
    i, j = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows[i], numbers[j]


def _assign(i: np.ndarray, j: np.ndarray, cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges (i, j) of the best matching: most within the scatter, then most, then cheapest."""
    rows, i = np.unique(i, return_inverse=True)
    columns, j = np.unique(j, return_inverse=True)
    own = np.arange(len(rows))  # each row may also stay alone
    cost = cost + np.where(cost <= _SCATTER**2, 1.0, _DOUBTFUL)  # 1: no edge may weigh nothing
    weights = np.r_[cost, np.full(len(rows), _ALONE)]
    edges = csr_array(
        (weights, (np.r_[i, own], np.r_[j, len(columns) + own])), shape=(len(rows), len(columns) + len(rows))
    )
    i, j = min_weight_full_bipartite_matching(edges)
    matched = j < len(columns)
    return rows[i[matched]], columns[j[matched]]


def _best_first(table: Table, tile: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return the order of rows from best to worst; ties are settled by what the rows say, not by order."""
    flags = np.asarray(table["flags"], dtype=int)
    blemishes = sum((flags & int(flag) != 0).astype(int) for flag in _BLEMISHES)
    keys = [blemishes, noise, _descending(_best_snr(table)), tile, np.asarray(table["object_id"], dtype=str)]
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


def _descending(values: np.ndarray) -> np.ndarray:
    """Return sort keys for largest first, with NaN last."""
    return np.where(np.isnan(values), np.inf, -values)
