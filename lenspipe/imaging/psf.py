"""Images of the point-spread function that come with a survey's images: centred, resampled, their widths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import shift, zoom

from lenspipe.core.survey import FWHM_PER_SIGMA
from lenspipe.imaging.cutout import resample_stamp

#: A PSF image is interpolated so much finer to measure its width.
_ZOOM = 5
#: Largest side of a PSF image [px]; wings beyond are cut, so that what is convolved stays small.
MOST_PIXELS = 101
_LEAST_HELD = 0.8  # of the flux, by an image cut round its star
_WELL_CENTRED = 0.02  # px: nearer to a pixel's centre, an image's own pixels are kept
_STEPS = 30  # of the search for the centre


def centre_psf(image: np.ndarray) -> np.ndarray | None:
    """Return a survey's PSF image with the star on the middle pixel and sum 1; None where it is no such image.

    Real ones have sums of 0.88 to 1.76, even sides, and stars up to a pixel off (HSC's are drawn where their
    object lies on its pixel). Whole pixels are cut off, the rest is a spline's shift.

    Parameters
    ----------
    image : ndarray (y, x)

    Returns
    -------
    ndarray (k, k), float32, or None
        k odd, at most MOST_PIXELS. None where pixels are not finite, there is no flux, or the star is so near
        the edge that a fifth of it is lost.
    """
    values = np.asarray(image, np.float64)
    if values.ndim != 2 or min(values.shape) < 3 or not np.isfinite(values).all() or values.sum() <= 0:
        return None
    y, x = _window_centroid(values)
    row, column = round(y), round(x)
    height, width = values.shape
    half = min(row, column, height - 1 - row, width - 1 - column, MOST_PIXELS // 2)
    if half < 1:
        return None
    if max(abs(y - row), abs(x - column)) > _WELL_CENTRED:
        values = shift(values, (row - y, column - x), order=3, mode="constant")
    star = values[row - half : row + half + 1, column - half : column + half + 1]
    if star.sum() < _LEAST_HELD * values.sum():
        return None
    return (star / star.sum()).astype(np.float32)


def psf_width(image: np.ndarray) -> float:
    """Return the FWHM [px] of a PSF image: that of the circle whose area is that above half of the peak."""
    fine = zoom(np.asarray(image, np.float64), _ZOOM, order=3, grid_mode=True, mode="nearest")
    return 2.0 * float(np.sqrt(np.count_nonzero(fine >= 0.5 * fine.max()) / np.pi)) / _ZOOM


def resample_psf(image: np.ndarray, ratio: float) -> np.ndarray:
    """Return a PSF image (k, k) on pixels `ratio` times as large, as resampling an image does to its stars."""
    if ratio == 1.0:
        return image
    middle = (len(image) - 1) / 2
    coarse = np.nan_to_num(resample_stamp(image, middle, middle, 2 * int(np.ceil(middle / ratio)) + 1, ratio))
    return (coarse / coarse.sum()).astype(np.float32)


def stack_psfs(images: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Return the PSF images of several bands as one array (b, k, k), NaN in bands without; None where all are."""
    side = max((len(image) for image in images if image is not None), default=0)
    if not side:
        return None
    out = np.full((len(images), side, side), np.nan, np.float32)
    for plane, image in zip(out, images, strict=True):
        if image is not None:
            plane[:] = np.pad(image, (side - len(image)) // 2)
    return out


def _window_centroid(image: np.ndarray) -> tuple[float, float]:
    """Return (y, x) of a star: the centroid under a Gaussian of its own width, which noise far out cannot move."""
    y, x = (float(v) for v in np.unravel_index(np.argmax(image), image.shape))
    rows, columns = np.indices(image.shape)
    variance = max(psf_width(image) / FWHM_PER_SIGMA, 1.0) ** 2
    for _ in range(_STEPS):
        light = image * np.exp(-0.5 * ((rows - y) ** 2 + (columns - x) ** 2) / variance)
        y, x = float((light * rows).sum() / light.sum()), float((light * columns).sum() / light.sum())
    return y, x
