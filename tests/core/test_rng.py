from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.core.rng import derive_seed, stream


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_stream_is_its_key_and_nothing_else(seed, sample):
    first = stream(seed, "noise", sample).random(4)
    stream(seed, "noise", sample + 1).random(100)
    assert np.array_equal(first, stream(seed, "noise", sample).random(4))
    assert not np.array_equal(first, stream(seed, "noise", sample + 1).random(4))
    assert not np.array_equal(first, stream(seed, "population", sample).random(4))


def test_samples_do_not_repeat():
    # seeds from a small space repeat images (traps.md, 18)
    draws = {stream(1, "population", k).integers(2**62) for k in range(20_000)}
    assert len(draws) == 20_000


def test_derived_seeds_fit_any_library():
    seeds = {derive_seed(1, f"fold-{k}") for k in range(100)}
    assert len(seeds) == 100
    assert all(0 <= seed < 2**31 for seed in seeds)
