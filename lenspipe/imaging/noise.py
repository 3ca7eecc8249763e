"""Noise that is correlated between neighbouring pixels, as resampling to a coadd's grid leaves it.

The correlation is described by its values at lags of 1, 2, ... pixels along an axis, and taken as
separable: at lag (dx, dy) it is the product of both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.fft import fft, irfft, rfft
from scipy.ndimage import binary_dilation, gaussian_filter

from lenspipe.core.errors import ConfigError

_SMOOTHING = 1.5  # px, of the image in which objects are looked for
_OBJECT, _OUTLIER = 3.0, 4.0  # sigma of the smoothed image, of the pixels


def correlate_noise(white: np.ndarray, correlation: Sequence[float]) -> np.ndarray:
    """Return white noise with correlations between its pixels, its variance kept.

    The result is periodic: opposite edges are neighbours.

    Parameters
    ----------
    white : ndarray (..., y, x, b)
        Independent numbers of equal variance.
    correlation : sequence of float
        At lags of 1, 2, ... pixels along either axis; empty = the noise is left white.

    Raises
    ------
    ConfigError
        If no noise can have these correlations.
    """
    if not len(correlation):
        return white
    out = white
    for axis in (-3, -2):
        length = white.shape[axis]
        lags = np.zeros(length)
        lags[0] = 1.0
        for lag, value in enumerate(correlation, start=1):
            lags[lag] = lags[-lag] = value
        power = fft(lags).real
        if power.min() < 0:
            raise ConfigError(
                f"noise_correlation {list(correlation)} is that of no noise: its power spectrum is negative "
                "somewhere; give smaller values"
            )
        half = np.sqrt(power[: length // 2 + 1]).astype(white.dtype)
        out = irfft(rfft(out, axis=axis) * half.reshape(-1, *([1] * (-axis - 1))), length, axis=axis)
    return out


def measure_correlation(flux: np.ndarray, lags: int = 3) -> np.ndarray:
    """Return the correlation (lags,) of an image's empty pixels at 1, 2, ... pixels along an axis.

    Objects are masked where the smoothed image stands out; what is too faint for that adds a
    few per mille.

    Parameters
    ----------
    flux : ndarray (y, x)
        NaN = not to be used.
    """
    good = np.isfinite(flux)
    filled = np.where(good, flux, 0.0)
    smooth = gaussian_filter(filled, _SMOOTHING)
    objects = smooth > np.median(smooth[good]) + _OBJECT * _lower_scatter(smooth[good])
    middle, sigma = np.median(flux[good]), _lower_scatter(flux[good])
    use = good & ~binary_dilation(objects, iterations=2) & (np.abs(filled - middle) < _OUTLIER * sigma)
    values = np.where(use, filled - filled[use].mean(), 0.0)
    variance = (values**2).sum() / use.sum()
    out = np.zeros(lags)
    for lag in range(1, lags + 1):
        product = sum((a[lag:] * a[:-lag]).sum() for a in (values, values.T))
        pairs = sum((a[lag:] & a[:-lag]).sum() for a in (use, use.T))
        out[lag - 1] = product / pairs / variance
    return out


def _lower_scatter(values: np.ndarray) -> float:
    """Return the sigma of what scatters below the median, where no objects are."""
    low, middle = np.percentile(values, [15.87, 50.0])
    return float(middle - low)
