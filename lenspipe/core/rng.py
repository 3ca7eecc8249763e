"""Counter-based random streams: sample k is the same whatever the batch, worker or device.

Each stream is a Philox generator (Salmon et al. 2011) keyed by a `numpy.random.SeedSequence` of
(seed, purpose, sample id), so that no two samples or purposes share numbers and no state is carried
from one sample to the next.
"""

from __future__ import annotations

import hashlib

import numpy as np


def _purpose_key(purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")


def stream(seed: int, purpose: str, sample_id: int = 0) -> np.random.Generator:
    """Return the random generator of one sample for one purpose.

    Parameters
    ----------
    seed : int
        The run's seed, >= 0.
    purpose : str
        What the numbers are for, e.g. ``"population"`` or ``"noise"``.
    sample_id : int
        The sample's number, >= 0.
    """
    entropy = [int(seed), _purpose_key(purpose), int(sample_id)]
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


def derive_seed(seed: int, purpose: str) -> int:
    """Return a 31-bit seed for a library that takes one integer (Keras, scikit-learn)."""
    return int(stream(seed, purpose).integers(0, 2**31 - 1))
