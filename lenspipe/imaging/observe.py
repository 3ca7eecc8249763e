"""The noise of a telescope's images."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

ops: Any = keras.ops  # its annotations allow None everywhere


def add_noise(flux: Any, sky_sigma: Any, electrons_per_njy: Any, normal: Any) -> Any:
    """Return noise-free images with noise: sky and read noise of all exposures, Poisson noise of the objects.

    On a device, and differentiable; `noise_sigma` is the same for arrays.

    Parameters
    ----------
    flux : tensor (n, y, x, b)
        Noise-free flux of the objects [nJy per pixel].
    sky_sigma : tensor (n, b)
        Noise of an empty pixel of the coadd [nJy] (`core.survey.Band.sky_sigma`).
    electrons_per_njy : tensor (b,)
        Electrons that all exposures together detect per nJy.
    normal : tensor (n, y, x, b)
        Standard normal numbers.
    """
    flux = ops.convert_to_tensor(flux)
    sky, gain, normal = (ops.cast(value, flux.dtype) for value in (sky_sigma, electrons_per_njy, normal))
    return flux + normal * ops.sqrt(ops.square(sky)[:, None, None, :] + ops.maximum(flux, 0.0) / gain)


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
    flux, gain, sky = (np.asarray(values) for values in (flux, electrons_per_njy, sky_sigma))
    if flux.ndim > 1:  # numpy is four times faster along whole rows than along the bands
        gain, sky = (
            np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:-2], *flux.shape[-2:])))
            for values in (gain, sky)
        )
    return np.sqrt(np.square(sky) + np.maximum(flux, 0.0) / gain)
