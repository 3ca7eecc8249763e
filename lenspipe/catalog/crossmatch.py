"""Match candidates to a table of known lenses."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from lenspipe.io.tables import require_columns


def match_known(table: Table, known: Table, radius: float) -> Table:
    """Return the table with `known_name` and `known_sep` of the nearest known lens.

    Parameters
    ----------
    table : Table
        With `ra`, `dec` (deg, ICRS; NaN matches nothing).
    known : Table
        With `name`, `ra`, `dec` (deg, ICRS); rows without a finite position are left out.
    radius : float
        Farthest match [arcsec]. Beyond it the name is ``""`` and the separation NaN.

    Raises
    ------
    InputError
        If `known` lacks a column.
    """
    require_columns(known, ("name", "ra", "dec"), "known lenses")
    names = [""] * len(table)
    separation = np.full(len(table), np.nan, dtype="f4")
    rows, sky = _positions(table)
    known_rows, known_sky = _positions(known)
    if len(rows) and len(known_rows):
        nearest, distance, _ = sky.match_to_catalog_sky(known_sky)
        for row, k, arcsec in zip(rows, known_rows[nearest], distance.to_value(u.arcsec), strict=True):
            if arcsec <= radius:
                names[row], separation[row] = str(known["name"][k]), arcsec
    out = table.copy()
    out["known_name"] = np.array(names, dtype=f"U{max([1, *map(len, names)])}")
    out["known_sep"] = separation
    out["known_sep"].unit = u.arcsec
    return out


def _positions(table: Table) -> tuple[np.ndarray, SkyCoord]:
    """Return the rows that have a sky position, and their positions."""
    ra, dec = np.asarray(table["ra"], dtype=float), np.asarray(table["dec"], dtype=float)
    rows = np.flatnonzero(np.isfinite(ra) & (np.abs(dec) <= 90))
    return rows, SkyCoord(ra[rows], dec[rows], unit="deg")
