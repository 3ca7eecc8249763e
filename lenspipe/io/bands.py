"""The bands of a tile, open for reading piece by piece: never the whole tile at once.

Masks and PSFs of no band belong to all bands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from lenspipe.core.errors import Rejected
from lenspipe.core.types import PsfModel, RawBand
from lenspipe.io.fits import inherit, opened
from lenspipe.io.guard import naming_faults
from lenspipe.io.planes import Plane

_MAX_PSF, _MAX_DEGREE = 1024, 8  # px; of PSF images, of polynomials
_MOST_OF = 0.3  # of a row: then all of it is read
_NOISE_KINDS = ("weight", "variance", "rms")
_COMMON = ("mask", "psf", "psf_size", "psf_model")


class OpenBand:
    """One band of a tile or cutout, its files open.

    Attributes
    ----------
    band, path : str
    shape : (rows, columns)
    header : Header
    noise_kind : str
        ``weight`` (inverse variance), ``variance``, ``rms``; empty where there is no noise map.
    mask_header : Header or None
    psf : ndarray or None
        The PSF image, as it stands in the file.
    psf_model : PsfModel or None
        Where the PSF is given as a function of position.
    has_psf_size : bool
        Whether there is a map of the PSF's FWHM, for `read_psf_size`.
    """

    def __init__(self, band: str, planes: dict[str, Plane], files: dict[str, fits.HDUList]):
        self.band, self.path = band, planes["image"].path
        self._planes, self._files = planes, files
        self.header, self.shape = self._describe("image")
        self.noise_kind = next((role for role in _NOISE_KINDS if role in planes), "")
        self.mask_header = self._describe("mask")[0] if "mask" in planes else None
        self.has_psf_size = "psf_size" in planes
        for role in (self.noise_kind, "mask", "psf_size"):
            if role in planes and self._describe(role)[1] != self.shape:
                raise Rejected(
                    f"shape_mismatch:{band}",
                    f"image {self.shape}, {role} {self._describe(role)[1]}",
                    planes[role].path,
                    planes[role].label,
                )
        if min(self.shape) < 1:
            raise Rejected("no_pixels", "the image is empty", self.path, planes["image"].label)
        self.psf = self._read_psf() if "psf" in planes else None
        self.psf_model = self._read_psf_model() if "psf_model" in planes else None

    def read(self, rows: slice = slice(None), columns: slice = slice(None)) -> RawBand:
        """Return the pixels of a part of the band as they stand in the files.

        Raises
        ------
        Rejected
            If they cannot be read.
        """
        data = self._read("image", rows, columns, np.float32)
        noise = self._read(self.noise_kind, rows, columns, np.float32) if self.noise_kind else None
        mask = self._read("mask", rows, columns, None) if "mask" in self._planes else None
        return RawBand(data, noise, mask)

    def read_psf_size(self, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        """Return a part of the map of the PSF's FWHM [arcsec]; `Rejected` if it cannot be read."""
        return self._read("psf_size", rows, columns, np.float32)

    def _hdu(self, role: str) -> Any:
        plane = self._planes[role]
        return self._files[plane.path][plane.hdu]

    def _describe(self, role: str) -> tuple[fits.Header, tuple[int, int]]:
        plane = self._planes[role]
        with naming_faults(plane.path):
            hdu = self._hdu(role)
            header = inherit(hdu.header, self._files[plane.path][0].header)
            return header, (int(hdu.shape[-2]), int(hdu.shape[-1]))

    def _read(self, role: str, rows: slice, columns: slice, dtype: Any) -> np.ndarray:
        plane = self._planes[role]
        with naming_faults(plane.path):
            hdu = self._hdu(role)
            first, last, _ = columns.indices(int(hdu.shape[-1]))
            # astropy reads whole rows at once, parts of rows one by one: ten times slower
            whole = last - first > _MOST_OF * hdu.shape[-1]
            read = slice(None) if whole else columns
            pixels = np.asarray(
                hdu.section[(rows, read) if plane.layer is None else (plane.layer, rows, read)]
            )
            native = np.dtype(dtype or pixels.dtype.newbyteorder("="))
            if dtype is None and pixels.dtype.kind not in "iu":
                native = np.dtype(np.int64)  # a mask stored as floats
            swapped = pixels.dtype == native.newbyteorder()
            if swapped and pixels.flags.writeable and pixels.flags.c_contiguous:
                # in place: new memory costs more than all the rest
                pixels = pixels.byteswap(inplace=True).view(native)
            return np.asarray(pixels[:, columns] if whole else pixels, native)

    def _read_psf(self) -> np.ndarray:
        self._check_psf(self._describe("psf")[1])
        return self._read("psf", slice(None), slice(None), np.float32)

    def _read_psf_model(self) -> PsfModel:
        plane = self._planes["psf_model"]
        with naming_faults(plane.path):
            table = self._files[plane.path][plane.hdu]
            header, column = table.header, table.columns["PSF_MASK"]
            shape = tuple(int(header[f"PSFAXIS{k}"]) for k in (3, 2, 1))
            axes = int(header.get("POLNAXIS", 0))
            degree = int(header["POLDEG1"]) if axes else 0
            terms = (degree + 1) * (degree + 2) // 2
            self._check_psf(shape[1:])
            if axes not in (0, 2) or not 0 <= degree <= _MAX_DEGREE or shape[0] != terms:
                detail = f"{axes} axes, degree {degree} and {shape[0]} images; lenspipe reads polynomials in x and y"
                raise Rejected(f"bad_psf:{self.band}", detail, plane.path, plane.label)
            basis = np.asarray(table.data[column.name][0], np.float64).reshape(shape)
            zero, scale = (
                [float(header[f"{key}{k}"]) for k in (1, 2)] if axes else [usual, usual]
                for key, usual in (("POLZERO", 0.0), ("POLSCAL", 1.0))
            )
            model = PsfModel(
                basis, degree, (zero[0], zero[1]), (scale[0], scale[1]), float(header["PSF_SAMP"])
            )
        if not (np.isfinite(basis).all() and 0.05 <= model.step <= 10.0 and all(scale)):
            raise Rejected(f"bad_psf:{self.band}", "numbers that are none", plane.path, plane.label)
        return model

    def _check_psf(self, shape: tuple[int, ...]) -> None:
        if max(shape) > _MAX_PSF or min(shape) < 1:
            plane = self._planes["psf" if "psf" in self._planes else "psf_model"]
            detail = f"a PSF image of {shape[0]} x {shape[1]} pixels; 1 to {_MAX_PSF} are expected"
            raise Rejected(f"bad_psf:{self.band}", detail, plane.path, plane.label)


@contextmanager
def open_bands(planes: Sequence[Plane], bands: Sequence[str]) -> Iterator[dict[str, OpenBand]]:
    """Open the bands of an image set, by name; each file once.

    Raises
    ------
    Rejected
        ``missing_band:<band>`` if there is no image in it, ``ambiguous_band:<band>`` if there are two,
        ``shape_mismatch:<band>`` if its noise or mask has another shape, and what `opened` raises.
    """
    with open_files(planes, bands) as files:
        yield choose_bands(planes, bands, files)


@contextmanager
def open_files(planes: Sequence[Plane], bands: Sequence[str]) -> Iterator[dict[str, fits.HDUList]]:
    """Open the files in which the bands' planes are, by path; each once. Raises what `opened` does."""
    with ExitStack() as stack:
        paths = dict.fromkeys(plane.path for plane in planes if plane.band in ("", *bands))
        yield {path: stack.enter_context(opened(path)) for path in paths}


def choose_bands(
    planes: Sequence[Plane], bands: Sequence[str], files: dict[str, fits.HDUList]
) -> dict[str, OpenBand]:
    """Return the bands that planes of open files make, by name. Raises what `open_bands` does."""
    chosen = {band: _choose(planes, band) for band in bands}
    return {band: OpenBand(band, parts, files) for band, parts in chosen.items()}


def _choose(planes: Sequence[Plane], band: str) -> dict[str, Plane]:
    """Return the planes of a band, one of each role."""
    mine = [plane for plane in planes if plane.band == band]
    mine += [plane for plane in planes if not plane.band and plane.role in _COMMON]
    images = [plane for plane in mine if plane.role == "image"]
    if not images:
        there = sorted({plane.band or "?" for plane in planes if plane.role == "image"})
        path = planes[0].path if planes else ""
        raise Rejected(f"missing_band:{band}", f"images found: {', '.join(there) or 'none'}", path)
    if len(images) > 1:
        places = ", ".join(f"{Path(plane.path).name}[{plane.label}]" for plane in images)
        detail = f"several images claim to be {band}: {places}"
        raise Rejected(f"ambiguous_band:{band}", detail, images[0].path)
    parts: dict[str, Plane] = {}
    for plane in mine:
        parts.setdefault(plane.role, plane)
    return parts
