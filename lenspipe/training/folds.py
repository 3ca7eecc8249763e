"""Grouped, stratified k-fold: a group is never split between training and validation."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from sklearn.model_selection import StratifiedGroupKFold

from lenspipe.core.errors import InputError
from lenspipe.core.rng import derive_seed

#: Stamps whose positions are closer show one object, in two tiles or two training sets [arcsec]. In deep fields a
#: larger radius would find neighbours across every border, and join the whole sky to one group.
SAME_OBJECT = 1.0


def join_groups(
    group: np.ndarray, ra: np.ndarray, dec: np.ndarray, radius: float = SAME_OBJECT
) -> np.ndarray:
    """Return the groups, those joined that hold the same object.

    Tiles measure the position of one galaxy a little differently, and near a border into different cells.

    Parameters
    ----------
    group : ndarray (n,), int
    ra, dec : ndarray (n,)
        deg; NaN for what is not on the sky.
    radius : float
        Rows closer than this are the same object [arcsec].

    Returns
    -------
    ndarray (n,), int64
        The lowest of the groups that were joined.
    """
    names, member = np.unique(np.asarray(group, np.int64), return_inverse=True)
    placed = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not len(placed):
        return names[member]
    pairs = _sky_tree(ra, dec, placed).query_pairs(_chord(radius), output_type="ndarray")
    ends = member[placed[pairs]]
    links = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(names), len(names)))
    joined = connected_components(links, directed=False)[1]
    lowest = np.full(joined.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(lowest, joined, names)
    return lowest[joined][member]


def near_any(ra: np.ndarray, dec: np.ndarray, those: np.ndarray, radius: float = SAME_OBJECT) -> np.ndarray:
    """Tell which rows (n,) lie within `radius` [arcsec] of one of `those` (n,) bool; no position is near none."""
    ra, dec, those = np.asarray(ra, float), np.asarray(dec, float), np.asarray(those, bool)
    near = np.zeros(len(ra), bool)
    placed = np.isfinite(ra) & np.isfinite(dec)
    if (placed & those).any():
        tree = _sky_tree(ra, dec, np.flatnonzero(placed & those))
        near[placed] = tree.query(_sky_tree(ra, dec, np.flatnonzero(placed)).data)[0] <= _chord(radius)
    return near


def _sky_tree(ra: np.ndarray, dec: np.ndarray, rows: np.ndarray) -> cKDTree:
    lon, lat = np.radians(np.asarray(ra, float)[rows]), np.radians(np.asarray(dec, float)[rows])
    return cKDTree(np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1))


def _chord(radius: float) -> float:
    return 2 * np.sin(np.radians(radius / 7200))


def assign_folds(strata: np.ndarray, groups: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return the fold in which each sample is held out.

    Parameters
    ----------
    strata : ndarray (n,), int
        Class whose fractions each fold should keep; see `quantile_strata`.
    groups : ndarray (n,)
        Samples that share a host galaxy, a source or a sky cell.
    k : int
        Number of folds. 1 holds out a fifth of the groups once; the rest get fold -1.
    seed : int

    Raises
    ------
    InputError
        If there are fewer groups than folds.
    """
    n_groups = len(np.unique(groups))
    if k < 2 or n_groups < k:
        raise InputError(
            f"k-fold needs at least 2 folds and as many groups; asked for {k}, the data have {n_groups} groups"
        )
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=derive_seed(seed, "folds"))
    fold = np.full(len(strata), -1, np.int64)
    with warnings.catch_warnings():
        # a stratum smaller than k cannot be in each fold; which is no reason not to train
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        for index, (_, held_out) in enumerate(splitter.split(np.zeros(len(strata)), strata, groups)):
            if len(held_out) == 0:
                raise InputError(
                    f"fold {index} of {k} came out empty: too few groups ({n_groups}); use fewer folds"
                )
            fold[held_out] = index
    return np.where(fold < k, fold, -1)


def quantile_strata(values: np.ndarray, bins: int = 5) -> np.ndarray:
    """Return the quantile bin (0 ... bins - 1) of each value, to stratify a continuous target by."""
    edges = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(edges, values, side="right").astype(np.int64)
