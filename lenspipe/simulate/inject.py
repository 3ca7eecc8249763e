"""Lensed sources painted into real images, round the galaxies that are there.

What surrounds a real galaxy (neighbours, noise, artefacts, its own shape) cannot be simulated as well as
it can be photographed, so modern searches train on real galaxies with simulated arcs (HOLISMOKES,
Canameras et al. 2020; SuGOHI, Jaelani et al. 2024). Here every galaxy that looks like a lens galaxy of
the population in brightness, colour and size gets the deflector and source of one of those, its own
centre, shape and angle, a PSF as wide as the image's, and the arcs' own Poisson noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.table import Table

from lenspipe.core.rng import stream
from lenspipe.core.survey import NJY_ZERO_POINT, Survey
from lenspipe.imaging.cutout import corner, cut_stamp
from lenspipe.imaging.photometry import measure_galaxies
from lenspipe.simulate.measure import measure_arcs
from lenspipe.simulate.parts import source_scene
from lenspipe.simulate.population import draw_lenses
from lenspipe.simulate.render import render
from lenspipe.simulate.selection import MIN_MAGNIFICATION

#: Lenses of the population that galaxies are compared with.
REFERENCE = 4000
#: How well a galaxy must resemble one of them, 1 sigma: magnitude, each colour [mag], ln of the radius.
MAG_SIGMA, COLOUR_SIGMA, SIZE_SIGMA = 0.3, 0.12, 0.4
MAX_CHI2, LEAST_Q = 9.0, 0.4
#: Three half-light radii hold 74 % of a de Vaucouleurs galaxy as `measure_galaxies` sees it; so its half-light
#: radius comes out short by as much.
MISSED_MAG, MISSED_SIZE = 0.33, 0.73
#: Mass follows light with so much scatter (Koopmans et al. 2006; Bolton et al. 2008).
Q_SCATTER, PHI_SCATTER = 0.1, 10.0  # deg
FAINTEST = 1e-3  # arcs below this [noise sigma per pixel] are left away, so that the image around them stays
_MAX_ATTEMPTS = 20
_BATCH = 32
KINDS = ("lens", "companion")


def draw_reference(
    survey: Survey, seed: int, bands: Sequence[str], min_snr: float = 20.0, count: int = REFERENCE
) -> Table:
    """Return detectable lenses of the population, from which galaxies take their deflector and source."""
    return draw_lenses(survey, seed, range(count), bands, min_snr, purpose="inject")


def describe_hosts(
    image: np.ndarray,
    noise_sigma: np.ndarray,
    survey: Survey,
    bands: Sequence[str],
    reference: Table,
    psf_fwhm: np.ndarray | None = None,
) -> Table:
    """Return the galaxies in the middle of stamps, and whether they could be lens galaxies.

    Parameters
    ----------
    image : ndarray (n, y, x, b)
        nJy per pixel.
    noise_sigma : ndarray (n, b)
        Noise of an empty pixel [nJy].
    survey : Survey
    bands : sequence of str
    reference : Table
        Lenses of `draw_reference`.
    psf_fwhm : ndarray (n, b), optional
        [arcsec]; the survey's where it is not given or NaN.

    Returns
    -------
    Table
        ``x_lens``, ``y_lens``, ``r_lens`` [arcsec], ``q_light``, ``phi_light`` [deg], ``mag_lens_<band>``,
        ``psf_fwhm_<band>``, ``sky_sigma_<band>``; ``reason``: why it cannot be a lens galaxy, or empty.
    """
    fwhm = _local_psf(survey, bands, len(image), psf_fwhm)
    seen = measure_galaxies(image, noise_sigma, fwhm, survey.pixel_scale)
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
    chi2 = np.array([_likeness(row, reference, bands).min() for row in table])
    measured = np.isfinite(mag).all(axis=1) & np.isfinite(seen["r_eff"])
    alike = np.char.add("no lens galaxy looks like it: chi2 ", np.char.mod("%.0f", np.nan_to_num(chi2)))
    table["reason"] = np.select(
        [~measured, chi2 > MAX_CHI2, seen["q"] < LEAST_Q],
        ["no galaxy in the middle", alike, f"flatter than early types are: q < {LEAST_Q:g}"],
        "",
    )
    return table


def inject(
    image: np.ndarray,
    noise_sigma: np.ndarray,
    survey: Survey,
    seed: int,
    sample_ids: Sequence[int] | np.ndarray,
    bands: Sequence[str],
    reference: Table,
    psf_fwhm: np.ndarray | None = None,
    electrons_per_njy: np.ndarray | None = None,
    kind: str = "lens",
    min_snr: float = 20.0,
) -> tuple[np.ndarray, np.ndarray, Table]:
    """Return stamps of real galaxies with lensed sources painted round them.

    A galaxy's deflector and source are drawn anew until its arcs reach `min_snr` and a magnification of 3
    on this very image. Sample k is the same in any batch.

    Parameters
    ----------
    image, noise_sigma, survey, bands, reference, psf_fwhm
        As in `describe_hosts`.
    seed : int
    sample_ids : sequence of int (n,)
        Key of each galaxy's random numbers.
    electrons_per_njy : ndarray (n, b), optional
        Gain; the survey's where it is not given or NaN.
    kind : str
        ``lens``; or ``companion``: the same source not lensed, as bright as its arcs would be, beside the
        same galaxy at the arcs' distance.
    min_snr : float
        Least signal-to-noise of the arcs in the best band.

    Returns
    -------
    image : ndarray (n, y, x, b), float32
        Unchanged where nothing was painted.
    arcs : ndarray (n, y, x, b), float32
        What was painted, without noise [nJy per pixel].
    truth : Table
        Columns of contract.md but shard and row, of the galaxies as measured; ``reason`` says why nothing
        was painted (``kind`` is then ``galaxy``), and is empty otherwise.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, received {kind!r}")
    ids = np.asarray(sample_ids, dtype=np.int64)
    gain = _local_gain(survey, bands, len(ids), electrons_per_njy)
    hosts = describe_hosts(image, noise_sigma, survey, bands, reference, psf_fwhm)
    truth = _empty_truth(hosts, ids, bands)
    arcs = np.zeros(image.shape, np.float32)
    pending = np.flatnonzero(np.asarray(hosts["reason"]) == "")
    for attempt in range(_MAX_ATTEMPTS):
        failed = []
        for start in range(0, len(pending), _BATCH):
            rows = pending[start : start + _BATCH]
            drawn = _draw(truth[rows], reference, seed, bands, attempt)
            painted = render(source_scene(drawn, bands), image.shape[1], survey.pixel_scale)[1]
            light = np.maximum(image[rows], 0.0)
            measured = measure_arcs(survey, drawn, bands, light, painted, gain[rows][:, None, None, :])
            for name, values in measured.items():
                drawn[name] = values
            good = (measured["snr"] >= min_snr) & (measured["mu"] >= MIN_MAGNIFICATION)
            for name in drawn.colnames:
                truth[name][rows[good]] = drawn[name][good]
            arcs[rows[good]] = painted[good]
            failed.append(rows[~good])
        pending = np.concatenate(failed) if failed else pending[:0]
    if len(pending):
        truth["reason"][pending] = f"no arcs of S/N {min_snr:g} in {_MAX_ATTEMPTS} draws"
    done = np.flatnonzero(np.asarray(truth["reason"]) == "")
    truth["kind"][done] = kind
    if kind == "companion":
        for start in range(0, len(done), _BATCH):
            rows = done[start : start + _BATCH]
            beside = _unlens(truth[rows], bands)
            arcs[rows] = render(source_scene(beside, bands), image.shape[1], survey.pixel_scale)[1]
            for name in beside.colnames:
                truth[name][rows] = beside[name]
        for name in ("theta_e", "gamma_ext", "phi_ext", "mu", "snr", *(f"snr_{band}" for band in bands)):
            truth[name] = np.nan
    arcs = np.where(arcs < FAINTEST * np.asarray(noise_sigma)[:, None, None, :], np.float32(0), arcs)
    out = np.asarray(image, np.float32).copy()
    for k in done:
        normal = stream(seed, f"inject/noise/{kind}", int(ids[k])).standard_normal(arcs[k].shape)
        out[k] += (arcs[k] + normal * np.sqrt(arcs[k] / gain[k])).astype(np.float32)
    return out, arcs, truth


def inject_tile(
    flux: np.ndarray,
    weight: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    survey: Survey,
    seed: int,
    sample_ids: Sequence[int] | np.ndarray,
    bands: Sequence[str],
    reference: Table,
    size: int,
    **options: Any,
) -> tuple[np.ndarray, np.ndarray, Table]:
    """Return a tile with lensed sources painted round some of its galaxies, and its weights.

    Parameters
    ----------
    flux : ndarray (y, x, b)
        nJy per pixel; pixels that are NaN stay so.
    weight : ndarray (y, x, b)
        Inverse variance [nJy^-2], 0 = bad; lowered by the arcs' Poisson noise.
    x, y : ndarray (n,)
        Where the galaxies are [px], 0-based; their stamps should lie on the tile.
    size : int
        Side of the stamps that are painted [px].
    **options
        psf_fwhm, electrons_per_njy, kind, min_snr of `inject`.

    Returns
    -------
    flux, weight : ndarray (y, x, b)
    truth : Table
        That of `inject`, and ``x``, ``y``.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    stamps, weights = _cut(flux, x, y, size), np.nan_to_num(_cut(weight, x, y, size))
    usable = np.isfinite(stamps) & (weights > 0)
    before = np.where(usable, stamps, np.float32(0))
    sigma = np.ma.masked_array(1.0 / np.sqrt(np.where(usable, weights, 1.0)), ~usable)
    sky = np.ma.median(sigma, axis=(1, 2)).filled(np.nan)
    after, arcs, truth = inject(before, sky, survey, seed, sample_ids, bands, reference, **options)
    gain = _local_gain(survey, bands, len(x), options.get("electrons_per_njy"))
    new_flux, new_weight = flux.copy(), weight.copy()
    for k in np.flatnonzero(np.asarray(truth["reason"]) == ""):
        left, bottom = corner(x[k], size), corner(y[k], size)
        rows, columns = np.nonzero((usable[k] & (arcs[k] > 0)).any(axis=-1))
        for b in range(len(bands)):
            here = (rows, columns, b)
            there = (rows + bottom, columns + left, b)
            good = usable[k][here]
            new_flux[there] += np.where(good, after[k][here] - before[k][here], 0)
            variance = 1.0 / np.where(good, new_weight[there], 1.0) + arcs[k][here] / gain[k, b]
            new_weight[there] = np.where(good, 1.0 / variance, new_weight[there])
    truth["x"], truth["y"] = x, y
    return new_flux, new_weight, truth


def _cut(array: np.ndarray, x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    """Return stamps (n, size, size, b) of a tile (y, x, b), NaN beyond it."""
    bands = range(array.shape[-1])
    stamps = [[cut_stamp(array[..., b], *place, size) for b in bands] for place in zip(x, y, strict=True)]
    return np.moveaxis(np.array(stamps, np.float32).reshape(-1, len(bands), size, size), 1, -1)


def _likeness(row: Any, reference: Table, bands: Sequence[str]) -> np.ndarray:
    """Return chi2 of a galaxy against every lens galaxy of the reference; inf where it was not measured."""
    mag = np.array([row[f"mag_lens_{band}"] for band in bands], float)
    theirs = np.stack([np.asarray(reference[f"mag_lens_{band}"], float) for band in bands], axis=-1)
    difference = theirs - mag
    chi2 = (difference.mean(axis=1) / MAG_SIGMA) ** 2
    chi2 += np.sum((np.diff(difference, axis=1) / COLOUR_SIGMA) ** 2, axis=1)
    chi2 += (np.log(np.asarray(reference["r_lens"]) / row["r_lens"]) / SIZE_SIGMA) ** 2
    return np.where(np.isfinite(chi2), chi2, np.inf)


def _draw(truth: Table, reference: Table, seed: int, bands: Sequence[str], attempt: int) -> Table:
    """Return the galaxies' rows with the mass and source of a lens that looks like them."""
    out = truth.copy()
    for k, row in enumerate(truth):
        rng = stream(seed, f"inject/{attempt}", int(row["sample_id"]))
        u, normal = rng.random(3), rng.standard_normal(2)
        weight = np.cumsum(np.exp(-0.5 * _likeness(row, reference, bands)))
        other = reference[int(np.searchsorted(weight, u[0] * weight[-1] * (1 - 1e-12)))]
        for name in (*_TAKEN, *(f"mag_src_{band}" for band in bands)):
            out[name][k] = other[name]
        out["q"][k] = np.clip(row["q_light"] + Q_SCATTER * normal[0], 0.3, 1.0)
        phi = row["phi_light"] + PHI_SCATTER * normal[1]
        out["phi"][k] = 90.0 - (90.0 - phi) % 180.0
        radius = np.hypot(other["x_src"] - other["x_lens"], other["y_src"] - other["y_lens"])
        angle = 2.0 * np.pi * u[1]
        out["x_src"][k] = row["x_lens"] + radius * np.cos(angle)
        out["y_src"][k] = row["y_lens"] + radius * np.sin(angle)
        out["phi_src"][k] = 90.0 - 180.0 * u[2]
    return out


#: What a galaxy takes from the lens that it looks like, besides the source's magnitudes.
_TAKEN = ("z_lens", "z_src", "sigma_v", "theta_e", "gamma_ext", "phi_ext", "r_src", "n_src", "q_src")


def _unlens(truth: Table, bands: Sequence[str]) -> Table:
    """Return the rows with the source beside the galaxy, as bright as its arcs, of their surface brightness."""
    out = truth.copy()
    offset = np.hypot(truth["x_src"] - truth["x_lens"], truth["y_src"] - truth["y_lens"])
    stretch = (truth["theta_e"] + offset) / np.maximum(offset, 1e-3)
    for name in "xy":
        out[f"{name}_src"] = truth[f"{name}_lens"] + stretch * (truth[f"{name}_src"] - truth[f"{name}_lens"])
    for band in bands:
        out[f"mag_src_{band}"] = truth[f"mag_src_{band}"] - 2.5 * np.log10(truth["mu"])
    out["r_src"] = truth["r_src"] * np.sqrt(truth["mu"])
    out["theta_e"] = out["gamma_ext"] = 0.0
    return out


def _empty_truth(hosts: Table, ids: np.ndarray, bands: Sequence[str]) -> Table:
    truth = Table({"sample_id": ids, "kind": np.full(len(ids), "galaxy", dtype="U12"), "group": ids})
    names = (*_TAKEN, "q", "phi", "x_src", "y_src", "phi_src", "mu", "snr")
    for name in (*names, *(f"{part}_{band}" for part in ("mag_src", "snr") for band in bands)):
        truth[name] = np.full(len(ids), np.nan)
    for name in hosts.colnames:
        truth[name] = hosts[name].astype("U80") if name == "reason" else hosts[name]
    return truth


def _local_psf(survey: Survey, bands: Sequence[str], count: int, given: np.ndarray | None) -> np.ndarray:
    usual = np.tile([survey.bands[band].psf_fwhm for band in bands], (count, 1))
    return usual if given is None else np.where(np.isfinite(given), given, usual)


def _local_gain(survey: Survey, bands: Sequence[str], count: int, given: np.ndarray | None) -> np.ndarray:
    usual = np.tile([survey.bands[band].electrons_per_njy() for band in bands], (count, 1))
    return usual if given is None else np.where(np.isfinite(given), given, usual)
