"""Opening HDF5 files that others wrote: the guarded child reads first what may end, hold up or fill a process.

Links to elsewhere, external and virtual storage, and filters that would load code are never followed: what a file
holds is in it. What the child could not read is not tried again: a damaged text may declare gigabytes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lenspipe.core.errors import Rejected
from lenspipe.io.guard import naming_faults, run_guarded

#: Largest chunk and largest row of a dataset [bytes].
MAX_CHUNK, MAX_ROW = 2**28, 2**26
#: Filters of the HDF5 library itself and h5py's lzf; others are plug-ins, which run code from elsewhere.
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
_MAX_DEPTH, _MAX_OBJECTS = 4, 1000
_MAX_EXAMINED = 2**26  # bytes of its datasets, the smallest rows first
_MAX_VALUES = 1000  # of an attribute
_FILE = "/"


@dataclass(frozen=True)
class Hdf5:
    """An open file: its datasets by name, and the attributes that were asked for, in small letters, by owner."""

    path: str
    datasets: Mapping[str, h5py.Dataset]
    attributes: Mapping[str, Mapping[str, Any]]
    faults: Mapping[str, str]

    def attributes_of(self, dataset: h5py.Dataset | None = None) -> Mapping[str, Any]:
        """Return the attributes of a dataset, or of the file: texts, numbers, and lists of them."""
        return self.attributes.get(self._name(dataset), {})

    def check(self, dataset: h5py.Dataset | None = None) -> None:
        """Refuse a dataset, or the file's own attributes, if the child could not read them; `Rejected`."""
        name = self._name(dataset)
        if name in self.faults:
            raise Rejected("unreadable", self.faults[name], self.path, name)

    def _name(self, dataset: h5py.Dataset | None) -> str:
        return next((name for name, one in self.datasets.items() if one is dataset), _FILE)


@contextmanager
def opened(path: str, attributes: Collection[str]) -> Iterator[Hdf5]:
    """Open a file. Reading from what this yields belongs into `naming_faults`.

    Raises
    ------
    Rejected
        If it is not there or no HDF5 file, or if a dataset is not plainly in it.
    """
    if not Path(path).is_file():
        raise Rejected("missing_file", "no such file", path)
    found, faults = run_guarded(examine, path, sorted(attributes), path=path)
    with naming_faults(path):
        file = h5py.File(path, "r")
    with file:
        with naming_faults(path):
            datasets = _list_datasets(file, path)
        yield Hdf5(path, datasets, found, faults)


def examine(path: str, wanted: Collection[str]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Return the wanted attributes of a file and its datasets, and what cannot be read of each, by name.

    Runs in the guarded child. Of a dataset the first rows are read: texts, whose length is not known before,
    nearly always whole.
    """
    attributes: dict[str, dict[str, Any]] = {}
    faults: dict[str, str] = {}
    left = _MAX_EXAMINED
    with naming_faults(path), h5py.File(path, "r") as file:
        datasets = _list_datasets(file, path)
        for name, owner in {_FILE: file, **datasets}.items():
            with _noting(name, faults):
                attributes[name] = {
                    key.lower(): _plain(owner.attrs[key]) for key in owner.attrs if key.lower() in wanted
                }
        for name, dataset in sorted(datasets.items(), key=lambda item: row_bytes(item[1])):
            with _noting(name, faults):
                if chunk_bytes(dataset) > MAX_CHUNK or row_bytes(dataset) > MAX_ROW:
                    raise ValueError(
                        f"rows of {row_bytes(dataset)} bytes in chunks of {chunk_bytes(dataset)}"
                    )
                rows = min(len(dataset), left // max(1, row_bytes(dataset))) if dataset.shape else 0
                if rows:
                    left -= rows * row_bytes(dataset)
                    dataset[:rows]
    return attributes, faults


@contextmanager
def _noting(name: str, faults: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # of what nobody uses nothing is said
        faults.setdefault(name, f"{type(error).__name__}: {error}")


def _plain(value: Any) -> Any:
    """Return an attribute as JSON can hold it."""
    if np.size(value) > _MAX_VALUES:
        raise ValueError(f"an attribute of {np.size(value)} values")
    values = value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
    if isinstance(values, list):
        return [_plain(part) for part in values]
    if isinstance(values, bytes):
        return values.decode(errors="replace")
    if not isinstance(values, (str, int, float)):
        raise TypeError(f"an attribute that is neither text nor number: {type(value).__name__}")
    return values


def row_bytes(dataset: h5py.Dataset) -> int:
    """Return the size of a row, of a text that of its address."""
    return math.prod(dataset.shape[1:] if dataset.shape else ()) * dataset.dtype.itemsize


def chunk_bytes(dataset: h5py.Dataset) -> int:
    """Return the size of a chunk once it is unpacked."""
    return math.prod(dataset.chunks or (1,)) * dataset.dtype.itemsize


def _list_datasets(file: h5py.File, path: str) -> dict[str, h5py.Dataset]:
    """Return the datasets of a file by the last part of their names, the outermost of each; links are not followed."""
    found: dict[str, h5py.Dataset] = {}
    groups, seen = [file["/"]], 0
    for _ in range(_MAX_DEPTH):
        inner = []
        for group in groups:
            for name in group:
                seen += 1
                if seen > _MAX_OBJECTS:
                    raise Rejected("bad_header", f"more than {_MAX_OBJECTS} groups and datasets", path)
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    continue
                item = group[name]
                if isinstance(item, h5py.Group):
                    inner.append(item)
                elif isinstance(item, h5py.Dataset):
                    _check_storage(item, path)
                    found.setdefault(name, item)
        groups = inner
    return found


def _check_storage(dataset: h5py.Dataset, path: str) -> None:
    """Refuse a dataset whose values are not plainly in the file."""
    if dataset.external or dataset.is_virtual:
        detail = "its values are in other files; copy them into this one"
        raise Rejected("external_data", detail, path, str(dataset.name))
    settings = dataset.id.get_create_plist()
    codes = {settings.get_filter(k)[0] for k in range(settings.get_nfilters())}
    if codes - _FILTERS:
        detail = f"filter {min(codes - _FILTERS)} is a plug-in; write it with gzip, lzf or uncompressed"
        raise Rejected("unknown_filter", detail, path, str(dataset.name))
