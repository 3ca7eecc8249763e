"""The gravitational slip gamma = Phi/Psi from Einstein radii and stellar velocity dispersions.

Light is deflected by the mean of both potentials, stars move in one of them, so for a singular isothermal sphere
theta_E = 4 pi (sigma/c)^2 ((1 + gamma)/2) D_ls/D_s; of other galaxies `slip_model` knows. Gamma is found by exact
quadrature on a grid.
"""

from __future__ import annotations

from dataclasses import replace

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
from lenspipe.lensing.slip_result import SlipResult, lens_table, warn
from lenspipe.lensing.slip_table import read_columns, usable_rows

GAMMA_RANGE = (-0.8, 4.0)  # flat prior
LEAST_LENSES = 3
_CHUNK = 256  # lenses at once, as many as a processor keeps close by
#: Gammas at which the likelihood is computed, first over the prior, then where the posterior is (fewest and most, and
#: how densely in ln sigma, in the least relative error); and those in between.
_COARSE, _FINE, _DENSITY, _GRID = 61, (11, 41), 0.1, 1201
_SOME = 1000  # lenses tell where a large sample's posterior lies
_DEVIATIONS = 12.0  # how far from the best gamma a posterior is followed
#: Groups of lenses that are left out in turn, where there are more lenses.
_JACKKNIFE = 200


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
    drawn: int = 0,
) -> SlipResult:
    """Return the posterior of gamma of a sample of lenses, with a flat prior on `gamma_range`.

    Parameters
    ----------
    table : Table
        Columns `slip_table.REQUIRED`, and `ERRORS` and `KNOWN` ones where known; units are converted where given. With
        ``survey`` the surveys are told apart in `splits`.
    realizations : int
        Resamplings of the sample: its bootstrap, or what `drawn` says.
    seed : int
        Of the resampling.
    circular : bool
        True when sigma_v was inferred from images by a network trained on simulations that assume
        general relativity: then gamma = 1 is built in, and the result says so.
    model : SlipModel, optional
        Singular isothermal spheres unless given.
    drawn : int
        Lenses of each realization, drawn with replacement: what surveys of so many would find. 0: as many as there
        are (bootstrap).

    Raises
    ------
    InputError
        If a column is missing, fewer than three rows can be used, or `drawn` is less.
    """
    model = model or SlipModel()
    used, reasons, predictions = prepare(table, model)
    parts = _splits(table[used], predictions)
    count = len(predictions)
    if drawn and drawn < LEAST_LENSES:
        raise InputError(
            f"slip: realizations of {drawn} lenses were asked for; take {LEAST_LENSES} or more, or 0 (as many as "
            "there are)"
        )
    # so much wider are the posteriors of fewer lenses, and so much farther off do they lie
    fewer = max(1.0, count / drawn) if drawn else 1.0
    samples = [np.ones((1, count)), _left_out(count), _resamplings(count, realizations, seed, drawn or count)]
    sums, inside = _log_posteriors(
        predictions,
        np.vstack([*samples, *(part.astype(float) for part in parts.values())]),
        gamma_range,
        fewer,
    )
    grid, wide = (_zoom(sums, inside, 0, predictions, factor) for factor in (1.0, fewer))
    many, last = 1 + len(samples[1]), 1 + len(samples[1]) + realizations
    densities = _densities(sums, grid, slice(0, many))
    low, gamma, high = _percentiles(grid, densities[:1], (16, 50, 84))[0]
    left_out = _percentiles(grid, densities[1:], (50,))[:, 0]
    resampled = _percentiles(wide, _densities(sums, wide, slice(many, last)), (50,))[:, 0]
    splits = {}
    for row, (name, part) in enumerate(parts.items(), start=last):
        own = _zoom(sums, inside, row, predictions[part])
        lo, middle, hi = _percentiles(own, _densities(sums, own, slice(row, row + 1)), (16, 50, 84))[
            0
        ].tolist()
        splits[name] = {
            "gamma": middle,
            "gamma_err_lo": middle - lo,
            "gamma_err_hi": hi - middle,
            "n": int(part.sum()),
        }
    lenses = lens_table(table, used, reasons, predictions, float(gamma))
    result = SlipResult(
        model=model.name,
        gamma=float(gamma),
        gamma_err_lo=float(gamma - low),
        gamma_err_hi=float(high - gamma),
        gamma_mean=float(np.trapezoid(grid * densities[0], grid)),
        jackknife_err=_jackknife_error(left_out),
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
        realization_gammas=resampled,
    )
    cut = max(densities[0][0], densities[0][-1]) > 1e-3 * densities[0].max()
    return replace(result, warnings=warn(result, table, model, cut))


def prepare(table: Table, model: SlipModel) -> tuple[np.ndarray, np.ndarray, Predictions]:
    """Return which rows are used (n,), why the others are not (n,), and the predictions of those used.

    Raises
    ------
    InputError
        If a column is missing or fewer than three rows can be used.
    """
    used, reasons = judge_lenses(table, model)
    if used.sum() < LEAST_LENSES:
        found = next((f"; the first reason is: {r}" for r in reasons if r), "")
        raise InputError(
            f"slip: {used.sum()} of the table's {len(table)} lenses can be used, {LEAST_LENSES} are needed at "
            f"least{found or '; the table is too short' if len(table) else '; the table is empty'}"
        )
    return used, reasons, predict(read_columns(table[used]), model)


def judge_lenses(table: Table, model: SlipModel) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows can be used (n,) and why the others cannot (n,).

    Raises
    ------
    InputError
        If a column is missing.
    """
    used, reasons = usable_rows(table)
    physical, faults = unphysical(read_columns(table), model)
    return used & physical, np.where(used & ~physical, faults, reasons)


def _log_posteriors(
    predictions: Predictions, weights: np.ndarray, gamma_range: tuple[float, float], fewer: float
) -> tuple[CubicSpline, tuple[float, float]]:
    """Return ln of the posteriors, up to constants, of samples in which each lens counts `weights` (r, n) times.

    As a function of gamma (r values), good where any of them is, and that range. `fewer`: of `_zoom`.
    """
    low, high = _reach(predictions, weights, np.linspace(*gamma_range, _COARSE), fewer)
    errors = np.hypot(predictions.sigma_err / predictions.sigma, predictions.model_error)
    wide = 0.5 * np.log((1 + high) / (1 + low)) / (_DENSITY * errors.min())
    nodes = np.linspace(low, high, int(np.clip(wide, *_FINE)))
    sums = np.zeros((len(weights), len(nodes)))
    for start in range(0, len(predictions), _CHUNK):
        part = slice(start, start + _CHUNK)
        sums += weights[:, part] @ log_likelihood(predictions[part], nodes)
    return CubicSpline(nodes, sums, axis=1), (low, high)


def _reach(
    predictions: Predictions, weights: np.ndarray, coarse: np.ndarray, fewer: float
) -> tuple[float, float]:
    """Return the part of the prior in which any sample's posterior lies, seen from some lenses of a large sample."""
    some = slice(None, None, -(-len(predictions) // _SOME))
    part, share = predictions[some], weights[:, some]
    sums = share @ log_likelihood(part, coarse)
    depth = 0.5 * _DEVIATIONS**2 * fewer * max(1.0, _chi2(part, coarse[np.argmax(sums[0])]))
    near = sums > sums.max(axis=1, keepdims=True) - depth
    inside = np.flatnonzero(near[share.sum(axis=1) > 0].any(axis=0))
    return float(coarse[max(inside[0] - 1, 0)]), float(coarse[min(inside[-1] + 1, len(coarse) - 1)])


def _zoom(
    sums: CubicSpline, inside: tuple[float, float], row: int, predictions: Predictions, fewer: float = 1.0
) -> np.ndarray:
    """Return gammas where a sample's posterior and those of its resamplings lie.

    Twelve standard deviations to each side, more where scatter beyond the errors widens the bootstrap, or where
    resamplings are `fewer` times smaller.
    """
    fine = np.linspace(*inside, 8 * _GRID)
    values = sums(fine)[row]
    depth = 0.5 * _DEVIATIONS**2 * fewer * max(1.0, _chi2(predictions, fine[np.argmax(values)]))
    near = np.flatnonzero(values > values.max() - depth)
    return np.linspace(fine[max(near[0] - 1, 0)], fine[min(near[-1] + 1, len(fine) - 1)], _GRID)


def _densities(sums: CubicSpline, grid: np.ndarray, rows: slice) -> np.ndarray:
    """Return the densities of some samples on a grid."""
    values = sums(grid)[rows]
    density = np.exp(values - values.max(axis=1, keepdims=True))
    return density / np.trapezoid(density, grid, axis=1)[:, None]


def _chi2(predictions: Predictions, gamma: float) -> float:
    return float(np.mean(predictions.pulls(gamma) ** 2))


def _resamplings(n: int, realizations: int, seed: int, drawn: int) -> np.ndarray:
    """Return (realizations, n): how often each lens comes in each resampling."""
    return stream(seed, "slip").multinomial(drawn, np.full(n, 1.0 / n), size=realizations).astype(float)


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
