"""The gravitational slip gamma = Phi/Psi from Einstein radii and stellar velocity dispersions.

Light is deflected by the mean of both potentials, stars move in one of them, so for a singular isothermal sphere
theta_E = 4 pi (sigma/c)^2 ((1 + gamma)/2) D_ls/D_s; of other galaxies `slip_model` knows. Gamma is found by exact
quadrature on a grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from astropy.table import Table
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from lenspipe.core.errors import InputError
from lenspipe.core.rng import stream
from lenspipe.lensing.cosmology import sis_sigma_v
from lenspipe.lensing.slip_model import (
    Predictions,
    SlipModel,
    log_likelihood,
    predict,
    relative_error,
    unphysical,
)
from lenspipe.lensing.slip_table import KNOWN, REQUIRED, read_columns, usable_rows

GAMMA_RANGE = (-0.8, 4.0)  # flat prior
LEAST_LENSES = 3
_CHUNK = 256  # lenses at once, as many as a processor keeps close by
#: Gammas at which the likelihood is computed, first over the prior, then where the posterior is; and those in between.
_COARSE, _FINE, _GRID = 61, 41, 1201
_SOME = 1000  # lenses tell where a large sample's posterior lies
_DEVIATIONS = 12.0  # how far from the best gamma a posterior is followed
#: Groups of lenses that are left out in turn, where there are more lenses.
_JACKKNIFE = 200


_DESCRIPTIONS = {
    "sigma_gr": "velocity dispersion that theta_e, redshifts and mass model predict at gamma = 1",
    "pull_gr": "(sigma_v - sigma_gr) / error, galaxies' own scatter in the error",
    "pull": "the same at the sample's gamma",
    "chi2": "pull squared",
}


@dataclass(frozen=True)
class SlipResult:
    """What a sample says of gamma.

    `gamma` is the posterior's median, the errors reach to its 16th and 84th percentiles, `gamma_mean` is its mean;
    `realization_gammas` are the medians of bootstrap resamplings, `jackknife_err` is the error that the scatter of
    lenses makes, without a word of their own errors. `splits` tells gamma of parts of the sample. `lenses` has one
    row per input lens, `posterior` is the density on `gamma_grid`.
    """

    model: str
    gamma: float
    gamma_err_lo: float
    gamma_err_hi: float
    gamma_mean: float
    jackknife_err: float
    n_lenses: int
    n_used: int
    realizations: int
    chi2_per_n: float
    circular: bool
    warnings: tuple[str, ...]
    splits: Mapping[str, Mapping[str, float]]
    lenses: Table = field(repr=False)
    gamma_grid: np.ndarray = field(repr=False)
    posterior: np.ndarray = field(repr=False)
    realization_gammas: np.ndarray = field(repr=False)

    def summary(self) -> dict[str, Any]:
        """Return the fields of slip.json, JSON-able."""
        names = ("model", "gamma", "gamma_err_lo", "gamma_err_hi", "gamma_mean", "jackknife_err", "n_lenses")
        names += ("n_used", "realizations", "chi2_per_n", "circular")
        out = {name: getattr(self, name) for name in names}
        return out | {"splits": dict(self.splits), "warnings": list(self.warnings)}


def predict_sigma_v(theta_e: ArrayLike, z_lens: ArrayLike, z_src: ArrayLike, gamma: ArrayLike) -> np.ndarray:
    """Return the velocity dispersion [km/s] of an SIS of Einstein radius `theta_e` [arcsec] and slip gamma.

    All arguments broadcast; NaN where z_src <= z_lens.
    """
    return sis_sigma_v(theta_e, z_lens, z_src) * np.sqrt(2.0 / (1.0 + np.asarray(gamma, dtype=np.float64)))


def isothermal_pull(
    theta_e: ArrayLike,
    theta_e_err: ArrayLike,
    sigma_v: ArrayLike,
    sigma_v_err: ArrayLike,
    z_lens: ArrayLike,
    z_src: ArrayLike,
    z_lens_err: ArrayLike = 0.0,
    z_src_err: ArrayLike = 0.0,
) -> np.ndarray:
    """Return how far theta_e is from that of an SIS of sigma_v and the redshifts at gamma = 1, in errors of both.

    ln theta_e is compared, whose errors are nearly Gaussian. All arguments broadcast; NaN where z_src <= z_lens.
    """
    names = ("theta_e", "theta_e_err", "sigma_v", "z_lens", "z_src", "z_lens_err", "z_src_err")
    given = np.broadcast_arrays(theta_e, theta_e_err, sigma_v, z_lens, z_src, z_lens_err, z_src_err)
    data = {name: np.asarray(values, np.float64) for name, values in zip(names, given, strict=True)}
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = sis_sigma_v(data["theta_e"], data["z_lens"], data["z_src"])
        # sigma goes as the root of theta_e
        error = 2 * np.hypot(np.asarray(sigma_v_err) / data["sigma_v"], relative_error(data, 2.0))
        return 2 * np.log(expected / data["sigma_v"]) / error


def infer_gamma(
    table: Table,
    realizations: int = 100,
    seed: int = 1,
    circular: bool = False,
    model: SlipModel | None = None,
    gamma_range: tuple[float, float] = GAMMA_RANGE,
) -> SlipResult:
    """Return the posterior of gamma of a sample of lenses, with a flat prior on `gamma_range`.

    Parameters
    ----------
    table : Table
        Columns `slip_table.REQUIRED`, and `ERRORS` and `KNOWN` ones where known; units are converted where given. With
        ``survey`` the surveys are told apart in `splits`.
    realizations : int
        Bootstrap resamplings of the sample.
    seed : int
        Of the resampling.
    circular : bool
        True when sigma_v was inferred from images by a network trained on simulations that assume
        general relativity: then gamma = 1 is built in, and the result says so.
    model : SlipModel, optional
        Singular isothermal spheres unless given.

    Raises
    ------
    InputError
        If a column is missing or fewer than three rows can be used.
    """
    model = model or SlipModel()
    used, reasons, predictions = prepare(table, model)
    parts = _splits(table[used], predictions)
    samples = [_resamplings(len(predictions), realizations, seed), _left_out(len(predictions))]
    sums, inside = _log_posteriors(
        predictions, np.vstack([*samples, *(part.astype(float) for part in parts.values())]), gamma_range
    )
    many = 1 + realizations
    grid = _zoom(sums, inside, 0, predictions)
    densities = _densities(sums, grid)
    low, gamma, high = _percentiles(grid, densities[:1], (16, 50, 84))[0]
    medians = _percentiles(grid, densities[: -len(parts) or None], (50,))[:, 0]
    splits = {}
    for row, (name, part) in enumerate(parts.items(), start=len(medians)):
        own = _zoom(sums, inside, row, predictions[part])
        lo, middle, hi = _percentiles(own, _densities(sums, own, row), (16, 50, 84))[0].tolist()
        splits[name] = {
            "gamma": middle,
            "gamma_err_lo": middle - lo,
            "gamma_err_hi": hi - middle,
            "n": int(part.sum()),
        }
    lenses = _lens_table(table, used, reasons, predictions, float(gamma))
    result = SlipResult(
        model=model.name,
        gamma=float(gamma),
        gamma_err_lo=float(gamma - low),
        gamma_err_hi=float(high - gamma),
        gamma_mean=float(np.trapezoid(grid * densities[0], grid)),
        jackknife_err=_jackknife_error(medians[many:]),
        n_lenses=len(table),
        n_used=int(used.sum()),
        realizations=realizations,
        chi2_per_n=float(np.mean(lenses["chi2"][used])),
        circular=circular,
        warnings=(),
        splits=splits,
        lenses=lenses,
        gamma_grid=grid,
        posterior=densities[0],
        realization_gammas=medians[1:many],
    )
    cut = max(densities[0][0], densities[0][-1]) > 1e-3 * densities[0].max()
    return replace(result, warnings=_warnings(result, table, model, cut))


def prepare(table: Table, model: SlipModel) -> tuple[np.ndarray, np.ndarray, Predictions]:
    """Return which rows are used (n,), why the others are not (n,), and the predictions of those used.

    Raises
    ------
    InputError
        If a column is missing or fewer than three rows can be used.
    """
    used, reasons = usable_rows(table)
    physical, faults = unphysical(read_columns(table), model)
    reasons = np.where(used & ~physical, faults, reasons)
    used = used & physical
    if used.sum() < LEAST_LENSES:
        found = next((f"; the first reason is: {r}" for r in reasons if r), "")
        raise InputError(
            f"slip: {used.sum()} of the table's {len(table)} lenses can be used, {LEAST_LENSES} are needed at "
            f"least{found or '; the table is too short' if len(table) else '; the table is empty'}"
        )
    return used, reasons, predict(read_columns(table[used]), model)


def _log_posteriors(
    predictions: Predictions, weights: np.ndarray, gamma_range: tuple[float, float]
) -> tuple[CubicSpline, tuple[float, float]]:
    """Return ln of the posteriors, up to constants, of samples in which each lens counts `weights` (r, n) times.

    As a function of gamma (r values), good where any of them is, and that range.
    """
    low, high = _reach(predictions, weights, np.linspace(*gamma_range, _COARSE))
    nodes = np.linspace(low, high, _FINE)
    sums = np.zeros((len(weights), len(nodes)))
    for start in range(0, len(predictions), _CHUNK):
        part = slice(start, start + _CHUNK)
        sums += weights[:, part] @ log_likelihood(predictions[part], nodes)
    return CubicSpline(nodes, sums, axis=1), (low, high)


def _reach(predictions: Predictions, weights: np.ndarray, coarse: np.ndarray) -> tuple[float, float]:
    """Return the part of the prior in which any sample's posterior lies, seen from some lenses of a large sample."""
    some = slice(None, None, -(-len(predictions) // _SOME))
    part, share = predictions[some], weights[:, some]
    sums = share @ log_likelihood(part, coarse)
    depth = 0.5 * _DEVIATIONS**2 * max(1.0, _chi2(part, coarse[np.argmax(sums[0])]))
    near = sums > sums.max(axis=1, keepdims=True) - depth
    inside = np.flatnonzero(near[share.sum(axis=1) > 0].any(axis=0))
    return float(coarse[max(inside[0] - 1, 0)]), float(coarse[min(inside[-1] + 1, len(coarse) - 1)])


def _zoom(sums: CubicSpline, inside: tuple[float, float], row: int, predictions: Predictions) -> np.ndarray:
    """Return gammas where a sample's posterior and those of its resamplings lie.

    Twelve standard deviations to each side, more where scatter beyond the errors widens the bootstrap.
    """
    fine = np.linspace(*inside, 8 * _GRID)
    values = sums(fine)[row]
    depth = 0.5 * _DEVIATIONS**2 * max(1.0, _chi2(predictions, fine[np.argmax(values)]))
    near = np.flatnonzero(values > values.max() - depth)
    return np.linspace(fine[max(near[0] - 1, 0)], fine[min(near[-1] + 1, len(fine) - 1)], _GRID)


def _densities(sums: CubicSpline, grid: np.ndarray, row: int | None = None) -> np.ndarray:
    """Return the densities on a grid, of all samples or of one."""
    values = sums(grid) if row is None else sums(grid)[row : row + 1]
    density = np.exp(values - values.max(axis=1, keepdims=True))
    return density / np.trapezoid(density, grid, axis=1)[:, None]


def _chi2(predictions: Predictions, gamma: float) -> float:
    return float(np.mean(_pulls(predictions, gamma) ** 2))


def _pulls(predictions: Predictions, gamma: float) -> np.ndarray:
    """Return (measured - predicted) / error of sigma, with the scatter of galaxies in the error."""
    expected = predictions.expected * np.sqrt(2.0 / (1.0 + gamma))
    return (predictions.sigma - expected) / np.hypot(predictions.sigma_err, expected * predictions.scatter)


def _resamplings(n: int, realizations: int, seed: int) -> np.ndarray:
    """Return (1 + realizations, n): ones, then how often each lens comes in each resampling."""
    drawn = stream(seed, "slip").multinomial(n, np.full(n, 1.0 / n), size=realizations)
    return np.vstack([np.ones(n), drawn])


def _left_out(n: int) -> np.ndarray:
    """Return samples (groups, n) that each lack every so-manieth lens."""
    groups = min(n, _JACKKNIFE)
    return (np.arange(n) % groups != np.arange(groups)[:, None]).astype(float)


def _jackknife_error(gammas: np.ndarray) -> float:
    return float(np.sqrt((len(gammas) - 1) * np.var(gammas)))


def _splits(table: Table, predictions: Predictions) -> dict[str, np.ndarray]:
    """Return rows of parts of the sample: halves by redshift and by mass, and surveys.

    The mass is told by the Einstein radius: the measured sigma's own error would sort lenses by their gamma.
    """
    parts = {}
    for name, values in (("z_lens", read_columns(table)["z_lens"]), ("sigma_gr", predictions.isothermal)):
        middle = np.median(values)
        parts |= {f"{name} < {middle:.4g}": values < middle, f"{name} >= {middle:.4g}": values >= middle}
    if "survey" in table.colnames:
        surveys = np.asarray(table["survey"]).astype(str)
        parts |= {f"survey {name}": surveys == name for name in np.unique(surveys)}
    return {name: part for name, part in parts.items() if LEAST_LENSES <= part.sum() < len(table)}


def _percentiles(grid: np.ndarray, densities: np.ndarray, percents: tuple[int, ...]) -> np.ndarray:
    """Return (r, p) percentiles of densities (r, g)."""
    steps = 0.5 * (densities[:, 1:] + densities[:, :-1]) * np.diff(grid)
    cumulative = np.concatenate([np.zeros((len(densities), 1)), np.cumsum(steps, axis=1)], axis=1)
    return np.array([np.interp(np.array(percents) / 100.0 * c[-1], c, grid) for c in cumulative])


def _lens_table(
    table: Table, used: np.ndarray, reasons: np.ndarray, predictions: Predictions, gamma: float
) -> Table:
    """Return one row a lens: the GR prediction, pulls against it (independent of gamma), chi2 at gamma."""
    data = read_columns(table)
    columns = {name: np.full(len(table), np.nan) for name in ("sigma_gr", "pull_gr", "pull", "chi2")}
    columns["sigma_gr"][used] = predictions.expected
    columns["pull_gr"][used], columns["pull"][used] = _pulls(predictions, 1.0), _pulls(predictions, gamma)
    columns["chi2"] = columns["pull"] ** 2
    out = Table({name: data[name] for name in REQUIRED} | columns)
    for name, unit in (*REQUIRED.items(), ("sigma_gr", "km / s")):
        out[name].unit = unit or None
    for name, text in _DESCRIPTIONS.items():
        out[name].description = text
    for name in ("survey", "name"):
        if name in table.colnames:
            out.add_column(np.asarray(table[name]).astype(str), name=name, index=0)
    out["used"], out["reason"] = used, reasons
    return out


def _warnings(result: SlipResult, table: Table, model: SlipModel, cut: bool) -> tuple[str, ...]:
    texts = []
    if model.name == "sis":
        texts.append(
            "the mass model is a singular isothermal sphere: slope, anisotropy and aperture are not modelled; "
            "for real spectra take the power law (slip.model, --model powerlaw)"
        )
    else:
        data = read_columns(table)
        assumed = int(np.sum(~np.isfinite(data["aperture_radius"]) & (result.lenses["used"])))
        if assumed:
            texts.append(
                f"the aperture of {assumed} lenses is not in the table: {model.aperture_radius:g} arcsec under "
                f"{model.seeing_fwhm:g} arcsec of seeing is assumed"
            )
        if not any(np.isfinite(data[name]).any() for name in KNOWN if name in ("alpha", "beta", "delta")):
            texts.append(
                f"slopes and anisotropy are assumed, not measured: alpha {_told(model.alpha)}, beta "
                f"{_told(model.beta)}, delta {_told(model.delta)}; systematics.ecsv tells what others make of gamma"
            )
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
            f"{result.n_lenses - result.n_used} of {result.n_lenses} lenses were left out; lenses.ecsv tells why"
        )
    return tuple(texts)


def _told(prior: tuple[float, float]) -> str:
    return f"{prior[0]:g} +- {prior[1]:g}"
