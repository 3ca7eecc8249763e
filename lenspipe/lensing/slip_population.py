"""Gamma together with the mean slope of a sample's galaxies, and what gamma becomes under other assumptions.

A sample of dispersions alone cannot tell gamma from the mean slope (d gamma / d alpha = 2.3): the slope's prior
decides, and the joint posterior shows how far.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table

from lenspipe.core.errors import InputError
from lenspipe.lensing.slip import infer_gamma, prepare
from lenspipe.lensing.slip_model import SlipModel, log_likelihood, predict, unphysical
from lenspipe.lensing.slip_table import read_columns

#: Flat prior of the scatter, standard deviations of the mean's prior that are looked at, and nodes of the two axes.
SCATTERS, REACH, NODES = (0.02, 0.25), 3.5, {"alpha": 29, "scatter": 13}
#: Fewest and most nodes of gamma's axis, and how many lie within its error at a fixed slope.
_GAMMAS, _DENSITY = (61, 401), 2.0
#: How gamma goes with the slope at most (science.md, section 7), for gamma's axis to be wide enough.
_STEEPEST = 3.0
#: Slopes of single galaxies, wide and dense enough for any mean and scatter above.
_SLOPES = np.linspace(1.3, 2.7, 71)
_STEP = 0.02  # of a mean, for derivatives


@dataclass(frozen=True)
class Population:
    """Joint posterior of gamma, the mean slope and its scatter.

    `axes` names each axis's values, `posterior` (g, a, s) is normalised to a sum of 1; `medians` and `errors` are those
    of the marginal posteriors, errors half the 68 % interval.
    """

    axes: dict[str, np.ndarray]
    posterior: np.ndarray
    medians: dict[str, float]
    errors: dict[str, float]


def fit_population(table: Table, model: SlipModel, prior: tuple[float, float] = (2.0, 0.05)) -> Population:
    """Return gamma, mean slope and scatter of a sample.

    Parameters
    ----------
    table : Table
        As for `slip.infer_gamma`.
    model : SlipModel
        A power law; its slope is not used, beta and delta are.
    prior : (float, float)
        Of the mean slope, Gaussian: from where it is known without dynamics, e.g. from lensing alone.

    Raises
    ------
    InputError
        If the model is no power law, or as `slip.infer_gamma`.
    """
    if model.name != "powerlaw":
        raise InputError("slip: a population of slopes needs --model powerlaw")
    start = replace(model, alpha=(prior[0], model.alpha[1]))
    used, _, _ = prepare(table, start)
    good = table[used]
    gamma = _gammas(table, start, prior[1])
    alpha = prior[0] + prior[1] * (
        np.linspace(-REACH, REACH, NODES["alpha"]) if prior[1] > 0 else np.zeros(1)
    )
    scatter = np.linspace(*SCATTERS, NODES["scatter"])
    per_slope = _given_slope(good, model, gamma)
    weight = np.exp(-0.5 * ((_SLOPES - alpha[:, None, None]) / scatter[:, None]) ** 2)
    weight = (weight / weight.sum(axis=2, keepdims=True)).reshape(-1, len(_SLOPES))
    total = np.zeros((len(gamma), len(weight)))
    for lens in per_slope:  # (gamma, slope)
        highest = lens.max()
        total += np.log(np.maximum(np.exp(lens - highest) @ weight.T, 1e-300)) + highest
    total = total.reshape(len(gamma), len(alpha), len(scatter))
    if prior[1] > 0:
        total += -0.5 * ((alpha - prior[0]) / prior[1])[:, None] ** 2
    posterior = np.exp(total - total.max())
    posterior /= posterior.sum()
    axes = {"gamma": gamma, "alpha": alpha, "scatter": scatter}
    medians, errors = {}, {}
    for k, (name, values) in enumerate(axes.items()):
        marginal = posterior.sum(axis=tuple(axis for axis in range(3) if axis != k))
        cumulative = np.cumsum(marginal) - 0.5 * marginal
        low, middle, high = np.interp((0.16, 0.5, 0.84), cumulative, values)
        medians[name], errors[name] = float(middle), float(high - low) / 2
    return Population(axes, posterior, medians, errors)


def _gammas(table: Table, model: SlipModel, width: float) -> np.ndarray:
    """Return gammas where the joint posterior lies: that at the prior's slope, widened by what the slope may do."""
    fixed = infer_gamma(table, 1, model=model)
    error = 0.5 * (fixed.gamma_err_lo + fixed.gamma_err_hi)
    slope = _STEEPEST * 0.5 * (1 + fixed.gamma)
    half = 6 * error + REACH * slope * width + 0.5 * slope * SCATTERS[1]  # what the scatter moves it by
    count = int(np.clip(2 * half * _DENSITY / error, *_GAMMAS))
    return np.linspace(max(fixed.gamma - half, -0.9), fixed.gamma + half, count)


def _given_slope(table: Table, model: SlipModel, gamma: np.ndarray) -> np.ndarray:
    """Return ln p(sigma_v, measured slope | gamma, alpha) of each lens (n, gammas, slopes)."""
    data = read_columns(table)
    out = np.full((len(table), len(gamma), len(_SLOPES)), -np.inf)
    # a slope measured more closely than the slopes here lie, or without an error, is told as well as these can
    measured, width = data["alpha"], np.maximum(np.nan_to_num(data["alpha_err"]), np.diff(_SLOPES)[0])
    for k, slope in enumerate(_SLOPES):
        own = {**data, "alpha": np.full(len(table), slope), "alpha_err": np.zeros(len(table))}
        rows, _ = unphysical(own, model)
        if rows.any():
            some = {name: values[rows] for name, values in own.items()}
            out[rows, :, k] = log_likelihood(predict(some, model), gamma)
        told = np.where(np.isfinite(measured), -0.5 * ((measured - slope) / width) ** 2, 0.0)
        out[..., k] += told[:, None]
    return out


def vary_assumptions(table: Table, model: SlipModel) -> Table:
    """Return what gamma becomes when one assumption moves: columns ``assumption``, ``gamma``, ``change``."""
    variants = {"as assumed": model}
    if model.name == "powerlaw":
        for name, symbol in (("alpha", "mean slope of the mass"), ("beta", "mean anisotropy"),
                             ("delta", "mean slope of the light")):  # fmt: skip
            mean, scatter = getattr(model, name)
            for sign in (1, -1):
                moved = (round(mean + sign * scatter, 6), scatter)
                variants[f"{symbol} {moved[0]:g}"] = replace(model, **{name: moved})
        variants["no scatter of slopes and anisotropy"] = replace(
            model, **{name: (getattr(model, name)[0], 0.0) for name in ("alpha", "beta", "delta")}
        )
        variants["singular isothermal spheres"] = replace(model, name="sis")
    else:
        variants["real galaxies, power laws in an SDSS fibre"] = replace(model, name="powerlaw")
    if np.isfinite(read_columns(table)["r_eff"]).any():
        other = "as measured" if model.half_radius else "within half the effective radius"
        variants[f"sigma_v {other}"] = replace(model, half_radius=not model.half_radius)
    variants["errors of sigma_v 5 % larger, in quadrature"] = replace(
        model, sigma_floor=float(np.hypot(model.sigma_floor, 0.05))
    )
    for omega_m in (0.25, 0.35):
        variants[f"Omega_m {omega_m}"] = replace(model, omega_m=omega_m)
    gammas = {name: _gamma_or_nan(table, one) for name, one in variants.items()}
    if model.name == "powerlaw":
        sharp = replace(model, seeing_fwhm=0.0)
        gammas["apertures with an edge, no seeing"] = _gamma_or_nan(_scaled(table, "seeing_fwhm", 0.0), sharp)
        wide = replace(model, aperture_radius=1.1 * model.aperture_radius)
        gammas["apertures a tenth wider"] = _gamma_or_nan(_scaled(table, "aperture_radius", 1.1), wide)
    out = Table({"assumption": list(gammas), "gamma": list(gammas.values())})
    out["change"] = out["gamma"] - gammas["as assumed"]
    return out


def measure_sensitivity(table: Table, model: SlipModel) -> dict[str, float]:
    """Return d gamma / d of the means of alpha, beta and delta, of this sample; empty of isothermal spheres.

    science.md, section 7, has 2.34, 0.66 and -1.05 of a usual SLACS lens.
    """
    if model.name != "powerlaw":
        return {}
    out = {}
    for name in ("alpha", "beta", "delta"):
        mean, scatter = getattr(model, name)
        ends = [
            _gamma_or_nan(table, replace(model, **{name: (mean + step, scatter)})) for step in (-_STEP, _STEP)
        ]
        out[name] = (ends[1] - ends[0]) / (2 * _STEP)
    return out


def _scaled(table: Table, name: str, factor: float) -> Table:
    """Return the table with a column multiplied, where it has it."""
    if name not in table.colnames:
        return table
    other = table.copy()
    other[name] = other[name] * factor
    return other


def _gamma_or_nan(table: Table, model: SlipModel) -> float:
    """Return gamma, or NaN where no galaxy can be as assumed."""
    try:
        return infer_gamma(table, 1, model=model).gamma
    except InputError:
        return float("nan")
