from __future__ import annotations

import builtins
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import ROOT

from lenspipe.core.errors import Rejected
from lenspipe.core.names import mock_tile_name
from lenspipe.io import guard
from lenspipe.io.guard import run_guarded
from lenspipe.io.preflight import check_structure


def child_pid() -> int:
    return run_guarded(os.getpid, path="t")


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until_dead(pid: int, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(pid)


def test_the_child_is_another_process_and_stays():
    assert child_pid() not in (os.getpid(), 0)
    assert child_pid() == child_pid()
    assert run_guarded(mock_tile_name, 7, path="t") == mock_tile_name(7)


def test_a_reader_that_dies_costs_its_file_only():
    before = child_pid()
    with pytest.raises(Rejected, match=r"reader_crashed: .*SIGABRT") as fault:
        run_guarded(os.abort, path="bad.fits")
    assert fault.value.path == "bad.fits"
    assert wait_until_dead(before)
    assert child_pid() != before
    with pytest.raises(Rejected, match=r"reader_crashed: .*exit status 7"):
        run_guarded(os._exit, 7, path="bad.fits")


def test_what_is_run_apart_leaves_the_child_as_it_was():
    before = child_pid()
    apart = run_guarded(os.getpid, path="t", apart=True)
    assert apart not in (before, os.getpid())
    assert child_pid() == before
    with pytest.raises(Rejected, match=r"reader_crashed: .*SIGSEGV"):
        run_guarded(signal.raise_signal, signal.SIGSEGV, path="bad.fits", apart=True)
    with pytest.raises(Rejected, match="reader_timeout"):
        run_guarded(time.sleep, 60, path="slow.fits", seconds=0.5, apart=True)
    assert run_guarded(abs, -3, path="t", apart=True) == 3


def test_a_slow_reader_is_ended():
    start = time.monotonic()
    with pytest.raises(Rejected, match=r"reader_timeout: reading took more than 0\.5 s"):
        run_guarded(time.sleep, 60, path="slow.fits", seconds=0.5)
    assert time.monotonic() - start < 30
    assert run_guarded(abs, -3, path="t") == 3


def test_a_stopped_reader_is_ended(monkeypatch):
    monkeypatch.setattr(guard, "_GRACE", 0.5)
    stopped = child_pid()
    os.kill(stopped, signal.SIGSTOP)
    with pytest.raises(Rejected, match="reader_timeout"):
        run_guarded(abs, -3, path="t", seconds=0.5)
    assert wait_until_dead(stopped)
    assert run_guarded(abs, -3, path="t") == 3


def test_a_reader_that_wants_too_much_memory_is_refused_it():
    before = child_pid()
    with pytest.raises(Rejected, match="too_large"):
        run_guarded(builtins.bytearray, 2 * guard.MEMORY, path="large.fits")
    assert child_pid() == before, "a refused allocation is no crash"


def test_its_exceptions_come_as_rejections_that_name_the_file(tmp_path):
    with pytest.raises(Rejected, match="unreadable: ValueError") as fault:
        run_guarded(int, "seven", path="odd.fits")
    assert fault.value.path == "odd.fits"
    (tmp_path / "a.fits").touch()
    with pytest.raises(Rejected, match="empty_file") as fault:
        run_guarded(check_structure, str(tmp_path / "a.fits"), "named.fits", path="other.fits")
    assert fault.value.path == "named.fits"


def test_what_a_reader_prints_is_no_answer():
    run_guarded(os.system, "echo stray; echo stray >&2", path="t")
    assert run_guarded(abs, -3, path="t") == 3


def test_one_that_was_killed_between_two_files_is_replaced():
    before = child_pid()
    os.kill(before, signal.SIGKILL)
    assert wait_until_dead(before)
    assert child_pid() != before


def test_threads_take_turns():
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda k: run_guarded(abs, -k, path="t"), range(200)))
    assert answers == list(range(200))


def ask_twice(pipe) -> None:
    pipe.send((child_pid(), child_pid()))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_another_process_has_a_child_of_its_own(method):
    mine = child_pid()
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    process = context.Process(target=ask_twice, args=(there,))
    process.start()
    assert here.poll(60)
    first, second = here.recv()
    process.join(60)
    assert first == second != mine
    assert wait_until_dead(first), "it ends with its parent"
    assert child_pid() == mine


def test_it_ends_when_its_parent_is_killed():
    code = (
        "import os, signal; from lenspipe.io.guard import run_guarded\n"
        "print(run_guarded(os.getpid, path='t'), flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert answer.returncode == -signal.SIGKILL
    assert wait_until_dead(int(answer.stdout))


def test_no_child_is_left_as_a_zombie():
    before = child_pid()
    with pytest.raises(Rejected):
        run_guarded(os.abort, path="bad.fits")
    assert not Path(f"/proc/{before}").exists()


def test_an_interrupted_question_leaves_no_answer_behind(monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        child_pid()
        patch.setattr(guard, "_read_line", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_guarded(abs, -1, path="t")
    assert run_guarded(abs, -3, path="t") == 3


def test_a_child_that_does_not_start_is_not_the_file_s_fault(monkeypatch):
    guard._child._end()
    monkeypatch.setattr(guard, "_CHILD", "raise SystemExit(3)")
    with pytest.raises(ChildProcessError, match=r"does not start \(exit status 3\)"):
        run_guarded(abs, -1, path="t")
    monkeypatch.undo()
    assert run_guarded(abs, -3, path="t") == 3


def test_the_child_loads_no_network():
    code = (
        "import sys, lenspipe.io.fits\n"
        "print({'keras', 'tensorflow', 'jax', 'photutils', 'matplotlib', 'dask'} & set(sys.modules) or 'none')"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
                            cwd=ROOT)  # fmt: skip
    assert answer.stdout.strip() == "none"
