"""The objects that are looked at: a table with sky positions, or detected sources, after the user's cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lenspipe.config import Config
from lenspipe.core.expressions import parse_cut, select_rows
from lenspipe.core.names import tell_apart
from lenspipe.core.types import Quarantined
from lenspipe.stages.stamps import existing


@dataclass(frozen=True)
class Targets:
    """The targets of a table.

    `placed` has `object_id`, `ra`, `dec` [deg] of those with a place on the sky, `misplaced` the names of
    those without; names that several rows share, or that are empty, got the row's number (``name#3``), so that
    each row is one target; `not_selected` counts the rows that the cut took away, which are no targets.
    """

    placed: Any
    misplaced: tuple[str, ...]
    not_selected: int


def check_targets(config: Config, bands: Iterable[str]) -> tuple[str, ...]:
    """Return the files that the choice of targets depends on, after checking that the cut fits the columns.

    Raises
    ------
    InputError
        If the table is not there or lacks `ra` or `dec`.
    ConfigError
        If `targets.where` names a column that is not there; see `core.expressions`.
    """
    if config.targets.table:
        path = existing(config.targets.table, "targets.table")
        read_targets(config)
        return (path,)
    from astropy.table import Table

    names = ["x", "y", "ra", "dec", "edge_distance", "flags"]
    names += [f"{kind}_{band}" for band in bands for kind in ("mag", "snr")]
    select_sources(config, Table({name: np.empty(0) for name in names}))
    return ()


def select_sources(config: Config, sources: Any) -> np.ndarray:
    """Return which rows of a table of detected sources `targets.where` lets through: (n,) bool.

    A source whose magnitude is not known (NaN) passes no comparison. With a target table the cut is on
    its columns, and done already: all pass.
    """
    if config.targets.table or not config.targets.where.strip():
        return np.ones(len(sources), dtype=bool)
    return _select(config.targets.where, sources)


def read_targets(config: Config) -> Targets:
    """Return the targets of `targets.table` that `targets.where` lets through; a table is read once a process.

    Raises
    ------
    InputError, ConfigError
        As `check_targets`.
    """
    path = Path(existing(config.targets.table, "targets.table"))
    status = path.stat()
    return _read_targets(str(path), config.targets.where, status.st_mtime_ns, status.st_size)


def unseen_targets(config: Config, seen: set[str]) -> list[Quarantined]:
    """Return the targets without a place on the sky, and those that no image covers.

    Parameters
    ----------
    config : Config
    seen : set of str
        Names of the targets that were cut or left out with a reason.
    """
    targets, path = read_targets(config), config.targets.table
    detail = "needs finite ra and dec [deg], dec in -90..90"
    lost = [Quarantined(path, "bad_target", detail, object=name) for name in targets.misplaced]
    return lost + [
        Quarantined(path, "not_covered", "no image that could be used covers it", object=str(name))
        for name in targets.placed["object_id"]
        if str(name) not in seen
    ]


@lru_cache(maxsize=2)
def _read_targets(path: str, where: str, _written: int, _size: int) -> Targets:
    from astropy.table import Table

    from lenspipe.io.tables import read_table, require_columns

    table = read_table(path)
    require_columns(table, ("ra", "dec"), path)
    name = next((n for n in ("object_id", "id", "name") if n in table.colnames), None)
    # the books know a target by its name: of two that share one, the other would be lost when only one is covered
    ids = tell_apart(map(str, table[name])) if name else [f"target-{i:06d}" for i in range(len(table))]
    wanted = _select(where, table) if where.strip() else np.ones(len(table), dtype=bool)
    ra, dec = (np.ma.filled(table[c][wanted].astype(float), np.nan) for c in ("ra", "dec"))
    ids = np.array(ids, dtype=str)[wanted]
    ra, dec = np.asarray(ra), np.asarray(dec)
    placed = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90)
    columns = {"object_id": ids[placed], "ra": ra[placed], "dec": dec[placed]}
    return Targets(Table(columns), tuple(map(str, ids[~placed])), int((~wanted).sum()))


def _select(where: str, table: Any) -> np.ndarray:
    # plain or masked arrays, without units: a cut compares bare numbers
    columns = {name: np.ma.asanyarray(table[name].data) for name in table.colnames}
    return select_rows(parse_cut(where, "targets.where"), columns, len(table))
