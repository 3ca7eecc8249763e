"""Shards: stamps stored in HDF5, one writer a file, written whole or not at all.

Layout (contract, "Simulated sets"): dataset ``image`` float32 (n, y, x, band) [nJy per pixel], ``noise_sigma`` float32
(n, band); ``pixel_mask`` uint8 (n, y, x, band; 1 = the pixel could not be used and was filled from its neighbours, 2 =
it lies beyond the image and is zero); of stamps cut from images also ``psf_fwhm`` [arcsec] and ``electrons_per_njy``,
float32 (n, band), where each was cut, and, where the survey gives PSF images, these: ``psf_image`` float32
(m, band, k, k), each distinct set once, and ``psf_index`` int32 (n,); attributes ``bands``, ``pixel_scale`` [arcsec],
``zero_point``, ``survey``, ``seed``, ``schema_version``. Files of earlier versions may lack ``pixel_mask``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lenspipe.core.errors import InputError
from lenspipe.core.schema import SCHEMA_VERSION
from lenspipe.core.survey import NJY_ZERO_POINT
from lenspipe.core.types import StampFormat
from lenspipe.io.files import replacing


@dataclass(frozen=True)
class Shard:
    """Stamps of one file: `image` (n, y, x, band) and `noise_sigma` (n, band), both nJy, float32.

    `psf_fwhm` [arcsec] and `electrons_per_njy`, (n, band), are those of the images that stamps were cut from;
    None for simulated sets, whose truth table has them. `psf_image` (m, band, k, k) holds stars on the images'
    pixels, as `imaging.psf.centre_psf` returns them (NaN in a band without), and `psf_index` (n,) which of the
    m belongs to each stamp; None where no band has one. `mask` (n, y, x, band), uint8, is None unless it is asked for.
    """

    image: np.ndarray
    noise_sigma: np.ndarray
    bands: tuple[str, ...]
    pixel_scale: float
    survey: str
    seed: int
    psf_fwhm: np.ndarray | None = None
    electrons_per_njy: np.ndarray | None = None
    psf_image: np.ndarray | None = None
    psf_index: np.ndarray | None = None
    mask: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Shard:
        """Return a shard of some of the stamps."""
        names = ("image", "noise_sigma", "mask", *_OPTIONAL)
        parts = {name: getattr(self, name) for name in names}
        return replace(
            self, **{name: None if values is None else values[rows] for name, values in parts.items()}
        )


#: What a shard may do without, one row a stamp, and how it is stored.
_OPTIONAL = {"psf_fwhm": np.float32, "electrons_per_njy": np.float32, "psf_index": np.int32}


def shard_name(index: int) -> str:
    """Return the file name of a simulated set's shard."""
    return f"shard-{index:05d}.h5"


def write_shard(path: str | Path, shard: Shard) -> None:
    """Write a shard atomically; stamps are chunked one by one, so that any row can be read alone."""
    n, *stamp = shard.image.shape
    if shard.noise_sigma.shape != (n, len(shard.bands)) or stamp[-1] != len(shard.bands):
        raise ValueError(
            f"shard {path}: image {shard.image.shape}, noise_sigma {shard.noise_sigma.shape} and "
            f"{len(shard.bands)} bands do not fit together"
        )
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset(
            "image", data=np.asarray(shard.image, np.float32), chunks=(1, *stamp) if n else None
        )
        file.create_dataset("noise_sigma", data=np.asarray(shard.noise_sigma, np.float32))
        if shard.mask is not None:
            file.create_dataset(_MASK, data=np.asarray(shard.mask, np.uint8), **_masks(stamp, n))
        for name, kind in {**_OPTIONAL, "psf_image": np.float32}.items():
            if getattr(shard, name) is not None:
                file.create_dataset(name, data=np.asarray(getattr(shard, name), kind))
        _describe(file, shard.bands, shard.pixel_scale, shard.survey, shard.seed)


class ShardWriter:
    """A shard that grows: stamps are appended piece by piece, so that a tile's need not lie in memory."""

    def __init__(self, file: h5py.File):
        self._file = file
        self._psf: np.ndarray | None = None

    def append(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        noise_sigma: np.ndarray,
        psf_fwhm: np.ndarray,
        electrons_per_njy: np.ndarray,
        psf_image: np.ndarray | None = None,
    ) -> None:
        """Add stamps and masks (n, y, x, band), noise, PSF and gain (n, band), and the PSF image (band, k, k) of all.

        Either every piece has a PSF image, all of one size, or none has.
        """
        rows = {
            "image": image, _MASK: mask, "noise_sigma": noise_sigma, "psf_fwhm": psf_fwhm,
            "electrons_per_njy": electrons_per_njy,
        }  # fmt: skip
        if psf_image is not None:
            if self._psf is None or not np.array_equal(self._psf, psf_image, equal_nan=True):
                self._psf = psf_image
                self._extend("psf_image", np.asarray(psf_image, np.float32)[None])
            rows["psf_index"] = np.full(len(image), len(self._file["psf_image"]) - 1, np.int32)
        for name, values in rows.items():
            self._extend(name, values)

    def _extend(self, name: str, values: np.ndarray) -> None:
        if name not in self._file:
            shape = values.shape[1:]
            self._file.create_dataset(
                name, (0, *shape), values.dtype, maxshape=(None, *shape), chunks=(64, *shape)
            )
        dataset = self._file[name]
        start = len(dataset)
        dataset.resize(start + len(values), axis=0)
        dataset[start:] = values


@contextmanager
def writing_shard(path: str | Path, form: StampFormat, survey: str, seed: int) -> Iterator[ShardWriter]:
    """Open a shard for appending; it gets its name when the block ends well, and is gone when it does not."""
    stamp, bands = (form.size, form.size, len(form.bands)), len(form.bands)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for name, shape, chunks in (
            ("image", stamp, (1, *stamp)),
            *((name, (bands,), (1024, bands)) for name in ("noise_sigma", "psf_fwhm", "electrons_per_njy")),
        ):
            file.create_dataset(name, (0, *shape), np.float32, maxshape=(None, *shape), chunks=chunks)
        file.create_dataset(_MASK, (0, *stamp), np.uint8, maxshape=(None, *stamp), **_masks(stamp, _MASKS))
        _describe(file, form.bands, form.pixel_scale, survey, seed)
        yield ShardWriter(file)


_MASK = "pixel_mask"  # not "mask", whose bits a survey defines, where a shard is read as a collection
_MASKS = 16  # stamps whose masks, zero but for few, are compressed together


def _masks(stamp: Sequence[int], count: int) -> dict[str, Any]:
    """Return how masks are stored."""
    return {"chunks": (min(count, _MASKS), *stamp), "compression": "lzf"} if count else {}


def _describe(file: h5py.File, bands: tuple[str, ...], pixel_scale: float, survey: str, seed: int) -> None:
    file.attrs["bands"] = list(bands)
    file.attrs["pixel_scale"] = pixel_scale
    file.attrs["zero_point"] = NJY_ZERO_POINT
    file.attrs["survey"] = survey
    file.attrs["seed"] = seed
    file.attrs["schema_version"] = SCHEMA_VERSION


def read_shard(path: str | Path, rows: slice | np.ndarray | None = None, masks: bool = False) -> Shard:
    """Return the stamps of a shard, or some of its rows (in increasing order); their masks if asked for.

    Raises
    ------
    InputError
        If the file is missing or is not a shard, or lacks the masks that are asked for: without them nobody knows
        which of its pixels were filled.
    """
    selection = slice(None) if rows is None else rows
    if masks and not has_masks(path):
        raise InputError(
            f'{path} has no pixel_mask, which a network with the channel "mask" looks at; an earlier version wrote '
            "it: simulate or ingest it again"
        )
    try:
        with h5py.File(path, "r") as file:
            return Shard(
                image=file["image"][selection],
                noise_sigma=file["noise_sigma"][selection],
                bands=tuple(str(band) for band in file.attrs["bands"]),
                pixel_scale=float(file.attrs["pixel_scale"]),
                survey=str(file.attrs["survey"]),
                seed=int(file.attrs["seed"]),
                **{name: file[name][selection] for name in _OPTIONAL if name in file},
                psf_image=file["psf_image"][:] if "psf_image" in file else None,
                mask=file[_MASK][selection] if masks else None,
            )
    except (OSError, KeyError) as error:
        raise _unreadable(path, error) from None


def has_masks(path: str | Path) -> bool:
    """Tell whether a shard tells which pixels could not be used; `InputError` if it cannot be read."""
    try:
        with h5py.File(path, "r") as file:
            return _MASK in file
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: str | Path, error: Exception) -> InputError:
    return InputError(f"{path} is not a readable shard of stamps ({error}); make it again")


def iterate_shard(
    path: str | Path, rows: np.ndarray | None = None, at_once: int = 512, masks: bool = False
) -> Iterator[Shard]:
    """Yield a shard, or some of its rows (in increasing order), in parts; one at least, if only an empty one."""
    if rows is None:
        with h5py.File(path, "r") as file:
            rows = np.arange(len(file["image"]))
    for start in range(0, max(1, len(rows)), at_once):
        yield read_shard(path, rows[start : start + at_once], masks)


def list_shards(folder: str | Path) -> list[Path]:
    """Return the shards of a folder in order; `InputError` if there is none."""
    paths = sorted(Path(folder).glob("shard-*.h5"))
    if not paths:
        raise InputError(
            f"no shards (shard-*.h5) in {folder}; make some with `lenspipe simulate --out {folder}`"
        )
    return paths
