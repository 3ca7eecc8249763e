"""Unzipping FITS files that others zipped: no more is written than their headers declare."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lenspipe.core.errors import Rejected
from lenspipe.io.preflight import walk_hdus

_MAX_UNZIPPED = 16 * 2**30
_PIECE = 2**20


@contextmanager
def unzipped(path: str) -> Iterator[str]:
    """Yield the path of a FITS file that is not zipped: the file itself, or a temporary one.

    The headers are walked while the file is unzipped, and nothing is unzipped beyond the end that they declare but
    the padding that a plain file may have, too: a megabyte that would be a gigabyte costs what it declares.

    Raises
    ------
    Rejected
        ``missing_file``, ``unreadable``, ``too_large`` when unzipped, or a fault of the headers as `check_structure`
        names it. A file that ends too early is yielded as it is.
    """
    if not Path(path).is_file():
        raise Rejected("missing_file", "no such file", path)
    if not path.lower().endswith(".gz"):
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="lenspipe-", suffix=".fits") as plain:
        try:
            with gzip.open(path) as zipped:
                stream = _Tee(zipped, plain)
                for extent in walk_hdus(stream, path):
                    if extent.end > _MAX_UNZIPPED:
                        detail = f"declares {extent.end} bytes, more than {_MAX_UNZIPPED} when unzipped"
                        raise Rejected("too_large", detail, path)
                    while stream.tell() < extent.end and stream.read(min(_PIECE, extent.end - stream.tell())):
                        pass
            plain.flush()
        except (OSError, EOFError, ValueError, zlib.error) as error:
            free = shutil.disk_usage(plain.name).free
            note = f"; {plain.name} has {free} bytes left" if free < _PIECE else ""
            raise Rejected("unreadable", f"{type(error).__name__}: {error}{note}", path) from None
        yield plain.name


class _Tee:
    """A stream that writes what is read from it into a file."""

    def __init__(self, source: BinaryIO, copy: BinaryIO):
        self._source, self._copy = source, copy

    def read(self, size: int) -> bytes:
        """Return the next bytes, fewer only at the end."""
        piece = self._source.read(size)
        self._copy.write(piece)
        return piece

    def tell(self) -> int:
        """Return the number of bytes read so far."""
        return self._copy.tell()
