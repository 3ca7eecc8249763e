"""What a telescope does to the sky: point-spread function, pixels, noise."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from scipy.fft import next_fast_len

ops: Any = keras.ops  # its annotations allow None everywhere


def psf_kernel(fwhm: Any, beta: Any, radius: int, scale: float) -> Any:
    """Return point-spread functions on a grid, centred on its middle point, sum 1.

    A Moffat profile (1 + r^2/a^2)^-beta with a = fwhm / (2 sqrt(2^(1/beta) - 1)) (Moffat 1969), or its
    limit for infinite beta, a Gaussian. The values are those at the grid's points: not integrated over
    pixels, so that a convolution adds nothing to the PSF's width.

    Parameters
    ----------
    fwhm : tensor (n, b)
        Full width at half maximum [arcsec].
    beta : tensor (n,)
        Moffat index; inf or NaN = Gaussian.
    radius : int
        Half-width of the grid; what lies outside of it is cut off.
    scale : float
        Distance of the grid's points [arcsec]; at most a third of the FWHM.

    Returns
    -------
    tensor (n, 2 radius + 1, 2 radius + 1, b)
    """
    axis = scale * np.arange(-radius, radius + 1)
    return _psf_on(fwhm, beta, axis, 1.0)


def psf_transfer(fwhm: Any, beta: Any, radius: int, scale: float, frame: int, box: float = 0.0) -> Any:
    """Return the Fourier transform of `psf_kernel` on a periodic grid, times that of a square box.

    The kernel is real and even, hence so is its transform; being small, it is transformed faster by
    two matrices of cosines than by an FFT of the whole frame.

    Parameters
    ----------
    fwhm, beta, radius, scale
        As in `psf_kernel`.
    frame : int
        Side of the periodic grid [points], greater than 2 radius.
    box : float
        Side of a box, the detector's pixel, in grid points; 0 = none.

    Returns
    -------
    tensor (n, b, frame, frame)
        Frequencies in FFT order.
    """
    if frame <= 2 * radius:
        raise ValueError(f"frame must exceed 2 radius = {2 * radius} points, received {frame}")
    weights = np.full(radius + 1, 2.0)
    weights[0] = 1.0  # the middle of the kernel is there once, everything else on both sides
    frequency = np.fft.fftfreq(frame)
    cosines = np.cos(2.0 * np.pi * frequency[:, None] * np.arange(radius + 1)) * weights
    quadrant = _psf_on(fwhm, beta, scale * np.arange(radius + 1), np.outer(weights, weights))
    quadrant = ops.transpose(quadrant, (0, 3, 1, 2))
    matrix = ops.cast(cosines * np.sinc(box * frequency)[:, None], quadrant.dtype)
    return ops.matmul(ops.matmul(matrix, quadrant), ops.transpose(matrix))


def _psf_on(fwhm: Any, beta: Any, axis: np.ndarray, weights: np.ndarray | float) -> Any:
    """Return PSF values on axis x axis, their weighted sum 1: (n, len(axis), len(axis), b)."""
    fwhm = ops.convert_to_tensor(fwhm)
    beta = ops.cast(beta, fwhm.dtype)
    r2 = ops.cast((axis[:, None] ** 2 + axis**2)[None, :, :, None], fwhm.dtype)
    fwhm, beta = fwhm[:, None, None, :], beta[:, None, None, None]
    gaussian = ops.logical_not(ops.isfinite(beta))
    index = ops.where(gaussian, 3.0, beta)
    steepness = 4.0 * ops.expm1(math.log(2.0) / index) / (fwhm * fwhm)
    moffat = ops.exp(-index * ops.log1p(r2 * steepness))
    values = ops.where(gaussian, ops.exp(-4.0 * math.log(2.0) * r2 / (fwhm * fwhm)), moffat)
    counts = ops.cast(np.broadcast_to(weights, r2.shape[1:3])[None, :, :, None], values.dtype)
    return values / ops.sum(values * counts, axis=(1, 2), keepdims=True)


def convolve(image: Any, kernel: Any) -> Any:
    """Return images convolved with kernels, zero outside of the frame; edges do not wrap.

    Parameters
    ----------
    image : tensor (n, y, x, b)
    kernel : tensor (n or 1, k, k, b)
        Odd side, centred on its middle point.
    """
    image, kernel = ops.convert_to_tensor(image), ops.convert_to_tensor(kernel)
    side = kernel.shape[1]
    if side % 2 == 0 or kernel.shape[2] != side:
        raise ValueError(f"kernel must be square with an odd side, received {tuple(kernel.shape[1:3])}")
    height, width = image.shape[1], image.shape[2]
    shape = (next_fast_len(height + side - 1), next_fast_len(width + side - 1))
    a, b = ops.fft2(_padded(image, shape))
    c, d = ops.fft2(_padded(kernel, shape))
    real, _ = ops.ifft2((a * c - b * d, a * d + b * c))
    half = side // 2
    return ops.transpose(real[:, :, half : half + height, half : half + width], (0, 2, 3, 1))


def _padded(image: Any, shape: tuple[int, int]) -> tuple[Any, Any]:
    """Return (real, imaginary) parts, (n, b, y, x), with zeros below and to the right up to `shape`."""
    image = ops.transpose(image, (0, 3, 1, 2))
    pad = [(0, 0), (0, 0), (0, shape[0] - image.shape[2]), (0, shape[1] - image.shape[3])]
    real = ops.pad(image, pad)
    return real, ops.zeros_like(real)


def noise_sigma(flux: np.ndarray, electrons_per_njy: np.ndarray, sky_sigma: np.ndarray) -> np.ndarray:
    """Return the noise [nJy] of every pixel: that of an empty one and the object's Poisson noise.

    Parameters
    ----------
    flux : ndarray (..., band)
        Noise-free flux of the objects [nJy per pixel].
    electrons_per_njy : ndarray (band,)
        Electrons detected per nJy.
    sky_sigma : ndarray (band,)
        Noise of an empty pixel [nJy].
    """
    return np.sqrt(np.square(sky_sigma) + np.maximum(flux, 0.0) / np.asarray(electrons_per_njy))
