"""The targets that a user gives: a table with sky positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from lenspipe.core.types import Quarantined


def read_targets(path: str) -> Any:
    """Return the targets that have a place on the sky: `object_id`, `ra`, `dec`."""
    from astropy.table import Table

    ra, dec, ids = _target_columns(path)
    placed = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90)
    return Table({"object_id": ids[placed], "ra": ra[placed], "dec": dec[placed]})


def unseen_targets(path: str, seen: set[str]) -> list[Quarantined]:
    """Return the targets without a place on the sky, and those that no image covers.

    Parameters
    ----------
    path : str
    seen : set of str
        Names of the targets that were cut or left out with a reason.
    """
    ra, dec, ids = _target_columns(path)
    placed = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90)
    detail = "needs finite ra and dec [deg], dec in -90..90"
    lost = [Quarantined(path, "bad_target", detail, object=str(name)) for name in ids[~placed]]
    return lost + [
        Quarantined(path, "not_covered", "no image that could be used covers it", object=str(name))
        for name in ids[placed]
        if str(name) not in seen
    ]


def _target_columns(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from lenspipe.io.tables import read_table, require_columns

    table = read_table(path)
    require_columns(table, ("ra", "dec"), path)
    name = next((n for n in ("object_id", "id", "name") if n in table.colnames), None)
    ids = [str(v) for v in table[name]] if name else [f"target-{i:06d}" for i in range(len(table))]
    return np.asarray(table["ra"], float), np.asarray(table["dec"], float), np.array(ids, dtype=str)
