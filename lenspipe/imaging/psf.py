"""The point-spread function of an image: measured on its own stars, or as the image that comes with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import shift, zoom
from scipy.optimize import least_squares

from lenspipe.core.errors import InputError
from lenspipe.core.types import BandImage
from lenspipe.imaging.cutout import cut_stamp, resample_stamp

_SIDE = 25  # px, of the cut-out of a star
_SUBPIXELS = 3
_MIN_SNR, _LEAST_STARS, _MOST_STARS = 50.0, 5, 40
_BETA_RANGE = (1.5, 20.0)  # below, wings wider than any telescope's; above, a Gaussian for all one can see
_SHARE = 0.25  # of the bright sources that must be stars
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
    variance = max(psf_width(image) / 2.3548, 1.0) ** 2
    for _ in range(_STEPS):
        light = image * np.exp(-0.5 * ((rows - y) ** 2 + (columns - x) ** 2) / variance)
        y, x = float((light * rows).sum() / light.sum()), float((light * columns).sum() / light.sum())
    return y, x


def measure_psf(image: BandImage) -> tuple[float, float]:
    """Return FWHM [arcsec] and Moffat index of an image's PSF, before the pixels' own blurring.

    A Moffat function, integrated over the pixels, is fitted to every bright source; the stars are where
    the widths lie closest together.

    Raises
    ------
    InputError
        If the image has too few bright sources to find its stars.
    """
    from lenspipe.imaging.detect import detect_sources

    sources = detect_sources(image)
    half = _SIDE // 2
    height, width = image.flux.shape
    fits = []
    for source in sources[sources["snr"] > _MIN_SNR]:
        column, row = round(float(source["x"])), round(float(source["y"]))
        if not (half <= column < width - half and half <= row < height - half):
            continue
        box = np.s_[row - half : row + half + 1, column - half : column + half + 1]
        stamp = image.flux[box]
        if not np.isfinite(stamp).all() or image.saturated[box].any():
            continue
        fits.append(_fit_moffat(stamp, image.sigma[box], source["x"] - column, source["y"] - row))
    found = np.array([fit for fit in fits if fit is not None]).reshape(-1, 2)
    if len(found) < _LEAST_STARS / _SHARE:
        raise InputError(
            f"the PSF in {image.band} cannot be measured: {len(found)} bright isolated sources, "
            f"{_LEAST_STARS / _SHARE:.0f} are needed; give its FWHM in the survey file"
        )
    found = found[np.argsort(found[:, 0])]
    count = max(_LEAST_STARS, round(_SHARE * len(found)))
    spread = found[count - 1 :, 0] / found[: len(found) - count + 1, 0]
    first = int(np.argmin(spread))
    stars = found[first : first + count]
    return float(np.median(stars[:, 0])) * image.pixel_scale, float(np.median(stars[:, 1]))


def fit_psf(psf: np.ndarray, pixel_scale: float) -> tuple[float, float]:
    """Return FWHM [arcsec] and Moffat index of the image of a PSF, before the pixels' own blurring.

    Parameters
    ----------
    psf : ndarray (k, k)
        A star as the detector's pixels see it, in the middle; k is odd.
    pixel_scale : float
        [arcsec]

    Raises
    ------
    InputError
        If it is no image of a PSF.
    """
    total = float(np.nansum(psf))
    if psf.ndim != 2 or psf.shape[0] != psf.shape[1] or psf.shape[0] % 2 == 0 or not total > 0:
        raise InputError(f"a PSF image must be square, odd and positive, received shape {psf.shape}")
    middle = (len(psf) - 1) / 2
    stamp = np.nan_to_num(cut_stamp(psf / total, middle, middle, _SIDE))
    # such an image has no noise: a ten-thousandth of the light is as good as it gets
    fit = _fit_moffat(stamp, np.full(stamp.shape, 1e-4), 0.0, 0.0)
    if fit is None:
        raise InputError(
            "the PSF image cannot be fitted by a Moffat function; give its FWHM in the survey file"
        )
    return fit[0] * pixel_scale, fit[1]


def _fit_moffat(stamp: np.ndarray, sigma: np.ndarray, x: float, y: float) -> tuple[float, float] | None:
    """Return FWHM [px] and index of the source in the middle of a stamp, None where the fit fails."""
    half = len(stamp) // 2
    fine = (np.arange(_SIDE * _SUBPIXELS) + 0.5) / _SUBPIXELS - half - 0.5

    def model(parameters: np.ndarray) -> np.ndarray:
        log_fwhm, beta, x0, y0 = parameters
        width = np.exp(log_fwhm) / (2.0 * np.sqrt(2.0 ** (1.0 / beta) - 1.0))
        r2 = (fine[None, :] - x0) ** 2 + (fine[:, None] - y0) ** 2
        values = (1.0 + r2 / width**2) ** -beta
        return values.reshape(_SIDE, _SUBPIXELS, _SIDE, _SUBPIXELS).mean(axis=(1, 3))

    def residuals(parameters: np.ndarray) -> np.ndarray:
        shape = model(parameters)
        # flux and sky enter linearly: solved for, not searched
        design = np.stack([shape.ravel() / error, 1.0 / error], axis=1)
        solution, *_ = np.linalg.lstsq(design, stamp.ravel() / error, rcond=None)
        return stamp.ravel() / error - design @ solution

    # errors of 2 % of the light keep bright stars from being judged by their last per mille
    error = np.hypot(sigma, 0.02 * np.maximum(stamp, 0.0)).ravel()
    bounds = ([np.log(1.0), _BETA_RANGE[0], -2.0, -2.0], [np.log(_SIDE), _BETA_RANGE[1], 2.0, 2.0])
    start = [np.log(3.0), 3.5, np.clip(x, -1.9, 1.9), np.clip(y, -1.9, 1.9)]
    fit = least_squares(residuals, start, bounds=bounds, loss="soft_l1", max_nfev=40)
    return (float(np.exp(fit.x[0])), float(fit.x[1])) if fit.success else None
