import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenspipe.core.errors import InputError
from lenspipe.training.folds import assign_folds, quantile_strata


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
