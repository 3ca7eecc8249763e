"""Where units run: in this process, or on Dask workers. Both run the same function on the same jobs.

Jobs hold paths and settings, never pixels: images in a Dask graph kill schedulers (traps.md, 8).
"""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from lenspipe.core.errors import UserError


class Executor(Protocol):
    """What the runner needs: run a function on many jobs and yield (job, result or exception).

    `resources` is what one job occupies of a worker that offers it, e.g. ``{"GPU": 1}``.
    """

    workers: int

    def map(
        self,
        function: Callable[[Any], Any],
        jobs: Iterable[Any],
        resources: Mapping[str, float] | None = None,
    ) -> Iterator[tuple[Any, Any]]: ...


class Serial:
    """One job after the other in this process.

    Parameters
    ----------
    arrange : callable, optional
        Puts the jobs in another order; results do not depend on it (tests reverse them).
    """

    workers = 1

    def __init__(self, arrange: Callable[[list[Any]], list[Any]] = list):
        self.arrange = arrange

    def map(
        self,
        function: Callable[[Any], Any],
        jobs: Iterable[Any],
        resources: Mapping[str, float] | None = None,
    ) -> Iterator[tuple[Any, Any]]:
        """Yield each job with its result, or with the exception that it raised."""
        for job in self.arrange(list(jobs)):
            try:
                yield job, function(job)
            except Exception as error:
                yield job, error


class Dask:
    """Jobs on the workers of a Dask cluster, results as they come."""

    def __init__(self, client):
        workers = client.scheduler_info(n_workers=-1)["workers"]
        threaded = [name for name, worker in workers.items() if worker["nthreads"] > 1]
        if threaded:
            raise UserError(
                f"the Dask worker {threaded[0]} has {workers[threaded[0]]['nthreads']} threads; networks and FITS "
                "readers want a process each: start the workers with --nthreads 1 (and more of them)"
            )
        self.client = client
        self.workers = max(1, len(workers))

    def map(
        self,
        function: Callable[[Any], Any],
        jobs: Iterable[Any],
        resources: Mapping[str, float] | None = None,
    ) -> Iterator[tuple[Any, Any]]:
        """Yield each job with its result, or with the exception that it raised or that killed it.

        Resources that no worker offers are not asked for: Dask would wait for ever.

        Dask blames every task that a dead worker held, also those that only waited behind the one that
        killed it; the blamed run once more at the end, each alone, and then only the guilty one dies.
        """
        from distributed import KilledWorker, as_completed

        offered = self.client.scheduler_info(n_workers=-1)["workers"].values()
        needed = {
            name: amount
            for name, amount in (resources or {}).items()
            if any(worker.get("resources", {}).get(name, 0) >= amount for worker in offered)
        }
        waiting, blamed = {self._submit(function, job, needed): job for job in jobs}, []
        for future in as_completed(list(waiting)):
            answer = _answer(future)
            if isinstance(answer, KilledWorker):
                blamed.append(waiting[future])
            else:
                yield waiting[future], answer
        for job in blamed:
            yield job, _answer(self._submit(function, job, needed))

    def _submit(self, function: Callable[[Any], Any], job: Any, resources: Mapping[str, float]):
        # pure=False: a retried job must run again, not be answered from the scheduler's memory
        return self.client.submit(function, job, pure=False, resources=dict(resources))


@contextmanager
def open_executor(workers: int = 1, scheduler: str = "") -> Iterator[Executor]:
    """Yield the executor that the user asked for and close it afterwards.

    Parameters
    ----------
    workers : int
        Local processes; 1 = this process. Where there are GPUs each of the first of them has one to itself, and what
        needs a GPU runs on these.
    scheduler : str
        Address of a running Dask scheduler, e.g. ``tcp://host:8786``.

    Raises
    ------
    UserError
        If the scheduler does not answer within 20 s.
    """
    if scheduler:
        from distributed import Client

        try:
            client = Client(scheduler, timeout="20s")
        except (OSError, TimeoutError, ValueError) as error:
            raise UserError(f"no Dask scheduler answers at {scheduler}: {error}") from None
        with client:
            if not client.scheduler_info(n_workers=-1)["workers"]:
                raise UserError(f"the Dask scheduler at {scheduler} has no workers; start some and try again")
            yield Dask(client)
    elif workers > 1:
        import dask
        from distributed import Client, Scheduler, SpecCluster

        # a worker runs one unit at a time; networks bring their own threads
        environment = {**_thread_caps(1), "TF_CPP_MIN_LOG_LEVEL": "3"}
        scheduler_options = {"host": "127.0.0.1", "dashboard_address": ":0"}
        with (
            dask.config.set({"distributed.nanny.pre-spawn-environ": environment}),
            SpecCluster(
                workers=_specify_workers(workers, visible_gpus()),
                scheduler={"cls": Scheduler, "options": scheduler_options},
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster) as client,
        ):
            client.wait_for_workers(workers, timeout=120)
            yield Dask(client)
    else:
        yield Serial()


def visible_gpus() -> list[str]:
    """Return the NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [name for name in allowed.split(",") if name.strip() and name.strip() != "-1"]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return [str(k) for k in range(count)]


def _specify_workers(count: int, gpus: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Return what Dask is to start: `count` processes, one GPU for each of the first, none for the others."""
    from distributed import Nanny

    specified = {}
    for k in range(count):
        options: dict[str, Any] = {"nthreads": 1, "host": "127.0.0.1", "dashboard": False}
        if gpus:
            options["env"] = {"CUDA_VISIBLE_DEVICES": gpus[k] if k < len(gpus) else "-1"}
            options["resources"] = {"GPU": 1} if k < len(gpus) else {}
        specified[k] = {"cls": Nanny, "options": options}
    return specified


def _answer(future) -> Any:
    """Return the future's result or its exception, and let the scheduler forget it."""
    error = future.exception()
    answer = error if error is not None else future.result()
    future.release()
    return answer


def _thread_caps(threads: int) -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, str(threads))
