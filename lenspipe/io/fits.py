"""Reading FITS images that others wrote: found by EXTNAME, bounded, every fault a `Rejected`.

Before astropy sees a file its headers are walked by `check_structure`, because a hostile or damaged
header can make a reader loop or ask for terabytes (reliability.md, section 3).
"""

from __future__ import annotations

import gzip
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from lenspipe.core.errors import Rejected
from lenspipe.core.survey import Survey
from lenspipe.core.types import ImageSet, RawBand

_BLOCK, _CARD = 2880, 80
_MAX_HEADER_BLOCKS, _MAX_HDUS, _MAX_AXIS = 512, 512, 200_000
_MAX_BYTES, _MAX_UNZIPPED = 16 * 2**30, 4 * 2**30
_STRUCTURE = re.compile(rb"(Z?BITPIX|Z?NAXIS\d*|PCOUNT|GCOUNT) *=")
_INTEGER = re.compile(rb" *([+-]?\d{1,19}) *(/|$)")
#: What an extension may leave to the primary header.
_INHERITED = (
    *("BAND", "FILTER", "MAGZERO", "MAGZP", "MAGZPT", "MAG_ZERO", "ZEROPT", "PHOTZP", "ZP", "BUNIT"),
    *("PSF_FWHM", "FWHM", "SEEING", "SATURATE", "PIXSCALE"),
)


@dataclass(frozen=True)
class Plane:
    """One 2-D image inside a file: which HDU, which layer of a cube, what it shows."""

    path: str
    hdu: int
    layer: int | None
    role: str
    band: str
    label: str


def check_structure(path: str | Path) -> int:
    """Walk a file's headers without decoding pixels and return the number of HDUs.

    Raises
    ------
    Rejected
        With the first fault: not FITS, truncated, or an axis beyond any real survey image.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        zipped = path.name.lower().endswith(".gz")
        with gzip.open(path) if zipped else path.open("rb") as file:
            hdus = 0
            while hdus < _MAX_HDUS:
                header = _walk_header(file, str(path), first=hdus == 0)
                if header is None:
                    return hdus
                length = -(-_data_bytes(header, str(path)) // _BLOCK) * _BLOCK
                if zipped and file.tell() + length > _MAX_UNZIPPED:
                    raise Rejected("too_large", f"more than {_MAX_UNZIPPED} bytes when unzipped", str(path))
                start = file.tell()
                if zipped:
                    if length and len(_skip(file, length)) == 0:
                        raise Rejected("fits_truncated", f"HDU {hdus} ends early", str(path), str(hdus))
                elif start + _data_bytes(header, str(path)) > size:
                    raise Rejected(
                        "fits_truncated",
                        f"HDU {hdus} declares {start + length} bytes, the file has {size}",
                        str(path),
                        str(hdus),
                    )
                else:
                    file.seek(start + length)
                hdus += 1
            return hdus
    except FileNotFoundError:
        raise Rejected("missing_file", "no such file", str(path)) from None
    except (OSError, EOFError) as error:
        raise Rejected("unreadable", f"{type(error).__name__}: {error}", str(path)) from None


def _skip(file, length: int) -> bytes:
    last = b""
    while length > 0:
        last = file.read(min(length, 2**20))
        if not last:
            return b""
        length -= len(last)
    return last


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


@contextmanager
def opened(path: str) -> Iterator[fits.HDUList]:
    """Open a FITS file; whatever astropy raises inside the block becomes a `Rejected`."""
    expected = check_structure(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path, memmap=not path.lower().endswith(".gz")) as hdus:
                if len(hdus) < expected:  # astropy drops what follows a bad extension in silence
                    raise Rejected("fits_damaged", f"{expected} HDUs in the file, {len(hdus)} readable", path)
                yield hdus
    except Rejected:
        raise
    except MemoryError as error:
        raise Rejected("too_large", str(error), path) from None
    except Exception as error:  # astropy leaks fourteen classes (measured): one reason for all
        raise Rejected("unreadable", f"{type(error).__name__}: {error}", path) from None


def list_planes(image_set: ImageSet, survey: Survey) -> list[Plane]:
    """Return all 2-D images of the files of a tile or cutout, with their roles and bands."""
    planes: list[Plane] = []
    for file in image_set.files:
        with opened(file.path) as hdus:
            images = [
                (number, hdu.name, _inherit(hdu.header, hdus[0].header), hdu.shape)
                for number, hdu in enumerate(hdus)
                if getattr(hdu, "is_image", False) and len(hdu.shape) in (2, 3)
            ]
        for number, extname, header, shape in images:
            role, ext_band = _read_extname(extname, survey)
            role = role or file.role or "image"
            band = file.band or ext_band or _header_band(header, survey)
            label = f"{number}:{extname}" if extname else str(number)
            if len(shape) == 2:
                planes.append(Plane(file.path, number, None, role, band, label))
            elif role in ("image", "psf", "weight", "variance", "rms", "mask"):
                for layer, name in enumerate(_cube_bands(header, shape[0], survey, file.path)):
                    planes.append(Plane(file.path, number, layer, role, name, label))
    if len(survey.bands) == 1:  # a survey of one band needs no label
        only = next(iter(survey.bands))
        planes = [Plane(p.path, p.hdu, p.layer, p.role, only, p.label) for p in planes]
    return planes


def _read_extname(extname: str, survey: Survey) -> tuple[str, str]:
    layout = survey.layout
    for role, names in (
        ("image", layout.image),
        ("weight", layout.weight),
        ("variance", layout.variance),
        ("rms", layout.rms),
        ("mask", layout.mask),
        ("psf", layout.psf),
    ):
        for name in names:
            if extname.upper() == name.upper():
                return role, ""
            head, _, tail = extname.rpartition("_")
            if head.upper() == name.upper() and _match_band(tail, survey):
                return role, _match_band(tail, survey)
    return "", ""


def _match_band(text: str, survey: Survey) -> str:
    if text in survey.bands:
        return text
    same = [band for band in survey.bands if band.lower() == text.lower()]  # astropy upper-cases EXTNAME
    return same[0] if len(same) == 1 else ""


def _header_band(header, survey: Survey) -> str:
    for key in ("BAND", "FILTER", "FILTER1", "HIERARCH FPA.FILTERID"):
        words = re.split(r"[^A-Za-z0-9]+", str(header.get(key, "")).strip())
        if words and words[0] in survey.bands:
            return words[0]
    return ""


def _cube_bands(header, layers: int, survey: Survey, path: str) -> list[str]:
    named = str(header.get("BANDS", "")).replace(",", " ").split()
    for names in (named, list(survey.bands), list(survey.model_bands)):
        if len(names) == layers:
            return names
    raise Rejected(
        "cube_bands",
        f"a cube of {layers} layers, but {survey.name} has {len(survey.bands)} bands; "
        "name them in the header: BANDS = 'g r i'",
        path,
    )


def read_band(planes: list[Plane], band: str) -> RawBand:
    """Return the pixels of one band with its noise, mask and PSF, from the planes of an image set.

    Raises
    ------
    Rejected
        ``missing_band:<band>`` if there is no image in it, ``ambiguous_band:<band>`` if there are two,
        ``shape_mismatch:<band>`` if its noise or mask has another shape.
    """
    mine = [plane for plane in planes if plane.band == band]
    images = [plane for plane in mine if plane.role == "image"]
    if not images:
        there = sorted({plane.band or "?" for plane in planes if plane.role == "image"})
        path = planes[0].path if planes else ""
        raise Rejected(f"missing_band:{band}", f"images found: {', '.join(there) or 'none'}", path)
    if len(images) > 1:
        places = ", ".join(f"{Path(plane.path).name}[{plane.label}]" for plane in images)
        raise Rejected(
            f"ambiguous_band:{band}", f"several images claim to be {band}: {places}", images[0].path
        )
    data, header = _read_plane(images[0])
    parts: dict[str, np.ndarray] = {}
    mask_header = None
    for role in ("weight", "variance", "rms", "mask", "psf"):
        found = [plane for plane in mine if plane.role == role]
        if found:
            parts[role], header_of_part = _read_plane(found[0])
            mask_header = header_of_part if role == "mask" else mask_header
            if role != "psf" and parts[role].shape != data.shape:
                raise Rejected(
                    f"shape_mismatch:{band}",
                    f"image {data.shape}, {role} {parts[role].shape}",
                    found[0].path,
                    found[0].label,
                )
    kind = next((role for role in ("weight", "variance", "rms") if role in parts), "")
    return RawBand(
        band,
        data,
        header,
        images[0].path,
        parts.get(kind),
        kind,
        parts.get("mask"),
        mask_header,
        parts.get("psf"),
    )


def _read_plane(plane: Plane) -> tuple[np.ndarray, fits.Header]:
    with opened(plane.path) as hdus:
        hdu = hdus[plane.hdu]
        pixels = hdu.data if plane.layer is None else hdu.data[plane.layer]
        if pixels is None or min(pixels.shape) < 1:
            raise Rejected("no_pixels", "the image is empty", plane.path, plane.label)
        native = np.int64 if plane.role == "mask" else np.float32
        return np.array(pixels, dtype=native), _inherit(hdu.header, hdus[0].header)


def _inherit(header: fits.Header, primary: fits.Header) -> fits.Header:
    """Return an extension's header with what it leaves to the primary one."""
    whole = header.copy()
    for key in _INHERITED:
        if key in primary and key not in whole:
            whole[key] = primary[key]
    return whole
