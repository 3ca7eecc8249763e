"""Lensed sources painted into real images, round the galaxies that are there.

What surrounds a real galaxy (neighbours, noise, artefacts, its own shape) cannot be simulated as well as
it can be photographed, so modern searches train on real galaxies with simulated arcs (HOLISMOKES,
Canameras et al. 2020; SuGOHI, Jaelani et al. 2024). Here every galaxy that looks like a lens galaxy of
the population (`hosts`) gets the deflector and source of one of those, its own centre, shape and angle, the
image's own PSF (its PSF image, else a profile as wide), and the arcs' own Poisson noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from lenspipe.core.rng import stream, uniforms
from lenspipe.core.survey import NJY_ZERO_POINT, Survey
from lenspipe.imaging.stamps import mend_stamps
from lenspipe.io.shards import Shard
from lenspipe.simulate.hosts import describe_hosts, likeness
from lenspipe.simulate.measure import measure_arcs
from lenspipe.simulate.morphology import CLUMP_UNIFORMS
from lenspipe.simulate.paint import paint_sources
from lenspipe.simulate.population import scatter_shape
from lenspipe.simulate.selection import MIN_MAGNIFICATION

FAINTEST = 1e-3  # arcs below this [noise sigma per pixel] are left away, so that the image around them stays
_MAX_ATTEMPTS = 20
_BATCH = 32
KINDS = ("lens", "companion")


def inject(
    stamps: Shard,
    survey: Survey,
    seed: int,
    sample_ids: Sequence[int] | np.ndarray,
    reference: Table,
    kind: str = "lens",
    min_snr: float = 20.0,
    clumps: bool = True,
) -> tuple[np.ndarray, np.ndarray, Table]:
    """Return stamps of real galaxies with lensed sources painted round them.

    A galaxy's deflector and source are drawn anew until its arcs reach `min_snr` and a magnification of 3
    on this very image, as they are painted: with their clumps, through the image's PSF. Sample k is the same in
    any batch.

    Parameters
    ----------
    stamps : Shard
        Galaxies cut from images. Its PSF (width and image) and gain are used where it has them, the survey's
        where they are not given or NaN. Of pixels that its mask says could not be used, arcs are not seen either.
    survey : Survey
    seed : int
    sample_ids : sequence of int (n,)
        Key of each galaxy's random numbers.
    reference : Table
        Lenses of `hosts.draw_reference`, in the stamps' bands.
    kind : str
        ``lens``; or ``companion``: the same source not lensed, as bright as its arcs would be, beside the
        same galaxy at the arcs' distance.
    min_snr : float
        Least signal-to-noise of the arcs in the best band.
    clumps : bool
        Whether sources are discs with star-forming knots and a bulge (`morphology.clumpy_disc`), or single
        components.

    Returns
    -------
    image : ndarray (n, y, x, b), float32
        Unchanged where nothing was painted.
    arcs : ndarray (n, y, x, b), float32
        What was painted, without noise, also behind unusable pixels [nJy per pixel].
    truth : Table
        Columns of contract.md but shard and row, of the galaxies as measured; ``reason`` says why nothing
        was painted (``kind`` is then ``galaxy``), and is empty otherwise.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, received {kind!r}")
    image, bands = stamps.image, stamps.bands
    ids = np.asarray(sample_ids, dtype=np.int64)
    gain = local_gain(survey, stamps)
    u = uniforms(seed, "inject/clumps", ids, CLUMP_UNIFORMS) if clumps else None
    least = FAINTEST * np.asarray(stamps.noise_sigma)[:, None, None, :]

    def paint(rows: np.ndarray, lenses: Table) -> np.ndarray:
        stars = None
        if stamps.psf_image is not None and stamps.psf_index is not None:
            stars = stamps.psf_image[stamps.psf_index[rows]]
        own = None if u is None else u[rows]
        light = paint_sources(lenses, bands, image.shape[1], stamps.pixel_scale, own, stars)
        return np.where(light < least[rows], np.float32(0), light)

    hosts = describe_hosts(stamps, survey, reference)
    truth = _empty_truth(hosts, ids, bands)
    arcs = np.zeros(image.shape, np.float32)
    pending = np.flatnonzero(np.asarray(hosts["reason"]) == "")
    for attempt in range(_MAX_ATTEMPTS):
        failed = []
        for start in range(0, len(pending), _BATCH):
            rows = pending[start : start + _BATCH]
            drawn = _draw(truth[rows], reference, seed, bands, attempt)
            painted = paint(rows, drawn)
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
            beside = _unlens(truth[rows], bands, arcs[rows].sum(axis=(1, 2), dtype=np.float64))
            arcs[rows] = paint(rows, beside)
            for name in beside.colnames:
                truth[name][rows] = beside[name]
        for name in ("theta_e", "gamma_ext", "phi_ext", "mu", "snr", *(f"snr_{band}" for band in bands)):
            truth[name] = np.nan
    out = np.asarray(image, np.float32).copy()
    for k in done:
        normal = stream(seed, f"inject/noise/{kind}", int(ids[k])).standard_normal(arcs[k].shape)
        light = (arcs[k] + normal * np.sqrt(arcs[k] / gain[k])).astype(np.float32)
        out[k] += light if stamps.mask is None else mend_stamps(light[None], stamps.mask[k : k + 1])[0]
    return out, arcs, truth


def local_gain(survey: Survey, stamps: Shard) -> np.ndarray:
    """Return the gain of stamps [electrons per nJy], (n, b): the survey's where it is not given or NaN."""
    given = stamps.electrons_per_njy
    usual = np.tile([survey.bands[band].electrons_per_njy() for band in stamps.bands], (len(stamps.image), 1))
    return usual if given is None else np.where(np.isfinite(given), given, usual)


def _draw(truth: Table, reference: Table, seed: int, bands: Sequence[str], attempt: int) -> Table:
    """Return the galaxies' rows with the mass and source of a lens that looks like them."""
    out = truth.copy()
    for k, row in enumerate(truth):
        rng = stream(seed, f"inject/{attempt}", int(row["sample_id"]))
        u, normal = rng.random(3), rng.standard_normal(2)
        weight = np.cumsum(np.exp(-0.5 * likeness(row, reference, bands)))
        other = reference[int(np.searchsorted(weight, u[0] * weight[-1] * (1 - 1e-12)))]
        for name in (*_TAKEN, *(f"mag_src_{band}" for band in bands)):
            out[name][k] = other[name]
        out["q"][k], out["phi"][k] = scatter_shape(row["q_light"], row["phi_light"], *normal)
        radius = np.hypot(other["x_src"] - other["x_lens"], other["y_src"] - other["y_lens"])
        angle = 2.0 * np.pi * u[1]
        out["x_src"][k] = row["x_lens"] + radius * np.cos(angle)
        out["y_src"][k] = row["y_lens"] + radius * np.sin(angle)
        out["phi_src"][k] = 90.0 - 180.0 * u[2]
    return out


#: What a galaxy takes from the lens that it looks like, besides the source's magnitudes.
_TAKEN = ("z_lens", "z_src", "sigma_v", "theta_e", "gamma_ext", "phi_ext", "r_src", "n_src", "q_src")


def _unlens(truth: Table, bands: Sequence[str], flux: np.ndarray) -> Table:
    """Return the rows with the source beside the galaxy, of the flux (n, b) and surface brightness of its arcs."""
    out = truth.copy()
    offset = np.hypot(truth["x_src"] - truth["x_lens"], truth["y_src"] - truth["y_lens"])
    stretch = (truth["theta_e"] + offset) / np.maximum(offset, 1e-3)
    for name in "xy":
        out[f"{name}_src"] = truth[f"{name}_lens"] + stretch * (truth[f"{name}_src"] - truth[f"{name}_lens"])
    for b, band in enumerate(bands):  # knots and bulge are not magnified alike: every band by its own
        out[f"mag_src_{band}"] = NJY_ZERO_POINT - 2.5 * np.log10(flux[:, b])
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
