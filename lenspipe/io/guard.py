"""A child process in which the files of others are read for the first time: bounded in memory and time.

A header can crash the WCS library (astropy #20349) and a damaged tile its decoder; neither may take a run
along. One child serves a process for as long as it lives; it is started when first needed and again when it
has died. It is a plain program on a pipe: Dask's workers may not have children of `multiprocessing`, and after
TensorFlow is imported nothing may fork. It ends when its input does, so with its parent.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from lenspipe.core.errors import Rejected

#: Seconds that a file may take, bytes that the child may map, and those that a fork of it may, which unpacks images.
SECONDS, MEMORY, MEMORY_APART = 20.0, 2**30, 4 * 2**30
_START, _GRACE = 120.0, 10.0
#: The readers are imported before the clock runs: on a cold disk that takes longer than a file may.
_CHILD = """import sys
sys.path.insert(0, sys.argv[1])
import lenspipe.io.fits, lenspipe.io.hdf5
from lenspipe.io.guard import serve
serve()"""
_ROOT = str(Path(__file__).parents[2])
_READY = "ready"


@contextmanager
def naming_faults(path: str) -> Iterator[None]:
    """Make whatever a reader of files raises inside the block a `Rejected` that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Rejected:
        raise
    except MemoryError as error:
        raise Rejected("too_large", str(error), path) from None
    except Exception as error:  # astropy leaks fourteen classes (measured), h5py others: one reason for all
        raise Rejected("unreadable", f"{type(error).__name__}: {error}", path) from None


def run_guarded(
    function: Callable[..., Any], *arguments: Any, path: str, seconds: float = SECONDS, apart: bool = False
) -> Any:
    """Return what a function returns that runs in the child.

    Parameters
    ----------
    function : callable
        Of a module that the child can import; takes and returns what JSON can hold.
    path : str
        The file at fault if this fails.
    seconds : float
        The time it may take.
    apart : bool
        Run it in a fork of the child: what it does to its memory then harms no later file.

    Raises
    ------
    Rejected
        The function's own, ``reader_crashed`` if it ends the child twice, ``reader_timeout``,
        ``too_large`` if there is not enough memory, ``unreadable`` for any other exception.
    ChildProcessError
        If no child can be started: that is not the file's fault.
    """
    request = {"function": f"{function.__module__}:{function.__qualname__}", "arguments": arguments,
               "seconds": seconds, "apart": apart}  # fmt: skip
    line = json.dumps(request)
    with _lock:
        status = 0
        for _ in range(2):  # a child that the system's memory killer took says nothing of the file
            answer, status = _child.ask(line, seconds + _GRACE)
            if answer:
                return _unwrap(json.loads(answer), path)
            if status == -signal.SIGALRM:
                raise Rejected("reader_timeout", f"reading took more than {seconds:g} s", path)
    raise Rejected("reader_crashed", f"reading ended the reader: {_describe_status(status)}", path)


def _unwrap(answer: dict[str, Any], path: str) -> Any:
    if "rejected" in answer:
        reason, detail, at, hdu = answer["rejected"]
        raise Rejected(reason, detail, at or path, hdu)
    return answer["value"]


def _describe_status(status: int) -> str:
    try:
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"
    except ValueError:
        return f"signal {-status}"


class _Child:
    """The child of this process, if it has one."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def ask(self, line: str, seconds: float) -> tuple[str, int]:
        """Return the child's answer, or no answer and the status with which it ended."""
        process = self._alive()
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            answer = _read_line(process, seconds)
        except BrokenPipeError:
            answer = ""
        except TimeoutError:  # not even its alarm could end it
            process.kill()
            self._end()
            return "", -signal.SIGALRM
        except BaseException:  # an interrupted question: its answer must not be taken for the next one's
            process.kill()
            self._end()
            raise
        return (answer, 0) if answer.endswith("\n") else ("", self._end())

    def _alive(self) -> subprocess.Popen[str]:
        if self.process is not None and self.process.poll() is None:
            return self.process
        self._end()
        threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CHILD, _ROOT], env=os.environ | threads, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            ready = _read_line(self.process, _START).strip() == _READY
        except TimeoutError:
            self.process.kill()
            ready = False
        if not ready:
            status = _describe_status(self._end())
            raise ChildProcessError(f"the reader process does not start ({status}); its error stands above")
        return self.process

    def _end(self) -> int:
        """Close the pipes, wait for the child and return its status; there are no zombies."""
        process, self.process = self.process, None
        if process is None:
            return 0
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):  # what it did not read is lost with it
                pipe.close()
        try:
            return process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _read_line(process: subprocess.Popen[str], seconds: float) -> str:
    """Return the next line of a process, nothing if it has ended."""
    ready = select.poll()
    ready.register(process.stdout, select.POLLIN)
    if not ready.poll(1000 * seconds):
        raise TimeoutError
    return process.stdout.readline()


def _forget() -> None:
    """Let go of the child in a fork: it is the parent's."""
    global _child, _lock
    process = _child.process
    _child, _lock = _Child(), threading.Lock()
    if process is not None:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for pipe in (process.stdin, process.stdout):
            os.dup2(nowhere, pipe.fileno())  # an open pipe here would let the child outlive its parent
        os.close(nowhere)


_child, _lock = _Child(), threading.Lock()
os.register_at_fork(after_in_child=_forget)


# -- the child's side ------------------------------------------------------------------------------


def serve() -> None:
    """Answer requests from standard input until it ends; runs in the child."""
    answers = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_WRONLY)
    _limit_memory(MEMORY)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to all; the parent decides
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process even inside a C library
    print(_READY, file=answers, flush=True)
    os.dup2(quiet, 1)  # what libraries print is no answer
    os.dup2(quiet, 2)
    for line in sys.stdin:
        request = json.loads(line)
        if request["apart"] and (fork := os.fork()):  # no thread, no network here: a fork is safe
            status = os.waitpid(fork, 0)[1]
            if status:
                os.kill(os.getpid(), os.WTERMSIG(status) or signal.SIGABRT)  # ends as the fork did
            continue
        if request["apart"]:
            _limit_memory(MEMORY_APART)
        signal.setitimer(signal.ITIMER_REAL, request["seconds"])
        print(json.dumps(_answer(request)), file=answers, flush=True)
        if request["apart"]:
            os._exit(0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _limit_memory(limit: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        with naming_faults(""):
            return {"value": resolve_name(request["function"])(*request["arguments"])}
    except Rejected as fault:
        return {"rejected": [fault.reason, fault.detail, fault.path, fault.hdu]}
