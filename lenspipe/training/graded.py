"""What people said of a run's candidates, as a training set: real false positives and confirmed lenses.

Retraining on them is what makes finders pure on the real sky (DES Y6, Gonzalez et al. 2025; Canameras et al. 2021).
This file does not import Keras: a table can be checked before anything runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack

from lenspipe.core.errors import InputError
from lenspipe.core.schema import GRADES, LENS_GRADES
from lenspipe.imaging.astrometry import sky_groups
from lenspipe.io.shards import Shard, read_shard
from lenspipe.io.tables import read_table, require_columns

KINDS = ("graded_nonlens", "graded_lens")


@dataclass(frozen=True)
class Graded:
    """Where the stamps of graded objects lie.

    `rows` has a row a stamp: ``object_id``, ``tile``, ``lens`` (bool), ``ra``, ``dec`` [deg], ``path`` of the
    shard and ``row`` in it. `lost` names the objects whose stamps are gone.
    """

    rows: Table
    lost: tuple[str, ...]
    source: str


def read_grades(path: str | Path) -> Table:
    """Return the graded objects: ``key`` (object_id or name), ``tile`` ("" = any) and ``lens`` (bool).

    Parameters
    ----------
    path : path
        Any table with ``object_id`` or ``name``, and optionally ``tile`` and ``grade``: A and B are confirmed
        lenses, C and X are none. Without grades nothing in it is a lens. `meta["key"]` is the column used.

    Raises
    ------
    InputError
        If it is empty, names no objects, has another grade or two that contradict each other.
    """
    table = read_table(path, text=("object_id", "name", "tile"))
    key = next((name for name in ("object_id", "name") if name in table.colnames), None)
    if key is None:
        raise InputError(f"{path} must have a column object_id or name; it has {', '.join(table.colnames)}")
    if not len(table):
        raise InputError(f"{path} has no rows; a table of graded objects needs some")
    keys = np.array([str(value).strip() for value in table[key]])
    if np.any(keys == ""):
        raise InputError(f"{path}: row {int(np.argmax(keys == '')) + 1} has no {key}")
    lens = np.zeros(len(table), bool)
    if "grade" in table.colnames:
        grades = np.array([str(value).strip().upper() for value in table["grade"]])
        wrong = ~np.isin(grades, tuple(GRADES))
        if wrong.any():
            first = int(np.argmax(wrong))
            raise InputError(
                f"{path}: grades are A or B (a lens), C or X (none); {keys[first]} has "
                f"{str(table['grade'][first])!r}; grade it, or take the row out"
            )
        lens = np.isin(grades, LENS_GRADES)
    tiles = (
        np.array([str(value) for value in table["tile"]])
        if "tile" in table.colnames
        else np.full(len(keys), "")
    )
    out = Table({"key": keys, "tile": tiles, "lens": lens}, meta={"key": key})
    for name in np.unique(keys[lens]):
        if not lens[keys == name].all():
            raise InputError(f"{path}: {name} is graded as a lens and as none; decide for one")
    return out


def find_graded(path: str | Path, run: str | Path = "") -> Graded:
    """Return where the stamps of a table's objects lie among those that a run stored.

    Parameters
    ----------
    path : path
        See `read_grades`.
    run : path
        The run's directory; the folder of the table if empty.

    Raises
    ------
    InputError
        If the folder holds no stamps, or none of the objects'.
    """
    grades, folder = read_grades(path), Path(run) if run else Path(path).absolute().parent
    objects = _stored_objects(folder)
    if grades.meta["key"] == "name":
        _name_objects(grades, folder)
    where: dict[str, list[int]] = {}
    for number, name in enumerate(objects["object_id"]):
        where.setdefault(str(name), []).append(number)
    chosen, lens, lost = [], [], []
    seen: set[int] = set()
    for grade in grades:
        mine = [
            number
            for number in where.get(str(grade["key"]), ())
            if objects["row"][number] >= 0 and grade["tile"] in ("", objects["tile"][number])
        ]
        if not mine:
            lost.append(str(grade["key"]))
        for number in mine:
            if number not in seen:
                seen.add(number)
                chosen.append(number)
                lens.append(bool(grade["lens"]))
    if not chosen:
        raise InputError(
            f"{path}: the stamps of none of its {len(grades)} objects are in {folder}, e.g. {lost[0]}; name the run "
            "that found them (--run RUN_DIR)"
        )
    rows = objects[chosen]
    rows["lens"] = lens
    return Graded(rows, tuple(lost), str(path))


def read_graded(graded: Graded, weight: float, masks: bool = False) -> tuple[Shard, Table]:
    """Return the stamps, with their masks if asked for, and their truth.

    The truth has ``sample_id``, ``kind`` (``graded_lens`` or ``graded_nonlens``), ``group`` (the cell of the sky),
    ``object_id``, ``ra``, ``dec``, ``weight`` and ``psf_fwhm_<band>`` [arcsec].

    Raises
    ------
    InputError
        If the tiles' stamps differ in bands, pixel scale or size, or lack the masks.
    """
    parts: list[Table] = []
    shards: list[Shard] = []
    for path in np.unique(graded.rows["path"]):
        rows = graded.rows[graded.rows["path"] == path]
        rows.sort("row")  # HDF5 reads rows in increasing order only
        shard = read_shard(path, np.asarray(rows["row"]), masks)
        shards.append(shard)
        mine, first = ((s.bands, s.pixel_scale, s.survey, s.image.shape[1:]) for s in (shard, shards[0]))
        if mine != first:
            raise InputError(f"{path}: stamps {mine} unlike those of the run's other tiles, {first}")
        numbers = np.array([_number(f"{r['tile']}/{r['object_id']}") for r in rows], np.int64)
        truth = Table({"sample_id": numbers, "kind": np.where(rows["lens"], KINDS[1], KINDS[0])})
        truth["group"] = sky_groups(rows["ra"], rows["dec"], numbers)
        for name in ("object_id", "ra", "dec"):
            truth[name] = np.asarray(rows[name])
        truth["weight"] = weight
        if shard.psf_fwhm is not None:
            for b, band in enumerate(shard.bands):
                truth[f"psf_fwhm_{band}"] = np.asarray(shard.psf_fwhm[:, b], float)
        parts.append(truth)
    names = ("image", "noise_sigma", *(("mask",) if masks else ()))
    joined = {name: np.concatenate([getattr(shard, name) for shard in shards]) for name in names}
    bands, pixel_scale, survey, _ = first
    stamps = Shard(**joined, bands=bands, pixel_scale=pixel_scale, survey=survey, seed=shards[0].seed)
    return stamps, vstack(parts, metadata_conflicts="silent")


def _stored_objects(folder: Path) -> Table:
    """Return the objects of a run: ``object_id``, ``tile``, ``ra``, ``dec``, ``path`` of the stamps and ``row``."""
    places = (("ingest", ".parquet"), ("find", ".objects.parquet"))
    parts = []
    for place, suffix in places:
        for path in sorted((folder / place).glob(f"*{suffix}")):
            shard = path.with_name(path.name.removesuffix(suffix) + ".h5")
            if shard.is_file():
                table = read_table(path)
                require_columns(table, ("object_id", "tile", "ra", "dec", "stamp"), path)
                part = Table({name: np.asarray(table[name]) for name in ("object_id", "tile", "ra", "dec")})
                part["object_id"], part["tile"] = part["object_id"].astype(str), part["tile"].astype(str)
                part["row"], part["path"] = np.asarray(table["stamp"], int), str(shard)
                parts.append(part)
        if parts:  # a run keeps its stamps in one place
            return vstack(parts, metadata_conflicts="silent")
    raise InputError(
        f"{folder} holds no stamps of a run (ingest/*.h5 or find/*.h5); name the run: --run RUN_DIR"
    )


def _name_objects(grades: Table, folder: Path) -> None:
    """Replace the names of candidates by object ids and tiles; one that is not known stays and will be lost."""
    path = folder / "candidates.parquet"
    if not path.is_file():
        raise InputError(
            f"objects are given by name, but {folder} has no candidates.parquet; give object_id instead"
        )
    table = read_table(path)
    known = {str(row["name"]): (str(row["object_id"]), str(row["tile"])) for row in table if str(row["name"])}
    found = [known.get(str(row["key"]), (str(row["key"]), str(row["tile"]))) for row in grades]
    grades["key"], grades["tile"] = [np.array(part) for part in zip(*found, strict=True)]


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "little")
