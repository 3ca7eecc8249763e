import pytest

from lenspipe.config import config_from
from lenspipe.io.store import Store
from lenspipe.stages import train


def planned(root, **settings):
    config = config_from({"simulate": {"count": 8}, "train": {"detector": settings}})
    return train.plan(config, Store(root))


def test_the_last_of_an_odd_number_of_folds_is_trained_in_two_halves(tmp_path):
    units = planned(tmp_path, folds=5, epochs=7)
    names = [unit.name for unit in units]
    assert names == ["detector-fold-4-begun", *(f"detector-fold-{k}" for k in range(5))]
    assert units[0].payload == {"task": "detector", "fold": 4, "until": 4}


@pytest.mark.parametrize(
    "settings", [{"folds": 4}, {"folds": 5, "epochs": 1}, {"folds": 5, "train_folds": 1}]
)
def test_folds_are_whole_where_halves_gain_nothing(tmp_path, settings):
    assert not any("until" in unit.payload for unit in planned(tmp_path, **settings))


@pytest.mark.parametrize(("workers", "rounds"), [(1, 5.0), (2, 2.5), (3, 2.0), (4, 1.5), (5, 1.0)])
def test_halves_shorten_five_folds_wherever_they_can(tmp_path, workers, rounds):
    """Each worker takes the next unit when it is free, as Dask's do."""
    free, begun = [0.0] * workers, 0.0
    for unit in planned(tmp_path, folds=5, epochs=10):
        worker = free.index(min(free))
        half = unit.name in ("detector-fold-4-begun", "detector-fold-4")
        start = max(free[worker], begun) if unit.name == "detector-fold-4" else free[worker]
        free[worker] = start + (0.5 if half else 1.0)
        begun = free[worker] if "until" in unit.payload else begun
    assert max(free) == rounds
