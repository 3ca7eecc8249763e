"""What a sample of lenses says of the slip: numbers, a row for every lens, and words of warning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from astropy.table import Table

from lenspipe.lensing.slip_model import Predictions, SlipModel
from lenspipe.lensing.slip_table import KNOWN, REQUIRED, read_columns

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
    `realization_gammas` are the medians of resamplings, `jackknife_err` is the error that the scatter of
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
        out |= {"realization_mean": float(np.mean(self.realization_gammas))}
        out |= {"realization_std": float(np.std(self.realization_gammas))}
        return out | {"splits": dict(self.splits), "warnings": list(self.warnings)}


def lens_table(
    table: Table,
    used: np.ndarray,
    reasons: np.ndarray,
    predictions: Predictions | None = None,
    gamma: float = np.nan,
) -> Table:
    """Return one row a lens: the GR prediction, pulls against it (independent of gamma), chi2 at gamma.

    Without `predictions`, of a sample that is too small, there are only the reasons.
    """
    data = read_columns(table)
    columns = {name: np.full(len(table), np.nan) for name in ("sigma_gr", "pull_gr", "pull", "chi2")}
    if predictions is not None:
        columns["sigma_gr"][used] = predictions.expected
        columns["pull_gr"][used], columns["pull"][used] = predictions.pulls(1.0), predictions.pulls(gamma)
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


def warn(result: SlipResult, table: Table, model: SlipModel, cut: bool) -> tuple[str, ...]:
    """Return what a reader of the numbers must know; `cut` tells that the prior's edge cuts the posterior."""
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
