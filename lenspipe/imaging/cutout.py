"""Stamps: cut, resampled, reprojected; edges and bad pixels are NaN until the very end."""

from __future__ import annotations

import math
import warnings

import numpy as np
from astropy.wcs import WCS

from lenspipe.core.types import BandImage
from lenspipe.imaging.astrometry import pixels_of, sky_of, sky_steps

#: Radius of the aperture of `mag_<band>` and `snr_<band>` [arcsec].
APERTURE_RADIUS = 1.5


def corner(centre: float, size: int) -> int:
    """Return the first row or column of the stamp of `size` pixels whose middle is nearest to `centre`."""
    return math.floor(centre - (size - 1) / 2 + 0.5)


def cut_stamp(image: np.ndarray, x: float, y: float, size: int) -> np.ndarray:
    """Return the (size, size) stamp whose centre is nearest to (x, y), float32; NaN beyond the image.

    Its centre is at ``(size - 1) / 2`` and differs from (x, y) by at most half a pixel.
    """
    return cut_many(np.asarray(image, np.float32), np.array([x]), np.array([y]), size)[0]


def cut_many(image: np.ndarray, x: np.ndarray, y: np.ndarray, size: int, fill: float = np.nan) -> np.ndarray:
    """Return the stamps (n, size, size) that `cut_stamp` gives, all at once; `fill` beyond the image."""
    height, width = image.shape
    left, bottom = (np.floor(np.asarray(c, float) - (size - 1) / 2 + 0.5).astype(int) for c in (x, y))
    stamps = np.empty((len(left), size, size), image.dtype)
    whole = (left >= 0) & (bottom >= 0) & (left + size <= width) & (bottom + size <= height)
    if whole.any():
        every = np.lib.stride_tricks.sliding_window_view(image, (size, size))
        stamps[whole] = every[bottom[whole], left[whole]]
    for k in np.flatnonzero(~whole):
        stamps[k] = fill
        x0, x1 = max(left[k], 0), min(left[k] + size, width)
        y0, y1 = max(bottom[k], 0), min(bottom[k] + size, height)
        if x0 < x1 and y0 < y1:
            stamps[k, y0 - bottom[k] : y1 - bottom[k], x0 - left[k] : x1 - left[k]] = image[y0:y1, x0:x1]
    return stamps


def stamps_inside(
    shape: tuple[int, ...], x: np.ndarray, y: np.ndarray, size: int, ratio: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows and columns (n, size) of stamps have their centres on an image of that shape.

    The stamps' pixels are `ratio` times as large as the image's; a rotation between the two is ignored.
    """
    middle = (size - 1) / 2
    on = []
    for centre, length in ((y, shape[0]), (x, shape[1])):
        centre = np.asarray(centre, float)
        if ratio == 1.0:  # as `cut_many` does
            centre = np.floor(centre - middle + 0.5) + middle
        place = centre[:, None] + (np.arange(size) - middle) * ratio
        on.append((place >= -0.5) & (place <= length - 0.5))
    return on[0], on[1]


def linear_wcs(pixel_scale: float, x: float, y: float) -> WCS:
    """Return a plain TAN WCS of a pixel scale [arcsec] whose reference pixel is (x, y), 0-based."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [0.0, 0.0]
    wcs.wcs.crpix = [x + 1.0, y + 1.0]
    wcs.wcs.cdelt = [-pixel_scale / 3600.0, pixel_scale / 3600.0]
    return wcs


def resample_stamp(image: np.ndarray, x: float, y: float, size: int, ratio: float) -> np.ndarray:
    """Return a stamp around (x, y) whose pixels are `ratio` times as large, flux conserved.

    Of a cubic spline through the pixels each new one is the mean; with ratio 1 it is `cut_stamp`. (Pixels that overlap
    as squares would do for sums of many; where old and new ones are alike in size they leave a pattern of a tenth of
    the peak in cores, which a network takes for arcs.)
    """
    if ratio == 1.0:
        return cut_stamp(image, x, y, size)
    native = cut_stamp(image, x, y, math.ceil(size * ratio) + 6)
    step = _points(size, ratio)
    columns, rows = (c - corner(c, len(native)) + ratio * step for c in (x, y))
    return _average(native, *np.meshgrid(columns, rows), size) * np.float32(ratio**2)


def reproject_stamp(image: np.ndarray, wcs_in: WCS, wcs_out: WCS, size: int) -> np.ndarray:
    """Return an image on the grid of another WCS, as `resample_stamp` does it; NaN where it does not reach."""
    from astropy.wcs.utils import pixel_to_pixel, proj_plane_pixel_area

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # surface brightness is conserved; ours are fluxes per pixel
        area_ratio = proj_plane_pixel_area(wcs_out) / proj_plane_pixel_area(wcs_in)
        step = _points(size, math.sqrt(area_ratio)) + (size - 1) / 2
        place = pixel_to_pixel(wcs_out, wcs_in, *np.meshgrid(step, step))
    x, y = (np.where(np.isfinite(axis), axis, -9.0) for axis in place)
    return _average(image, x, y, size) * np.float32(area_ratio)


def _points(size: int, ratio: float) -> np.ndarray:
    """Return where pixels, `ratio` times those of an image, are looked at along an axis, from its middle."""
    finer = max(3, math.ceil(2 * ratio))
    return (np.arange(finer * size) + 0.5) / finer - 0.5 * size


def _average(image: np.ndarray, x: np.ndarray, y: np.ndarray, size: int) -> np.ndarray:
    """Return the mean of an image over the points in each of (size, size) pixels; NaN if one of them is not usable."""
    from scipy.ndimage import map_coordinates

    bad = ~np.isfinite(image)
    if bad.any():
        image = np.nan_to_num(fill_bad_pixels(image[None])[0])
    flux = map_coordinates(image.astype(np.float64), [y, x], order=3, mode="nearest")
    flux[map_coordinates(bad, [y, x], order=0, mode="grid-constant", cval=True)] = np.nan
    return flux.reshape(size, len(flux) // size, size, -1).mean(axis=(1, 3)).astype(np.float32)


def local_wcs(wcs: WCS, x: float, y: float, size: int, ratio: float) -> WCS:
    """Return the WCS (ICRS) of a stamp around pixel (x, y) of a tile, its pixels `ratio` times as large.

    With ratio 1 the stamp's pixels are those of `cut_stamp`; distortion is linearised, which over a
    stamp is good to far below a pixel.
    """
    middle = (size - 1) / 2
    if ratio == 1.0:
        x, y = (corner(c, size) + middle for c in (x, y))
    stamp = linear_wcs(1.0, middle, middle)
    stamp.wcs.crval = [float(v) for v in sky_of(wcs, x, y)]
    stamp.wcs.cdelt = [1.0, 1.0]
    stamp.wcs.pc = sky_steps(wcs, x, y) * ratio
    return stamp


def window(image: BandImage, target: WCS, size: int, ratio: float) -> tuple[np.ndarray, WCS] | None:
    """Return the part of a band that can reach a stamp, and its WCS: all that reprojection needs; else None."""
    middle = (size - 1) / 2
    x, y = (float(v) for v in pixels_of(image.wcs, *sky_of(target, middle, middle)))
    if not math.isfinite(x):
        return None
    half = math.ceil(0.75 * size * ratio) + 4  # 0.71 is the half diagonal
    height, width = image.flux.shape
    x0, x1 = (int(np.clip(round(x) + d, 0, width)) for d in (-half, half))
    y0, y1 = (int(np.clip(round(y) + d, 0, height)) for d in (-half, half))
    if x1 - x0 < 2 or y1 - y0 < 2:
        return None
    return image.flux[y0:y1, x0:x1], image.wcs[y0:y1, x0:x1]


def fill_bad_pixels(images: np.ndarray) -> np.ndarray:
    """Return images (n, y, x) with NaN pixels replaced by the mean of good ones near them, Gaussian weights.

    A zero in the middle of a galaxy is a feature to a network; a smooth patch is none. Holes at an image's
    edge are filled from the inside only; pixels with no good one within reach stay NaN.
    """
    out = np.array(images, np.float32)
    height, width = out.shape[1:]
    step = np.arange(-_REACH, _REACH + 1)
    kernel = np.exp(-0.5 * (step[:, None] ** 2 + step[None, :] ** 2)).astype(np.float32)
    bad = np.flatnonzero(np.isnan(out))
    for start in range(0, len(bad), _AT_ONCE):
        k, y, x = (i[:, None] for i in np.unravel_index(bad[start : start + _AT_ONCE], out.shape))
        rows, columns = y + step, x + step
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
            :, None, :
        ]
        near = images[
            k[:, :, None], rows.clip(0, height - 1)[:, :, None], columns.clip(0, width - 1)[:, None, :]
        ]
        good = inside & np.isfinite(near)
        weight = np.where(good, kernel, np.float32(0))
        total = weight.sum(axis=(1, 2))
        light = np.where(good, weight * near, np.float32(0)).sum(axis=(1, 2))
        out[k[:, 0], y[:, 0], x[:, 0]] = np.where(
            total > 0, light / np.where(total > 0, total, 1), np.float32(np.nan)
        )
    return out


_REACH, _AT_ONCE = 4, 20_000  # px; holes


def same_grid(
    wcs: WCS | None,
    shape: tuple[int, int],
    other: WCS | None,
    other_shape: tuple[int, int],
    tolerance: float = 0.25,
) -> bool:
    """Tell whether two bands share their pixel grid to `tolerance` pixels at the corners."""
    if shape != other_shape:
        return False
    if wcs is None or other is None:
        return wcs is None and other is None
    height, width = shape
    corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1]], float)
    moved = pixels_of(wcs, *sky_of(other, *corners))
    return bool(np.all(np.abs(moved - corners) <= tolerance))  # False for NaN


def measure_aperture(
    image: np.ndarray, noise_sigma: np.ndarray, pixel_scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return flux [nJy] and its error in the central aperture of each stamp and band.

    Parameters
    ----------
    image : ndarray (n, y, x, band)
    noise_sigma : ndarray (n, band)
        Noise per pixel [nJy].
    pixel_scale : float
        arcsec per pixel.
    """
    from photutils.aperture import CircularAperture

    size, reach = image.shape[1], int(np.ceil(APERTURE_RADIUS / pixel_scale)) + 1
    low, high = max(0, size // 2 - reach), min(size, (size + 1) // 2 + reach)
    middle = (size - 1) / 2 - low
    aperture = CircularAperture((middle, middle), APERTURE_RADIUS / pixel_scale)
    weight = aperture.to_mask(method="exact").to_image((high - low, high - low))
    flux = np.einsum("nyxb,yx->nb", image[:, low:high, low:high], weight)
    return flux, noise_sigma * float(np.sqrt((weight**2).sum()))
