"""Which real galaxies could be lens galaxies: those that look like one of the population.

In brightness, colours and size; `inject` paints lensed sources round them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import Table

from lenspipe.config import FULL
from lenspipe.core.survey import NJY_ZERO_POINT, Survey
from lenspipe.imaging.photometry import measure_galaxies, point_like
from lenspipe.io.shards import Shard
from lenspipe.simulate.population import draw_lenses

#: Lenses of the population that galaxies are compared with.
REFERENCE = 4000
#: How well a galaxy must resemble one of them, 1 sigma: magnitude, each colour [mag], ln of the radius.
MAG_SIGMA, COLOUR_SIGMA, SIZE_SIGMA = 0.3, 0.12, 0.4
MAX_CHI2 = 9.0
#: Galaxies that look flatter than this are no early types.
FLATTEST_HOST = 0.4
#: Three half-light radii hold 74 % of a de Vaucouleurs galaxy as `measure_galaxies` sees it; so its half-light
#: radius comes out short by as much.
MISSED_MAG, MISSED_SIZE = 0.33, 0.73
_BATCH = 512  # stamps measured at once


def draw_reference(
    survey: Survey, seed: int, bands: Sequence[str], min_snr: float = 20.0, count: int = REFERENCE
) -> Table:
    """Return detectable lenses of the population, from which galaxies take their deflector and source.

    The population with all its variety: the published luminosities would give a galaxy too small a dispersion.
    """
    return draw_lenses(survey, seed, range(count), bands, min_snr, purpose="inject", realism=FULL)


def describe_hosts(stamps: Shard, survey: Survey, reference: Table) -> Table:
    """Return the galaxies in the middle of stamps, and whether they could be lens galaxies.

    Parameters
    ----------
    stamps : Shard
        Its PSF widths are the survey's where they are not given or NaN.
    survey : Survey
    reference : Table
        Lenses of `draw_reference`, in the stamps' bands.

    Returns
    -------
    Table
        ``x_lens``, ``y_lens``, ``r_lens`` [arcsec], ``q_light``, ``phi_light`` [deg], ``mag_lens_<band>``,
        ``psf_fwhm_<band>``, ``sky_sigma_<band>``; ``reason``: why it cannot be a lens galaxy, or empty.
    """
    bands, noise_sigma = stamps.bands, stamps.noise_sigma
    fwhm = _local_psf(survey, bands, len(noise_sigma), stamps.psf_fwhm)
    parts = [slice(start, start + _BATCH) for start in range(0, max(len(noise_sigma), 1), _BATCH)]
    measured = [measure_galaxies(stamps.image[k], noise_sigma[k], fwhm[k], stamps.pixel_scale) for k in parts]
    seen = {name: np.concatenate([part[name] for part in measured]) for name in measured[0]}
    with np.errstate(invalid="ignore", divide="ignore"):
        mag = NJY_ZERO_POINT - 2.5 * np.log10(np.where(seen["flux"] > 0, seen["flux"], np.nan)) - MISSED_MAG
    table = Table({f"{name}_lens": seen[name] for name in "xy"})
    table["r_lens"], table["n_lens"] = seen["r_eff"] / MISSED_SIZE, 4.0
    table["q_light"], table["phi_light"] = seen["q"], seen["phi"]
    for b, band in enumerate(bands):
        table[f"mag_lens_{band}"], table[f"psf_fwhm_{band}"] = mag[:, b], fwhm[:, b]
        table[f"sky_sigma_{band}"] = np.asarray(noise_sigma, float)[:, b]
    for name, beta in survey.psf_betas(bands).items():
        table[name] = beta
    chi2 = np.array([likeness(row, reference, bands).min() for row in table], float)
    first = survey.reference_band(bands)
    b = list(bands).index(first)
    beta = survey.bands[first].psf_beta
    star = point_like(stamps.image[..., b], noise_sigma[:, b], fwhm[:, b], stamps.pixel_scale, beta)
    there = np.isfinite(mag).all(axis=1) & np.isfinite(seen["r_eff"])
    alike = np.char.add("no lens galaxy looks like it: chi2 ", np.char.mod("%.0f", np.nan_to_num(chi2)))
    table["reason"] = np.select(
        [~there, star, chi2 > MAX_CHI2, seen["q"] < FLATTEST_HOST],
        [
            "no galaxy in the middle",
            "no larger than the PSF: a star",
            alike,
            f"flatter than early types are: q < {FLATTEST_HOST:g}",
        ],
        "",
    )
    return table


def spread_out(x: np.ndarray, y: np.ndarray, separation: float) -> np.ndarray:
    """Return the rows of positions that keep `separation` from all those kept before them."""
    kept: list[int] = []
    for k in range(len(x)):
        if not kept or np.min(np.hypot(x[kept] - x[k], y[kept] - y[k])) >= separation:
            kept.append(k)
    return np.array(kept, int)


def likeness(row: Any, reference: Table, bands: Sequence[str]) -> np.ndarray:
    """Return chi2 of a galaxy against every lens galaxy of the reference; inf where it was not measured."""
    mag = np.array([row[f"mag_lens_{band}"] for band in bands], float)
    theirs = np.stack([np.asarray(reference[f"mag_lens_{band}"], float) for band in bands], axis=-1)
    difference = theirs - mag
    chi2 = (difference.mean(axis=1) / MAG_SIGMA) ** 2
    chi2 += np.sum((np.diff(difference, axis=1) / COLOUR_SIGMA) ** 2, axis=1)
    chi2 += (np.log(np.asarray(reference["r_lens"]) / row["r_lens"]) / SIZE_SIGMA) ** 2
    return np.where(np.isfinite(chi2), chi2, np.inf)


def _local_psf(survey: Survey, bands: Sequence[str], count: int, given: np.ndarray | None) -> np.ndarray:
    usual = np.tile([survey.bands[band].psf_fwhm for band in bands], (count, 1))
    return usual if given is None else np.where(np.isfinite(given), given, usual)
