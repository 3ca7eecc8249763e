import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.training.sampling import draw_rows

ROWS = np.arange(100, 150)
CLASSES = np.arange(50) < 10
UNKNOWN = np.full(50, np.nan)


def test_without_options_each_row_comes_once_in_an_order_of_seed_and_epoch():
    first = draw_rows(ROWS, CLASSES, UNKNOWN, 1, 0)
    np.testing.assert_array_equal(np.sort(first), ROWS)
    np.testing.assert_array_equal(first, draw_rows(ROWS, CLASSES, UNKNOWN, 1, 0))
    assert not np.array_equal(first, draw_rows(ROWS, CLASSES, UNKNOWN, 1, 1))
    assert not np.array_equal(first, draw_rows(ROWS, CLASSES, UNKNOWN, 2, 0))


@given(lenses=st.integers(1, 49), balance=st.booleans(), share=st.floats(0, 0.9), seed=st.integers(0, 2**31))
def test_an_epoch_has_as_many_rows_and_all_of_them_are_training_rows(lenses, balance, share, seed):
    classes = np.arange(50) < lenses
    drawn = draw_rows(ROWS, classes, np.linspace(0, 9, 50), seed, 3, balance, share)
    assert len(drawn) == len(ROWS)
    assert set(drawn) <= set(ROWS)
    share_of_lenses = np.mean(np.isin(drawn, ROWS[classes]))
    assert share_of_lenses == pytest.approx(0.5 if balance else lenses / 50, abs=0.011)


def test_balance_repeats_the_rarer_class_evenly():
    drawn = draw_rows(ROWS, CLASSES, UNKNOWN, 1, 0, balance=True)
    counts = np.unique(drawn[np.isin(drawn, ROWS[CLASSES])], return_counts=True)[1]
    assert counts.sum() == 25
    assert set(counts) == {2, 3}


def test_hard_stamps_come_in_proportion_to_their_loss_but_never_alone():
    loss = np.where(np.arange(50) == 30, 4.0, 1.0)  # mean of its class 1.075
    times = np.zeros(50)
    for epoch in range(400):
        drawn = draw_rows(ROWS, CLASSES, loss, 1, epoch, hard_share=0.5)
        times += np.bincount(drawn - 100, minlength=50)
    usual = np.delete(times[10:], 20).mean()  # half of its draws are by loss
    assert times[30] / usual == pytest.approx(2.5, rel=0.1)
    wrong = np.where(np.arange(50) == 30, 1e6, 1e-3)  # a wrong label must not be all that is seen
    drawn = draw_rows(ROWS, CLASSES, wrong, 1, 0, hard_share=0.5)
    assert np.sum(drawn == 130) <= 21
    np.testing.assert_array_equal(
        np.sort(draw_rows(ROWS, CLASSES, UNKNOWN, 1, 0, hard_share=0.5))[[0, -1]] // 100, [1, 1]
    )
