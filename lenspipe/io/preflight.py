"""A look at a FITS file before any reader sees it: headers walked card by card, no pixel decoded.

A hostile or damaged header can make a reader loop, ask for terabytes or drop an image in silence; what
passes here says once and clearly how it is built, and declares no more than the file holds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from struct import iter_unpack
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from lenspipe.core.errors import Rejected

_BLOCK, _CARD = 2880, 80
_END = b"END".ljust(_CARD)
_MAX_HEADER_BLOCKS, _MAX_HDUS, _MAX_FIELDS = 512, 1024, 999
_MAX_AXES, _MAX_AXIS, _MAX_BYTES = 4, 200_000, 16 * 2**30
#: A reader holds a compressed tile whole, some three times over.
_MAX_TILE_BYTES = 256 * 2**20
#: With 76,764 axes astropy 8.0 ends in a segmentation fault, with SIP terms of that order it never ends.
_WCS, _MAX_WCS = ("WCSAXES", "A_ORDER", "AP_ORDER", "B_ORDER", "BP_ORDER"), 9
_MAX_TRAILER = 2**20
_PIECE = 2**22
_BITS = (8, 16, 32, 64, -32, -64)
_CODECS = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1", "NOCOMPRESS")
#: Settings of decoders that believe what they are told.
_SETTINGS = {"BLOCKSIZE": (32, 16), "BYTEPIX": (4, 2, 1, 8), "SMOOTH": (0, 1)}

#: Keywords that say where bytes are and what they mean: each at most once, in the one form of the standard.
_STRUCTURE = re.compile(
    rb"(?i)(?:HIERARCH +)?(SIMPLE|XTENSION|Z?BITPIX|Z?NAXIS\d*|[PG]COUNT|GROUPS|TFIELDS|TFORM\d+|THEAP"
    rb"|ZIMAGE|ZCMPTYPE|ZTILE\d+|ZNAME\d+|ZVAL\d+|WCSAXES[A-Z]?|[AB]P?_ORDER|BSCALE|BZERO|BLANK|CHECKSUM|DATASUM) *="
)
_WHOLE = re.compile(rb" *([+-]?\d{1,19}) *(?:/|$)")
_TEXT = re.compile(rb" *'([^']*)' *(?:/|$)")
_LOGICAL = re.compile(rb" *([TF]) *(?:/|$)")
_TEXTS = ("XTENSION", "ZCMPTYPE", "CHECKSUM", "DATASUM")
_SCALES = ("BSCALE", "BZERO", "BLANK")
_LOOSE = ("ZVAL", *_SCALES, *_WCS)
_LOGICALS = ("SIMPLE", "GROUPS", "ZIMAGE")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_TFORM = re.compile(r" *(\d*)([LXBIJKAEDCMPQ])")
_WIDTHS = dict(zip("LBIJKAEDCMPQ", (1, 1, 2, 4, 8, 1, 4, 8, 8, 16, 8, 16), strict=True))


class Extent(NamedTuple):
    """Where an HDU is: its header, its data, its end [byte]; the codec of a compressed image; its sums.

    `scaled` is true if the pixels are not the numbers that are stored, `checksum` if the header has a CHECKSUM;
    `datasum` is the sum that it gives for the data, if it does.
    """

    start: int
    data: int
    end: int
    codec: str
    scaled: bool
    checksum: bool
    datasum: int | None


def check_structure(path: str | Path, name: str = "") -> list[Extent]:
    """Walk a file's headers without decoding pixels and return where its HDUs are.

    Parameters
    ----------
    path : path
        Not zipped.
    name : str
        What to call the file in messages, if not by its path.

    Raises
    ------
    Rejected
        With the first fault: ``missing_file``, ``empty_file``, ``not_fits``, ``fits_truncated``,
        ``fits_damaged`` (what follows an HDU is none), ``bad_header`` or ``unreadable``.
    """
    path, name = Path(path), name or str(path)
    extents: list[Extent] = []
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            for extent in walk_hdus(file, name):
                if extent.end > size:
                    detail = f"HDU {len(extents)} declares {extent.end} bytes, the file has {size}"
                    raise Rejected("fits_truncated", detail, name, str(len(extents)))
                extents.append(extent)
                file.seek(extent.end)
    except FileNotFoundError:
        raise Rejected("missing_file", "no such file", name) from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        raise Rejected("unreadable", f"{type(error).__name__}: {error}", name) from None
    return extents


def walk_hdus(file: BinaryIO, name: str) -> Iterator[Extent]:
    """Yield where the HDUs of a file are as their headers are read; its reader goes to the end of each in between.

    Parameters
    ----------
    file : file
        At its start; only `read` and `tell` are used, so that it may be a stream.
    name : str
        What to call the file in messages.

    Raises
    ------
    Rejected
        As `check_structure`.
    """
    number = start = 0
    while header := _walk_header(file, name, number):
        data, length = file.tell(), _check_header(header, name, str(number))
        end = data - (-length // _BLOCK) * _BLOCK
        codec = header.get("ZCMPTYPE", "") if header.get("ZIMAGE") else ""
        datasum = header.get("DATASUM", "").strip()
        scaled = any(key in header for key in _SCALES)
        checksum = bool(header.get("CHECKSUM", "").strip())
        yield Extent(start, data, end, codec, scaled, checksum, int(datasum) if datasum else None)
        number, start = number + 1, end
        if number > _MAX_HDUS:
            raise Rejected("bad_header", f"more than {_MAX_HDUS} HDUs", name)


def check_sums(path: str | Path, extents: Sequence[Extent], name: str = "") -> None:
    """Add up the bytes of every HDU that has a CHECKSUM or DATASUM; reads the whole file once.

    See Appendix J of the FITS Standard 4.0.

    Raises
    ------
    Rejected
        ``checksum`` if a sum is not the one in the header.
    """
    name = name or str(path)
    with Path(path).open("rb") as file:
        for number, extent in enumerate(extents):
            if not extent.checksum and extent.datasum is None:
                continue
            data = _add_up(file, extent.data, extent.end)
            if extent.datasum not in (None, data):
                detail = f"DATASUM says {extent.datasum}, the data add up to {data}"
                raise Rejected("checksum", detail, name, str(number))
            if extent.checksum:
                whole = _fold(_add_up(file, extent.start, extent.data) + data)
                if whole != 0xFFFFFFFF:
                    detail = f"with its CHECKSUM the HDU should add up to 4294967295, not to {whole}"
                    raise Rejected("checksum", detail, name, str(number))


def _add_up(file: BinaryIO, start: int, end: int) -> int:
    """Return the ones' complement sum of a part of a file in words of 32 bits; beyond its end are zeros."""
    file.seek(start)
    total = 0
    while start < end and (piece := file.read(min(_PIECE, end - start))):
        start += len(piece)
        words = np.frombuffer(piece.ljust(-(-len(piece) // 4) * 4, b"\0"), ">u4")
        total += int(words.sum(dtype=np.uint64))
    return _fold(total)


def _fold(total: int) -> int:
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _walk_header(file: BinaryIO, path: str, number: int) -> dict[str, Any]:
    """Return the structural keywords of the next header; none at the end of the file."""
    values: dict[str, Any] = {}
    for count in range(_MAX_HEADER_BLOCKS):
        block = file.read(_BLOCK)
        if count == 0 and not _is_header(file, block, path, number):
            return {}
        if len(block) < _BLOCK:
            raise Rejected("fits_truncated", "a header ends in the middle of a block", path, str(number))
        for start, (keyword, rest) in enumerate(iter_unpack("8s72s", block)):
            if not _is_special(keyword):
                continue
            card = keyword + rest
            if card == _END:
                _refuse_control(block[: start * _CARD], path, number)
                return values
            match = _STRUCTURE.match(card)
            if match:
                key = match[1].decode().upper()
                value = None if key in values else _read_value(key, card[match.end() :].rstrip())
                if value is None or not card.isascii():
                    text = card.decode("ascii", "replace").strip()
                    raise Rejected("bad_header", f"{text!r}: twice, or not in FITS form", path, str(number))
                values[key] = value
        _refuse_control(block, path, number)
    raise Rejected("bad_header", f"no END card within {_MAX_HEADER_BLOCKS} blocks", path, str(number))


def _is_header(file: BinaryIO, block: bytes, path: str, number: int) -> bool:
    """Tell whether a block begins a header; what follows the last HDU may be nothing but padding."""
    expected = b"XTENSION=" if number else b"SIMPLE  ="
    if block.startswith(expected):
        return True
    if number == 0:
        if not block:
            raise Rejected("empty_file", "the file has no bytes", path)
        raise Rejected("not_fits", f"the file does not start with {expected.decode()!r}", path)
    rest = block + file.read(_MAX_TRAILER)
    if rest.strip(b"\0 ") or file.read(1):
        detail = f"what follows HDU {number - 1} does not start with {expected.decode()!r}"
        raise Rejected("fits_damaged", detail, path, str(number))
    return False


@lru_cache(4096)
def _is_special(keyword: bytes) -> bool:
    """Tell whether a card that begins so may be structural, or the last: files share most of their keywords."""
    padded = keyword.rstrip() + b"="
    return keyword.upper() in (b"END     ", b"HIERARCH") or bool(_STRUCTURE.match(padded))


def _refuse_control(cards: bytes, path: str, number: int) -> None:
    """Refuse control characters; a letter beyond ASCII in somebody's name is harmless."""
    if _CONTROL.search(cards):
        raise Rejected("bad_header", "a header card holds a control character", path, str(number))


def _read_value(key: str, text: bytes) -> Any:
    """Return the value of a structural card, None if it is not in the form of the standard."""
    if key in _LOGICALS:
        match = _LOGICAL.match(text)
        return match and match[1] == b"T"
    if key in _TEXTS or key.startswith(("TFORM", "ZNAME")):
        match = _TEXT.match(text)
        value = match and match[1].decode("ascii", "replace").rstrip()
        return value if key != "DATASUM" or not value or value.strip().isdigit() else None
    match = _WHOLE.match(text)
    if not match and key.startswith(_LOOSE):
        return text  # a fraction, say
    return match and int(match[1])


def _check_header(header: dict[str, Any], path: str, hdu: str) -> int:
    """Return the bytes of data that a header declares, or refuse the header."""

    def need(good: bool, detail: str) -> None:
        if not good:
            raise Rejected("bad_header", detail, path, hdu)

    kind = header.get("XTENSION", "IMAGE" if header.get("SIMPLE") else "")
    need(bool(kind), "SIMPLE is not T")
    need(not header.get("GROUPS"), "random groups are no survey image")
    is_table = kind in ("BINTABLE", "TABLE", "A3DTABLE")
    bits, axes = _read_axes(header, "", need)
    need(not is_table or (len(axes) == 2 and bits == 8), "a table has two axes of 8 bits")
    need(is_table or max(axes, default=0) <= _MAX_AXIS, f"axes {axes}: at most {_MAX_AXIS} pixels")
    parameters, groups = header.get("PCOUNT", 0), header.get("GCOUNT", 1)
    need(parameters >= 0 and groups == 1, f"PCOUNT = {parameters}, GCOUNT = {groups}")
    need(kind != "IMAGE" or parameters == 0, f"PCOUNT = {parameters} in an image")
    need(not is_table or 0 <= header.get("TFIELDS", -1) <= _MAX_FIELDS, "TFIELDS missing or out of range")
    total = abs(bits) // 8 * (parameters + math.prod(axes)) if axes else 0
    need(total <= _MAX_BYTES, f"axes {axes} of {abs(bits)} bits declare {total} bytes")
    for key, value in header.items():
        if key.startswith(_WCS) and isinstance(value, int):
            need(0 <= value <= _MAX_WCS, f"{key} = {value} is outside 0..{_MAX_WCS}")
    if header.get("ZIMAGE"):
        need(kind == "BINTABLE", "ZIMAGE outside a BINTABLE")
        _check_compressed(header, axes, need)
    return total


def _read_axes(header: dict[str, Any], prefix: str, need) -> tuple[int, list[int]]:
    """Return BITPIX and the axes, fastest first."""
    bits, count = header.get(f"{prefix}BITPIX"), header.get(f"{prefix}NAXIS", -1)
    need(bits in _BITS, f"{prefix}BITPIX = {bits}")
    need(0 <= count <= _MAX_AXES, f"{prefix}NAXIS = {count} is missing or outside 0..{_MAX_AXES}")
    axes = [header.get(f"{prefix}NAXIS{axis}", -1) for axis in range(1, count + 1)]
    need(min(axes, default=0) >= 0, f"an axis of {axes} is missing or negative")
    return bits, axes


def _check_compressed(header: dict[str, Any], table: list[int], need) -> None:
    """Refuse a compressed image whose tiles do not make up the image, or are larger than any reader can hold."""
    codec = header.get("ZCMPTYPE")
    need(codec in _CODECS, f"ZCMPTYPE = {codec!r} is none of {', '.join(_CODECS)}")
    bits, axes = _read_axes(header, "Z", need)
    need(len(axes) > 0 and min(axes) > 0 and max(axes) <= _MAX_AXIS, f"compressed axes {axes}")
    tile = [header.get(f"ZTILE{n}", axes[0] if n == 1 else 1) for n in range(1, len(axes) + 1)]
    need(min(tile) > 0, f"tiles {tile}")
    tile = [min(side, axis) for side, axis in zip(tile, axes, strict=True)]
    width = abs(bits) // 8
    need(math.prod(axes) * width <= _MAX_BYTES, f"axes {axes} of {abs(bits)} bits")
    need(math.prod(tile) * width <= _MAX_TILE_BYTES, f"tiles {tile} of {abs(bits)} bits")
    tiles = math.prod(-(-axis // side) for side, axis in zip(tile, axes, strict=True))
    need(tiles == table[1], f"{table[1]} rows for the {tiles} tiles of an image of {axes}")
    heap = header.get("THEAP", math.prod(table))
    need(math.prod(table) <= heap <= math.prod(table) + header.get("PCOUNT", 0), f"THEAP = {heap}")
    settings = {header.get(f"ZNAME{n}"): header.get(f"ZVAL{n}") for n in range(1, 10)}
    for name, choices in _SETTINGS.items():
        need(
            settings.get(name, choices[0]) in choices, f"{name} = {settings.get(name)!r} is none of {choices}"
        )
    forms = [_TFORM.match(header.get(f"TFORM{n}", "")) for n in range(1, header["TFIELDS"] + 1)]
    widths = [_field_width(int(form[1] or 1), form[2]) for form in forms if form]
    need(
        len(widths) == len(forms) and sum(widths) == table[0],
        f"fields of {widths} bytes in rows of {table[0]}",
    )


def _field_width(count: int, letter: str) -> int:
    return -(-count // 8) if letter == "X" else count * _WIDTHS[letter]
