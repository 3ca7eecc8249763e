"""Collections of cutouts: many objects in one input, each a cutout of its own.

How bands and objects are told, one rule each:

- a table (CSV, ECSV, Parquet) of paths: a row an object; column ``path`` (bands as in any file) or ``path_<band>``
  (likewise ``weight_<band>``, ``variance_``, ``rms_``, ``mask_``, ``psf_``), relative to the table; ``object_id``,
  ``id`` or ``name``, ``ra``, ``dec`` where there are such columns;
- a FITS file with an HDU an object and band, or an HDU a band that holds a cube of objects: see `io.planes`;
- an HDF5 file: see `io.stacks`.

Units and zero point are those of the headers or attributes, one for the file. Where an object's image has no sky
coordinates of its own, the table's or the HDF5 file's hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lenspipe.core.errors import InputError, Rejected
from lenspipe.core.names import tell_apart
from lenspipe.core.survey import Survey
from lenspipe.core.types import ImageFile, ImageSet
from lenspipe.io.bands import choose_bands, open_bands, open_files
from lenspipe.io.planes import Plane, list_planes
from lenspipe.io.stacks import read_stack
from lenspipe.io.tables import read_table

TABLES = (".csv", ".ecsv", ".parquet")
HDF5 = (".h5", ".hdf5")
#: Objects of a unit of work, or read at once.
AT_ONCE = 512

_COLUMNS = {"path": "", **{role: role for role in ("weight", "variance", "rms", "mask", "psf")}}
_NAMES = ("object_id", "id", "name")


@dataclass(frozen=True)
class Member:
    """One object of a collection: its bands, open for reading, or why it cannot be used."""

    name: str
    bands: Mapping[str, Any]
    ra: float | None = None
    dec: float | None = None
    fault: Rejected | None = None


def read_paths(path: str, survey: Survey) -> list[list[ImageFile]]:
    """Return the files of the objects that a table of paths lists, a few hundred objects together.

    Raises
    ------
    InputError
        If it is no table, or has no column that names files.
    """
    table = read_table(path)
    columns = {name: _read_column(name, survey) for name in table.colnames}
    files = {name: found for name, found in columns.items() if found is not None}
    if not files:
        bands = ", ".join(f"path_{band}" for band in survey.bands)
        raise InputError(
            f"table {path!r}: no column names files; expected path or {bands}, it has {', '.join(table.colnames)}"
        )
    folder = Path(path).parent
    names = _object_names(table, next(iter(files)))
    objects = []
    for number, (row, name) in enumerate(zip(table, names, strict=True)):
        place = _number(row, "ra"), _number(row, "dec")
        paths = [(str(row[column]).strip(), *found) for column, found in files.items()]
        mine = [ImageFile(str(folder / p), band, role, name, *place) for p, role, band in paths if p]
        # a row that names no file is an object that is missing, not one that never was
        objects.append(mine or [ImageFile(f"{path}#{number}", object=name)])
    pieces = [objects[start : start + AT_ONCE] for start in range(0, len(objects), AT_ONCE)]
    return [[file for files in piece for file in files] for piece in pieces]


def _read_column(name: str, survey: Survey) -> tuple[str, str] | None:
    """Return the role and band of the files that a column names, or None."""
    head, _, tail = name.partition("_")
    if head.lower() not in _COLUMNS or (not tail and head.lower() != "path"):
        return None
    band = survey.band_named(tail, any_case=True)
    return (_COLUMNS[head.lower()], band) if band or not tail else None


def _object_names(table, first: str) -> list[str]:
    column = next((table[name] for name in _NAMES if name in table.colnames), None)
    given = [str(v) for v in column] if column is not None else [Path(str(v)).stem for v in table[first]]
    return tell_apart(given)  # two objects of one name would be taken for two images of one object


def _number(row, column: str) -> float | None:
    try:
        value = float(row[column])
    except (KeyError, TypeError, ValueError):
        return None
    return value if np.isfinite(value) else None


def holds_members(image_set: ImageSet) -> bool:
    """Tell whether an image set is a table's or an HDF5 collection; of FITS files only their planes tell."""
    first = image_set.files[0]
    return bool(first.object) or first.path.lower().endswith(HDF5)


def read_members(
    image_set: ImageSet, planes: Sequence[Plane], survey: Survey, bands: Sequence[str]
) -> Iterator[Member]:
    """Yield the objects of a collection one by one; what is yielded is open until the next one is asked for.

    Parameters
    ----------
    planes : sequence of Plane
        Of a FITS stack, with `Plane.object`; empty for the other kinds.

    Raises
    ------
    Rejected
        If the collection as a whole cannot be read.
    """
    if image_set.files[0].object:
        return _members_of_table(image_set, survey, bands)
    if image_set.files[0].path.lower().endswith(HDF5):
        return _members_of_hdf5(image_set.files[0].path, survey, bands)
    return _members_of_stack(planes, bands)


def _members_of_table(image_set: ImageSet, survey: Survey, bands: Sequence[str]) -> Iterator[Member]:
    objects: dict[str, list[ImageFile]] = {}
    for file in image_set.files:
        objects.setdefault(file.object, []).append(file)
    for name, files in objects.items():
        place = files[0].ra, files[0].dec
        try:
            planes = list_planes(ImageSet(name, tuple(files)), survey)
            with open_bands(planes, bands) as opened:
                yield Member(name, opened, *place)
        except Rejected as fault:
            yield Member(name, {}, *place, fault)


def _members_of_stack(planes: Sequence[Plane], bands: Sequence[str]) -> Iterator[Member]:
    objects: dict[str, list[Plane]] = {}
    for plane in planes:
        if plane.object:
            objects.setdefault(plane.object, []).append(plane)
    common = [plane for plane in planes if not plane.object and plane.role != "image"]
    with open_files(planes, bands) as files:
        for name, own in objects.items():
            try:
                opened = choose_bands([*own, *common], bands, files)
            except Rejected as fault:
                yield Member(name, {}, fault=fault)
            else:
                yield Member(name, opened)


def _members_of_hdf5(path: str, survey: Survey, bands: Sequence[str]) -> Iterator[Member]:
    for name, parts, ra, dec in read_stack(path, survey, bands, AT_ONCE):
        yield Member(name, parts, ra, dec)
