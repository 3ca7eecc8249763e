"""What code is running: package version and a fingerprint of its sources.

The fingerprint is part of every done-marker's key, so that results of other code are never mistaken
for today's.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from lenspipe import __version__


@cache
def code_version() -> str:
    """Return e.g. ``0.1.0+3f9c2a41``: the version and 8 hex digits of all sources' content."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parent.parent
    for path in sorted(root.rglob("*")):
        if path.suffix in {".py", ".toml", ".csv", ".j2", ".css", ".js"}:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:8]}"
