from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lenspipe.core.rng import derive_seed, mix, stream, stream_keys, uniform_at, uniforms


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


def test_the_mixer_is_splitmix64():
    # the first five outputs of the reference implementation (Vigna) seeded with 1234567
    state = np.uint64(1234567) + np.arange(1, 6).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    expected = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    assert mix(state).tolist() == expected


@given(st.integers(0, 2**60), st.integers(0, 2**40))
def test_many_samples_have_the_numbers_that_one_has(seed, first):
    ids = first + np.arange(5)
    together = uniforms(seed, "lens", ids, 7)
    assert np.array_equal(together[3], uniforms(seed, "lens", [ids[3]], 7)[0])
    assert np.array_equal(together[:, 6], uniform_at(stream_keys(seed, "lens", ids), 6))
    for other in (uniforms(seed + 1, "lens", ids, 7), uniforms(seed, "noise", ids, 7)):
        assert not np.any(np.isin(other, together))


def test_uniform_numbers_are_uniform_and_independent():
    u = uniforms(7, "test", np.arange(100_000), 8)
    assert u.min() > 0.0
    assert u.max() < 1.0
    for column in u.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    correlation = np.corrcoef(np.stack([*u[1:].T, *u[:-1].T]))  # of a sample and the one before
    assert np.max(np.abs(correlation - np.eye(16))) < 5 / 100_000**0.5
    pairs, _, _ = np.histogram2d(u[:, 0], u[:, 1], bins=32, range=[[0, 1], [0, 1]])
    assert stats.chisquare(pairs.ravel()).pvalue > 1e-4
    assert len(np.unique(u)) == u.size


def test_no_number_is_zero_or_one(monkeypatch):
    for bits in (0, 2**64 - 1):
        monkeypatch.setattr(
            "lenspipe.core.rng.mix", lambda state, bits=bits: np.full(1, bits, dtype=np.uint64)
        )
        assert 0.0 < uniform_at(np.zeros(1, dtype=np.uint64), 0)[0] < 1.0
