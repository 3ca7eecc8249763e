"""Scenes through a PSF that is given as an image: their spectra, for a product in Fourier space.

Gaussians have closed spectra, and a grid of cells has one by two products of matrices, so that nothing is
sampled on the way to the pixels' frequencies but the PSF itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from scipy.fft import next_fast_len

from lenspipe.simulate.arcs import Cells, mix
from lenspipe.simulate.foreground import CHUNK, covariance, in_chunks

ops: Any = keras.ops  # its annotations allow None everywhere


def frame_of(size: int, psf_side: int) -> int:
    """Return the side [px] of the periodic frame on which stamps are convolved; nothing wraps into them."""
    return next_fast_len(size + psf_side + 1)


def transform_psf(psf_image: np.ndarray, size: int) -> np.ndarray:
    """Return the spectra (n, b, 2, f, f), real and imaginary part, of PSF images (n, b, k, k).

    An image is a star as the detector's pixels see it, k odd, the star on the middle pixel. It is
    normalised: those of surveys have sums of 0.88 to 1.76.

    Raises
    ------
    ValueError
        If the images are not square with an odd side, or have no flux.
    """
    side = psf_image.shape[-1]
    if side % 2 == 0 or psf_image.shape[-2] != side:
        raise ValueError(f"a PSF image must be square with an odd side, received {psf_image.shape[-2:]}")
    total = np.sum(psf_image, axis=(-2, -1), keepdims=True, dtype=np.float64)
    if not np.all(np.isfinite(total) & (total > 0)):
        raise ValueError("a PSF image must have finite pixels and positive flux")
    frame = frame_of(size, side)
    padded = np.zeros((*psf_image.shape[:2], frame, frame))
    padded[..., :side, :side] = psf_image / total
    spectrum = np.fft.fft2(np.roll(padded, -(side // 2), axis=(-2, -1)))
    return np.stack([spectrum.real, spectrum.imag], axis=2)


def transform_gaussians(light: Mapping[str, Any], frame: int) -> tuple[Any, Any]:
    """Return the spectra of sums of Gaussians, (real, imaginary), (n, b, f, f) each.

    Parameters
    ----------
    light : mapping
        As `foreground.expose_gaussians` takes it.
    frame : int
        Side of the periodic frame [px]; its first pixel is where the stamp's centre is.
    """
    dtype = keras.backend.standardize_dtype(light["x"].dtype)
    count, _, bands = light["flux"].shape
    omega = ops.cast(2.0 * np.pi * np.fft.fftfreq(frame), dtype)
    columns = [in_chunks(values) for values in (light["x"], light["y"], *covariance(light), light["flux"])]
    wx, wy = omega[None, None, :], omega[None, :, None]

    def add_chunk(spectra: Any, chunk: Any) -> tuple[Any, Any]:
        x, y, xx, xy, yy, flux = chunk
        real, imaginary = list(spectra[0]), list(spectra[1])
        for k in range(CHUNK):
            a, b, c = (value[k][:, None, None] for value in (xx, xy, yy))
            shape = ops.exp(-0.5 * (a * wx * wx + c * wy * wy) - b * wx * wy)
            cos_x, sin_x = ops.cos(x[k][:, None, None] * wx), ops.sin(x[k][:, None, None] * wx)
            cos_y, sin_y = ops.cos(y[k][:, None, None] * wy), ops.sin(y[k][:, None, None] * wy)
            even, odd = shape * (cos_x * cos_y - sin_x * sin_y), shape * (sin_x * cos_y + cos_x * sin_y)
            for band in range(bands):
                amplitude = flux[k][:, band][:, None, None]
                real[band] = real[band] + amplitude * even
                imaginary[band] = imaginary[band] - amplitude * odd
        return (tuple(real), tuple(imaginary)), None

    zeros = (ops.zeros((count, frame, frame), dtype),) * bands
    (real, imaginary), _ = ops.scan(add_chunk, (zeros, zeros), columns)
    return ops.stack(real, axis=1), ops.stack(imaginary, axis=1)


def transform_cells(cells: Cells, pixel_scale: float, frame: int) -> tuple[Any, Any]:
    """Return the spectra of lensed light, (real, imaginary), (n, b, f, f) each; `frame` as above."""
    omega = ops.cast(2.0 * np.pi * np.fft.fftfreq(frame), keras.backend.standardize_dtype(cells.x.dtype))
    # takes back the width of the mean of two points half a cell apart
    sharper = ops.exp(ops.square(omega * cells.step[:, None] / pixel_scale) / 32.0)[:, None, :, None]
    cos_x, sin_x, cos_y, sin_y = (
        function(omega[:, None] * points[:, None, :] / pixel_scale)[:, None] * sharper
        for points in (cells.x, cells.y)
        for function in (ops.cos, ops.sin)
    )
    light = mix(cells)
    even, odd = ops.matmul(cos_y, light), ops.matmul(sin_y, light)
    cos_x, sin_x = ops.swapaxes(cos_x, -1, -2), ops.swapaxes(sin_x, -1, -2)
    real = ops.matmul(even, cos_x) - ops.matmul(odd, sin_x)
    imaginary = -(ops.matmul(even, sin_x) + ops.matmul(odd, cos_x))
    if len(cells.brightness) == 1:
        flux = cells.flux[:, :, :, None]
        real, imaginary = real * flux, imaginary * flux
    return real, imaginary


def see_through(
    foreground: tuple[Any, Any], arcs: tuple[Any, Any], psf: Any, shift: tuple[Any, Any], size: int
) -> tuple[Any, Any]:
    """Return the images (n, b, size, size) of two spectra through PSFs (n, b, 2, f, f), shifted by `shift` [px]."""
    frame = psf.shape[-1]
    # where the frame's first pixel is the stamp's centre, the stamp's first pixel is half a stamp before it
    half = 0.5 * (size - 1)
    omega = ops.cast(2.0 * np.pi * np.fft.fftfreq(frame), keras.backend.standardize_dtype(psf.dtype))
    angle = -(
        omega * (shift[0] + half)[..., None, None] + omega[:, None] * (shift[1] + half)[..., None, None]
    )
    cos, sin = ops.cos(angle), ops.sin(angle)
    real, imaginary = psf[:, :, 0] * cos - psf[:, :, 1] * sin, psf[:, :, 0] * sin + psf[:, :, 1] * cos
    # two real images are one complex one
    a, b = foreground[0] - arcs[1], foreground[1] + arcs[0]
    images = ops.ifft2((a * real - b * imaginary, a * imaginary + b * real))
    return images[0][..., :size, :size], images[1][..., :size, :size]
