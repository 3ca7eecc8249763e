"""How unlike its training stamps a network finds a stamp: the distance of its features from theirs.

Error bars of networks do not grow enough off their training distribution (Caldeira & Nord 2020), so that it is asked
for separately (Lee et al. 2018, NeurIPS 31, eq. 2, with one class).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from sklearn.covariance import ledoit_wolf

from lenspipe.core.errors import InputError
from lenspipe.io.files import replacing

#: Share of held-out training-like stamps that are more unlike than novelty 1.
UNUSUAL = 0.01
#: In so many directions the features' spread is known each by itself.
_DIRECTIONS = 256


@dataclass(frozen=True)
class Familiarity:
    """What one network knows of its training stamps' features.

    Parameters
    ----------
    center, scale : ndarray (f,), float32
        Mean and standard deviation of each feature.
    directions : ndarray (f, r), float32
        In which the scaled features vary most, orthonormal.
    spread : ndarray (r,), float32
        By how much.
    rest : float
        Variance in each of the other directions; 0 = there are none.
    edge : float
        Distance beyond which lies one in a hundred of the stamps held out.
    """

    center: np.ndarray
    scale: np.ndarray
    directions: np.ndarray
    spread: np.ndarray
    rest: float
    edge: float = 1.0

    def novelty(self, features: np.ndarray) -> np.ndarray:
        """Return the distance of features (n, f) in units of the edge (n,), float64: above 1 = unlike the training."""
        scaled = (np.asarray(features, np.float64) - self.center) / self.scale
        # not by BLAS, which sums in another order for other numbers of stamps
        along = np.einsum("nf,fr->nr", scaled, self.directions.astype(np.float64))
        square = np.square(along / self.spread).sum(axis=1)
        if self.rest > 0:
            beside = np.square(scaled).sum(axis=1) - np.square(along).sum(axis=1)
            square = square + np.maximum(beside, 0.0) / self.rest
        return np.sqrt(square) / self.edge


def learn_features(train: np.ndarray, held_out: np.ndarray) -> Familiarity:
    """Return what is known of a network's features (n, f) of training stamps, calibrated on those held out.

    The distance is Mahalanobis'. The covariance is shrunk as Ledoit & Wolf 2004 have it: features of positive numbers
    are often all but one number. Beyond `_DIRECTIONS` of them the others count as alike (Tipping & Bishop 1999).
    """
    train = np.asarray(train, np.float64)
    scale = np.maximum(train.std(axis=0), 1e-6 * max(float(train.std()), 1e-12))
    center = train.mean(axis=0)
    covariance, _ = ledoit_wolf((train - center) / scale, assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    most = slice(max(0, len(values) - _DIRECTIONS), None)
    others = np.maximum(values[: most.start], 1e-9)
    parts = (center, scale, vectors[:, most], np.sqrt(np.maximum(values[most], 1e-9)))
    known = Familiarity(
        *(part.astype(np.float32) for part in parts), float(others.mean()) if len(others) else 0.0
    )
    return replace(known, edge=float(np.quantile(known.novelty(held_out), 1 - UNUSUAL)) or 1.0)


def save_familiarity(familiarity: Familiarity, path: str | Path) -> None:
    """Write it atomically (.npz)."""
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **vars(familiarity))


def load_familiarity(path: str | Path) -> Familiarity:
    """Return what `save_familiarity` wrote; `InputError` if it is missing, damaged or of impossible shapes."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in Familiarity.__annotations__}
            numbers = {name: float(arrays.pop(name)) for name in ("rest", "edge")}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"{path} cannot be read: {error}; copy the whole bundle or train it again") from None
    found = Familiarity(**arrays, **numbers)
    shape = found.directions.shape
    shapes = (found.center.shape, found.scale.shape, found.spread.shape)
    if len(shape) != 2 or shapes != ((shape[0],), (shape[0],), (shape[1],)) or not found.edge > 0:
        raise InputError(f"{path} does not hold what a network knows of its training stamps; train it again")
    return found


def mean_novelty(familiar: Sequence[Familiarity], features: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean novelty (n,) over networks; NaN where they know nothing of their training."""
    if not familiar:
        return np.full(len(features[0]), np.nan)
    return np.mean([one.novelty(of) for one, of in zip(familiar, features, strict=True)], axis=0)
