"""Shards: stamps stored in HDF5, one writer a file, written whole or not at all.

Layout (contract, "Simulated sets"): dataset ``image`` float32 (n, y, x, band) [nJy per pixel],
``noise_sigma`` float32 (n, band); of stamps cut from images also ``psf_fwhm`` [arcsec] and
``electrons_per_njy``, float32 (n, band), where each was cut; attributes ``bands``, ``pixel_scale``
[arcsec], ``zero_point``, ``survey``, ``seed``, ``schema_version``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
    None for simulated sets, whose truth table has them.
    """

    image: np.ndarray
    noise_sigma: np.ndarray
    bands: tuple[str, ...]
    pixel_scale: float
    survey: str
    seed: int
    psf_fwhm: np.ndarray | None = None
    electrons_per_njy: np.ndarray | None = None


#: Datasets that a shard may do without.
_OPTIONAL = ("psf_fwhm", "electrons_per_njy")


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
        for name in _OPTIONAL:
            if getattr(shard, name) is not None:
                file.create_dataset(name, data=np.asarray(getattr(shard, name), np.float32))
        _describe(file, shard.bands, shard.pixel_scale, shard.survey, shard.seed)


class ShardWriter:
    """A shard that grows: stamps are appended piece by piece, so that a tile's need not lie in memory."""

    def __init__(self, file: h5py.File):
        self._file = file

    def append(self, image: np.ndarray, noise_sigma: np.ndarray, *local: np.ndarray) -> None:
        """Add stamps (n, y, x, band), their noise (n, band) and, in the order of `Shard`, what is local to them."""
        for name, values in zip(
            ("image", "noise_sigma", *_OPTIONAL), (image, noise_sigma, *local), strict=True
        ):
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
            *((name, (bands,), (1024, bands)) for name in ("noise_sigma", *_OPTIONAL)),
        ):
            file.create_dataset(name, (0, *shape), np.float32, maxshape=(None, *shape), chunks=chunks)
        _describe(file, form.bands, form.pixel_scale, survey, seed)
        yield ShardWriter(file)


def _describe(file: h5py.File, bands: tuple[str, ...], pixel_scale: float, survey: str, seed: int) -> None:
    file.attrs["bands"] = list(bands)
    file.attrs["pixel_scale"] = pixel_scale
    file.attrs["zero_point"] = NJY_ZERO_POINT
    file.attrs["survey"] = survey
    file.attrs["seed"] = seed
    file.attrs["schema_version"] = SCHEMA_VERSION


def read_shard(path: str | Path, rows: slice | np.ndarray | None = None) -> Shard:
    """Return the stamps of a shard, or some of its rows (in increasing order).

    Raises
    ------
    InputError
        If the file is missing or is not a shard.
    """
    selection = slice(None) if rows is None else rows
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
            )
    except (OSError, KeyError) as error:
        raise InputError(f"{path} is not a readable shard of stamps ({error}); make it again") from None


def iterate_shard(path: str | Path, rows: np.ndarray | None = None, at_once: int = 512) -> Iterator[Shard]:
    """Yield a shard, or some of its rows (in increasing order), in parts; one at least, if only an empty one."""
    if rows is None:
        with h5py.File(path, "r") as file:
            rows = np.arange(len(file["image"]))
    for start in range(0, max(1, len(rows)), at_once):
        yield read_shard(path, rows[start : start + at_once])


def list_shards(folder: str | Path) -> list[Path]:
    """Return the shards of a folder in order; `InputError` if there is none."""
    paths = sorted(Path(folder).glob("shard-*.h5"))
    if not paths:
        raise InputError(
            f"no shards (shard-*.h5) in {folder}; make some with `lenspipe simulate --out {folder}`"
        )
    return paths
