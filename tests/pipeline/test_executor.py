from __future__ import annotations

import os
import time

import dask
import pytest

from lenspipe.core.errors import UserError
from lenspipe.pipeline.executor import Dask, Serial, open_executor, visible_gpus


def square(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number**2


def read_cap(_) -> str:
    return os.environ["OMP_NUM_THREADS"]


def crash_on_two(number: int) -> int:
    if number == 2:
        os._exit(1)
    return number


def outcomes(executor, function, jobs):
    return {job: repr(answer) for job, answer in executor.map(function, jobs)}


def test_serial_yields_results_and_exceptions():
    expected = {1: "1", 2: "4", 3: "ValueError('three')"}
    assert outcomes(Serial(), square, [1, 2, 3]) == expected
    assert outcomes(Serial(lambda jobs: jobs[::-1]), square, [1, 2, 3]) == expected
    with open_executor(1) as executor:
        assert isinstance(executor, Serial)


def test_dask_gives_what_serial_gives_with_capped_threads_and_survives_a_dying_worker():
    with open_executor(2) as executor:
        assert executor.workers == 2
        assert outcomes(executor, square, [1, 2, 3, 4]) == outcomes(Serial(), square, [1, 2, 3, 4])
        assert list(executor.map(read_cap, [0])) == [(0, "1")]
        found = outcomes(executor, crash_on_two, [1, 2, 4])
        assert (found[1], found[4]) == ("1", "4")
        assert "KilledWorker" in found[2]


def test_a_job_that_waited_behind_a_killer_is_not_blamed():
    """With no failure allowed, Dask blames every job on the dead worker: here each of both has some."""
    jobs = range(12)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), open_executor(2) as executor:
        found = outcomes(executor, crash_on_two, jobs)
    assert "KilledWorker" in found.pop(2)
    assert found == {job: repr(job) for job in jobs if job != 2}


def overlap(_) -> tuple[float, float]:
    started = time.time()
    time.sleep(0.3)
    return started, time.time()


def test_a_card_is_one_job_s_at_a_time_and_what_nobody_offers_is_not_waited_for():
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0", resources={"GPU": 1}
    )
    with cluster, Client(cluster) as client:
        times = sorted(answer for _, answer in Dask(client).map(overlap, range(4), {"GPU": 1, "TPU": 1}))
    assert len(times) == 4
    # two workers of a card each: the third job begins when one of the first two has ended
    assert times[2][0] >= min(times[0][1], times[1][1])


def look(_) -> str:
    time.sleep(0.2)
    return os.environ["CUDA_VISIBLE_DEVICES"]


def test_local_workers_have_a_gpu_each_and_training_waits_for_those_that_have_one(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")
    with open_executor(3) as executor:
        assert {answer for _, answer in executor.map(look, range(6), {"GPU": 1})} == {"5", "3"}
        assert {answer for _, answer in executor.map(look, range(9))} == {"5", "3", "-1"}


def test_gpus_are_counted_where_nothing_names_them(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus() == []
    command = tmp_path / "nvidia-smi"
    command.write_text("#!/bin/sh\necho 'GPU 0: One (UUID: a)'\necho 'GPU 1: Two (UUID: b)'\n")
    command.chmod(0o755)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_a_scheduler_that_does_not_answer_is_the_user_s_mistake():
    with (
        pytest.raises(UserError, match="no Dask scheduler answers at nonsense"),
        open_executor(scheduler="nonsense://x"),
    ):
        pass


def test_workers_with_threads_are_refused():
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0")
    with cluster, Client(cluster) as client, pytest.raises(UserError, match="--nthreads 1"):
        Dask(client)
