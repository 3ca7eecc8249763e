"""Tables of lenses with Einstein radii and velocity dispersions: their columns, and which rows can be used."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from lenspipe.core.errors import InputError
from lenspipe.lensing.cosmology import Z_MAX
from lenspipe.lensing.kinematics import slit_radius

REQUIRED = {"z_lens": "", "z_src": "", "theta_e": "arcsec", "sigma_v": "km / s", "sigma_v_err": "km / s"}
#: Zero where they are not there.
ERRORS = {"theta_e_err": "arcsec", "z_lens_err": "", "z_src_err": ""}
#: NaN where they are not there, or not known of a lens: then what `SlipModel` assumes of all holds.
KNOWN = {
    "aperture_radius": "arcsec", "seeing_fwhm": "arcsec", "slit_width": "arcsec", "slit_length": "arcsec",
    "r_eff": "arcsec", "alpha": "", "alpha_err": "", "beta": "", "beta_err": "", "delta": "", "delta_err": "",
}  # fmt: skip


def read_columns(table: Table) -> dict[str, np.ndarray]:
    """Return `REQUIRED`, `ERRORS` and `KNOWN` columns as float64 (n,) in our units; masked entries are NaN.

    Slits are told as the circle that sees the same, in ``aperture_radius``.

    Raises
    ------
    InputError
        If a required column is missing or not numeric; the message names it.
    """
    missing = [
        name
        for name in REQUIRED
        if name not in table.colnames and not {f"{name}_lo", f"{name}_hi"} <= set(table.colnames)
    ]
    if missing:
        raise InputError(
            f"slip: the table has no column {', '.join(missing)}; "
            f"expected {', '.join(REQUIRED)}, found {', '.join(table.colnames)}"
        )
    out = {}
    for name, unit in (REQUIRED | ERRORS | KNOWN).items():
        pair = [f"{name}_{end}" for end in ("lo", "hi")]
        if name in table.colnames:
            out[name] = read_values(table, name, unit)
        elif set(pair) <= set(table.colnames):  # as in candidate tables
            out[name] = np.mean([read_values(table, one, unit) for one in pair], axis=0)
        else:
            out[name] = np.full(len(table), np.nan if name in KNOWN else 0.0)
    slit = np.isnan(out["aperture_radius"]) & (out["slit_width"] > 0) & (out["slit_length"] > 0)
    radius = slit_radius(out.pop("slit_width"), out.pop("slit_length"))
    out["aperture_radius"] = np.where(slit, radius, out["aperture_radius"])
    return out


def read_values(table: Table, name: str, unit: str) -> np.ndarray:
    """Return a column as float64 (n,) in `unit`; masked entries are NaN, and so are words among numbers."""
    column = table[name]
    try:
        if getattr(column, "dtype", np.dtype(float)).kind in "USO":
            values = np.array([_number(text) for text in np.ma.filled(column, "")])
            if len(values) and np.isnan(values).all():
                raise ValueError(f"the first is {str(column[0])!r}")
            return values
        values = np.ma.filled(np.ma.asarray(getattr(column, "value", column), dtype=np.float64), np.nan)
        if unit and column.unit is not None:
            values = values * column.unit.to(unit)
    except (ValueError, TypeError) as error:
        raise InputError(f"slip: column {name} must hold numbers{unit and f' in {unit}'}: {error}") from None
    return np.atleast_1d(values)


def _number(text: object) -> float:
    try:
        return float(str(text))
    except ValueError:
        return np.nan


def usable_rows(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows can be used, and why the others cannot.

    Returns
    -------
    mask : ndarray (n,), bool
    reasons : ndarray (n,), str
        Empty for usable rows; the first fault found otherwise.

    Raises
    ------
    InputError
        As `read_columns`.
    """
    data = read_columns(table)
    checks = [(~np.isfinite(data[name]), f"{name} is not a finite number") for name in (*REQUIRED, *ERRORS)]
    checks += [
        (data["z_lens"] <= 0, "z_lens <= 0"),
        (data["z_src"] <= data["z_lens"], "z_src <= z_lens"),
        (data["z_src"] > Z_MAX, f"z_src > {Z_MAX:g}"),
        (data["theta_e"] <= 0, "theta_e <= 0"),
        (data["sigma_v"] <= 0, "sigma_v <= 0"),
        (data["sigma_v_err"] <= 0, "sigma_v_err <= 0"),
        *((data[name] < 0, f"{name} < 0") for name in ERRORS),
        *((np.isinf(data[name]), f"{name} is infinite") for name in data if name in KNOWN),
        *((data[name] <= 0, f"{name} <= 0") for name in ("aperture_radius", "r_eff")),
        *((data[name] < 0, f"{name} < 0") for name in ("seeing_fwhm", "alpha_err", "beta_err", "delta_err")),
    ]
    return judge(checks, len(table))


def judge(checks: list[tuple[np.ndarray, str]], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of `count` rows have none of the faults, and the first fault of the others."""
    if not count:
        return np.zeros(0, bool), np.array([], "U1")
    reasons = np.select([fault for fault, _ in checks], [text for _, text in checks], default="")
    return reasons == "", reasons
