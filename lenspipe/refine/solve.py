"""Least squares for many small problems at once: Levenberg and Marquardt's steps, each problem with its own damping."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lenspipe.refine.parameters import NAMES, STEPS, Prior, hold_in_range

#: Of vectors (m, parameters) and the problem that each belongs to (m,): weighted residuals (m, pixels).
Residuals = Callable[[np.ndarray, np.ndarray], np.ndarray]
#: A step that gains less than this in chi squared ends a fit.
_ENOUGH = 0.02
_ITERATIONS = 40
_FIRST_DAMPING, _EASIER, _HARDER, _HOPELESS = 1e-2, 0.2, 8.0, 1e7


@dataclass(frozen=True)
class Solution:
    """Of n problems: the best `vector` (n, parameters), its `cost` (chi squared, priors included) and `chi2` without,
    the `curvature` (n, parameters, parameters), half the Hessian of the cost, and who `converged` (n,)."""

    vector: np.ndarray
    cost: np.ndarray
    chi2: np.ndarray
    curvature: np.ndarray
    converged: np.ndarray


def solve(
    residuals: Residuals,
    start: np.ndarray,
    prior: Prior,
    free: Sequence[str] = NAMES,
    iterations: int = _ITERATIONS,
) -> Solution:
    """Minimise chi squared plus the priors' misfit for each of n problems, from `start` (n, parameters).

    Derivatives are central differences, of all problems and parameters in one call of `residuals`; the parameters that
    are not `free` stay. A problem's answer does not depend on the others.
    """
    vector = hold_in_range(start)
    count, place = len(vector), np.array([NAMES.index(name) for name in free])
    everyone = np.arange(count)
    flat = residuals(vector, everyone)
    chi2 = _squares(flat)
    cost = chi2 + _squares(prior.misfit(vector)[:, place])
    damping, converged = np.full(count, _FIRST_DAMPING), np.zeros(count, bool)
    curvature, gradient = np.zeros((count, len(place), len(place))), np.zeros((count, len(place)))
    stale, active = np.ones(count, bool), np.arange(count)
    for _ in range(iterations):
        rows = active[stale[active]]
        if len(rows):
            curvature[rows], gradient[rows] = _linearise(residuals, vector, flat, rows, place, prior)
            stale[rows] = False
        damped = curvature[active].copy()
        diagonal = np.einsum("nkk->nk", damped)
        diagonal *= 1.0 + damping[active, None]
        step = np.linalg.solve(damped, gradient[active, :, None])[..., 0]
        trial = vector[active].copy()
        trial[:, place] += step
        trial = hold_in_range(trial)
        tried = residuals(trial, active)
        tried_chi2 = _squares(tried)
        tried_cost = tried_chi2 + _squares(prior.take(active).misfit(trial)[:, place])
        gain, used = cost[active] - tried_cost, damping[active].copy()
        better = gain > 0
        won = active[better]
        vector[won], flat[won] = trial[better], tried[better]
        chi2[won], cost[won], stale[won] = tried_chi2[better], tried_cost[better], True
        damping[won] *= _EASIER
        damping[active[~better]] *= _HARDER
        # little gained by a step that was held back says nothing
        little = better & (gain < _ENOUGH) & (used <= 1.0)
        converged[active[little | (damping[active] > _HOPELESS)]] = True
        active = np.flatnonzero(~converged)
        if not len(active):
            break
    last = np.flatnonzero(stale)
    if len(last):
        curvature[last], _ = _linearise(residuals, vector, flat, last, place, prior)
    whole = np.zeros((count, len(NAMES), len(NAMES)))
    whole[np.ix_(everyone, place, place)] = curvature
    return Solution(vector, cost, chi2, whole, converged)


def _linearise(
    residuals: Residuals,
    vector: np.ndarray,
    flat: np.ndarray,
    rows: np.ndarray,
    place: np.ndarray,
    prior: Prior,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the curvature (m, k, k) of some problems and their downhill gradient (m, k)."""
    steps = np.zeros((len(place), vector.shape[1]))
    steps[np.arange(len(place)), place] = STEPS[place]
    owner = np.repeat(rows, len(place))
    ahead, behind = (
        residuals((vector[rows, None] + sign * steps).reshape(-1, vector.shape[1]), owner) for sign in (1, -1)
    )
    slope = (ahead - behind).reshape(len(rows), len(place), -1) / (2 * STEPS[place])[:, None]
    curvature = np.einsum("nkp,njp->nkj", slope, slope, dtype=np.float64)
    gradient = -np.einsum("nkp,np->nk", slope, flat[rows], dtype=np.float64)
    mine = prior.take(rows)
    curvature[:, np.arange(len(place)), np.arange(len(place))] += mine.sigma[:, place] ** -2.0 + 1e-12
    gradient -= (mine.misfit(vector[rows]) / mine.sigma)[:, place]
    return curvature, gradient


def _squares(values: np.ndarray) -> np.ndarray:
    return np.einsum("np,np->n", values, values, dtype=np.float64)
