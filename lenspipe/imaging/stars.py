"""The width and wings of a point-spread function, fitted to an image's own stars or to the image of one."""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares

from lenspipe.core.errors import InputError
from lenspipe.core.types import BandImage
from lenspipe.imaging.cutout import cut_stamp
from lenspipe.imaging.detect import detect_sources

_SIDE = 25  # px, of the cut-out of a star
_SUBPIXELS = 3
_MIN_SNR, _LEAST_STARS = 50.0, 5
_BETA_RANGE = (1.5, 20.0)  # below, wings wider than any telescope's; above, a Gaussian for all one can see
_SHARE = 0.25  # of the bright sources that must be stars


def measure_psf(image: BandImage) -> tuple[float, float]:
    """Return FWHM [arcsec] and Moffat index of an image's PSF, before the pixels' own blurring.

    A Moffat function, integrated over the pixels, is fitted to every bright source; the stars are where
    the widths lie closest together.

    Raises
    ------
    InputError
        If the image has too few bright sources to find its stars.
    """
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
