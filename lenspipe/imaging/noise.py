"""Noise that is correlated between neighbouring pixels, as resampling to a coadd's grid leaves it.

The correlation is described by its values at lags of 1, 2, ... pixels along an axis, and then taken as
separable (at lag (dx, dy) it is the product of both), or by a table of rows, [dy][dx], from lag (0, 0) on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.fft import irfft2, next_fast_len, rfft2
from scipy.ndimage import binary_dilation, gaussian_filter

from lenspipe.core.errors import ConfigError

_SMOOTHING = 1.5  # px, of the image in which objects are looked for
_OBJECT, _OUTLIER = 3.0, 4.0  # sigma of the smoothed image, of the pixels
_MASKED_ROUND = 4  # px round an object
_NEGATIVE = 0.05  # of the mean power: what errors of a measured correlation can make negative


def correlate_noise(
    white: np.ndarray, correlation: Sequence[float] | Sequence[Sequence[float]]
) -> np.ndarray:
    """Return white noise with correlations between its pixels, its variance kept.

    The result is periodic: opposite edges are neighbours.

    Parameters
    ----------
    white : ndarray (..., y, x, b)
        Independent numbers of equal variance.
    correlation : sequence of float, or of rows of them
        At lags of 1, 2, ... pixels along either axis, or the table [dy][dx] from lag (0, 0) on, the same for
        -dy and -dx; empty = the noise is left white. Lags beyond half an image are left out.

    Raises
    ------
    ConfigError
        If no noise can have these correlations.
    """
    if not len(correlation):
        return white
    height, width = white.shape[-3:-1]
    root = _root_of_power((height, width), correlation).astype(white.dtype)[..., None]
    return irfft2(rfft2(white, axes=(-3, -2)) * root, (height, width), axes=(-3, -2))


def correlation_factors(
    size: int, correlation: Sequence[float] | Sequence[Sequence[float]], tolerance: float = 1e-3
) -> np.ndarray:
    """Return pairs of matrices (A, B), float32 (f, 2, size, size), such that the sum of A W B^T over them is
    `correlate_noise` of white noise W (size, size): for a device, where two products cost less than a transform.

    One pair for correlations along the axes, a few for a table; what is left out is `tolerance` of the whole.
    """
    if not len(correlation):
        return np.zeros((0, 2, size, size), np.float32)
    left, strength, right = np.linalg.svd(_root_of_power((size, size), correlation, whole=True))
    kept = max(1, int(np.sum(strength > tolerance * strength[0])))
    pairs = []
    for k in range(kept):
        spectra = left[:, k] * strength[k], right[k]
        pairs.append([_circulant(spectrum) for spectrum in spectra])
    return np.array(pairs, np.float32)


def _circulant(spectrum: np.ndarray) -> np.ndarray:
    """Return the matrix that multiplies by an even spectrum in Fourier space."""
    return np.fft.ifft(spectrum[:, None] * np.fft.fft(np.eye(len(spectrum)), axis=0), axis=0).real


def _root_of_power(
    shape: tuple[int, int], correlation: Sequence[float] | Sequence[Sequence[float]], whole: bool = False
) -> np.ndarray:
    """Return the square root of the power spectrum, (y, x // 2 + 1), or all of it; `ConfigError` if there is none."""
    height, width = shape
    table = _as_table(correlation)[: (height + 1) // 2, : (width + 1) // 2]
    lags = np.zeros(shape)
    for dy, dx in np.ndindex(table.shape):
        lags[np.ix_([dy, -dy], [dx, -dx])] = table[dy, dx]
    power = rfft2(lags).real
    if power.min() < -_NEGATIVE:
        raise ConfigError(
            f"noise_correlation {np.round(table[0, 1:], 3).tolist()} along an axis is that of no noise: its power "
            "spectrum is negative somewhere; give smaller values"
        )
    power = np.maximum(power, 0.0)
    power *= lags[0, 0] / irfft2(power, shape)[0, 0]
    if whole:  # an even function's transform is even
        power = np.concatenate([power, power[:, 1 : (width + 1) // 2][:, ::-1]], axis=1)
    return np.sqrt(power)


def correlate_bands(white: np.ndarray, correlations: Sequence[Any]) -> np.ndarray:
    """Return `correlate_noise` with a correlation for each band of `white` (..., y, x, b)."""
    if all(values == correlations[0] for values in correlations):
        return correlate_noise(white, correlations[0])
    bands = [correlate_noise(white[..., b, None], values) for b, values in enumerate(correlations)]
    return np.concatenate(bands, axis=-1)


def _as_table(correlation: Sequence[float] | Sequence[Sequence[float]]) -> np.ndarray:
    values = np.asarray(correlation, float)
    if values.ndim == 2:
        return values
    along = np.append(1.0, values)
    return np.outer(along, along)


def measure_correlation(flux: np.ndarray, lags: int = 3) -> np.ndarray:
    """Return the correlation (lags,) of an image's empty pixels at 1, 2, ... pixels along an axis.

    As `tabulate_correlation`, the mean of both axes.
    """
    table = tabulate_correlation(flux, lags)
    return 0.5 * (table[0, 1:] + table[1:, 0])


def tabulate_correlation(flux: np.ndarray, lags: int) -> np.ndarray:
    """Return the correlation [dy, dx] (lags + 1, lags + 1) of an image's empty pixels, the mean over signs.

    What is too faint to be masked adds a few per mille.

    Parameters
    ----------
    flux : ndarray (y, x)
        NaN = not to be used.
    lags : int
        Largest lag [px].
    """
    use = find_empty(flux)
    values = np.where(use, flux - flux[use].mean(), 0.0)
    shape = tuple(next_fast_len(side + lags, real=True) for side in flux.shape)
    products, pairs = (
        irfft2(np.abs(rfft2(part, shape)) ** 2, shape) for part in (values, use.astype(np.float64))
    )
    steps = np.arange(lags + 1)
    table = sum(
        products[np.ix_(steps, sign * steps)] / np.maximum(pairs[np.ix_(steps, sign * steps)], 1.0)
        for sign in (1, -1)
    )
    return table / table[0, 0]


def find_empty(flux: np.ndarray) -> np.ndarray:
    """Return which pixels of an image (y, x) are empty sky: usable, and not on an object nor beside one.

    Objects are where the smoothed image stands out. NaN = not to be used.
    """
    good = np.isfinite(flux)
    filled = np.where(good, flux, 0.0)
    smooth = gaussian_filter(filled, _SMOOTHING)
    objects = smooth > np.median(smooth[good]) + _OBJECT * _lower_scatter(smooth[good])
    middle, sigma = np.median(flux[good]), _lower_scatter(flux[good])
    use = good & ~binary_dilation(objects, iterations=_MASKED_ROUND)
    return use & (np.abs(filled - middle) < _OUTLIER * sigma)


def _lower_scatter(values: np.ndarray) -> float:
    """Return the sigma of what scatters below the median, where no objects are."""
    low, middle = np.percentile(values, [15.87, 50.0])
    return float(middle - low)
