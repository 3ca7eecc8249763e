"""Which stamps an epoch shows to the network: each once, classes in balance, or the hard ones more often."""

from __future__ import annotations

import numpy as np

from lenspipe.core.rng import stream

#: An example is at most so many times more likely to be drawn than a usual one: labels may be wrong.
_MOST_HARD = 20.0


def draw_rows(
    rows: np.ndarray,
    classes: np.ndarray,
    hardness: np.ndarray,
    seed: int,
    epoch: int,
    balance: bool = False,
    hard_share: float = 0.0,
) -> np.ndarray:
    """Return the rows of one epoch in their order, as many as there are.

    Depends on (seed, epoch) and the hardness alone, so that a training that was killed goes on alike.

    Parameters
    ----------
    rows : ndarray (n,), int
        The training stamps.
    classes, hardness : ndarray (n,)
        Class and last known loss of each; NaN where it is not known yet.
    balance : bool
        All classes equally often; the rarer ones are repeated.
    hard_share : float
        Share of the epoch that is drawn with a probability proportional to the loss (Katharopoulos & Fleuret 2018),
        within each class; the rest is drawn evenly.
    """
    rng = stream(seed, "shuffle", epoch)
    if not balance and hard_share == 0.0:
        return rng.permutation(rows)
    found, sizes = np.unique(classes, return_counts=True)
    if balance:  # as equal as whole numbers allow
        sizes = np.diff(np.linspace(0, len(rows), len(found) + 1).astype(int))
    drawn = []
    for label, size in zip(found, sizes, strict=True):
        mine = np.flatnonzero(classes == label)
        hard = round(hard_share * size)
        drawn += [rows[_evenly(mine, size - hard, rng)], rows[_by_loss(mine, hardness, hard, rng)]]
    return rng.permutation(np.concatenate(drawn))


def _evenly(mine: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` of them, none more than once more often than another."""
    repeats = -(-count // len(mine))
    return np.concatenate([rng.permutation(mine) for _ in range(repeats)])[:count] if count else mine[:0]


def _by_loss(mine: np.ndarray, hardness: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    loss = hardness[mine]
    known = np.isfinite(loss)
    usual = float(np.mean(loss[known])) if known.any() and np.any(loss[known] > 0) else 1.0
    weight = np.where(known, np.clip(loss / usual, 1e-3, _MOST_HARD), 1.0)
    return rng.choice(mine, count, p=weight / weight.sum())
