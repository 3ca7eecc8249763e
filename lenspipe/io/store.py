"""The run directory: datasets in folders, done-markers, one lock. The directory is the state.

A done-marker is written last, after all outputs of a unit stand under their final names. It is keyed
by the hash of settings + inputs + code version and lists the outputs with their digests, so that a
marker is worth something only while what it names is still there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lenspipe.core.errors import InputError, RunLocked
from lenspipe.core.types import Done, Quarantined, Unit
from lenspipe.core.version import code_version
from lenspipe.io.files import digest, write_json

#: Where datasets lie in a run directory, unless told otherwise; a stage's own name if not here.
FOLDERS = {"detector": "models/detector", "regressor": "models/regressor"}
#: lenspipe's own bookkeeping inside a run directory.
STATE = ".lenspipe"


class Store:
    """A run directory.

    Parameters
    ----------
    root : path
        The run directory; made if it is not there.
    folders : mapping, optional
        Dataset name -> folder relative to `root`, for commands whose only output is one dataset
        (``lenspipe simulate --out DIR`` writes its shards into DIR itself).
    """

    def __init__(self, root: str | Path, folders: Mapping[str, str] | None = None):
        self.root = Path(root).absolute()
        self.folders = {**FOLDERS, **(folders or {})}

    def folder(self, dataset: str) -> Path:
        """Return the folder of a dataset."""
        return self.root / self.folders.get(dataset, dataset)

    def path(self, dataset: str, name: str) -> Path:
        """Return the path of a file of a dataset."""
        return self.folder(dataset) / name

    def read_record(self) -> dict[str, Any]:
        """Return ``run.json``; empty if there is none, or none that is whole."""
        try:
            return json.loads((self.root / "run.json").read_text())
        except (OSError, ValueError):
            return {}

    # -- done-markers ------------------------------------------------------------------------

    def marker(self, stage: str, unit: str) -> Path:
        """Return the path of a unit's done-marker."""
        return self.root / STATE / "done" / stage / f"{safe_name(unit)}.json"

    def key(self, stage: str, unit: Unit) -> str:
        """Return the hash of all that a unit's result depends on."""
        parts = {
            "stage": stage,
            "unit": unit.name,
            "payload": unit.payload,
            "settings": unit.settings,
            "inputs": [self.fingerprint(path) for path in unit.inputs],
            "code": code_version(),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()

    def fingerprint(self, path: str | Path) -> list[Any]:
        """Return what tells whether an input changed.

        Files of the run are told by content, so that a stage made again with the same result leaves
        what comes after it alone. Files from outside (tiles of gigabytes) are told by size and
        modification time.
        """
        path = Path(path)
        try:
            status = path.stat()
        except OSError:
            return [str(path), "missing"]
        if path.is_relative_to(self.root):
            return [str(path.relative_to(self.root)), digest(path)]
        return [str(path), status.st_size, status.st_mtime_ns]

    def read_done(self, stage: str, unit: str, key: str) -> Done | None:
        """Return what a finished unit handed back, or None if it must be done (again)."""
        try:
            record = json.loads(self.marker(stage, unit).read_text())
        except (OSError, ValueError):
            return None
        if record["key"] != key:
            return None
        outputs = []
        for name, size in record["outputs"]:
            path = self.root / name
            if not path.is_file() or path.stat().st_size != size:
                return None
            outputs.append(path)
        rows = tuple(Quarantined(**row) for row in record["quarantined"])
        return Done(tuple(outputs), record["counts"], rows)

    def write_done(self, stage: str, unit: str, key: str, done: Done) -> None:
        """Write a unit's done-marker: the last thing that is written for it."""
        outputs = [[os.path.relpath(path, self.root), path.stat().st_size] for path in done.outputs]
        write_json(
            self.marker(stage, unit),
            {
                "unit": unit,
                "key": key,
                "code": code_version(),
                "outputs": outputs,
                "counts": dict(done.counts),
                "quarantined": [asdict(row) for row in done.quarantined],
            },
        )

    def finished(self, stage: str) -> list[tuple[str, Done]]:
        """Return (unit's name, what it handed back) of every marker of a stage, in order of the files."""
        found = []
        for path in sorted((self.root / STATE / "done" / stage).glob("*.json")):
            record = json.loads(path.read_text())
            rows = tuple(Quarantined(**row) for row in record["quarantined"])
            outputs = tuple(self.root / name for name, _ in record["outputs"])
            found.append((record.get("unit", path.stem), Done(outputs, record["counts"], rows)))
        return found

    def stages(self) -> list[str]:
        """Return the names of the stages that have finished units."""
        return sorted(path.name for path in (self.root / STATE / "done").glob("*"))

    def discard(self, stage: str, unit: str, outputs: bool) -> None:
        """Remove a unit's marker, and its outputs too if asked: nothing stale is left to be read.

        A tile that was good and is now in quarantine would otherwise live on in the catalog.
        """
        marker = self.marker(stage, unit)
        if outputs:
            try:
                names = [name for name, _ in json.loads(marker.read_text())["outputs"]]
            except (OSError, ValueError):
                names = []
            for name in names:
                (self.root / name).unlink(missing_ok=True)
        marker.unlink(missing_ok=True)

    def forget(self, stage: str, keep: set[str], outputs: bool) -> None:
        """Discard the units that are no longer planned, such as a tile taken out of the inputs."""
        for name, _ in self.finished(stage):
            if name not in keep:
                self.discard(stage, name, outputs)

    # -- lock --------------------------------------------------------------------------------

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Own the run directory while the block runs.

        The kernel frees the lock when its holder dies, however it dies: there is no stale lock.

        Raises
        ------
        RunLocked
            If another live process holds it; the message names it.
        """
        path = self.root / STATE / "lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = path.open("a+")
        except OSError as error:
            raise InputError(f"cannot write to the run directory {self.root}: {error.strerror}") from None
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                handle.seek(0)
                holder = handle.read().strip() or "another process"
                raise RunLocked(
                    f"{self.root} is in use by {holder}; wait for it, stop it, or choose another --out"
                ) from None
            handle.truncate(0)
            handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            handle.flush()
            yield


def safe_name(name: str) -> str:
    """Return a unit's name as a file name: no separators, at most 150 characters, still unique."""
    plain = re.sub(r"[^A-Za-z0-9._+-]", "_", name)
    if plain == name and len(plain) <= 150 and not plain.startswith("."):
        return plain
    raw = name.encode(errors="surrogatepass")  # a file's name need not be UTF-8
    return f"{plain[:120].lstrip('.')}~{hashlib.sha256(raw).hexdigest()[:8]}"
