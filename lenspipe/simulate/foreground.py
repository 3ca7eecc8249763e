"""Unlensed light as Gaussians on the detector's pixels: exact in shape, no grid, no edge, no convolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from lenspipe.lensing.coordinates import RADIANS

ops: Any = keras.ops  # its annotations allow None everywhere

#: Gaussians summed in one compiled kernel.
CHUNK = 8
#: Cumulants of the pixel's box, side 1: the second widens a Gaussian, the others change its shape.
_VARIANCE, _FOURTH, _SIXTH = 1.0 / 12.0, -1.0 / 120.0 / 24.0, 1.0 / 252.0 / 720.0


def expose_gaussians(light: Mapping[str, Any], shift: tuple[Any, Any], size: int) -> Any:
    """Return the images of sums of elliptical Gaussians, blurred and integrated over pixels.

    The pixel's box turns a Gaussian G of covariance C into (1 + k4 d^4 + k6 d^6) G(C + 1/12), summed over both
    axes (its Edgeworth series): 1e-4 of the peak where the PSF's sigma is 0.7 pixels, 2e-6 at 1.2 pixels.

    Parameters
    ----------
    light : mapping
        Lengths in pixels. ``x, y, q, phi, variance`` (n, g): centre from the stamp's, axis ratio, position
        angle [deg], sigma^2 on the intermediate axis. ``flux`` and ``blur`` (n, g, b), sigma^2 of the round Gaussian
        through which it is seen in each band. g is a multiple of `CHUNK`.
    shift : two tensors (n, b) [pixels]
        Offset of each band's image.
    size : int
        Side of the stamp.

    Returns
    -------
    tensor (n, b, size, size)
        Flux per pixel.
    """
    dtype = keras.backend.standardize_dtype(light["flux"].dtype)
    count, _, bands = light["flux"].shape
    pixels = np.arange(size) - 0.5 * (size - 1)
    across = ops.cast(pixels[None, None, None, :], dtype)
    up = ops.cast(pixels[None, None, :, None], dtype)
    each = (light["x"], light["y"], *covariance(light), light["flux"], light["blur"] + _VARIANCE)
    columns = [in_chunks(values) for values in each]

    def add_chunk(image: Any, chunk: Any) -> tuple[Any, Any]:
        x, y, xx, xy, yy, flux, blur = chunk
        for k in range(CHUNK):
            a, b, c, peak = _precision(xx[k][:, None] + blur[k], xy[k][:, None], yy[k][:, None] + blur[k])
            amplitude = flux[k] * peak
            dx = across - _spread(x[k][:, None] + shift[0])
            dy = up - _spread(y[k][:, None] + shift[1])
            image = image + _spread(amplitude) * _pixel_gaussian(dx, dy, _spread(a), _spread(b), _spread(c))
        return image, None

    image, _ = ops.scan(add_chunk, ops.zeros((count, bands, size, size), dtype), columns)
    return image


def _spread(values: Any) -> Any:
    """Return (n, b) as (n, b, 1, 1)."""
    return values[:, :, None, None]


def covariance(light: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return (xx, xy, yy) of ellipses given by ``variance``, ``q`` and ``phi`` [deg, from +y]."""
    cos, sin = ops.cos(2.0 * RADIANS * light["phi"]), ops.sin(2.0 * RADIANS * light["phi"])
    half_sum, half_difference = 0.5 * (1.0 / light["q"] + light["q"]), 0.5 * (1.0 / light["q"] - light["q"])
    variance = light["variance"]
    return (
        variance * (half_sum - half_difference * cos),
        -variance * half_difference * sin,
        variance * (half_sum + half_difference * cos),
    )


def in_chunks(values: Any) -> Any:
    """Return columns of Gaussians (n, g, ...) as (g / CHUNK, CHUNK, n, ...), for a scan."""
    values = ops.reshape(values, (values.shape[0], -1, CHUNK, *values.shape[2:]))
    return ops.moveaxis(values, 0, 2)


def _precision(xx: Any, xy: Any, yy: Any) -> tuple[Any, Any, Any, Any]:
    """Return the inverse of a covariance matrix and the peak of its unit Gaussian."""
    determinant = xx * yy - xy * xy
    return yy / determinant, -xy / determinant, xx / determinant, 0.5 / np.pi * ops.rsqrt(determinant)


def _pixel_gaussian(dx: Any, dy: Any, a: Any, b: Any, c: Any) -> Any:
    """Return exp(-r A r / 2) with the pixel's fourth and sixth cumulant, for A = [[a, b], [b, c]]."""
    p, r = a * dx + b * dy, b * dx + c * dy
    shape = (1.0 + _edgeworth(p * p, a)) * (1.0 + _edgeworth(r * r, c))
    return shape * ops.exp(-0.5 * (p * dx + r * dy))


def _edgeworth(p2: Any, a: Any) -> Any:
    """Return (k4 d^4 + k6 d^6) G / G along one axis, where p2 is the square of d(ln G) and a its curvature."""
    constant = 3.0 * _FOURTH * a**2 - 15.0 * _SIXTH * a**3
    linear = -6.0 * _FOURTH * a + 45.0 * _SIXTH * a**2
    square = _FOURTH - 15.0 * _SIXTH * a
    return constant + p2 * (linear + p2 * (square + p2 * _SIXTH))
