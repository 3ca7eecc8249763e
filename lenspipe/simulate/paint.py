"""Light painted into real images: lensed sources through the image's own PSF, and how a tile takes them up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from lenspipe.imaging.cutout import corner
from lenspipe.simulate.parts import source_scene
from lenspipe.simulate.render import render


def paint_sources(
    truth: Table,
    bands: Sequence[str],
    size: int,
    pixel_scale: float,
    u: np.ndarray | None = None,
    psf_image: np.ndarray | None = None,
) -> np.ndarray:
    """Return the noise-free images (n, size, size, b), float32, of the rows' lensed sources [nJy per pixel].

    Parameters
    ----------
    truth, bands, u
        As in `parts.source_scene`.
    size : int
        Side of the stamps [px].
    pixel_scale : float
        [arcsec]
    psf_image : ndarray (n, b, k, k), optional
        Stars on the stamps' pixels; bands where it is NaN are seen through the profile of ``psf_fwhm_<band>``.
    """
    scene = source_scene(truth, bands, u)
    known = np.zeros((len(truth), len(bands)), bool)
    if psf_image is not None:
        known = np.isfinite(psf_image).all(axis=(2, 3))
    arcs = np.zeros((len(truth), size, size, len(bands)), np.float32)
    if not known.all():
        arcs = render(scene, size, pixel_scale)[1]
    if psf_image is not None and known.any():
        point = np.zeros(psf_image.shape[-2:])  # where nothing is known, anything will do
        point[len(point) // 2, len(point) // 2] = 1.0
        stars = np.where(known[:, :, None, None], psf_image, point)
        seen = render(dataclasses.replace(scene, psf_image=stars), size, pixel_scale)[1]
        arcs = np.where(known[:, None, None, :], seen, arcs)
    return arcs


def add_to_band(
    flux: np.ndarray,
    sigma: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    added: np.ndarray,
    variance: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return one band of a tile with stamps added to it, and its noise.

    Parameters
    ----------
    flux, sigma : ndarray (y, x)
        nJy per pixel and its noise; where either is not finite nothing is added.
    x, y : ndarray (n,)
        Where the stamps were cut [px], 0-based.
    added, variance : ndarray (n, size, size)
        What each stamp adds [nJy per pixel], and its Poisson noise [nJy^2].
    """
    flux, sigma = flux.copy(), sigma.copy()
    height, width = flux.shape
    for left, bottom, stamp, own in zip(
        (corner(c, added.shape[-1]) for c in x),
        (corner(c, added.shape[-1]) for c in y),
        added,
        variance,
        strict=True,
    ):
        rows, columns = np.nonzero(stamp)
        there = (rows + bottom, columns + left)
        inside = (there[0] >= 0) & (there[0] < height) & (there[1] >= 0) & (there[1] < width)
        here, there = (rows[inside], columns[inside]), tuple(axis[inside] for axis in there)
        good = np.isfinite(flux[there]) & np.isfinite(sigma[there])
        here, there = (tuple(axis[good] for axis in place) for place in (here, there))
        flux[there] += stamp[here]
        sigma[there] = np.hypot(sigma[there], np.sqrt(own[here]))
    return flux, sigma
