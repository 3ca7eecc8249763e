"""Lensed sources as a coarse image, made on the host: the signal-to-noise of arcs before any is rendered.

The rays that `polar` follows bring their light to a grid as fine as the PSF needs, and the PSF is applied in
Fourier space. Each scene is worked out by itself, in an order that nothing else decides, so that its
numbers are the same bits in any batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from lenspipe.core.survey import FWHM_PER_SIGMA
from lenspipe.lensing.gaussians import moffat_gaussians
from lenspipe.lensing.light import EXPONENTIAL_RADIUS, sersic_constants
from lenspipe.simulate.polar import image_reach, trace_lines

#: Cells along a side of the grid, and the widest that one may be [sigma of the sharpest PSF with its pixel].
_SIDES, _WIDEST = (24, 32, 48, 96, 192), 0.75
#: Least r_src / theta_e -> directions, and rays on either side of the source's middle.
_RAYS = ((0.2, 64, 6), (0.08, 96, 5), (0.02, 256, 4), (0.0, 1024, 3))
#: So many times more of both, that they be no farther apart than this [sigma].
_SHARPER, _FARTHEST = (1, 2, 4, 8), 1.4
#: Where a profile ends [half-light radii], and its brightness as exp(-fall s) or exp(-fall s^2).
_PROFILES = {"exponential": (4.0, EXPONENTIAL_RADIUS), "gaussian": (2.5, math.log(2.0))}
#: Steps of the square root of the brightness in which the best pixels are looked for.
_LEVELS = 48
_CHUNK = 2**18  # numbers in one array


@dataclass(frozen=True)
class Seen:
    """How n scenes are seen in b bands.

    Parameters
    ----------
    fwhm : ndarray (n, b)
        PSF [arcsec].
    beta : ndarray (n, b)
        Moffat index; inf or NaN = Gaussian.
    sky : ndarray (n, b)
        Variance of the sky [nJy^2 / arcsec^2].
    light : ndarray (n, b)
        Flux of the lens galaxy over the electrons per nJy [nJy^2].
    r_lens, n_lens, q_light, angle : ndarray (n,)
        Half-light radius [arcsec], Sersic index, axis ratio and angle [deg from the mass' major axis] of that light.
    """

    fwhm: np.ndarray
    beta: np.ndarray
    sky: np.ndarray
    light: np.ndarray
    r_lens: np.ndarray
    n_lens: np.ndarray
    q_light: np.ndarray
    angle: np.ndarray

    def blur(self, pixel_scale: float) -> np.ndarray:
        """Return the sigma (n,) of the sharpest band's PSF with the pixel [arcsec]."""
        return np.hypot(np.min(self.fwhm, axis=1) / FWHM_PER_SIGMA, pixel_scale / np.sqrt(12.0))


def arcs_snr(
    components: list[tuple[str, np.ndarray, np.ndarray]], seen: Seen, pixel_scale: float
) -> np.ndarray:
    """Return the signal-to-noise (n, b) of lensed sources.

    It is the maximum over k of the sum of the k brightest pixels of the arcs over their noise, in which the sky
    and the lens galaxy's Poisson noise count, not that of the arcs (Collett 2015, section 4).

    Parameters
    ----------
    components : list of (profile, in_lens_frame, flux)
        Of the source: "exponential" or "gaussian"; ndarray (10, n) from `polar.to_lens_frame`; flux (n, b) in
        nJy, magnified.
    seen : Seen
    pixel_scale : float
        [arcsec]
    """
    blur = seen.blur(pixel_scale)
    half = np.max([_reach(where, flux) for _, where, flux in components], axis=0) + 2.5 * blur
    sides = np.searchsorted([0.5 * side * _WIDEST for side in _SIDES[:-1]], half / blur)
    out = np.zeros(seen.fwhm.shape)
    for number, side in enumerate(_SIDES):
        step = max(_CHUNK // (side * side * (out.shape[1] + 2)), 1)
        rows = np.flatnonzero(sides == number)
        for part in np.array_split(rows, -(-len(rows) // step)) if len(rows) else ():
            cell = 2.0 * half[part] / side
            arcs = np.zeros((len(part), out.shape[1], side, side), np.float32)
            for profile, where, flux in components:
                for some, directions, steps in _ways(where[:, part], flux[part], blur[part]):
                    grid = _collect(profile, where[:, part[some]], directions, steps, cell[some], side)
                    arcs[some] += (grid[:, None] * flux[part[some], :, None, None]).astype(np.float32)
            here = Seen(*(getattr(seen, field.name)[part] for field in fields(Seen)))
            out[part] = _best_pixels(arcs, here, cell, pixel_scale)
    return out


def _reach(where: np.ndarray, flux: np.ndarray) -> np.ndarray:
    """Return how far from the lens a source's images lie [arcsec]; 0 if it has no light."""
    theta_e, q, _, _, x, y, r_src, q_src, _, _ = where
    return np.where(np.any(flux > 0.0, axis=1), image_reach(theta_e, q, np.hypot(x, y), r_src, q_src), 0.0)


def _ways(where: np.ndarray, flux: np.ndarray, blur: np.ndarray) -> Iterator[tuple[np.ndarray, int, int]]:
    """Yield rows, and the directions and steps that their rays need."""
    theta_e, r_src = where[0], where[6]
    kind = np.searchsorted([-least for least, *_ in _RAYS], -r_src / theta_e)
    apart = np.array([(2.0 * np.pi / directions, 4.0 / steps) for _, directions, steps in _RAYS])[kind]
    widest = np.maximum(apart[:, 0] * theta_e, apart[:, 1] * r_src)
    sharper = np.searchsorted(_SHARPER[:-1], widest / (_FARTHEST * blur))
    lit = np.any(flux > 0.0, axis=1)
    for k, (_, directions, steps) in enumerate(_RAYS):
        for s, times in enumerate(_SHARPER):
            rows = np.flatnonzero(lit & (kind == k) & (sharper == s))
            step = max(_CHUNK // (2 * directions * steps * times * times), 1)
            for start in range(0, len(rows), step):
                yield rows[start : start + step], times * directions, times * steps


def _collect(
    profile: str, where: np.ndarray, directions: int, steps: int, cell: np.ndarray, side: int
) -> np.ndarray:
    """Return the light of the images on a grid (n, side, side) of so wide cells, 1 in all."""
    end, fall = _PROFILES[profile]
    lines = trace_lines(where, directions)
    along = (np.arange(0.5 - steps, steps) * (end / steps)).astype(np.float32)[:, None]
    length = np.sqrt(lines.norm2)[:, None]
    radius = np.maximum(lines.radius[:, None] + along / length, np.float32(0.0))
    s2 = lines.miss2[:, None] + along * along
    weight = np.exp(np.float32(-fall) * (s2 if profile == "gaussian" else np.sqrt(s2))) * radius / length
    # each ray's light goes to the four cells round it
    scale = (1.0 / cell).astype(np.float32)[:, None, None]
    x, y = (
        np.clip(radius * scale * axis + np.float32(0.5 * side - 0.5), 0.0, np.float32(side - 1.001))
        for axis in (lines.cos, lines.sin)
    )
    column, row = x.astype(np.int32), y.astype(np.int32)
    right, up = x - column, y - row
    first = (np.arange(len(cell), dtype=np.int32)[:, None, None] * side + row) * side + column
    grid = np.zeros(len(cell) * side * side)
    for offset, share in ((0, 1.0 - up), (side, up)):
        for beside, part in ((0, 1.0 - right), (1, right)):
            grid += np.bincount(
                (first + (offset + beside)).ravel(), (weight * share * part).ravel(), len(grid)
            )
    grid = grid.reshape(-1, side, side)
    return grid / grid.sum(axis=(1, 2), keepdims=True)


def _best_pixels(arcs: np.ndarray, seen: Seen, cell: np.ndarray, pixel_scale: float) -> np.ndarray:
    """Return the signal-to-noise (n, b) of arcs (n, b, y, x) behind lens galaxies."""
    count, bands, side, _ = arcs.shape
    spectrum = np.fft.rfft2(arcs)
    galaxy = np.fft.rfft2(_galaxy_light(seen, cell, side))
    first = _LEVELS * np.arange(count)[:, None]
    out = np.zeros((count, bands))
    for b in range(bands):
        transfer = _transfer(seen.fwhm[:, b], seen.beta[:, b], cell, side, pixel_scale)
        pair = np.stack([spectrum[:, b], galaxy], axis=1) * transfer[:, None]
        signal, light = np.moveaxis(np.fft.irfft2(pair, (side, side)).reshape(count, 2, -1), 1, 0)
        signal = np.maximum(signal, np.float32(0.0))
        shine = np.sqrt(signal / signal.max(axis=1, keepdims=True))
        level = _LEVELS - 1 - (shine * np.float32(_LEVELS - 0.01)).astype(np.int32)
        totals, lights, cells = (
            np.bincount((first + level).ravel(), values, count * _LEVELS).reshape(count, -1).cumsum(axis=1)
            for values in (signal.ravel(), light.ravel(), None)
        )
        variance = cells * seen.sky[:, b, None] + lights * seen.light[:, b, None]
        out[:, b] = np.max(totals / np.sqrt(variance), axis=1) / cell
    return out


def _galaxy_light(seen: Seen, cell: np.ndarray, side: int) -> np.ndarray:
    """Return the surface brightness [arcsec^-2] of lens galaxies of flux 1, (n, side, side)."""
    r_lens, q_light = (values.astype(np.float32)[:, None, None] for values in (seen.r_lens, seen.q_light))
    cos, sin = (f(np.radians(seen.angle)).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
    middle = ((np.arange(side) - 0.5 * side + 0.5) * cell[:, None]).astype(np.float32)
    x, y = middle[:, None, :], middle[:, :, None]
    u, v = (cos * x + sin * y) / r_lens, (cos * y - sin * x) / r_lens
    b_n, norm = (values.astype(np.float32)[:, None, None] for values in sersic_constants(seen.n_lens))
    power = (0.5 / seen.n_lens).astype(np.float32)[:, None, None]
    shape = np.exp(-b_n * np.exp(power * np.log(q_light * u * u + v * v / q_light)))
    return norm / (r_lens * r_lens) * shape


def _transfer(
    fwhm: np.ndarray, beta: np.ndarray, cell: np.ndarray, side: int, pixel_scale: float
) -> np.ndarray:
    """Return the Fourier transform (n, side, side // 2 + 1) of PSF and pixel, less that of the cells."""
    fy, fx = np.fft.fftfreq(side), np.fft.rfftfreq(side)
    k2 = ((2.0 * np.pi) ** 2 * (fy[:, None] ** 2 + fx**2)).astype(np.float32)
    spread = (np.sinc(fy)[:, None] ** 2 * np.sinc(fx) ** 2).astype(np.float32)
    beta = np.where(np.isfinite(beta), beta, np.inf)
    out = np.zeros((len(cell), *k2.shape), np.float32)
    for value in np.unique(beta):
        rows = np.flatnonzero(beta == value)
        for sigma, weight in zip(*moffat_gaussians(value), strict=True):
            if weight:
                variance = ((sigma * fwhm[rows]) ** 2 + pixel_scale**2 / 12.0) / cell[rows] ** 2
                out[rows] += np.float32(weight) * np.exp(
                    (-0.5 * variance).astype(np.float32)[:, None, None] * k2
                )
    return out / spread
