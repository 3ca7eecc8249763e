"""One fold in a process of its own: memory is given back, threads are capped, a crash is contained.

``python -m lenspipe.training.worker JOB.json`` trains; `run_fold` starts it and waits. Lines of JSON on
its standard output, also kept in ``fold-<k>.progress.jsonl``, tell the progress. This file imports Keras
only inside the process that trains.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lenspipe.core.errors import LenspipeError, UserError
from lenspipe.io.files import write_json

GUARD = "--end-with-parent"


def run_fold(
    job: Mapping[str, Any], on_progress: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Train one fold in a process of its own and return what stands in its ``fold-<k>.json``.

    Empty if the job is the first part of a fold only.

    Parameters
    ----------
    job : mapping
        See `lenspipe.training.fit`; ``settings.threads`` 0 means all cores that this process may use.
    on_progress : callable, optional
        Called with each progress line; the first is ``{"pid", "fold", "threads"}``, then one per epoch.

    Raises
    ------
    UserError
        If the data or settings cannot be used.
    LenspipeError
        If the process died; the message holds the end of what it said. The next call goes on after its
        last whole epoch.
    """
    folder = Path(job["folder"])
    # the first half of a fold may be read while the whole is written
    path = folder / f"fold-{job['fold']}{'.begun' if 'until' in job else ''}.job.json"
    write_json(path, dict(job))
    command = [sys.executable, "-m", "lenspipe.training.worker", str(path), GUARD]
    with tempfile.TemporaryFile("w+", errors="replace") as errors:
        # the child watches its standard input and ends when this process does, however it ends: an
        # orphan would go on writing beside the training that replaces it
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=worker_environment(int(job["settings"].get("threads", 0))),
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if on_progress is not None and line.startswith("{"):
                    on_progress(json.loads(line))
            status = process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        errors.seek(0)
        said = errors.read().strip()
    if status == 2:
        raise UserError(said.splitlines()[-1].removeprefix("error: "))
    if status != 0:
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        raise LenspipeError(
            f"training of {job['task']} fold {job['fold']} {how}; run again to go on after its last whole "
            f"epoch. It said last:\n{said[-2000:]}"
        )
    if "until" in job:
        return {}
    return json.loads((folder / f"fold-{job['fold']}.json").read_text())


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment of a training process: this one's with threads capped and less chatter."""
    count = str(threads or len(os.sched_getaffinity(0)))
    caps = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    root = str(Path(__file__).resolve().parents[2])
    return {
        **os.environ,
        **dict.fromkeys(caps, count),
        # forwards the graph is a chain, backwards the gradients of a layer's input and weights are independent
        "TF_NUM_INTEROP_THREADS": count,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")])),
    }


def main(arguments: list[str]) -> int:
    """Train the job of a JSON file; status 2 and one line on stderr for a user's mistake."""
    if GUARD in arguments:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    job = json.loads(Path(arguments[0]).read_text())
    path = Path(job["folder"]) / f"fold-{job['fold']}.progress.jsonl"

    with path.open("a") as progress:
        fcntl.flock(progress, fcntl.LOCK_EX)  # the first part of this fold may not have ended

        def report(record: Mapping[str, Any]) -> None:
            line = json.dumps(record)
            for stream in (progress, sys.stdout):
                print(line, file=stream, flush=True)

        threads = int(os.environ.get("TF_NUM_INTRAOP_THREADS", "0"))
        report({"pid": os.getpid(), "fold": job["fold"], "threads": threads})
        try:
            _make_deterministic()
            from lenspipe.training.fit import fit_fold  # after the environment is set

            fit_fold(job, on_epoch=report)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
    return 0


def _make_deterministic() -> None:
    """Make reruns on this machine bit-identical; costs nothing measurable on a CPU."""
    import keras

    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
