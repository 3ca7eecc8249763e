"""Counter-based random streams: sample k is the same whatever the batch, worker or device.

Two kinds, both keyed by (seed, purpose, sample id), so that no two samples or purposes share numbers and
no state is carried from one sample to the next. `stream` is a numpy generator (Philox, Salmon et al. 2011)
for one sample. `uniforms` gives the numbers of many samples at once from integer arithmetic alone:
the output function of SplitMix64 (Steele, Lea & Flood 2014) of the sample's key and the number's place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64's increment, the odd number nearest to 2^64 / phi
_SHIFTS = tuple(np.uint64(k) for k in (30, 27, 31, 12))
_FACTORS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


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


def stream_keys(seed: int, purpose: str, sample_ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the 64-bit key (n,) of each sample's numbers for one purpose, for `uniform_at`."""
    start = np.uint64(_purpose_key(f"{int(seed)}/{purpose}"))
    return mix(mix(np.asarray(sample_ids, dtype=np.int64).astype(np.uint64) * _GOLDEN + start))


def uniform_at(keys: np.ndarray, place: np.ndarray | int) -> np.ndarray:
    """Return the numbers at `place` (0, 1, ...) of the streams with `keys`, float64 inside (0, 1).

    The two broadcast; no number depends on any other.
    """
    place = np.atleast_1d(np.asarray(place, dtype=np.int64)).astype(np.uint64)  # scalars warn of overflow
    counter = mix((place + np.uint64(1)) * _GOLDEN)
    bits = mix(keys ^ counter) >> _SHIFTS[3]  # 52: with the half, none is rounded to 1
    return (bits.astype(np.float64) + 0.5) * 2.0**-52


def uniforms(seed: int, purpose: str, sample_ids: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Return the first `count` uniform numbers of every sample, float64 (n, count) inside (0, 1)."""
    return uniform_at(stream_keys(seed, purpose, sample_ids)[:, None], np.arange(count))


def mix(state: np.ndarray) -> np.ndarray:
    """Return SplitMix64's output for states (uint64): a bijection in which each bit depends on every bit."""
    state = (state ^ (state >> _SHIFTS[0])) * _FACTORS[0]
    state = (state ^ (state >> _SHIFTS[1])) * _FACTORS[1]
    return state ^ (state >> _SHIFTS[2])
