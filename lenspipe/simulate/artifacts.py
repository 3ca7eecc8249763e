"""What the detector and the coaddition do to an image: noise, cosmic rays, unusable pixels, missing bands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lenspipe.config import RealismSection
from lenspipe.core.rng import stream, uniforms
from lenspipe.core.survey import Survey
from lenspipe.imaging.noise import correlate_bands
from lenspipe.imaging.observe import noise_sigma
from lenspipe.imaging.stamps import BEYOND, FILLED, mend_stamps

#: Cosmic rays left in a coadd: how many, length [px], brightness per pixel [sky noise].
_RAYS, _RAY_LENGTH, _RAY_SIGMA = (1, 3), (2.0, 14.0), (8.0, 60.0)
_HOLE = (1.0, 4.0)  # radius of a patch of unusable pixels [px]


def draw_noise(
    survey: Survey,
    seed: int,
    sample_ids: Sequence[int] | np.ndarray,
    image: np.ndarray,
    sky_sigma: np.ndarray,
    bands: Sequence[str],
    correlated: bool,
) -> np.ndarray:
    """Return the noise (n, y, x, b), float32, of sky and objects in noise-free images.

    Gaussian, not Poisson, electrons: a sampler of whole numbers would make rounding of the renderer, which
    differs with the batch, into another noise; under this sky none can tell.

    Parameters
    ----------
    image : ndarray (n, y, x, b)
        nJy per pixel.
    sky_sigma : ndarray (n, b)
        Noise of an empty pixel [nJy].
    correlated : bool
        Whether neighbouring pixels share noise, as the survey's `noise_correlation` says.
    """
    gain = np.array([survey.bands[band].electrons_per_njy() for band in bands], dtype=np.float32)
    shape = image.shape[1:]
    normal = np.stack(
        [stream(seed, "noise", int(k)).standard_normal(shape, dtype=np.float32) for k in sample_ids]
    )
    if correlated:
        normal = correlate_bands(normal, survey.correlations(bands))
    sky = np.asarray(sky_sigma, np.float32)[:, None, None, :]
    return (noise_sigma(image, gain, sky) * normal).astype(np.float32, copy=False)


def saturate(image: np.ndarray, full: Sequence[float] | np.ndarray, bleeding: bool = True) -> np.ndarray:
    """Return images (..., y, x, b), nJy per pixel, whose pixels hold no more than the survey's can.

    Parameters
    ----------
    image : ndarray (..., y, x, b)
    full : sequence of float (b,)
        What a pixel can hold [nJy] (`Survey.saturation`).
    bleeding : bool
        Whether the charge beyond flows along the column, half of it either way, and fills the next pixels; what
        reaches the image's edge is lost. Else it is all lost.
    """
    full = np.asarray(full, image.dtype)
    out = np.minimum(image, full)
    if not bleeding:
        return out
    over = np.any(image > full, axis=-3)
    columns = np.moveaxis(out, -3, -1)  # a view
    held = columns[over].astype(np.float64)  # (m, y)
    charge = 0.5 * (np.moveaxis(image, -3, -1)[over] - held)
    most = np.broadcast_to(full, over.shape)[over]
    for order in (range(held.shape[1]), reversed(range(held.shape[1]))):
        carried = np.zeros(len(held))
        for y in order:
            total = held[:, y] + carried + charge[:, y]
            held[:, y] = np.minimum(total, most)
            carried = total - held[:, y]
    columns[over] = held
    return out


def strike(
    image: np.ndarray, sky_sigma: np.ndarray, seed: int, sample_ids: np.ndarray, struck: np.ndarray, central: bool
) -> np.ndarray:  # fmt: skip
    """Return images (n, y, x, b) of which those `struck` (n,) have cosmic rays in one band.

    Parameters
    ----------
    sky_sigma : ndarray (n, b)
        Their brightness goes by it.
    central : bool
        Whether they hit near the middle.
    """
    out = image.copy()
    band = (uniforms(seed, "faults", sample_ids, 2)[:, 1] * image.shape[-1]).astype(int)
    for k in np.flatnonzero(struck):
        rays = _rays(stream(seed, "cosmic rays", int(sample_ids[k])), image.shape[1], central)
        out[k, :, :, band[k]] += rays * np.float32(sky_sigma[k, band[k]])
    return out


def spoil(
    image: np.ndarray, sky_sigma: np.ndarray, full: Sequence[float] | np.ndarray, seed: int,
    sample_ids: np.ndarray, realism: RealismSection, struck: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return noisy images as ingest hands them on: saturated, some with cosmic rays, filled pixels, a band less.

    Parameters
    ----------
    image : ndarray (n, y, x, b), float32
    sky_sigma : ndarray (n, b)
    full : sequence of float (b,)
        What a pixel can hold [nJy] (`Survey.saturation`).
    realism : RealismSection
        bleeding, cosmic_rays, masked and missing_bands are used.
    struck : ndarray (n,), bool
        Those that have their cosmic rays already.
    """
    u = uniforms(seed, "faults", sample_ids, 6)
    out = saturate(image, full, realism.bleeding)
    out = strike(out, sky_sigma, seed, sample_ids, ~struck & (u[:, 0] < realism.cosmic_rays), central=False)
    return mend_stamps(out, draw_masks(seed, sample_ids, image.shape[1], image.shape[-1], realism))


def draw_masks(
    seed: int, sample_ids: np.ndarray, size: int, bands: int, realism: RealismSection
) -> np.ndarray:
    """Return which pixels (n, size, size, bands) `spoil` takes away, as `imaging.stamps` says it: uint8.

    `FILLED` where `realism.masked` makes them unusable, `BEYOND` all over a missing band; else 0.
    """
    u = uniforms(seed, "faults", sample_ids, 6)
    mask = np.zeros((len(u), size, size, bands), np.uint8)
    for k in np.flatnonzero(u[:, 2] < realism.masked):
        bad = _bad_pixels(stream(seed, "bad pixels", int(sample_ids[k])), size)
        mask[k, ..., int(u[k, 3] * bands)][bad] = FILLED
    for k in np.flatnonzero((u[:, 4] < realism.missing_bands) & (bands > 1)):
        mask[k, ..., int(u[k, 5] * bands)] = BEYOND
    return mask


def _rays(rng: np.random.Generator, size: int, central: bool) -> np.ndarray:
    """Return cosmic rays [sky noise per pixel] (size, size): sharp lines that no PSF has blurred."""
    out = np.zeros((size, size), dtype=np.float32)
    reach = 0.12 if central else 0.5
    for _ in range(rng.integers(_RAYS[0], _RAYS[1] + 1)):
        start = (0.5 + reach * (2.0 * rng.random(2) - 1.0)) * (size - 1)
        angle, length = np.pi * rng.random(), rng.uniform(*_RAY_LENGTH)
        steps = np.arange(0.0, length, 0.25)
        row, column = (np.rint(s + steps * d).astype(int) for s, d in
                       zip(start, (np.sin(angle), np.cos(angle)), strict=True))  # fmt: skip
        inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
        out[row[inside], column[inside]] = rng.uniform(*_RAY_SIGMA)
    return out


def _bad_pixels(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return which pixels are unusable: a dead column, or a patch somewhere."""
    bad = np.zeros((size, size), dtype=bool)
    if rng.random() < 0.4:
        bad[:, rng.integers(size)] = True
        return bad
    row, column = np.ogrid[:size, :size]
    y, x = rng.random(2) * size
    return bad | ((row - y) ** 2 + (column - x) ** 2 < rng.uniform(*_HOLE) ** 2)
