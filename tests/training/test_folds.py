import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenspipe.core.errors import InputError
from lenspipe.imaging.astrometry import sky_groups
from lenspipe.training.folds import assign_folds, join_groups, quantile_strata


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 6), st.integers(12, 40), st.integers(1, 6))
def test_groups_are_never_split_and_each_sample_is_held_out_once(seed, k, n_groups, per_group):
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(n_groups), per_group))
    strata = rng.integers(0, 2, len(groups))
    fold = assign_folds(strata, groups, k, seed)
    assert set(fold) == set(range(k))
    for group in range(n_groups):
        assert len(set(fold[groups == group])) == 1


def test_classes_keep_their_fractions():
    rng = np.random.default_rng(0)
    strata = (rng.uniform(size=3000) < 0.2).astype(int)
    fold = assign_folds(strata, np.arange(3000), 5, seed=1)
    fractions = [strata[fold == k].mean() for k in range(5)]
    np.testing.assert_allclose(fractions, strata.mean(), atol=0.01)


def test_folds_depend_on_the_seed_alone():
    strata, groups = np.arange(100) % 2, np.arange(100)
    first, again, other = (assign_folds(strata, groups, 4, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_too_few_groups_are_refused():
    with pytest.raises(InputError, match="asked for 5, the data have 3 groups"):
        assign_folds(np.zeros(30, int), np.arange(30) % 3, 5, seed=0)


def test_strata_hold_equal_numbers():
    values = np.random.default_rng(0).lognormal(size=1000)
    np.testing.assert_array_equal(np.bincount(quantile_strata(values, 5)), [200] * 5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 4), st.floats(-89.9, 89.9), st.integers(1, 3))
def test_the_same_sky_is_never_on_both_sides(seed, k, dec0, copies):
    """Overlapping tiles and several sets of one field: each shows an object at a slightly other position."""
    rng = np.random.default_rng(seed)
    n = 120
    width = 0.2 / np.cos(np.radians(dec0))
    ra, dec = (rng.uniform(0, width, n)) % 360, np.clip(dec0 + rng.uniform(-0.1, 0.1, n), -90, 90)
    ra, dec = np.tile(ra, copies), np.tile(dec, copies)
    dec = np.clip(dec + rng.normal(0, 0.1 / 3600, len(dec)), -90, 90)
    host = np.arange(len(ra))
    ra[host % 10 == 0] = np.nan  # some stamps have no position
    group = join_groups(sky_groups(ra, dec, host), ra, dec)
    try:
        fold = assign_folds(rng.integers(0, 2, len(ra)), group, k, seed)
    except InputError:
        return  # all in one cell
    same = np.arange(n) % n
    for thing in same:
        mine = [row for row in range(thing, len(ra), n) if np.isfinite(ra[row])]
        assert len(set(fold[mine])) <= 1
    for name in np.unique(group):
        assert len(set(fold[group == name])) == 1


def test_groups_of_one_object_are_joined_and_no_others():
    ra, dec = np.array([10.0, 10.0, 10.01, np.nan, 10.01]), np.array([0.0, 1 / 3600, 0.0, np.nan, 0.5 / 3600])
    got = join_groups(np.array([5, 6, 7, 8, 7]), ra, dec)
    np.testing.assert_array_equal(got, [5, 5, 7, 8, 7])
    np.testing.assert_array_equal(join_groups(np.arange(3), np.full(3, np.nan), np.zeros(3)), np.arange(3))
