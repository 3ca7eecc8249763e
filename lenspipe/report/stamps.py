"""Stamps in colour, as arrays and as PNG data URIs."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from astropy.visualization import make_lupton_rgb
from matplotlib.image import imsave

from lenspipe.report.figures import data_uri

# Weights of red, green, blue on flux densities: with them a galaxy of old stars at z = 0.4 is warm
# (g-r = 1.2, r-i = 0.5) and a flat spectrum, the usual lensed source, is blue.
_COLOUR_WEIGHTS = (0.7, 1.0, 1.6)


#: Lengths of scale bars [arcsec].
_BARS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)


def choose_rgb(bands: Sequence[str], rgb: Sequence[str]) -> list[int]:
    """Return which of a stamp's bands are red, green and blue; where one of `rgb` is missing, the first for all."""
    chosen = [list(bands).index(band) for band in rgb if band in bands]
    return chosen if len(chosen) == 3 else [0, 0, 0]


def bar_length(side: float) -> float | None:
    """Return the longest round bar that takes at most a third of a stamp's side [arcsec]; None if none fits."""
    return max((length for length in _BARS if length <= side / 3), default=None)


def colour_stamp(
    image: np.ndarray,
    noise_sigma: np.ndarray,
    rgb_indices: Sequence[int],
    stretch: float = 12,
    softening: float = 8,
) -> str:
    """Return `colour_image` as a PNG data URI, +y of the array up."""
    rgb = colour_image(image, noise_sigma, rgb_indices, stretch, softening)
    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(rgb[::-1]), format="png", metadata={"Software": "lenspipe"})
    return data_uri(buffer.getvalue(), "image/png")


def colour_image(
    image: np.ndarray,
    noise_sigma: np.ndarray,
    rgb_indices: Sequence[int],
    stretch: float = 12,
    softening: float = 8,
) -> np.ndarray:
    """Return a stamp in colour (y, x, 3), uint8.

    The arcsinh stretch keeps hue whatever the brightness (Lupton et al. 2004, PASP 116, 133, eqs. 2-5).
    All bands are divided by one number, their typical noise: empty sky looks the same in every stamp and
    survey, and colours mean the same.

    Parameters
    ----------
    image : ndarray (y, x, band)
        nJy per pixel; not-finite pixels are shown as sky.
    noise_sigma : ndarray (band,)
        Noise [nJy per pixel]; one that is not positive is replaced by the pixels' own scatter.
    rgb_indices : sequence of 3 int
        Bands shown as red, green, blue; the same one three times gives grey, as does an image of one band.
    stretch : float
        Noise sigmas over which the stretch is linear.
    softening : float
        Lupton's Q: larger shows more of bright cores.
    """
    image = np.asarray(image, dtype=np.float64)
    image = image[..., None] if image.ndim == 2 else image
    sigma = np.broadcast_to(np.asarray(noise_sigma, dtype=float), image.shape[2])
    indices = [min(k, image.shape[2] - 1) for k in rgb_indices]
    weights = _COLOUR_WEIGHTS if len(set(indices)) > 1 else (1.0, 1.0, 1.0)
    noises = [w * _noise(image[..., k], sigma[k]) for w, k in zip(weights, indices, strict=True)]
    positive = [noise for noise in noises if noise > 0]
    scale = math.exp(np.mean(np.log(positive))) if positive else 1.0
    channels = [
        np.clip(np.nan_to_num(image[..., k] * w / scale, nan=0.0, posinf=0.0, neginf=0.0), -1e6, 1e6)
        for w, k in zip(weights, indices, strict=True)
    ]
    return make_lupton_rgb(*channels, minimum=-1, stretch=stretch, Q=softening)  # pyright: ignore


def _noise(channel: np.ndarray, sigma: float) -> float:
    """Return the noise given, or the scatter of the pixels; 0 if there is neither."""
    if np.isfinite(sigma) and sigma > 0:
        return float(sigma)
    good = channel[np.isfinite(channel)]
    return 1.4826 * float(np.median(np.abs(good - np.median(good)))) if len(good) else 0.0
