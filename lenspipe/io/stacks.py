"""Stacks of cutouts in HDF5 files that others wrote, read piece by piece.

A file holds either one dataset (n, y, x, band) or (n, band, y, x) with the name of pixels (``image``, ``images``,
``flux``, ``data``, ``stamps``, ``cutouts``, or the survey's), whose bands are named by an attribute ``bands`` of the
dataset or the file (else the survey's, in order); or a dataset (n, y, x) a band, named ``g`` or ``image_g``. The band
axis is the one as long as there are bands; the last one where both are. Beside it, in the same shape: ``weight``
(also ``ivar``, ``invvar``), ``variance``, ``rms`` or ``mask``, likewise by band; ``noise_sigma`` and ``psf_fwhm``
(n, band); ``object_id`` (``id``, ``name``), ``ra``, ``dec`` (n,). Attributes: ``pixel_scale``, ``zero_point``,
``unit``. lenspipe's own shards are such files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.io import fits

from lenspipe.core.errors import Rejected
from lenspipe.core.survey import Survey
from lenspipe.core.types import RawBand
from lenspipe.io.files import escape_text
from lenspipe.io.guard import naming_faults
from lenspipe.io.hdf5 import MAX_CHUNK, MAX_ROW, Hdf5, chunk_bytes, opened, row_bytes

_IMAGES = ("image", "images", "flux", "data", "stamps", "cutouts")
_NOISE = {"ivar": "weight", "invvar": "weight", "noise": "rms", "noise_sigma": "rms"}
_ROLES = ("image", "weight", "variance", "rms", "mask")
#: Attributes -> header keywords that say the same.
_ATTRIBUTES = {
    "zero_point": "MAGZERO",
    "zeropoint": "MAGZERO",
    "magzero": "MAGZERO",
    "pixel_scale": "PIXSCALE",
    "pixscale": "PIXSCALE",
    "unit": "BUNIT",
    "units": "BUNIT",
    "bunit": "BUNIT",
    "psf_fwhm": "PSF_FWHM",
}
_MAX_PIECE = 2**28  # bytes
_MAX_RATIO = 1100  # of declared to stored bytes: no more than deflate can


class StackBand:
    """One band of one object of a stack, in memory; like `io.bands.OpenBand`."""

    mask_header = psf = psf_model = None
    has_psf_size = False

    def __init__(self, band: str, path: str, header: fits.Header, noise_kind: str, pixels: RawBand):
        self.band, self.path, self.header, self.noise_kind = band, path, header, noise_kind
        self.shape, self._pixels = pixels.data.shape, pixels

    def read(self, rows: slice = slice(None), columns: slice = slice(None)) -> RawBand:
        """Return a part of the pixels."""
        parts = (self._pixels.data, self._pixels.noise, self._pixels.mask)
        return RawBand(*(None if part is None else part[rows, columns] for part in parts))


def read_stack(
    path: str, survey: Survey, bands: Sequence[str], at_once: int
) -> Iterator[tuple[str, dict[str, StackBand], float | None, float | None]]:
    """Yield (name, bands, ra, dec) of the objects of a stack.

    Raises
    ------
    Rejected
        If it is no HDF5 file, holds no such stack or lacks a band, or if a dataset is not plainly in the file.
    """
    with opened(path, {"bands", *_ATTRIBUTES}) as file:
        with naming_faults(path):
            stack = _Stack(file, survey, bands)
        step = max(1, min(at_once, _MAX_PIECE // stack.object_bytes))
        for start in range(0, stack.count, step):
            with naming_faults(path):
                piece = stack.read(start, min(start + step, stack.count))
            yield from piece


class _Stack:
    """The datasets of a file that belong to its stack of cutouts."""

    def __init__(self, file: Hdf5, survey: Survey, bands: Sequence[str]):
        self.path, self.bands, self.survey = file.path, tuple(bands), survey
        self._datasets = file.datasets
        file.check()
        self._places = self._find_pixels(file)
        missing = [band for band in bands if ("image", band) not in self._places]
        if missing:
            there = ", ".join(band for role, band in self._places if role == "image") or "none"
            detail = f"images found: {there}; datasets: {', '.join(self._datasets) or 'none'}"
            raise Rejected(f"missing_band:{missing[0]}", detail, self.path)
        first = self._places["image", self.bands[0]][0]
        self.count = len(first)
        self.object_bytes = sum(row_bytes(dataset) for dataset, *_ in self._places.values())
        self._attributes = _make_cards({**file.attributes_of(), **file.attributes_of(first)})
        self._columns = {
            name: self._datasets[name]
            for name in ("object_id", "id", "name", "ra", "dec", "psf_fwhm", "noise_sigma")
            if name in self._datasets and _has_rows(self._datasets[name], self.count)
        }
        for dataset in (*(dataset for dataset, *_ in self._places.values()), *self._columns.values()):
            file.check(dataset)

    def _find_pixels(self, file: Hdf5) -> dict[tuple[str, str], tuple[h5py.Dataset, int | None, int]]:
        """Return for each role and band its dataset, the axis of its bands (None = it has but one) and the layer."""
        roles = {name.lower(): role for role in _ROLES for name in getattr(self.survey.layout, role)}
        roles |= dict.fromkeys(_IMAGES, "image") | _NOISE | {role: role for role in _ROLES}
        places: dict[tuple[str, str], tuple[h5py.Dataset, int | None, int]] = {}
        for name, dataset in self._datasets.items():
            head, _, tail = name.rpartition("_")
            band = self.survey.band_named(tail, any_case=True)
            role = roles.get(name.lower(), "") or (
                roles.get(head.lower(), "" if head else "image") if band else ""
            )
            if role and dataset.ndim == 4:
                names = self._name_bands(file, dataset)
                axis = 3 if dataset.shape[3] == len(names) else 1
                for layer, found in enumerate(names):
                    places.setdefault((role, found), (dataset, axis, layer))
            elif role and dataset.ndim == 3 and (band or len(self.survey.bands) == 1):
                places.setdefault((role, band or next(iter(self.survey.bands))), (dataset, None, 0))
        for (role, _), (dataset, _, _) in places.items():
            _check_pixels(dataset, role, self.path)
        return places

    def _name_bands(self, file: Hdf5, dataset: h5py.Dataset) -> list[str]:
        lengths = (dataset.shape[3], dataset.shape[1])
        for owner in (file.attributes_of(dataset), file.attributes_of()):
            if "bands" in owner:
                texts = [str(word) for word in np.ravel(owner["bands"])]
                texts = texts[0].replace(",", " ").split() if len(texts) == 1 else texts
                names = [self.survey.band_named(text, any_case=True) or text for text in texts]
                if len(names) in lengths:
                    return names
        for names in (list(self.survey.bands), list(self.survey.model_bands)):
            if len(names) in lengths:
                return names
        raise Rejected(
            "cube_bands",
            f"{dataset.name} has the shape {dataset.shape}, but {self.survey.name} has {len(self.survey.bands)} "
            "bands; name them in an attribute: bands = 'g r i'",
            self.path,
        )

    def read(
        self, start: int, stop: int
    ) -> list[tuple[str, dict[str, StackBand], float | None, float | None]]:
        """Return some of the objects."""
        names = self._read_names(start, stop)
        ra, dec, fwhm, sigma = (
            self._read_column(n, start, stop) for n in ("ra", "dec", "psf_fwhm", "noise_sigma")
        )
        objects: list[dict[str, StackBand]] = [{} for _ in names]
        for b, band in enumerate(self.bands):
            _, axis, layer = self._places["image", band]
            column = b if axis is None else layer  # numbers by band stand in the order of the file's bands
            parts = {role: self._read_pixels(role, band, start, stop) for role in _ROLES}
            kind = next((role for role in ("weight", "variance", "rms") if parts[role] is not None), "")
            images = parts["image"]
            for k, bands in enumerate(objects):
                noise = parts[kind][k] if kind else None
                if noise is None and sigma is not None:
                    noise = np.full(images[k].shape, _of_band(sigma[k], column), np.float32)
                mask = None if parts["mask"] is None else parts["mask"][k]
                header = fits.Header(self._attributes)
                if fwhm is not None:
                    header["PSF_FWHM"] = float(np.nan_to_num(_of_band(fwhm[k], column)))
                own = kind or ("rms" if noise is not None else "")
                bands[band] = StackBand(band, self.path, header, own, RawBand(images[k], noise, mask))
        places = [(_finite(ra, k), _finite(dec, k)) for k in range(len(names))]
        return [(name, bands, *place) for name, bands, place in zip(names, objects, places, strict=True)]

    def _read_pixels(self, role: str, band: str, start: int, stop: int) -> Any:
        if (role, band) not in self._places:
            return None
        dataset, axis, layer = self._places[role, band]
        if dataset.shape[0] != self.count:
            detail = f"{dataset.name} has {dataset.shape[0]} objects, the images are {self.count}"
            raise Rejected(f"shape_mismatch:{band}", detail, self.path)
        key = (slice(start, stop), slice(None), slice(None))
        key = key if axis is None else ((*key, layer) if axis == 3 else (key[0], layer, *key[1:]))
        values = dataset[key]
        if role != "mask":
            return np.ascontiguousarray(values, np.float32)
        return values if values.dtype.kind in "iu" else values.astype(np.int64)

    def _read_names(self, start: int, stop: int) -> list[str]:
        for name in ("object_id", "id", "name"):
            dataset = self._columns.get(name)
            if dataset is None or dataset.size != self.count:
                continue
            if h5py.check_string_dtype(dataset.dtype) is not None:
                texts = dataset.asstr(errors="replace")[start:stop]
                return [str(text).strip() for text in np.ravel(texts)]
            if dataset.dtype.kind in "iu":
                return [str(int(number)) for number in np.ravel(dataset[start:stop])]
        stem = escape_text(Path(self.path).stem)
        return [f"{stem}-{row:05d}" for row in range(start, stop)]

    def _read_column(self, name: str, start: int, stop: int) -> np.ndarray | None:
        dataset = self._columns.get(name)
        if dataset is None or dataset.dtype.kind not in "fiu" or dataset.ndim > 2:
            return None
        if name in ("ra", "dec"):  # one number an object, else it is no place
            return np.ravel(dataset[start:stop]).astype(float) if dataset.size == self.count else None
        return np.asarray(dataset[start:stop], float)


def _of_band(values: np.ndarray, band: int) -> float:
    flat = np.ravel(values)
    return float(flat[band] if band < len(flat) else flat[0])


def _finite(values: np.ndarray | None, row: int) -> float | None:
    return float(values[row]) if values is not None and np.isfinite(values[row]) else None


def _has_rows(dataset: h5py.Dataset, count: int) -> bool:
    """Tell whether a dataset has a row for each object: a single or an empty value has no rows."""
    return bool(dataset.shape) and dataset.shape[0] == count and 0 not in dataset.shape


def _check_pixels(dataset: h5py.Dataset, role: str, path: str) -> None:
    if 0 in dataset.shape:
        detail = f"{dataset.name} has the shape {dataset.shape}: no pixels"
        raise Rejected("no_pixels", detail, path, str(dataset.name))
    chunk, stamp = chunk_bytes(dataset), row_bytes(dataset)
    declared, stored = stamp * dataset.shape[0], dataset.id.get_storage_size()
    if dataset.dtype.kind not in ("fiub" if role == "mask" else "fiu"):
        raise Rejected(
            "bad_header", f"{dataset.name} holds no numbers ({dataset.dtype})", path, str(dataset.name)
        )
    if chunk > MAX_CHUNK or stamp > MAX_ROW or declared > _MAX_RATIO * stored:
        detail = f"{dataset.name} declares {declared:.3g} bytes in chunks of {chunk}, of which {stored} are in the file"
        raise Rejected("too_large", detail, path, str(dataset.name))


def _make_cards(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what attributes of a file or dataset say, as header keywords."""
    cards = {}
    for name, value in attributes.items():
        key = _ATTRIBUTES.get(name)
        if key is None:
            continue
        if isinstance(value, str):
            cards[key] = value.encode("ascii", "replace").decode()[:60]
        elif np.size(value) == 1 and np.isfinite(np.asarray(value, float)).all():
            cards[key] = float(np.ravel(value)[0])
    return cards
