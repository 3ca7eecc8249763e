"""Galaxies that a lens could be, and the velocity dispersions that their stars then have.

Slope, anisotropy and light of a single galaxy are seldom known: a grid of galaxies, each with its weight, stands for
the population's scatter, and is gathered to few values of sigma, since a likelihood asks for nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lenspipe.lensing.kinematics import is_physical, log_shape

#: Mean and scatter of ``alpha``, ``beta`` and ``delta``, each (n,).
Structure = Mapping[str, tuple[np.ndarray, np.ndarray]]

#: Nodes in anisotropy and in the light's slope where the least relative error of a sigma is more than `_SMALL`, and
#: where it is less; fewest and most in alpha, and how densely they lie, in that error (d ln sigma / d alpha is about
#: 1 at most).
_OTHER_NODES, _SMALL, _ALPHA_NODES, _ALPHA_DENSITY = (5, 9), 0.04, (17, 201), 0.6
#: Values of ln sigma that a lens's own are gathered to lie so densely, in the least relative error of a sigma; fewest
#: and most of them.
_DENSITY, _GATHERED = 0.2, (24, 400)
#: Galaxies rarer than this are left out, and what lies farther off than so many standard deviations is drawn in: sigma
#: diverges where light hardly falls off, and a grid must not reach there for a ten-thousandth of the galaxies.
_RARE, _FARTHEST = 1e-6, 6.0
_REACH = 4.0  # standard deviations
#: Galaxies of all lenses that are looked at together: some 20 MB an array, of which there are about ten.
_AT_ONCE = 2_500_000


def gather_factors(
    structure: Structure, reach: np.ndarray, seeing: np.ndarray, error: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return ln sigma over that of an SIS on an even grid of each lens, and the weight of each value, both (n, k).

    Lenses are taken in the order of their errors, so that only those of the smallest need the densest grids.

    Parameters
    ----------
    structure : Structure
        What is known of each lens's galaxy.
    reach : ndarray (n,)
        `kinematics.log_reach` of each lens.
    seeing : ndarray (n,) of bool
        Whether its aperture has a seeing.
    error : ndarray (n,)
        Relative errors of the measured sigma.
    """
    order, parts, start = np.argsort(error), [], 0
    while start < len(order):
        least = float(error[order[start]])
        counts = _count_nodes(structure, least)
        rows = order[start : start + max(1, _AT_ONCE // int(np.prod(counts)))]
        own = {name: (mean[rows], scatter[rows]) for name, (mean, scatter) in structure.items()}
        parts.append(_share(*_factors(*structures(own, counts), reach[rows], seeing[rows]), least))
        start += len(rows)
    size = max(weight.shape[1] for _, weight in parts)
    back = np.argsort(order)
    # values that weigh nothing fill the shorter ones
    filled = [np.vstack([np.pad(part[k], ((0, 0), (0, size - part[k].shape[1])), mode) for part in parts])[back]
              for k, mode in enumerate(("edge", "constant"))]  # fmt: skip
    return filled[0], filled[1]


def structures(structure: Structure, counts: tuple[int, ...]) -> tuple[list[np.ndarray], np.ndarray]:
    """Return nodes of alpha, beta and delta, each (n, k) or (1, k), and their weights; the unphysical weigh nothing."""
    values, weights = [], []
    for (mean, scatter), count in zip(structure.values(), counts, strict=True):
        if np.ptp(mean) == 0 and np.ptp(scatter) == 0:
            mean, scatter = mean[:1], scatter[:1]
        node, weight = _nodes(count)
        values.append(mean[:, None] + scatter[:, None] * node)
        weights.append(weight)
    shape = tuple(v.shape[1] for v in values)
    spread = [
        np.broadcast_to(
            v.reshape(len(v), *(shape[k] if k == axis else 1 for k in range(3))), (len(v), *shape)
        )
        for axis, v in enumerate(values)
    ]
    nodes = [v.reshape(len(v), -1) for v in spread]
    weight = (weights[0][:, None, None] * weights[1][:, None] * weights[2]).ravel()
    return nodes, np.where(is_physical(*nodes) & (weight > _RARE * weight.max()), weight, 0.0)


def _count_nodes(structure: Structure, least_error: float) -> tuple[int, ...]:
    """Return how many nodes alpha, beta and delta have; one if none scatters."""
    other = _OTHER_NODES[int(least_error < _SMALL)]
    wide = 2 * _REACH * float(np.max(structure["alpha"][1])) / (_ALPHA_DENSITY * least_error)
    most = {"alpha": int(np.clip(wide, *_ALPHA_NODES)), "beta": other, "delta": other}
    return tuple(most[name] if np.any(scatter > 0) else 1 for name, (_, scatter) in structure.items())


def _nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes in standard deviations and their weights (sum 1) of a Gaussian."""
    if count > max(_OTHER_NODES):  # even: errors may be much smaller than the scatter
        node = np.linspace(-_REACH, _REACH, count)
        weight = np.exp(-0.5 * node**2)
    else:
        node, weight = np.polynomial.hermite_e.hermegauss(count)
    return node, weight / weight.sum()


def _factors(
    nodes: list[np.ndarray], weight: np.ndarray, reach: np.ndarray, seeing: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    kept = slice(None) if len(weight) > 1 else np.flatnonzero(weight[0] > 0)
    parts = [values[:, kept] for values in (*nodes, weight)]
    values, weights = np.empty((len(reach), parts[0].shape[1])), np.empty((len(reach), parts[0].shape[1]))
    for with_seeing in (False, True):
        rows = np.flatnonzero(seeing == with_seeing)
        if len(rows):
            own = [v if len(v) == 1 else v[rows] for v in parts]
            shape = np.nan_to_num(log_shape(*own[:3], with_seeing))
            values[rows] = 0.5 * (shape + (1 - 0.5 * own[0]) * reach[rows, None])
            weights[rows] = own[3]
    return values, weights


def _share(values: np.ndarray, weight: np.ndarray, least_error: float) -> tuple[np.ndarray, np.ndarray]:
    """Return fewer values: what lies between two is shared by them, which keeps the mean (cloud in cell)."""
    total = weight.sum(axis=1)
    mean = np.sum(weight * values, axis=1) / total
    reach = _FARTHEST * np.sqrt(np.sum(weight * (values - mean[:, None]) ** 2, axis=1) / total)
    low = np.maximum(np.where(weight > 0, values, np.inf).min(axis=1), mean - reach)
    high = np.minimum(np.where(weight > 0, values, -np.inf).max(axis=1), mean + reach)
    count = int(np.clip(np.max(high - low) / (_DENSITY * least_error), *_GATHERED))
    step = np.maximum(high - low, 1e-9) / (count - 1)
    place = np.clip((values - low[:, None]) / step[:, None], 0, count - 1)
    left = np.minimum(place.astype(np.int64), count - 2)
    right, first = place - left, np.arange(len(values))[:, None] * count
    size = len(values) * count
    out = np.bincount((first + left).ravel(), (weight * (1 - right)).ravel(), size)
    out += np.bincount((first + left + 1).ravel(), (weight * right).ravel(), size)
    out = out.reshape(len(values), count)
    return low[:, None] + step[:, None] * np.arange(count), out / out.sum(axis=1, keepdims=True)
