"""How much sky was searched, told from where the scored objects are."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from scipy.spatial import ConvexHull, QhullError

from lenspipe.core.schema import Flag

#: So few objects tell no outline.
LEAST = 50


def searched_area(table: Table) -> float:
    """Return the area of the sky in which objects were scored [deg^2]; NaN where it cannot be told (cutouts).

    The convex hull of each tile's objects, widened by what a hull of n random points in a rectangle misses
    (8/3 ln(n)/n; Renyi & Sulanke 1963), times the share of its objects that are not ranked in another tile: so what
    tiles share counts once. Good to some per cent for tiles of hundreds of objects; holes are not left out.

    Parameters
    ----------
    table : Table
        All scored objects: `ra`, `dec` (deg), `tile`, `flags`.
    """
    tile = np.unique(np.asarray(table["tile"], str), return_inverse=True)[1]
    ra, dec = (np.asarray(table[name], float) for name in ("ra", "dec"))
    single = (np.asarray(table["flags"], int) & int(Flag.DUPLICATE)) == 0
    order = np.argsort(tile, kind="stable")
    area, seen = 0.0, False
    for rows in np.split(order, np.flatnonzero(np.diff(tile[order])) + 1):
        rows = rows[np.isfinite(ra[rows]) & np.isfinite(dec[rows])]
        if len(rows) < LEAST:
            continue
        middle = np.median(dec[rows])
        x = (ra[rows] - ra[rows[0]] + 180) % 360 - 180  # over the meridian
        try:
            hull = ConvexHull(np.stack([x * np.cos(np.radians(middle)), dec[rows]], axis=1))
        except QhullError:  # all on a line
            continue
        missed = 8 / 3 * np.log(len(rows)) / len(rows)
        area += hull.volume / (1 - missed) * single[rows].mean()  # in two dimensions "volume" is the area
        seen = True
    return area if seen else np.nan
