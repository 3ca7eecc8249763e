"""Mock survey tiles: the sky of `strip`, observed in overlapping tiles and written the way DES does.

Each tile renders the objects that reach into it, with noise of its own. One file a band, HDUs SCI (counts
at the survey's zero point), WGT (inverse variance), MSK (bits) and PSF.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from scipy.interpolate import RectBivariateSpline

from lenspipe.config import FULL, RealismSection, TilesSection
from lenspipe.core.rng import stream, uniforms
from lenspipe.core.survey import NJY_ZERO_POINT, Survey
from lenspipe.imaging.noise import correlate_bands, find_empty
from lenspipe.imaging.observe import noise_sigma
from lenspipe.io.files import replacing
from lenspipe.lensing.light import moffat_brightness, sersic_constants
from lenspipe.simulate.artifacts import saturate
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.morphology import CLUMP_UNIFORMS
from lenspipe.simulate.parts import galaxy_scene, move_lenses, source_scene
from lenspipe.simulate.polar import image_reach
from lenspipe.simulate.render import Scene, render
from lenspipe.simulate.strip import (
    draw_sky,
    lens_seed,
    mock_spectroscopy,
    noise_at,
    seeing_at,
    tile_name,
    tile_wcs,
)

__all__ = ["draw_sky", "mock_spectroscopy", "render_tile", "tile_name", "tile_wcs", "write_tile"]

BAD, SATURATED = 1, 2  # mask bits
BAD_FRACTION = 1e-4
_BATCH = 256  # objects in memory at once
_PSF_SIDE = 49  # of the PSF's image [px]
_ARCS_REACH = 6.5  # arcsec from the lens that arcs are drawn at least
_STAMPS = (49, 257)  # sides of the stamps that objects are drawn on [px]; odd: centred on a pixel


def render_tile(
    survey: Survey,
    seed: int,
    index: int,
    sky: Table,
    tiles: TilesSection,
    bands: Sequence[str],
    effects: RealismSection = FULL,
) -> dict[str, Any]:
    """Return one observed tile of the sky that `draw_sky` drew with the same seed and effects.

    Returns
    -------
    dict
        flux (y, x, b) float32 [nJy], weight (y, x, b) float32 [nJy^-2, 0 = bad], mask (y, x, b) int16,
        psf (p, p, b) float32 and psf_fwhm (b,) [arcsec], their means over the tile, wcs, bands, name.
    """
    wcs = tile_wcs(survey, tiles, index)
    x, y = wcs.all_world2pix(sky["ra"], sky["dec"], 0)
    middle = 0.5 * (tiles.size - 1)
    flux = np.zeros((tiles.size, tiles.size, len(bands)))
    sides = _stamp_sides(survey, sky, bands)
    inside = (np.maximum(np.abs(x - middle), np.abs(y - middle)) < 0.5 * (tiles.size + sides)).nonzero()[0]
    lenses = inside[np.asarray(sky["kind"])[inside] == "lens"]
    groups = [(inside[sides[inside] == side], side, 0) for side in _STAMPS]
    for rows, side, lensed in [*groups, (lenses, _arcs_side(survey, sky, bands), 1)]:
        for first in range(0, len(rows), _BATCH):
            some = rows[first : first + _BATCH]
            column, row = np.rint(x[some]).astype(int), np.rint(y[some]).astype(int)
            offset = ((x[some] - column) * survey.pixel_scale, (y[some] - row) * survey.pixel_scale)
            truth = move_lenses(sky[some], *offset)
            scene = _sources(truth, bands, seed, effects) if lensed else galaxy_scene(truth, bands)
            stamps = render(scene, side, survey.pixel_scale)[lensed]
            for stamp, top, left in zip(stamps, row - side // 2, column - side // 2, strict=True):
                _add(flux, stamp, top, left)
    sky_sigma = _over_tile(noise_at, survey, seed, wcs, tiles.size, bands)
    gain = np.array([survey.bands[band].electrons_per_njy() for band in bands])
    rng = stream(seed, "tile/noise", index)
    noise = correlate_bands(rng.standard_normal(flux.shape), survey.correlations(bands))
    flux += noise * noise_sigma(flux, gain, sky_sigma)
    for b in range(len(bands)):
        # as a pipeline does: faint galaxies and wings have a part in what it takes for the sky
        flux[..., b] -= flux[..., b][find_empty(flux[..., b])].mean()
    full = survey.saturation(bands)
    flux = saturate(flux, full)
    mask = np.where(flux >= full, SATURATED, 0).astype(np.int16)
    bad = rng.random((tiles.size, tiles.size)) < BAD_FRACTION
    bad[:, rng.integers(tiles.size)] = True  # one dead column
    mask[bad] |= BAD
    flux[bad] = 0.0
    fwhm = _over_tile(seeing_at, survey, seed, wcs, tiles.size, bands).mean(axis=(0, 1))
    weight = np.where(mask & BAD, 0.0, 1.0 / sky_sigma**2)
    return {
        "name": tile_name(index), "bands": tuple(bands), "wcs": wcs, "mask": mask,
        "flux": flux.astype(np.float32), "weight": weight.astype(np.float32),
        "psf": _psf(survey, bands, fwhm), "psf_fwhm": fwhm,
    }  # fmt: skip


def write_tile(folder: str | Path, survey: Survey, tile: dict[str, Any], weights: bool = True) -> list[Path]:
    """Write a tile of `render_tile`, one file a band, `{tile}_{band}.fits`; return the paths.

    Without weights, a reader has to find the noise itself. Equal tiles give equal bytes: nothing of the time
    or machine is written.
    """
    paths = []
    for b, name in enumerate(tile["bands"]):
        paths.append(Path(folder) / f"{tile['name']}_{name}.fits")
        write_band(
            paths[-1], survey, name, tile["name"], tile["wcs"], tile["flux"][:, :, b],
            tile["weight"][:, :, b] if weights else None, tile["mask"][:, :, b], tile["psf"][:, :, b],
            float(tile["psf_fwhm"][b]), survey.bands[name].electrons_per_njy(), survey.saturation([name])[0],
        )  # fmt: skip
    return paths


def cut_tile(tile: dict[str, Any], shape: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the images of `shape` (y, x) that a tile of `render_tile` can be cut into, side by side."""
    height, width = shape
    pieces = []
    for row in range(tile["flux"].shape[0] // height):
        for column in range(tile["flux"].shape[1] // width):
            box = np.s_[row * height : (row + 1) * height, column * width : (column + 1) * width]
            parts = {name: tile[name][box] for name in ("flux", "weight", "mask")}
            name = f"{tile['name']}-{row:03d}-{column:03d}"
            pieces.append({**tile, **parts, "wcs": tile["wcs"][box], "name": name})
    return pieces


def write_band(
    path: str | Path,
    survey: Survey,
    name: str,
    tile: str,
    wcs: WCS | None,
    flux: np.ndarray,
    weight: np.ndarray | None,
    mask: np.ndarray,
    psf: np.ndarray | None,
    psf_fwhm: float,
    electrons_per_njy: float,
    saturation: float,
    origin: str = "simulated",
) -> None:
    """Write one band of a tile in counts at the survey's zero point; what is None or NaN is left out.

    Parameters
    ----------
    path : path
    survey : Survey
    name, tile : str
        The band's and the tile's.
    wcs : WCS or None
    flux, weight : ndarray (y, x)
        nJy per pixel, and inverse variance [nJy^-2], 0 = bad.
    mask : ndarray (y, x), int16
        Bits BAD and SATURATED.
    psf : ndarray (k, k) or None
    psf_fwhm : float
        [arcsec]
    electrons_per_njy : float
    saturation : float
        Flux from which a pixel is saturated [nJy].
    origin : str
        What the pixels are, for the header.
    """
    band = survey.bands[name]
    counts = 10 ** (0.4 * (band.zero_point - NJY_ZERO_POINT))  # per nJy
    header = wcs.to_header() if wcs is not None else fits.Header()
    cards = {
        "BAND": (name, "filter"), "FILTER": (name, "filter"), "OBJECT": (tile, "tile"),
        "MAGZERO": (band.zero_point, "[mag] AB zero point"), "EXPTIME": (band.exposure, "[s]"),
        "GAIN": (electrons_per_njy / counts, "electrons per count"),
        "SATURATE": (saturation * counts, "counts"), "PSF_FWHM": (psf_fwhm, "[arcsec]"),
        "BUNIT": ("count", ""), "ORIGIN": ("lenspipe", origin),
    }  # fmt: skip
    header.update({key: card for key, card in cards.items() if card[0] == card[0]})  # NaN: not known
    hdus = fits.HDUList(
        [fits.PrimaryHDU(), fits.ImageHDU((flux * counts).astype(np.float32), header, name="SCI")]
    )
    if weight is not None:
        hdus.append(fits.ImageHDU((weight / counts**2).astype(np.float32), header, name="WGT"))
    hdus.append(fits.ImageHDU(mask, header, name="MSK"))
    if psf is not None:
        hdus.append(fits.ImageHDU(psf, name="PSF"))
    with replacing(path) as temporary:
        hdus.writeto(temporary, overwrite=True)


def _sources(lenses: Table, bands: Sequence[str], seed: int, effects: RealismSection) -> Scene:
    """Return the lensed sources of the strip's lenses, with the knots that their magnification and S/N count."""
    u = None
    if effects.clumps:
        u = uniforms(lens_seed(seed), "clumps", np.asarray(lenses["sample_id"]), CLUMP_UNIFORMS)
    return source_scene(lenses, bands, u)


def _arcs_side(survey: Survey, sky: Table, bands: Sequence[str]) -> int:
    """Return the side of the stamps [px], odd, that hold the arcs of all lenses of the sky, and their blur."""
    lenses = sky[np.asarray(sky["kind"]) == "lens"]
    beta = np.hypot(lenses["x_src"], lenses["y_src"])
    shape = (np.asarray(lenses[name], float) for name in ("r_src", "q_src"))
    arcs = image_reach(np.asarray(lenses["theta_e"], float), np.asarray(lenses["q"], float), beta, *shape)
    reach = np.max(arcs, initial=0.0) + 3.0 * max(survey.bands[band].psf_fwhm for band in bands)
    return 2 * round(max(reach, _ARCS_REACH) / survey.pixel_scale) + 1


def _stamp_sides(survey: Survey, sky: Table, bands: Sequence[str]) -> np.ndarray:
    """Return the least stamp at whose edge each object is fainter than a tenth of the noise in all bands.

    The PSF's wings count: those of a bright star would end in a square.
    """
    scale = survey.pixel_scale
    r_eff = np.hypot(np.asarray(sky["r_lens"]), 0.3)
    n = np.asarray(sky["n_lens"], dtype=float)
    b_n, norm = sersic_constants(n)
    sides = np.full(len(sky), _STAMPS[0])
    for band in bands:
        flux, noise = flux_njy(sky[f"mag_lens_{band}"]), survey.bands[band].sky_sigma(scale)
        fwhm, beta = survey.bands[band].psf_fwhm, survey.bands[band].psf_beta
        for smaller, larger in pairwise(_STAMPS):
            r = 0.5 * smaller * scale
            edge = flux * norm * (scale / r_eff) ** 2 * np.exp(-b_n * (r / r_eff) ** (1.0 / n))
            edge += (
                flux * scale**2 * moffat_brightness(r, fwhm, beta)
            )  # of stars there is nothing else so far out
            sides = np.where((edge > 0.1 * noise) & (sides < larger), larger, sides)
    return sides


def _add(image: np.ndarray, stamp: np.ndarray, row: int, column: int) -> None:
    """Add a stamp whose first pixel falls on (row, column), as far as it lies inside."""
    top, left = max(row, 0), max(column, 0)
    bottom, right = min(row + stamp.shape[0], image.shape[0]), min(column + stamp.shape[1], image.shape[1])
    if bottom > top and right > left:
        image[top:bottom, left:right] += stamp[top - row : bottom - row, left - column : right - column]


def _over_tile(quantity, survey: Survey, seed: int, wcs, size: int, bands: Sequence[str]) -> np.ndarray:
    """Return a smooth function of the sky in every pixel and band (y, x, b)."""
    nodes = np.linspace(0, size - 1, 17)  # it varies over hundreds of pixels: its values here say all
    column, row = np.meshgrid(nodes, nodes)
    ra, dec = wcs.all_pix2world(column.ravel(), row.ravel(), 0)
    axis = np.arange(size)
    maps = [quantity(survey, seed, band, ra, dec).reshape(17, 17) for band in bands]
    return np.stack([RectBivariateSpline(nodes, nodes, values)(axis, axis) for values in maps], axis=-1)


def _psf(survey: Survey, bands: Sequence[str], fwhm: np.ndarray) -> np.ndarray:
    """Return the image of a star of flux 1, with the pixel's response (p, p, b)."""
    star = Table({name: [0.0] for name in ("x_lens", "y_lens", "r_lens", "r_bulge", "phi_light")})
    star["n_lens"], star["q_light"] = 0.5, 1.0
    for name, beta in survey.psf_betas(bands).items():
        star[name] = beta
    for b, band in enumerate(bands):
        star[f"mag_lens_{band}"] = NJY_ZERO_POINT
        star[f"bulge_{band}"], star[f"psf_fwhm_{band}"] = 1.0, fwhm[b]
    return render(galaxy_scene(star, bands), _PSF_SIDE, survey.pixel_scale)[0][0].astype(np.float32)
