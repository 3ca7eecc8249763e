"""Atomic writing: a file with a final name is always whole.

The bytes go to a hidden temporary name in the same folder, are forced to disk and then renamed.
A process killed at any moment leaves the old file or the new one, never a part.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; on leaving without an error it becomes `path`.

    The temporary name keeps the suffix, because writers choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep_parts(folder: str | Path) -> None:
    """Remove the temporary files that killed writers left below a folder; no writer may be at work."""
    for path in Path(folder).rglob(".*.part*"):
        path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically; what UTF-8 cannot hold is escaped, which JSON reads back as it was."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def escape_text(text: str) -> str:
    """Return a text with the bytes of a file's name that are not UTF-8 spelt out, ``\\udcff`` for 0xff."""
    return text.encode(errors="backslashreplace").decode()


def write_json(path: str | Path, data: Any) -> None:
    """Write JSON atomically, keys in the order given; numbers that are not finite become null."""
    write_text(path, json.dumps(_plain(data), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def digest(path: str | Path) -> str:
    """Return the sha256 of a file's content.

    A zip archive (a ``.keras`` model) is told by its members' names and checksums without
    ``metadata.json``, which holds the time of saving: the same weights give the same digest.
    """
    path = Path(path)
    if path.suffix == ".keras" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            members = [(m.filename, m.CRC) for m in archive.infolist() if m.filename != "metadata.json"]
        return hashlib.sha256(repr(sorted(members)).encode()).hexdigest()
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
