"""A look at a FITS file before any reader sees it: headers walked card by card, no pixel decoded.

A hostile or damaged header can make a reader loop, ask for terabytes or crash (reliability.md, section 3);
what passes here declares no more than the file holds.
"""

from __future__ import annotations

import re
from pathlib import Path

from lenspipe.core.errors import Rejected

_BLOCK, _CARD = 2880, 80
_MAX_HEADER_BLOCKS, _MAX_HDUS, _MAX_AXIS = 512, 512, 200_000
_MAX_BYTES = 16 * 2**30
_STRUCTURE = re.compile(rb"(Z?BITPIX|Z?NAXIS\d*|PCOUNT|GCOUNT) *=")
_INTEGER = re.compile(rb" *([+-]?\d{1,19}) *(/|$)")


def check_structure(path: str | Path, name: str = "") -> int:
    """Walk a file's headers without decoding pixels and return the number of HDUs.

    Parameters
    ----------
    path : path
        Not zipped.
    name : str
        What to call the file in messages, if not by its path.

    Raises
    ------
    Rejected
        With the first fault: not FITS, truncated, or an axis beyond any real survey image.
    """
    path, name = Path(path), name or str(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            for hdus in range(_MAX_HDUS):
                header = _walk_header(file, name, first=hdus == 0)
                if header is None:
                    return hdus
                start, length = file.tell(), _data_bytes(header, name)
                if start + length > size:
                    detail = f"HDU {hdus} declares {start + length} bytes, the file has {size}"
                    raise Rejected("fits_truncated", detail, name, str(hdus))
                file.seek(start - (-length // _BLOCK) * _BLOCK)
    except FileNotFoundError:
        raise Rejected("missing_file", "no such file", name) from None
    except OSError as error:
        raise Rejected("unreadable", f"{type(error).__name__}: {error}", name) from None
    raise Rejected("bad_header", f"more than {_MAX_HDUS} HDUs", name)


def _walk_header(file, path: str, first: bool) -> dict[str, int] | None:
    values: dict[str, int] = {}
    for number in range(_MAX_HEADER_BLOCKS):
        block = file.read(_BLOCK)
        if number == 0 and not block:
            if first:
                raise Rejected("empty_file", "the file has no bytes", path)
            return None
        if number == 0:
            expected = b"SIMPLE  =" if first else b"XTENSION="
            if not block.startswith(expected):
                if first:
                    raise Rejected("not_fits", f"the file does not start with {expected.decode()!r}", path)
                return None  # special records after the last HDU: allowed by the standard, ignored
        if len(block) < _BLOCK:
            raise Rejected("fits_truncated", "a header ends in the middle of a block", path)
        for start in range(0, _BLOCK, _CARD):
            card = block[start : start + _CARD]
            match = _STRUCTURE.match(card)
            if match:
                key, value = match[1].decode(), _INTEGER.match(card[match.end() :].rstrip())
                if value is None or key in values:
                    raise Rejected(
                        "bad_header", f"{card.decode('latin-1').strip()!r} is not one whole number", path
                    )
                values[key] = int(value[1])
            elif card.rstrip() == b"END":
                return values
    raise Rejected("bad_header", f"no END card within {_MAX_HEADER_BLOCKS} blocks", path)


def _data_bytes(header: dict[str, int], path: str) -> int:
    for key, value in header.items():
        if "NAXIS" in key:
            limit = 999 if key.endswith("NAXIS") else (2**31 if not key.startswith("Z") else _MAX_AXIS)
            if not 0 <= value <= limit:
                raise Rejected("bad_header", f"{key} = {value} is outside 0..{limit}", path)
    n_axes = header.get("NAXIS", 0)
    if n_axes == 0:
        return 0
    pixels = 1
    for axis in range(1, n_axes + 1):
        if f"NAXIS{axis}" not in header:
            raise Rejected("bad_header", f"NAXIS = {n_axes} but there is no NAXIS{axis}", path)
        pixels *= header[f"NAXIS{axis}"]
    bits = abs(header.get("BITPIX", 0))
    total = bits // 8 * header.get("GCOUNT", 1) * (header.get("PCOUNT", 0) + pixels)
    if bits not in (8, 16, 32, 64) or not 0 <= total <= _MAX_BYTES:
        raise Rejected("bad_header", f"BITPIX {bits} and axes that declare {total} bytes", path)
    return total
