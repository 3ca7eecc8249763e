import pytest

from lenspipe.training.board import write_board

HISTORY = [
    {"fold": 0, "epoch": 1, "loss": 0.5, "val_loss": 0.75},
    {"fold": 0, "epoch": 2, "loss": 0.25, "val_loss": 0.5},
]


def read_events(folder):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    return {
        (value.tag, event.step): float(make_ndarray(value.tensor))
        for path in folder.glob("events.*")
        for event in EventFileLoader(str(path)).Load()
        for value in event.summary.value
    }


def test_each_column_is_a_curve_and_old_events_are_replaced(tmp_path):
    pytest.importorskip("tensorboard")
    write_board(tmp_path, HISTORY[:1])
    write_board(tmp_path, HISTORY)
    assert len(list(tmp_path.glob("events.*"))) == 1
    assert read_events(tmp_path) == {
        ("loss", 1): 0.5, ("loss", 2): 0.25, ("val_loss", 1): 0.75, ("val_loss", 2): 0.5
    }  # fmt: skip
