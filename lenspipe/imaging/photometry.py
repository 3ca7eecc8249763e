"""What the galaxy in the middle of a stamp looks like: where it is, how bright, how large, how flat."""

from __future__ import annotations

from functools import cache

import numpy as np

from lenspipe.core.survey import FWHM_PER_SIGMA

_ITERATIONS = 30
_REACH = 4.0  # arcsec, half-width of the light that is looked at
_APERTURE, _LEAST_APERTURE = 3.0, 1.5  # half-light radii, arcsec
_STEPS = 64  # of the curve of growth


def measure_galaxies(
    image: np.ndarray, noise_sigma: np.ndarray, psf_fwhm: np.ndarray, pixel_scale: float
) -> dict[str, np.ndarray]:
    """Return position, size, shape and flux of the central galaxy of each stamp.

    Moments are weighted by the galaxy's own Gaussian (Bernstein & Jarvis 2002) on the sum of the bands in
    units of their noise. The PSF is taken out in quadrature, of size and moments alike, which is exact for
    Gaussians; a cuspy galaxy comes out some tens of per cent too small.

    Parameters
    ----------
    image : ndarray (n, y, x, b)
        nJy per pixel.
    noise_sigma : ndarray (n, b)
        nJy per pixel.
    psf_fwhm : ndarray (n, b)
        [arcsec]
    pixel_scale : float
        [arcsec]

    Returns
    -------
    dict
        ``x``, ``y`` from the stamp's centre, ``r_eff`` (half-light radius) [arcsec], ``q``, ``phi`` [deg],
        each (n,), and ``flux`` (n, b) [nJy] within three half-light radii. NaN where there is no galaxy.
    """
    weight = 1.0 / np.asarray(noise_sigma, float)[:, None, None, :]
    summed = (image * weight).sum(axis=-1)
    axis = (np.arange(image.shape[1]) - 0.5 * (image.shape[1] - 1)) * pixel_scale
    seeing = np.mean(psf_fwhm, axis=1)
    x, y, moments = _weighted_moments(summed, axis, (0.6 * seeing) ** 2)
    moments = moments - ((seeing / FWHM_PER_SIGMA) ** 2)[:, None, None] * np.eye(2)
    half_difference = 0.5 * (moments[:, 1, 1] - moments[:, 0, 0])
    mean, reach = 0.5 * np.trace(moments, axis1=1, axis2=2), np.hypot(half_difference, moments[:, 0, 1])
    # a galaxy that the PSF hides is round for all we can see
    q = np.sqrt(np.clip(mean - reach, 1e-6, None) / np.clip(mean + reach, 1e-6, None))
    q = np.where(mean + reach > 0.01 * seeing**2, np.clip(q, 0.1, 1.0), 1.0)
    # from +y counter-clockwise: a galaxy along +y has phi = 0, along -x phi = 90
    phi = np.degrees(0.5 * np.arctan2(-2.0 * moments[:, 0, 1], moments[:, 1, 1] - moments[:, 0, 0]))

    r = np.hypot(axis[None, None, :] - x[:, None, None], axis[None, :, None] - y[:, None, None])
    outer = np.full(len(image), min(_REACH, float(axis[-1])))
    for _ in range(2):  # first within all that may belong to it, then within its own aperture
        observed = _half_light_radius(summed, r, outer, pixel_scale)
        outer = np.clip(_APERTURE * observed, _LEAST_APERTURE, min(_REACH, float(axis[-1])))
    inside = np.clip((outer[:, None, None] - r) / pixel_scale + 0.5, 0.0, 1.0)
    flux = np.einsum("nyxb,nyx->nb", image, inside)
    r_eff = np.sqrt(np.clip(observed**2 - (0.5 * seeing) ** 2, (0.2 * pixel_scale) ** 2, None))
    found = np.isfinite(x) & np.isfinite(observed)
    out = {"x": x, "y": y, "r_eff": r_eff, "q": q, "phi": np.where(phi <= -90.0, 90.0, phi)}
    out = {name: np.where(found, values, np.nan) for name, values in out.items()}
    return out | {"flux": np.where(found[:, None], flux, np.nan)}


def point_like(
    image: np.ndarray,
    noise_sigma: np.ndarray,
    psf_fwhm: float | np.ndarray,
    pixel_scale: float,
    psf_beta: float = np.inf,
) -> np.ndarray:
    """Return which stamps show a source in the middle that is no larger than the PSF: a star, most likely.

    Its second moment under a Gaussian window twice as wide as the PSF's core is compared with what a point source
    would show there, wings and all. Faint sources, of which that cannot be told, are not point-like.

    Parameters
    ----------
    image : ndarray (n, y, x)
        nJy per pixel, one band.
    noise_sigma : ndarray (n,)
        nJy per pixel.
    psf_fwhm : float or ndarray (n,)
        [arcsec]
    pixel_scale : float
        [arcsec]
    psf_beta : float
        Moffat index of the PSF; inf = Gaussian.
    """
    if not len(image):
        return np.zeros(0, bool)
    size = image.shape[1]
    psf = (np.broadcast_to(psf_fwhm, len(image)) / pixel_scale / FWHM_PER_SIGMA) ** 2 + 1.0 / 12.0
    window = 4.0 * psf
    half = min(image.shape[1] // 2, int(np.ceil(3.0 * np.sqrt(window.max()))) + 3)
    middle = image.shape[1] // 2
    image = image[:, max(0, middle - half) : middle + half + 1, max(0, middle - half) : middle + half + 1]
    axis = np.arange(image.shape[1]) + max(0, middle - half) - 0.5 * (2 * middle - 1 + size % 2)
    x = y = np.zeros(len(image))
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(4):
            # the window is a product of one in x and one in y, and so are its moments
            dx, dy = axis - x[:, None], axis - y[:, None]
            wx, wy = (np.exp(-0.5 * d**2 / window[:, None]) for d in (dx, dy))
            along = np.stack([wx, wx * dx, wx * dx**2], axis=-1).astype(np.float32)
            across = np.stack([wy, wy * dy, wy * dy**2], axis=1).astype(np.float32)
            moments = (across @ (image @ along)).astype(float)  # (n, power of dy, power of dx)
            total = moments[:, 0, 0]
            x = np.clip(x + (1 + psf / window) * moments[:, 0, 1] / total, -3, 3)
            y = np.clip(y + (1 + psf / window) * moments[:, 1, 0] / total, -3, 3)
        moment = 0.5 * (moments[:, 0, 2] + moments[:, 2, 0]) / total
        snr = total / (noise_sigma * np.sqrt((wx**2).sum(axis=1) * (wy**2).sum(axis=1)))
    return (snr > _LEAST_STAR) & (moment < _STAR_SIZE * psf * _point_moment(psf_beta))


@cache
def _point_moment(psf_beta: float) -> float:
    """Return what second moment a point source shows under the window of `point_like`, that of the PSF's core = 1."""
    if np.isinf(psf_beta):
        return 0.8
    r = np.linspace(0.0, 12.0, 1201)  # in sigmas of the core
    moffat = (1.0 + (2.0 * r / FWHM_PER_SIGMA) ** 2 * (2.0 ** (1.0 / psf_beta) - 1.0)) ** -psf_beta
    shown = moffat * np.exp(-0.125 * r**2) * r
    return float(0.5 * np.sum(shown * r**2) / np.sum(shown))


_LEAST_STAR, _STAR_SIZE = 30.0, 1.15  # signal-to-noise; second moment over that of a point source


def _weighted_moments(
    image: np.ndarray, axis: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return centres (n,), (n,) and second moments (n, 2, 2) weighted by the Gaussian that has them."""
    x, y = np.zeros(len(image)), np.zeros(len(image))
    moments = start[:, None, None] * np.eye(2)
    least = (0.5 * (axis[1] - axis[0])) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(_ITERATIONS):
            dx = axis[None, None, :] - x[:, None, None]
            dy = axis[None, :, None] - y[:, None, None]
            inverse = np.linalg.inv(moments)
            a, b, c = (inverse[:, i, j][:, None, None] for i, j in ((0, 0), (0, 1), (1, 1)))
            light = image * np.exp(-0.5 * (a * dx * dx + 2.0 * b * dx * dy + c * dy * dy))
            total = light.sum(axis=(1, 2))
            step_x, step_y = ((light * d).sum(axis=(1, 2)) / total for d in (dx, dy))
            xx, xy, yy = ((light * p).sum(axis=(1, 2)) / total for p in (dx * dx, dx * dy, dy * dy))
            # under a Gaussian weight of its own width a Gaussian shows half of its moments and offset
            shown = np.stack([np.stack([xx, xy], axis=-1), np.stack([xy, yy], axis=-1)], axis=-2)
            moments = np.where(np.isfinite(shown), np.clip(2.0 * shown, -(_REACH**2), _REACH**2), moments)
            x, y = x + np.clip(2.0 * step_x, -0.5, 0.5), y + np.clip(2.0 * step_y, -0.5, 0.5)
            lost = (total <= 0) | ~np.isfinite(x + y) | (np.hypot(x, y) > _REACH / 2)
            x, y = np.where(lost, np.nan, x), np.where(lost, np.nan, y)
            moments[lost] = start[lost, None, None] * np.eye(2)
            small = np.linalg.det(moments) < least**2
            moments[small] = least * np.eye(2)
    return x, y, moments


def _half_light_radius(image: np.ndarray, r: np.ndarray, outer: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Return the radius (n,) that holds half of the flux within `outer` (n,); NaN where there is none."""
    radii = outer[:, None] * np.linspace(0.0, 1.0, _STEPS + 1)[1:]
    growth = np.stack(
        [
            (image * np.clip((radii[:, k, None, None] - r) / pixel_scale + 0.5, 0.0, 1.0)).sum(axis=(1, 2))
            for k in range(_STEPS)
        ],
        axis=1,
    )
    half = 0.5 * growth[:, -1:]
    first = np.argmax(growth >= half, axis=1)
    rows = np.arange(len(image))
    before = np.where(first > 0, growth[rows, first - 1], 0.0)
    share = (half[:, 0] - before) / np.maximum(growth[rows, first] - before, 1e-12)
    radius = radii[:, 0] * (first + np.clip(share, 0.0, 1.0))
    return np.where((half[:, 0] > 0) & np.isfinite(half[:, 0]), radius, np.nan)
