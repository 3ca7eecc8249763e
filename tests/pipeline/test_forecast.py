from __future__ import annotations

from lenspipe.config import load_config
from lenspipe.io.store import Store
from lenspipe.pipeline.forecast import estimate, print_plan


def test_the_plan_names_stages_threads_memory_and_disk(tmp_path, capsys):
    config = load_config(None, ["simulate.count=1000", "simulate.size=64", "train.detector.folds=2"])
    print_plan(config, Store(tmp_path / "run"), (), workers=2)
    text = capsys.readouterr().out
    assert "simulate" in text
    assert "workers 2" in text
    assert "GiB" in text
    assert not (tmp_path / "run").exists()


def test_disk_of_a_training_set_is_its_pixels():
    config = load_config(None, ["simulate.count=1000", "simulate.size=64"])
    seconds, megabytes = estimate("simulate", config, workers=1)
    assert megabytes == 1000 * 64 * 64 * 3 * 4 / 1e6
    assert estimate("simulate", config, workers=2)[0] == seconds / 2
    assert estimate("train", config, workers=1) == (0.0, 0.0)
