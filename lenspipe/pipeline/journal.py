"""What a run says: a bar per stage on a terminal, plain lines elsewhere, and `log.jsonl` always."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lenspipe.core.threads import available_cores, prepare_process


class Journal:
    """The voice of one run.

    Parameters
    ----------
    path : Path
        ``log.jsonl``; one JSON object a line is appended.
    console : Console, optional
        Where people read; standard error by default, so that output can be piped.
    """

    def __init__(self, path: Path, console: Console | None = None):
        self.path = path
        self.console = console or Console(file=_own_stderr(), highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._stage, self._total, self._done, self._tenth = "", 0, 0, 0
        self._started = 0.0

    def write(self, event: str, **facts) -> None:
        """Append an event to the log."""
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}, default=str)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def say(self, text: str) -> None:
        """Show a line to the user."""
        self.console.print(text, markup=False)

    def start_stage(self, stage: str, total: int, cached: int) -> None:
        """Announce a stage with `total` units, of which `cached` were done before."""
        self.write("stage_started", stage=stage, units=total, cached=cached)
        self._stage, self._total, self._done, self._tenth = stage, total, cached, 0
        self._started = time.monotonic()
        if self.console.is_terminal and total > cached:
            self._bar = Progress(
                TextColumn("{task.description:<9}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._bar.start()
            self._bar.add_task(stage, total=total, completed=cached, rate="")

    def advance(self) -> None:
        """Count one unit as ended."""
        self._done += 1
        rate = f"{(time.monotonic() - self._started) / max(self._done, 1):.1f} s/unit"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=1, rate=rate)
        elif self._total and 10 * self._done // self._total > self._tenth:
            self._tenth = 10 * self._done // self._total
            if self._done < self._total:
                self.say(f"{self._stage:<9} {self._done}/{self._total} ({rate})")

    def end_stage(self, summary: str, **facts) -> None:
        """Close the stage's bar and say in a line what came of it."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self.write("stage_ended", stage=self._stage, **facts)
        self.say(f"{self._stage:<9} {summary}")

    def close(self) -> None:
        """Leave the terminal in order, whatever happened."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _own_stderr():
    """Return standard error under a descriptor of its own, which `chatter_to` does not divert."""
    try:
        return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", errors="replace")
    except (OSError, ValueError, AttributeError):  # no real descriptor, as under some test runners
        return sys.stderr


@contextmanager
def chatter_to(path: Path) -> Iterator[None]:
    """Divert what libraries write to standard error into a file while the block runs.

    Backends print their build options on import, from C++, where no Python switch reaches; a run over a
    thousand tiles would drown in it. It is kept, because a crash may explain itself there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def quiet_networks() -> Iterator[None]:
    """Let networks use all cores here, outside a run, and keep their backend's remarks off the terminal."""
    prepare_process(available_cores())
    with chatter_to(Path(os.devnull)):
        yield
