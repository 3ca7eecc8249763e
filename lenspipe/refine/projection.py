"""Fluxes out of the way: for given shapes the best ones are a linear problem, solved for each band.

Variable projection (Golub & Pereyra 1973): the fit sees residuals with the best fluxes of every trial already in them,
so that it has two parameters a band fewer and no starting values for them to guess.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lenspipe.refine.parameters import make_scene
from lenspipe.simulate.render import render


@dataclass(frozen=True)
class Pixels:
    """What is fitted.

    Parameters
    ----------
    image : ndarray (n, s, s, b)
        nJy per pixel.
    inverse_sigma : ndarray (n, s, s, b)
        1 / noise; 0 where a pixel does not count.
    psf : dict of ndarray (n, ...)
        ``psf_fwhm``, ``psf_beta`` and, where there are some, ``psf_image``, as `simulate.packing.Scene` has them.
    pixel_scale : float
        [arcsec]
    """

    image: np.ndarray
    inverse_sigma: np.ndarray
    psf: dict[str, np.ndarray]
    pixel_scale: float

    def take(self, rows: np.ndarray, where: np.ndarray | None = None) -> Pixels:
        """Return some rows; only the pixels count that count already and in `where` (n, s, s), if given."""
        weight = self.inverse_sigma[rows]
        if where is not None:
            weight = weight * where[..., None]
        return Pixels(self.image[rows], weight, {k: v[rows] for k, v in self.psf.items()}, self.pixel_scale)


def project(vector: np.ndarray, pixels: Pixels, lensed: bool = True) -> tuple[np.ndarray, ...]:
    """Return the weighted residuals (n, s * s * b) under the best fluxes, the fluxes (n, b, 2) and the two images.

    Fluxes are of the lens galaxy and of the source, neither below 0; without `lensed` there is no source.
    """
    size = pixels.image.shape[1]
    light, arcs = render(make_scene(vector, pixels.psf), size, pixels.pixel_scale)
    weight = pixels.inverse_sigma
    data, one, two = pixels.image * weight, light * weight, arcs * weight * lensed

    def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.einsum("nyxb,nyxb->nb", a, b, dtype=np.float64)

    aa, bb, ab, da, db = dot(one, one), dot(two, two), dot(one, two), dot(data, one), dot(data, two)
    determinant = aa * bb - ab**2
    both = determinant > 1e-9 * np.maximum(aa * bb, 1e-300)
    safe = np.where(both, determinant, 1.0)
    first = np.where(both, (da * bb - db * ab) / safe, da / np.maximum(aa, 1e-300))
    second = np.where(both, (db * aa - da * ab) / safe, 0.0)
    # fluxes are not negative: what would be is none, and the other is the best without it
    first, second = (
        np.where(second < 0, da / np.maximum(aa, 1e-300), np.where(first < 0, 0.0, first)),
        np.where(first < 0, db / np.maximum(bb, 1e-300), second),
    )
    flux = np.stack([np.maximum(first, 0.0), np.maximum(second, 0.0)], axis=-1)
    model = flux[:, None, None, :, 0] * one + flux[:, None, None, :, 1] * two
    return (data - model).reshape(len(vector), -1), flux, light, arcs
