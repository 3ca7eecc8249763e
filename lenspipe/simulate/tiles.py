"""Mock survey tiles: the sky of `strip`, observed in overlapping tiles and written the way DES does.

Each tile renders the objects that reach into it, with noise of its own. One file a band, HDUs SCI (counts
at the survey's zero point), WGT (inverse variance), MSK (bits) and PSF.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
from astropy.io import fits
from astropy.table import Table

from lenspipe.config import TilesSection
from lenspipe.core.rng import stream
from lenspipe.core.survey import NJY_ZERO_POINT, Survey
from lenspipe.imaging.observe import noise_sigma
from lenspipe.io.files import replacing
from lenspipe.lensing.light import sersic_constants
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.render import render
from lenspipe.simulate.scene import build_scene
from lenspipe.simulate.strip import draw_sky, mock_spectroscopy, tile_name, tile_wcs

__all__ = ["draw_sky", "mock_spectroscopy", "render_tile", "tile_name", "tile_wcs", "write_tile"]

BAD, SATURATED = 1, 2  # mask bits
SATURATION = 1e5  # nJy per pixel: stars of about 16 mag
BAD_FRACTION = 1e-4
_STAMPS = (33, 65, 129, 257)  # sides of the stamps that objects are drawn on [px]; odd: centred on a pixel
_STAMP_PIXELS = 64 * 76**2  # pixels rendered at once


def render_tile(
    survey: Survey,
    seed: int,
    index: int,
    sky: Table,
    tiles: TilesSection,
    bands: Sequence[str],
    oversample: int = 3,
) -> dict[str, Any]:
    """Return one observed tile.

    Returns
    -------
    dict
        flux (y, x, b) float32 [nJy], weight (y, x, b) float32 [nJy^-2, 0 = bad], mask (y, x, b) int16,
        psf (p, p, b) float32, wcs, bands, name.
    """
    wcs = tile_wcs(survey, tiles, index)
    x, y = wcs.all_world2pix(sky["ra"], sky["dec"], 0)
    flux = np.zeros((tiles.size, tiles.size, len(bands)))
    for rows, side in _batches(survey, sky, bands, x, y, tiles.size):
        truth = sky[rows].copy()
        column, row = np.rint(x[rows]).astype(int), np.rint(y[rows]).astype(int)
        for name, shift in (("x", x[rows] - column), ("y", y[rows] - row)):
            for part in ("lens", "src"):
                truth[f"{name}_{part}"] += shift * survey.pixel_scale
        scene = build_scene(survey, seed, truth, bands, side, full=False)
        light, arcs = render(scene, side, survey.pixel_scale, oversample)
        stamps = keras.ops.convert_to_numpy(light) + keras.ops.convert_to_numpy(arcs)
        for stamp, first_row, first_column in zip(stamps, row - side // 2, column - side // 2, strict=True):
            _add(flux, stamp, first_row, first_column)
    sky_sigma = np.array([survey.bands[band].sky_sigma(survey.pixel_scale) for band in bands])
    gain = np.array([survey.bands[band].electrons_per_njy() for band in bands])
    rng = stream(seed, "tile/noise", index)
    flux += rng.standard_normal(flux.shape) * noise_sigma(flux, gain, sky_sigma)
    mask = np.where(flux >= SATURATION, SATURATED, 0).astype(np.int16)
    flux = np.minimum(flux, SATURATION)
    bad = rng.random((tiles.size, tiles.size)) < BAD_FRACTION
    bad[:, rng.integers(tiles.size)] = True  # one dead column
    mask[bad] |= BAD
    flux[bad] = 0.0
    weight = np.where(mask & BAD, 0.0, 1.0 / sky_sigma**2)
    return {
        "name": tile_name(index), "bands": tuple(bands), "wcs": wcs, "mask": mask,
        "flux": flux.astype(np.float32), "weight": weight.astype(np.float32),
        "psf": _psf(survey, bands, oversample),
    }  # fmt: skip


def write_tile(folder: str | Path, survey: Survey, tile: dict[str, Any]) -> list[Path]:
    """Write a tile of `render_tile`, one file a band, `{tile}_{band}.fits`; return the paths.

    Equal tiles give equal bytes: nothing of the time or machine is written.
    """
    paths = []
    for b, name in enumerate(tile["bands"]):
        band = survey.bands[name]
        counts = 10 ** (0.4 * (band.zero_point - NJY_ZERO_POINT))  # per nJy
        header = tile["wcs"].to_header()
        cards = {
            "BAND": (name, "filter"), "FILTER": (name, "filter"), "OBJECT": (tile["name"], "tile"),
            "MAGZERO": (band.zero_point, "[mag] AB zero point"), "EXPTIME": (band.exposure, "[s]"),
            "GAIN": (band.electrons_per_njy() / counts, "electrons per count"),
            "SATURATE": (SATURATION * counts, "counts"), "PSF_FWHM": (band.psf_fwhm, "[arcsec]"),
            "BUNIT": ("count", ""), "ORIGIN": ("lenspipe", "simulated"),
        }  # fmt: skip
        header.update(cards)
        hdus = fits.HDUList(
            [
                fits.PrimaryHDU(),
                fits.ImageHDU((tile["flux"][:, :, b] * counts).astype(np.float32), header, name="SCI"),
                fits.ImageHDU((tile["weight"][:, :, b] / counts**2).astype(np.float32), header, name="WGT"),
                fits.ImageHDU(tile["mask"][:, :, b], header, name="MSK"),
                fits.ImageHDU(tile["psf"][:, :, b], name="PSF"),
            ]
        )
        paths.append(Path(folder) / f"{tile['name']}_{name}.fits")
        with replacing(paths[-1]) as temporary:
            hdus.writeto(temporary, overwrite=True)
    return paths


def _batches(
    survey: Survey, sky: Table, bands: Sequence[str], x: np.ndarray, y: np.ndarray, size: int
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (rows, stamp side) of objects that reach into the tile, alike ones together."""
    sides = _stamp_sides(survey, sky, bands)
    half = sides // 2
    inside = (x > -half) & (x < size + half) & (y > -half) & (y < size + half)
    for side in _STAMPS:
        rows = np.flatnonzero(inside & (sides == side))
        many = max(1, _STAMP_PIXELS // (side + 32) ** 2)
        for start in range(0, len(rows), many):
            yield rows[start : start + many], side


def _stamp_sides(survey: Survey, sky: Table, bands: Sequence[str]) -> np.ndarray:
    """Return the least stamp at whose edge each object is fainter than a tenth of the noise in all bands."""
    scale = survey.pixel_scale
    r_eff = np.hypot(np.asarray(sky["r_lens"]), 0.3)
    n = np.asarray(sky["n_lens"], dtype=float)
    b_n, norm = sersic_constants(n)
    sides = np.where(sky["kind"] == "lens", _STAMPS[1], _STAMPS[0])
    for band in bands:
        flux, noise = flux_njy(sky[f"mag_lens_{band}"]), survey.bands[band].sky_sigma(scale)
        for smaller, larger in pairwise(_STAMPS):
            r = 0.5 * smaller * scale
            edge = flux * norm * (scale / r_eff) ** 2 * np.exp(-b_n * (r / r_eff) ** (1.0 / n))
            sides = np.where((edge > 0.1 * noise) & (sides < larger), larger, sides)
    return sides


def _add(image: np.ndarray, stamp: np.ndarray, row: int, column: int) -> None:
    """Add a stamp whose first pixel falls on (row, column), as far as it lies inside."""
    top, left = max(row, 0), max(column, 0)
    bottom, right = min(row + stamp.shape[0], image.shape[0]), min(column + stamp.shape[1], image.shape[1])
    if bottom > top and right > left:
        image[top:bottom, left:right] += stamp[top - row : bottom - row, left - column : right - column]


def _psf(survey: Survey, bands: Sequence[str], oversample: int) -> np.ndarray:
    """Return the image of a star of flux 1, with the pixel's response (p, p, b)."""
    names = (
        "theta_e",
        "q",
        "phi",
        "x_lens",
        "y_lens",
        "gamma_ext",
        "phi_ext",
        "x_src",
        "y_src",
        "r_src",
        "n_src",
    )
    star = {name: np.array([np.nan]) for name in (*names, "q_src", "phi_src")}
    star |= {"x_lens": np.zeros(1), "y_lens": np.zeros(1), "r_lens": np.zeros(1), "n_lens": np.array([0.5])}
    star |= {
        "q_light": np.ones(1),
        "phi_light": np.zeros(1),
        "psf_beta": np.array([survey.bands[bands[0]].psf_beta]),
    }
    for band in bands:
        star |= {f"mag_lens_{band}": np.array([NJY_ZERO_POINT]), f"mag_src_{band}": np.array([np.nan])}
        star[f"psf_fwhm_{band}"] = np.array([survey.bands[band].psf_fwhm])
    truth = Table({"sample_id": [0], "kind": ["star"], **star})
    light, _ = render(
        build_scene(survey, 0, truth, bands, 31, full=False), 31, survey.pixel_scale, oversample
    )
    return keras.ops.convert_to_numpy(light)[0].astype(np.float32)
