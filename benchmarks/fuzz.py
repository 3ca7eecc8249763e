"""Can a damaged or hostile file hang, kill or mislead the reader?

    python -m benchmarks.fuzz [--inputs 100000] [--workers 2] [--seed 1] [--first 0]

The small valid files of `benchmarks.damage`, FITS and HDF5, are damaged in one to three places. Each is read as the
pipeline reads it: preflight, headers and world coordinates, planes or stacks, pixels, calibration. Input k is the same
in every run of one seed: `--first k --inputs 1` reads it again, and a run that was stopped goes on with the
`--first` that its last line names. What the guarded child would do is done by the worker itself, so that a crash is
counted and told apart: in the child's part (by design ``reader_crashed`` or ``reader_timeout``, a `Rejected`) or in
the parent's (a failure). A worker that takes 5 s over an input is ended: a hang. An exception other than `Rejected` is
a leak. A file that is accepted with other pixels than its whole one is a silent change.

A line is printed for each failure and each 10,000 inputs, a table at the end; nothing is left on the disk. Exit
status 1: there were failures.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.damage import damage, file_suffix, whole_files
from lenspipe.core.errors import Rejected
from lenspipe.core.survey import load_survey
from lenspipe.core.types import ImageFile, ImageSet
from lenspipe.imaging.calibrate import read_calibration
from lenspipe.io.bands import open_bands
from lenspipe.io.guard import MEMORY
from lenspipe.io.planes import list_planes
from lenspipe.io.stacks import read_stack

SURVEY = load_survey("des")
BATCH = (
    1000  # inputs that a process reads before another takes over: what it may lose of memory is lost with it
)
PROGRESS = 10_000
#: s for an input, where a run waits for 20: what hangs the child costs no more than it must; give more on a machine
#: that is busy with other things, where all seems to hang.
PATIENCE = float(os.environ.get("LENSPIPE_FUZZ_PATIENCE", "5"))


def read_everything(path: str) -> int:
    """Read a file as a run does and return a checksum of all its pixels; `Rejected`, nothing else, if it cannot be."""
    return _read_stack(path) if path.endswith(".h5") else _read_planes(path)


def _read_planes(path: str) -> int:
    total = 0
    planes = list_planes(ImageSet("t", (ImageFile(path),)), SURVEY)
    found = sorted({plane.band for plane in planes if plane.role == "image"})
    if not found:
        raise Rejected("missing_band", "no image", path)
    for band in found:
        with open_bands(planes, [band]) as bands:
            bands[band].read(slice(0, 8), slice(0, 8))
            total = _add_pixels(total, bands[band])
    return total


def _read_stack(path: str) -> int:
    total = 0
    for _, bands, _, _ in read_stack(path, SURVEY, ("g", "r", "i"), 3):
        for one in bands.values():
            total = _add_pixels(total, one)
    return total


def _add_pixels(total: int, one) -> int:
    """Return the checksum with that of a band's pixels; the band is calibrated too where the survey has it."""
    raw = one.read()
    if one.band in SURVEY.bands:
        read_calibration(one.band, one.header, SURVEY, one.path, one.noise_kind, one.mask_header, one.psf)
    for part in (raw.data, raw.noise, raw.mask):
        total = zlib.crc32(b"" if part is None else part.tobytes(), total)
    return total


# -- one input ------------------------------------------------------------------------------------------


@contextmanager
def unguarded(log: int | None = None) -> Iterator[None]:
    """Let this process, or a fork of it, do what the guarded child would; ``<`` and ``>`` go to `log` around it."""

    def run_here(function, *arguments, path, seconds=PATIENCE, apart=False):
        _note(log, "<")
        try:
            return _run_apart(function, *arguments) if apart else json.loads(json.dumps(function(*arguments)))
        finally:
            _note(log, ">")

    with ExitStack() as stack:
        for module in ("fits", "hdf5"):
            stack.enter_context(mock.patch(f"lenspipe.io.{module}.run_guarded", run_here))
        yield


def _note(log: int | None, text: str) -> None:
    if log is not None:
        os.write(log, text.encode())


def _run_apart(function, *arguments) -> None:
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)
            function(*arguments)
            code = 0
        except Rejected:
            code = 1
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        timeout = os.WTERMSIG(status) == signal.SIGALRM
        raise Rejected("reader_timeout" if timeout else "reader_crashed", signal.Signals(status & 127).name)
    if status:
        raise Rejected("unreadable") if status >> 8 == 1 else RuntimeError("a leak while unpacking")


def read_one(path: Path, content: bytes, expected: int) -> str:
    """Return what became of one input: a reason, ``read``, ``silent change``, or ``LEAK`` and a class."""
    path.write_bytes(content)
    try:
        return "read" if read_everything(str(path)) == expected else "silent change"
    except Rejected as fault:
        return fault.reason.split(":")[0]
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)
        mine = [frame for frame in place if "lenspipe/" in frame.filename][-1]
        return f"LEAK {type(error).__name__} {Path(mine.filename).name}:{mine.lineno}"


def draw_kind(seed: int, number: int) -> tuple[str, np.random.Generator]:
    """Return the kind of file of which an input is made, and the random numbers for its damage."""
    rng = np.random.default_rng((seed, number))
    return list(FILES)[rng.integers(len(FILES))], rng


def read_batch(numbers: range, seed: int, folder: Path, log: int) -> None:
    """Read inputs one after the other, a line of the log for each."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with unguarded(log):
        for number in numbers:
            kind, rng = draw_kind(seed, number)
            content = damage(FILES[kind], rng)
            signal.setitimer(signal.ITIMER_REAL, PATIENCE)
            outcome = read_one(folder / f"{log}{file_suffix(kind)}", content, PIXELS[kind])
            signal.setitimer(signal.ITIMER_REAL, 0)
            _note(log, f"|{outcome}\n")


# -- many inputs ----------------------------------------------------------------------------------------


class Tally:
    """What became of the inputs so far."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.start, self.peak, self.failures = options, time.monotonic(), 0, 0
        self.counts: Counter[tuple[str, str]] = Counter()

    def add(self, number: int, outcome: str) -> None:
        """Count an input; a failure is printed at once."""
        kind, _ = draw_kind(self.options.seed, number)
        self.counts[kind, outcome] += 1
        if outcome.startswith("LEAK") or "PARENT" in outcome:
            self.failures += 1
            print(f"{outcome}: {kind}, --seed {self.options.seed} --first {number} --inputs 1", flush=True)

    def show_progress(self, first: int) -> None:
        """Print a line; `first` is the first input that is not done."""
        done, seconds = self.counts.total(), time.monotonic() - self.start
        print(f"{done} of {self.options.inputs} inputs, {done / seconds:.0f}/s, peak RSS {self.peak / 1024:.0f} MiB, "
              f"{self.failures} failures; go on with --first {first}", flush=True)  # fmt: skip

    def show_table(self) -> None:
        """Print the outcomes with their numbers."""
        outcomes, inputs, silent = Counter(), Counter(), Counter()
        for (kind, outcome), count in self.counts.items():
            sums = "with checksums" if kind.endswith("+sums") else "without checksums"
            outcomes[outcome] += count
            inputs[sums] += count
            silent[sums] += count * (outcome == "silent change")
        for outcome, count in outcomes.most_common():
            kinds = Counter({kind: n for (kind, other), n in self.counts.items() if other == outcome})
            print(f"  {count:9d}  {outcome}: " + ", ".join(f"{kind} {n}" for kind, n in kinds.most_common(3)))
        for sums in sorted(inputs):
            print(f"  silent changes {sums}: {silent[sums]} of {inputs[sums]}")


def main() -> int:
    """Deal the inputs out to processes and print what became of them; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    for name, usual in (("--seed", 1), ("--first", 0)):
        parser.add_argument(name, type=int, default=usual)
    options = parser.parse_args()
    tempfile.tempdir = tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    tally = Tally(options)
    try:
        _run(options, Path(tempfile.tempdir), tally)
    finally:
        shutil.rmtree(tempfile.tempdir)
        tally.show_table()
    return 1 if tally.failures else 0


def _run(options: argparse.Namespace, folder: Path, tally: Tally) -> None:
    last = options.first + options.inputs
    waiting = [range(k, min(k + BATCH, last)) for k in range(options.first, last, BATCH)][::-1]
    running: dict[int, tuple[range, int]] = {}
    logs = [
        os.open(folder / f"{k}.log", os.O_CREAT | os.O_RDWR | os.O_APPEND) for k in range(options.workers)
    ]
    shown = 0
    while waiting or running:
        while waiting and logs:
            numbers, log = waiting.pop(), logs.pop()
            os.ftruncate(log, 0)
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    read_batch(numbers, options.seed, folder, log)
                    code = 0
                finally:
                    os._exit(code)
            running[pid] = numbers, log
        pid, status, usage = os.wait4(-1, 0)
        numbers, log = running.pop(pid)
        logs.append(log)
        tally.peak = max(tally.peak, usage.ru_maxrss)
        rest = _enter_batch(numbers, os.pread(log, os.fstat(log).st_size, 0).decode(), status, tally)
        waiting += [rest] if rest else []
        left = [numbers.start for numbers in (*waiting, *(batch for batch, _ in running.values()))]
        if tally.counts.total() >= shown + PROGRESS or not left:
            shown = tally.counts.total()
            tally.show_progress(min(left, default=last))


def _enter_batch(numbers: range, log: str, status: int, tally: Tally) -> range:
    """Count what the log of a process tells, and how it ended; return the inputs that it did not come to."""
    *lines, begun = log.split("\n")
    for number, line in zip(numbers, lines, strict=False):
        tally.add(number, line.partition("|")[2])
    if status == 0:
        return range(0)
    end = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status >> 8}"
    part = "the child's part" if begun.endswith("<") else "the PARENT's part"
    tally.add(numbers[len(lines)], f"{'HANG' if end == 'SIGALRM' else 'DEATH'} {end} in {part}")
    return numbers[len(lines) + 1 :]


def _read_whole() -> dict[str, int]:
    """Return the pixels' checksum of every whole file."""
    pixels = {}
    with tempfile.TemporaryDirectory() as folder, unguarded():
        for kind, content in FILES.items():
            path = Path(folder) / f"t{file_suffix(kind)}"
            path.write_bytes(content)
            pixels[kind] = read_everything(str(path))
    return pixels


warnings.simplefilter("ignore")
logging.getLogger("astropy").setLevel(logging.ERROR)
FILES = whole_files()
PIXELS = _read_whole()

if __name__ == "__main__":
    sys.exit(main())
