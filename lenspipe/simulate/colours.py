"""Observed magnitudes of galaxy templates, from the k-corrections that `make_colours` tabulated."""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import ArrayLike

from lenspipe.core.errors import ConfigError
from lenspipe.core.survey import NJY_ZERO_POINT
from lenspipe.lensing.cosmology import distance_modulus

#: Names of bands in surveys -> columns of colours.csv. LSST and HSC write y, DES and KiDS Y.
ALIASES = {"y": "Y", "vis": "VIS", "Vis": "VIS"}


@cache
def _table() -> dict[str, dict[str, np.ndarray]]:
    lines = (resources.files("lenspipe.simulate") / "colours.csv").read_text().splitlines()
    names = lines[0].split(",")[1:]
    rows: dict[str, list[list[float]]] = {}
    for line in lines[1:]:
        template, *values = line.split(",")
        rows.setdefault(template, []).append([float(v) for v in values])
    return {template: dict(zip(names, np.array(values).T, strict=True)) for template, values in rows.items()}


def k_correction(template: str, band: str, redshift: ArrayLike) -> np.ndarray:
    """Return m_band - M_ref - DM [mag] of a template at `redshift` (0 to 6, held beyond).

    M_ref is rest-frame r for ``early`` and rest-frame V for ``spiral``, ``blue`` and ``starburst``.

    Raises
    ------
    ConfigError
        If the band is not in the table.
    """
    column = _table()[template].get(ALIASES.get(band, band)) if band != "redshift" else None
    if column is None:
        known = [name for name in _table()[template] if name != "redshift"]
        raise ConfigError(
            f"no galaxy colours for band {band!r}; simulations know {', '.join(known)} and y. "
            "Name the survey's model_bands after these"
        )
    return np.interp(redshift, _table()[template]["redshift"], column)


def observed_magnitude(template: str, band: str, redshift: ArrayLike, absolute: ArrayLike) -> np.ndarray:
    """Return the AB magnitude in `band` of a galaxy with absolute reference magnitude `absolute`."""
    return np.asarray(absolute) + distance_modulus(redshift) + k_correction(template, band, redshift)


def flux_njy(magnitude: ArrayLike) -> np.ndarray:
    """Return the flux [nJy] of an AB magnitude; zero where it is NaN (no such light)."""
    flux = 10 ** (0.4 * (NJY_ZERO_POINT - np.asarray(magnitude, dtype=np.float64)))
    return np.nan_to_num(flux, nan=0.0)
