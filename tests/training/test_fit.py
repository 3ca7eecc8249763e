import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lenspipe.core.errors import LenspipeError, UserError
from lenspipe.io.files import digest
from lenspipe.training.datasets import load_stamps
from lenspipe.training.load import load_model
from lenspipe.training.scores import score_stamps
from lenspipe.training.worker import run_fold, worker_environment


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_with_the_same_files(detector, data, tmp_path, new_job):
    job = new_job("detector", data, tmp_path / "killed")
    seen = []

    def kill_after_first_epoch(record):
        seen.append(record)
        if record.get("epoch") == 1:
            os.kill(seen[0]["pid"], signal.SIGKILL)

    with pytest.raises(LenspipeError, match="fold 0 was killed by SIGKILL"):
        run_fold(job, kill_after_first_epoch)
    assert not (tmp_path / "killed" / "fold-0.keras").exists()

    epochs = []
    run_fold(job, lambda record: epochs.append(record.get("epoch")))
    assert epochs == [None, *range(len(seen), 4)]  # at most one epoch is done again
    for name in ("fold-0.keras", "fold-0.oof.parquet", "fold-0.history.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (detector.path / name).read_bytes(), name
    left = {path.name for path in (tmp_path / "killed").iterdir()}
    assert not any("checkpoint" in name or name.startswith(".") for name in left)


@pytest.mark.slow
def test_two_halves_at_once_follow_each_other_and_make_the_same_network(detector, data, tmp_path, new_job):
    job = new_job("detector", data, tmp_path / "halves")
    began, epochs = threading.Event(), []

    def first(record):
        began.set()
        epochs.append(record.get("epoch"))

    with ThreadPoolExecutor(1) as pool:
        half = pool.submit(run_fold, job | {"until": 2}, first)
        assert began.wait(60)
        whole = run_fold(job, lambda record: epochs.append(record.get("epoch")))  # while the other trains
        assert half.result() == {}
    assert epochs == [None, 1, 2, None, 3]
    for name in ("fold-0.keras", "fold-0.oof.parquet", "fold-0.history.csv"):
        assert (tmp_path / "halves" / name).read_bytes() == (detector.path / name).read_bytes(), name
    assert run_fold(job | {"until": 2}) == {}  # done: nothing to begin
    assert run_fold(job) == whole


def test_a_finished_fold_is_not_trained_again(detector, data, new_job):
    before = (detector.path / "fold-0.keras").stat().st_mtime_ns
    records = []
    run_fold(new_job("detector", data, detector.path), records.append)
    assert len(records) == 1
    assert (detector.path / "fold-0.keras").stat().st_mtime_ns == before


def test_a_noise_channel_is_trained_and_told_by_the_fold(data, tmp_path, new_job):
    job = new_job("detector", data, tmp_path, epochs=1, architecture="swift", channels=("noise",))
    result = run_fold(job)
    assert (result["architecture"], result["settings"]["channels"]) == ("swift", ["noise"])
    trunk = load_model(tmp_path / "fold-0.keras").get_layer("trunk")
    assert trunk.input_shape == (None, 32, 32, 6)


def test_what_only_a_mask_can_tell_is_learnt_from_the_mask(mask_detector, masked_data):
    assert mask_detector.card["training"]["settings"]["channels"] == ["noise", "mask"]
    assert mask_detector.needs_mask
    assert mask_detector.metrics["auroc"] > 0.95
    stamps = load_stamps(masked_data, masks=True)
    blank = {**stamps.inputs(), "mask": np.zeros_like(stamps.mask)}
    scores = score_stamps(mask_detector, **blank, mc_samples=4).score
    assert roc_auc_score(stamps.labels(), scores) == pytest.approx(0.5, abs=0.2)


def test_a_network_that_sees_masks_is_not_trained_on_a_set_without(data, tmp_path, new_job):
    with pytest.raises(UserError, match=r"shard-00000\.h5 has no pixel_mask"):
        run_fold(new_job("detector", data, tmp_path, channels=("mask",)))


def test_the_networks_of_two_folds_differ(detector):
    assert digest(detector.path / "fold-0.keras") != digest(detector.path / "fold-1.keras")


def test_progress_is_kept_in_a_file(detector):
    lines = (detector.path / "fold-1.progress.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert records[0]["threads"] == 1
    assert [r["epoch"] for r in records[1:]] == [1, 2, 3]
    assert records[-1]["epochs"] == 3


def test_a_mistake_of_the_user_comes_back_as_one_line(tmp_path, new_job):
    with pytest.raises(UserError, match=r"^no shards \(shard-\*\.h5\) in \S+"):
        run_fold(new_job("detector", tmp_path / "nowhere", tmp_path / "out"))


def test_threads_are_capped():
    assert worker_environment(3)["TF_NUM_INTRAOP_THREADS"] == "3"
    assert worker_environment(3)["TF_NUM_INTEROP_THREADS"] == "3"
    assert worker_environment(0)["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))


@pytest.mark.slow
def test_two_threads_give_the_same_weights_each_time(data, tmp_path, new_job):
    """Operations that run beside each other do not change what comes out."""
    first, second = (
        run_fold(
            new_job("detector", data, tmp_path / name, threads=2, architecture="swift", optimizer="muon")
        )
        for name in ("first", "second")
    )
    assert first["weights_hash"] == second["weights_hash"]
