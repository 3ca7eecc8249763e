"""Opening FITS files that others wrote: bounded, and every fault a `Rejected` that names the file."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from astropy.io import fits

from lenspipe.core.errors import Rejected
from lenspipe.io.preflight import check_structure

_MAX_UNZIPPED = 16 * 2**30
_PIECE = 2**20
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
def naming_faults(path: str) -> Iterator[None]:
    """Make whatever a FITS reader raises inside the block a `Rejected` that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Rejected:
        raise
    except MemoryError as error:
        raise Rejected("too_large", str(error), path) from None
    except Exception as error:  # astropy leaks fourteen classes (measured): one reason for all
        raise Rejected("unreadable", f"{type(error).__name__}: {error}", path) from None


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
    with plain_file(path) as plain:
        expected = check_structure(plain, path)
        with naming_faults(path):
            hdus = fits.open(plain)
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
    """Yield the path of a file's unzipped content: the file itself, or a temporary one.

    Raises
    ------
    Rejected
        ``missing_file``, ``unreadable``, or ``too_large`` when unzipped.
    """
    if not Path(path).is_file():
        raise Rejected("missing_file", "no such file", path)
    if not path.lower().endswith(".gz"):
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="lenspipe-", suffix=".fits") as plain:
        try:
            with gzip.open(path) as zipped:
                while piece := zipped.read(_PIECE):
                    plain.write(piece)
                    if plain.tell() > _MAX_UNZIPPED:
                        raise Rejected("too_large", f"more than {_MAX_UNZIPPED} bytes when unzipped", path)
            plain.flush()
        except (OSError, EOFError, ValueError) as error:
            free = shutil.disk_usage(plain.name).free
            note = f"; {plain.name} has {free} bytes left" if free < _PIECE else ""
            raise Rejected("unreadable", f"{type(error).__name__}: {error}{note}", path) from None
        yield plain.name


def describe_file(path: str) -> list[Hdu]:
    """Return what the HDUs of a file say of themselves, extensions with what they leave to the primary."""
    with opened(path) as hdus, naming_faults(path):
        return [
            Hdu(
                number,
                hdu.name,
                tuple(hdu.shape) if getattr(hdu, "is_image", False) else (),
                inherit(hdu.header, hdus[0].header),
            )
            for number, hdu in enumerate(hdus)
        ]


def inherit(header: fits.Header, primary: fits.Header) -> fits.Header:
    """Return an extension's header with what it leaves to the primary one."""
    whole = header.copy()
    for key in _INHERITED:
        if key in primary and key not in whole:
            whole[key] = primary[key]
    return whole
