"""A PSF that varies over the image: its image and its width at any position."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import map_coordinates

from lenspipe.core.types import PsfModel

#: Positions along each axis at which a model's width is measured; polynomials of survey tiles are of degree 2 or 3.
_NODES = 7


def psf_at(model: PsfModel, x: float, y: float) -> np.ndarray:
    """Return the image of a star at a position, on the image's own pixels.

    PSFEx's basis holds the light that a whole pixel of the image collects, sampled in steps of `model.step` pixels
    (Bertin 2011, ADASS XX, 435): it is interpolated, not summed.

    Parameters
    ----------
    model : PsfModel
    x, y : float
        Pixel of the image, counted from 0.

    Returns
    -------
    ndarray (k, k), float64
        k odd, the star's centre on the middle pixel, sum 1.
    """
    star = _combine(model, x, y)
    middle = (np.array(star.shape) - 1) / 2  # PSFEx centres odd sides on a pixel, as it makes them
    half = int(np.floor(middle.min() * model.step))
    offsets = np.arange(-half, half + 1) / model.step
    places = np.meshgrid(middle[0] + offsets, middle[1] + offsets, indexing="ij")
    image = map_coordinates(star, places, order=5, mode="nearest")
    return image / image.sum()


def _combine(model: PsfModel, x: float, y: float) -> np.ndarray:
    """Return the model's own, finer pixels at a position: the sum of basis images times x^i y^j."""
    u, v = ((p + 1.0 - zero) / scale for p, zero, scale in zip((x, y), model.zero, model.scale, strict=True))
    terms = [u**i * v**j for j in range(model.degree + 1) for i in range(model.degree + 1 - j)]
    return np.tensordot(np.array(terms), model.basis, axes=1)


def width_over(
    model: PsfModel, shape: tuple[int, int], width: Callable[[np.ndarray], float]
) -> Callable[[ArrayLike, ArrayLike], np.ndarray]:
    """Return a function (x, y) -> the width of the PSF there, in the units of `width`.

    `width` measures one image of a star; that is done at some positions of an image of (rows, columns) pixels and
    interpolated between them, since tiles hold ten thousands of objects.
    """
    rows, columns = (np.linspace(0.0, max(n - 1.0, 1.0), _NODES) for n in shape)
    values = np.array([[width(psf_at(model, x, y)) for x in columns] for y in rows])
    field = RegularGridInterpolator((rows, columns), values, "linear", bounds_error=False, fill_value=None)
    return lambda x, y: field(np.stack(np.broadcast_arrays(y, x), axis=-1))


def look_up_width(sizes: np.ndarray, x: np.ndarray, y: np.ndarray, usual: float) -> np.ndarray:
    """Return the widths (n,) that a map (rows, columns) of them gives at positions; `usual` where it has none."""
    rows, columns = (
        np.clip(np.rint(p).astype(int), 0, n - 1) for p, n in zip((y, x), sizes.shape, strict=True)
    )
    values = sizes[rows, columns]
    with np.errstate(invalid="ignore"):
        return np.where((values > 0.02) & (values < 30.0), values, usual).astype(np.float32)  # arcsec


def typical_width(sizes: np.ndarray) -> float | None:
    """Return the median of a map of widths, None where it has none (0 = no exposure)."""
    good = sizes[np.isfinite(sizes) & (sizes > 0)]
    return float(np.median(good)) if good.size else None
