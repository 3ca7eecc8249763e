"""How unlike its training stamps a network finds a stamp: the distance of its features from theirs.

Error bars of networks do not grow enough off their training distribution (Caldeira & Nord 2020), so that it is asked
for separately (Lee et al. 2018, NeurIPS 31, eq. 2, with one class).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from sklearn.covariance import ledoit_wolf

from lenspipe.core.errors import InputError
from lenspipe.io.files import replacing

#: Share of held-out training-like stamps that are more unlike than novelty 1.
UNUSUAL = 0.01


@dataclass(frozen=True)
class Familiarity:
    """What one network knows of its training stamps' features.

    Parameters
    ----------
    center : ndarray (f,), float32
        Mean.
    basis : ndarray (f, f), float32
        Takes features about the mean to ones without correlations, of variance 1 (Mahalanobis).
    edge : float
        Distance beyond which lies one in a hundred of the stamps held out.
    """

    center: np.ndarray
    basis: np.ndarray
    edge: float

    def novelty(self, features: np.ndarray) -> np.ndarray:
        """Return the distance of features (n, f) in units of the edge (n,), float64: above 1 = unlike the training."""
        return _distance(features, self.center, self.basis) / self.edge


def learn_features(train: np.ndarray, held_out: np.ndarray) -> Familiarity:
    """Return what is known of a network's features (n, f) of training stamps, calibrated on those held out.

    The covariance is shrunk as Ledoit & Wolf 2004 have it: features of positive numbers are often all but one number.
    """
    train = np.asarray(train, np.float64)
    scale = np.maximum(train.std(axis=0), 1e-6 * max(float(train.std()), 1e-12))
    center = train.mean(axis=0)
    covariance, _ = ledoit_wolf((train - center) / scale, assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    basis = (vectors / np.sqrt(np.maximum(values, 1e-9))) / scale[:, None]
    center, basis = center.astype(np.float32), basis.astype(np.float32)
    return Familiarity(
        center, basis, float(np.quantile(_distance(held_out, center, basis), 1 - UNUSUAL)) or 1.0
    )


def _distance(features: np.ndarray, center: np.ndarray, basis: np.ndarray) -> np.ndarray:
    # one row at a time for each sum, so that a stamp's answer does not depend on its neighbours
    white = np.einsum("nf,fk->nk", np.asarray(features, np.float64) - center, basis.astype(np.float64))
    return np.sqrt((white**2).sum(axis=1))


def save_familiarity(familiarity: Familiarity, path: str | Path) -> None:
    """Write it atomically (.npz)."""
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(
            handle, center=familiarity.center, basis=familiarity.basis, edge=np.float64(familiarity.edge)
        )


def load_familiarity(path: str | Path) -> Familiarity:
    """Return what `save_familiarity` wrote; `InputError` if it is missing, damaged or of impossible shapes."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = Familiarity(file["center"], file["basis"], float(file["edge"]))
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"{path} cannot be read: {error}; copy the whole bundle or train it again") from None
    width = len(found.center) if found.center.ndim == 1 else -1
    if found.basis.shape != (width, width) or not found.edge > 0:
        raise InputError(f"{path} does not hold what a network knows of its training stamps; train it again")
    return found


def mean_novelty(familiar: Sequence[Familiarity], features: Sequence[np.ndarray]) -> np.ndarray:
    """Return the mean novelty (n,) over networks; NaN where they know nothing of their training."""
    if not familiar:
        return np.full(len(features[0]), np.nan)
    return np.mean([one.novelty(of) for one, of in zip(familiar, features, strict=True)], axis=0)
