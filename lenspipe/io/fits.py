"""Opening FITS files that others wrote: bounded, and every fault a `Rejected` that names the file."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from lenspipe.core.errors import Rejected
from lenspipe.io.guard import SECONDS, naming_faults, run_guarded
from lenspipe.io.preflight import check_structure, check_sums
from lenspipe.io.zipped import unzipped

#: Up to this size [byte] a file's checksums are verified: its bytes are then read once more than needed.
MAX_VERIFIED = 64 * 2**20
#: Decoders that trust what they decode: a wrong byte lets them write outside of their memory.
_UNSAFE_CODECS = ("HCOMPRESS_1", "PLIO_1")
_UNPACK_RATE = 1e6  # bytes per second, at the least
#: What an extension may leave to the primary header.
_INHERITED = (
    *("BAND", "FILTER", "MAGZERO", "MAGZP", "MAGZPT", "MAG_ZERO", "ZEROPT", "PHOTZP", "ZP", "BUNIT"),
    *("FLUXMAG0", "MZP_AB", "EXPTIME", "PSF_FWHM", "FWHM", "SEEING", "SATURATE", "PIXSCALE", "GAIN"),
)


@dataclass(frozen=True)
class Hdu:
    """What one HDU of a file says of itself: number, EXTNAME, shape of an image (else empty), header."""

    number: int
    name: str
    shape: tuple[int, ...]
    header: fits.Header


@contextmanager
def opened(path: str) -> Iterator[fits.HDUList]:
    """Open a FITS file that passes the preflight; its pixels stay on the disk until they are asked for.

    A gzipped file is unzipped into a temporary one first, so that its parts, too, can be read alone.
    Reading from what this yields belongs into `naming_faults`.

    Raises
    ------
    Rejected
        If the file is not there, not FITS, damaged, or larger than any survey's images.
    """
    with plain_file(path) as plain, _open_plain(plain, path) as hdus:
        yield hdus


@contextmanager
def _open_plain(plain: str, path: str) -> Iterator[fits.HDUList]:
    extents = check_structure(plain, path)
    expected = len(extents)
    with naming_faults(path):
        # never mapped: what was read of a map counts as the process's own memory until the file is closed, which
        # Dask takes for a leak; and of a map astropy believes any descriptor of a compressed tile
        hdus = fits.open(plain, memmap=False, lazy_load_hdus=True)
    try:
        with naming_faults(path):
            count = len(hdus)
        if count < expected:  # astropy drops what follows a bad extension in silence
            raise Rejected("fits_damaged", f"{expected} HDUs in the file, {count} readable", path)
        yield hdus
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            hdus.close()


@contextmanager
def plain_file(path: str) -> Iterator[str]:
    """Yield the path of a file that can be read in place: the file itself, or a temporary one.

    A gzipped file is unzipped; one whose codec is not to be trusted is unpacked by the guarded child.

    Raises
    ------
    Rejected
        What `unzipped`, `check_structure` and `run_guarded` raise.
    """
    with unzipped(path) as plain:
        extents = check_structure(plain, path)
        if not any(extent.codec in _UNSAFE_CODECS for extent in extents):
            yield plain
            return
        with tempfile.NamedTemporaryFile(prefix="lenspipe-", suffix=".fits") as unpacked:
            seconds = SECONDS + extents[-1].end / _UNPACK_RATE
            run_guarded(unpack, plain, path, unpacked.name, path=path, seconds=seconds, apart=True)
            yield unpacked.name


def describe_file(path: str, max_verified: int = MAX_VERIFIED) -> list[Hdu]:
    """Return what the HDUs of a file say of themselves, extensions with what they leave to the primary.

    A guarded child reads the file first, its checksums too where it has any; only headers that did it no
    harm are read here.

    Parameters
    ----------
    path : str
    max_verified : int
        Size [byte] of the largest file whose checksums are verified.

    Raises
    ------
    Rejected
        What `opened` and `run_guarded` raise; ``checksum``.
    """
    with unzipped(path) as plain:
        found = run_guarded(examine, plain, path, max_verified, path=path)
    with naming_faults(path):
        headers = [fits.Header.fromstring(text) for _, _, text in found]
        return [
            Hdu(number, name, tuple(shape), inherit(headers[number], headers[0]))
            for number, (name, shape, _) in enumerate(found)
        ]


def examine(plain: str, path: str, max_verified: int) -> list[tuple[str, tuple[int, ...], str]]:
    """Return EXTNAME, shape and header of the HDUs of a file, having done to it what may end a process.

    Runs in the guarded child: libraries read the headers, and the world coordinates of images are used.
    """
    extents = check_structure(plain, path)
    if Path(plain).stat().st_size <= max_verified:
        check_sums(plain, extents, path)
    with _open_plain(plain, path) as hdus, naming_faults(path):
        return [_examine_hdu(hdu) for hdu in hdus]


def _examine_hdu(hdu: Any) -> tuple[str, tuple[int, ...], str]:
    shape = tuple(map(int, hdu.shape)) if getattr(hdu, "is_image", False) else ()
    header = _readable(hdu.header)
    if len(shape) in (2, 3) and "CTYPE1" in header:
        _use_wcs(header, shape)
    return hdu.name, shape, header.tostring(endcard=False, padding=False)


def _use_wcs(header: fits.Header, shape: tuple[int, ...]) -> None:
    """Go from pixels to the sky and back; that it cannot be done does no harm, only that it kills."""
    rows, columns = shape[-2:]
    x = np.array([0, columns - 1, 0, columns - 1, (columns - 1) / 2])
    y = np.array([0, 0, rows - 1, rows - 1, (rows - 1) / 2])
    try:
        wcs = WCS(header).celestial
        wcs.all_world2pix(*wcs.all_pix2world(x, y, 0), 0, quiet=True)
    except MemoryError:
        raise
    except Exception:
        return


def unpack(plain: str, path: str, target: str) -> None:
    """Write the compressed images of a file as plain ones; runs in the guarded child."""
    with _open_plain(plain, path) as hdus, naming_faults(path):
        whole = [
            fits.ImageHDU(hdu.data, hdu.header) if isinstance(hdu, fits.CompImageHDU) else hdu for hdu in hdus
        ]
        fits.HDUList(whole).writeto(target, overwrite=True, output_verify="silentfix")


def inherit(header: fits.Header, primary: fits.Header) -> fits.Header:
    """Return an extension's header with what it leaves to the primary one, without cards that say nothing."""
    whole = _readable(header)
    for key in _INHERITED:
        if key in primary and key not in whole and _is_readable(primary.cards[key]):
            whole[key] = primary[key]
    return whole


def _readable(header: fits.Header) -> fits.Header:
    """Return a copy without the cards whose value cannot be read: asking for it would raise."""
    whole = header.copy()
    for number in reversed([n for n, card in enumerate(whole.cards) if not _is_readable(card)]):
        del whole[number]
    return whole


def _is_readable(card: fits.Card) -> bool:
    try:
        _ = card.value
    except Exception:
        return False
    return True
