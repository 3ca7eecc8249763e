"""The gravitational slip gamma = Phi/Psi from Einstein radii and stellar velocity dispersions.

Light is deflected by the mean of both potentials, stars move in one of them, so for a singular
isothermal sphere theta_E = 4 pi (sigma/c)^2 ((1 + gamma)/2) D_ls/D_s. The likelihood is Gaussian in
the measured sigma, never in a per-lens gamma: gamma goes as 1/sigma^2, so the average of per-lens
values is biased high (+0.06 at 10 % errors). Errors of theta_E and of the redshifts are carried into
the predicted sigma; as that error depends on gamma, the likelihood keeps its normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike

from lenspipe.core.errors import InputError
from lenspipe.core.rng import stream
from lenspipe.lensing.cosmology import Z_MAX, distance_ratio, sis_sigma_v

REQUIRED = {"z_lens": "", "z_src": "", "theta_e": "arcsec", "sigma_v": "km / s", "sigma_v_err": "km / s"}
OPTIONAL = {"theta_e_err": "arcsec", "z_lens_err": "", "z_src_err": ""}
GAMMA_RANGE = (-0.8, 4.0)  # flat prior
_CHUNK = 4096  # lenses at once: memory stays flat whatever the sample


@dataclass(frozen=True)
class SlipResult:
    """What a sample says of gamma.

    `gamma` is the posterior's median, the errors reach to its 16th and 84th percentiles;
    `realization_gammas` are the medians of bootstrap resamplings, `lenses` has one row per input lens,
    `posterior` is the density on `gamma_grid`.
    """

    model: str
    gamma: float
    gamma_err_lo: float
    gamma_err_hi: float
    n_lenses: int
    n_used: int
    realizations: int
    chi2_per_n: float
    circular: bool
    warnings: tuple[str, ...]
    lenses: Table = field(repr=False)
    gamma_grid: np.ndarray = field(repr=False)
    posterior: np.ndarray = field(repr=False)
    realization_gammas: np.ndarray = field(repr=False)

    def summary(self) -> dict[str, Any]:
        """Return the fields of slip.json, JSON-able."""
        names = ("model", "gamma", "gamma_err_lo", "gamma_err_hi", "n_lenses", "n_used", "realizations")
        out = {name: getattr(self, name) for name in (*names, "chi2_per_n", "circular")}
        return out | {"warnings": list(self.warnings)}


def predict_sigma_v(theta_e: ArrayLike, z_lens: ArrayLike, z_src: ArrayLike, gamma: ArrayLike) -> np.ndarray:
    """Return the velocity dispersion [km/s] of an SIS of Einstein radius `theta_e` [arcsec] and slip gamma.

    All arguments broadcast; NaN where z_src <= z_lens.
    """
    return sis_sigma_v(theta_e, z_lens, z_src) * np.sqrt(2.0 / (1.0 + np.asarray(gamma, dtype=np.float64)))


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
        If a required column is missing or not numeric; the message names it.
    """
    data = _columns(table)
    checks = [(~np.isfinite(values), f"{name} is not a finite number") for name, values in data.items()]
    checks += [
        (data["z_lens"] <= 0, "z_lens <= 0"),
        (data["z_src"] <= data["z_lens"], "z_src <= z_lens"),
        (data["z_src"] > Z_MAX, f"z_src > {Z_MAX:g}"),
        (data["theta_e"] <= 0, "theta_e <= 0"),
        (data["sigma_v"] <= 0, "sigma_v <= 0"),
        (data["sigma_v_err"] <= 0, "sigma_v_err <= 0"),
        *((data[name] < 0, f"{name} < 0") for name in OPTIONAL),
    ]
    conditions = [condition for condition, _ in checks]
    reasons = (
        np.select(conditions, [text for _, text in checks], default="") if len(table) else np.array([], "U1")
    )
    return reasons == "", reasons


def log_likelihood(table: Table, gamma_grid: ArrayLike) -> np.ndarray:
    """Return ln p(sigma_v | gamma) of each lens.

    Parameters
    ----------
    table : Table
        Usable rows only (see `usable_rows`).
    gamma_grid : array_like (g,)

    Returns
    -------
    ndarray (n, g)
    """
    data = _columns(table)
    gamma = np.asarray(gamma_grid, dtype=np.float64)[None, :]
    model = _sigma_gr(data)[:, None] * np.sqrt(2.0 / (1.0 + gamma))
    variance = data["sigma_v_err"][:, None] ** 2 + (model * _model_fraction(data)[:, None]) ** 2
    return -0.5 * ((data["sigma_v"][:, None] - model) ** 2 / variance + np.log(2.0 * np.pi * variance))


def infer_gamma(
    table: Table,
    realizations: int = 100,
    seed: int = 1,
    circular: bool = False,
    gamma_range: tuple[float, float] = GAMMA_RANGE,
) -> SlipResult:
    """Return the posterior of gamma of a sample of lenses, with a flat prior on `gamma_range`.

    Parameters
    ----------
    table : Table
        Columns `REQUIRED`, and `OPTIONAL` ones where known; units are converted where given.
    realizations : int
        Bootstrap resamplings of the sample.
    seed : int
        Of the resampling.
    circular : bool
        True when sigma_v was inferred from images by a network trained on simulations that assume
        general relativity: then gamma = 1 is built in, and the result says so.

    Raises
    ------
    InputError
        If a column is missing or no row can be used.
    """
    usable, reasons = usable_rows(table)
    if not usable.any():
        found = f"the first reason is: {reasons[0]}" if len(table) else "the table is empty"
        raise InputError(f"slip: none of the table's {len(table)} lenses can be used; {found}")
    good = table[usable]
    grid = _focus(good, np.linspace(*gamma_range, 1201))
    weights = _bootstrap_weights(len(good), realizations, seed)
    sums = np.zeros((1 + realizations, len(grid)))
    for start in range(0, len(good), _CHUNK):
        part = slice(start, start + _CHUNK)
        sums += weights[:, part] @ log_likelihood(good[part], grid)
    densities = _normalise(grid, sums)
    low, gamma, high = _percentiles(grid, densities[:1], (16, 50, 84))[0]
    lenses = _lens_table(table, usable, reasons, gamma)
    chi2_per_n = float(np.mean(lenses["chi2"][usable]))
    result = SlipResult(
        model="sis",
        gamma=float(gamma),
        gamma_err_lo=float(gamma - low),
        gamma_err_hi=float(high - gamma),
        n_lenses=len(table),
        n_used=int(usable.sum()),
        realizations=realizations,
        chi2_per_n=chi2_per_n,
        circular=circular,
        warnings=(),
        lenses=lenses,
        gamma_grid=grid,
        posterior=densities[0],
        realization_gammas=_percentiles(grid, densities[1:], (50,))[:, 0],
    )
    warnings = _warnings(result, cut=max(densities[0][0], densities[0][-1]) > 1e-3 * densities[0].max())
    return SlipResult(**{**vars(result), "warnings": warnings})


def _columns(table: Table) -> dict[str, np.ndarray]:
    """Return the columns as float64 in our units: masked entries NaN, absent errors zero."""
    missing = [name for name in REQUIRED if name not in table.colnames]
    if missing:
        raise InputError(
            f"slip: the table has no column {', '.join(missing)}; "
            f"expected {', '.join(REQUIRED)}, found {', '.join(table.colnames)}"
        )
    out = {}
    for name, unit in (REQUIRED | OPTIONAL).items():
        if name not in table.colnames:
            out[name] = np.zeros(len(table))
            continue
        column = table[name]
        try:
            values = np.ma.filled(np.ma.asarray(getattr(column, "value", column), dtype=np.float64), np.nan)
            if unit and column.unit is not None:
                values = values * column.unit.to(unit)
        except (ValueError, TypeError) as error:
            raise InputError(
                f"slip: column {name} must hold numbers in {unit or 'no unit'}: {error}"
            ) from None
        out[name] = np.atleast_1d(values)
    return out


def _sigma_gr(data: dict[str, np.ndarray]) -> np.ndarray:
    return sis_sigma_v(data["theta_e"], data["z_lens"], data["z_src"])


def _model_fraction(data: dict[str, np.ndarray]) -> np.ndarray:
    """Return the relative error of the predicted sigma from theta_E and the redshifts.

    sigma goes as (theta_E / ratio)^(1/2), so each relative error enters by half.
    """
    z_lens, z_src, step = data["z_lens"], data["z_src"], 1e-4
    ratio = distance_ratio(z_lens, z_src)
    slope_lens = (distance_ratio(z_lens + step, z_src) - ratio) / step / ratio
    slope_src = (ratio - distance_ratio(z_lens, z_src - step)) / step / ratio
    parts = (
        data["theta_e_err"] / data["theta_e"],
        slope_lens * data["z_lens_err"],
        slope_src * data["z_src_err"],
    )
    return 0.5 * np.sqrt(sum(part**2 for part in parts))


def _bootstrap_weights(n: int, realizations: int, seed: int) -> np.ndarray:
    """Return (1 + realizations, n): ones, then how often each lens comes in each resampling."""
    drawn = stream(seed, "slip").multinomial(n, np.full(n, 1.0 / n), size=realizations)
    return np.vstack([np.ones(n), drawn])


def _focus(table: Table, coarse: np.ndarray) -> np.ndarray:
    """Return a fine grid over the part of the prior that holds the posterior and its resamplings:
    12 standard deviations to each side, more where scatter beyond the errors widens the bootstrap.
    """
    total = sum(
        log_likelihood(table[k : k + _CHUNK], coarse).sum(axis=0) for k in range(0, len(table), _CHUNK)
    )
    best = coarse[np.argmax(total)]
    data = _columns(table)
    pull = (data["sigma_v"] - _sigma_gr(data) * np.sqrt(2.0 / (1.0 + best))) / data["sigma_v_err"]
    inside = np.flatnonzero(total > total.max() - 72.0 * max(1.0, float(np.mean(pull**2))))
    low, high = coarse[max(inside[0] - 2, 0)], coarse[min(inside[-1] + 2, len(coarse) - 1)]
    return np.linspace(low, high, 1201)


def _normalise(grid: np.ndarray, log_posterior: np.ndarray) -> np.ndarray:
    density = np.exp(log_posterior - log_posterior.max(axis=1, keepdims=True))
    return density / np.trapezoid(density, grid, axis=1)[:, None]


def _percentiles(grid: np.ndarray, densities: np.ndarray, percents: tuple[int, ...]) -> np.ndarray:
    """Return (r, p) percentiles of densities (r, g)."""
    steps = 0.5 * (densities[:, 1:] + densities[:, :-1]) * np.diff(grid)
    cumulative = np.concatenate([np.zeros((len(densities), 1)), np.cumsum(steps, axis=1)], axis=1)
    return np.array([np.interp(np.array(percents) / 100.0 * c[-1], c, grid) for c in cumulative])


def _lens_table(table: Table, usable: np.ndarray, reasons: np.ndarray, gamma: float) -> Table:
    """Return one row a lens: the GR prediction, pulls against it (independent of gamma), chi2 at gamma."""
    data = _columns(table)
    columns = {name: np.full(len(table), np.nan) for name in ("sigma_gr", "pull_gr", "chi2")}
    good = {name: values[usable] for name, values in data.items()}
    gr, fraction = _sigma_gr(good), _model_fraction(good)
    columns["sigma_gr"][usable] = gr
    columns["pull_gr"][usable] = (good["sigma_v"] - gr) / np.hypot(good["sigma_v_err"], gr * fraction)
    model = gr * np.sqrt(2.0 / (1.0 + gamma))
    columns["chi2"][usable] = (good["sigma_v"] - model) ** 2 / (
        good["sigma_v_err"] ** 2 + (model * fraction) ** 2
    )
    out = Table({name: data[name] for name in REQUIRED} | columns)
    if "name" in table.colnames:
        out.add_column(np.asarray(table["name"]).astype(str), name="name", index=0)
    out["used"], out["reason"] = usable, reasons
    return out


def _warnings(result: SlipResult, cut: bool) -> tuple[str, ...]:
    texts = [
        "the mass model is a singular isothermal sphere: slope, anisotropy and aperture are not modelled"
    ]
    if result.circular:
        texts.append("circular: sigma_v came from images through simulations that assume gamma = 1")
    if result.n_used < 10:
        texts.append(f"only {result.n_used} lenses: the posterior leans on the prior and on each lens")
    if cut:
        texts.append("the posterior is cut by the edge of the prior on gamma")
    # chi2 per lens scatters by sqrt(2/n); three of these, and never less than 30 %
    if abs(result.chi2_per_n - 1.0) > max(0.3, 3.0 * np.sqrt(2.0 / result.n_used)):
        side = "underestimated" if result.chi2_per_n > 1 else "overestimated"
        texts.append(
            f"chi2 per lens is {result.chi2_per_n:.2f}: errors are {side}, or the model does not hold"
        )
    if result.n_used < result.n_lenses:
        texts.append(
            f"{result.n_lenses - result.n_used} of {result.n_lenses} lenses were left out; see the table"
        )
    return tuple(texts)
