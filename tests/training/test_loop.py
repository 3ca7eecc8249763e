import os
import signal

import numpy as np
import pytest

from lenspipe.config import TrainSection
from lenspipe.core.errors import LenspipeError
from lenspipe.training.checkpoint import State
from lenspipe.training.loop import is_over
from lenspipe.training.worker import run_fold


def ends(patience, *losses):
    state = State(np.zeros(1), len(losses), [{"val_loss": loss} for loss in losses])
    return is_over(state, TrainSection(patience=patience))


def test_training_ends_when_the_held_out_loss_has_gained_nothing_for_long_enough():
    assert not ends(2)
    assert not ends(2, 3.0, 2.0, 2.5)
    assert not ends(2, 3.0, 2.0, 2.5, 1.9, 2.0)
    assert ends(2, 3.0, 2.0, 2.5, 2.4)
    assert not ends(0, 1.0, 2.0, 3.0, 4.0)


@pytest.mark.slow
def test_all_options_at_once_go_on_after_a_stop_as_if_there_had_been_none(data, tmp_path, new_job):
    """Mean weights, balance, hard stamps, patience and events: a stopped training ends with the same weights."""
    settings = {
        "ema": 0.5,
        "balance": True,
        "hard_share": 0.5,
        "patience": 3,
        "tensorboard": True,
        "epochs": 3,
    }

    pids = []

    def kill_after_two(record):
        pids.append(record.get("pid"))
        if record.get("epoch") == 2:
            os.kill(pids[0], signal.SIGKILL)

    whole = run_fold(new_job("detector", data, tmp_path / "whole", **settings))
    with pytest.raises(LenspipeError, match="SIGKILL"):
        run_fold(new_job("detector", data, tmp_path / "killed", **settings), kill_after_two)
    again = run_fold(new_job("detector", data, tmp_path / "killed", **settings))
    assert again["weights_hash"] == whole["weights_hash"]
    assert list((tmp_path / "killed" / "tensorboard" / "fold-0").glob("events.*"))
    history = [tmp_path / name / "fold-0.history.csv" for name in ("killed", "whole")]
    assert history[0].read_bytes() == history[1].read_bytes()
