"""Surface brightness on a grid of sub-pixels, before the telescope: galaxies, lensed and not.

The grid is periodic, as the FFT that follows wants it, and its values are samples of the sky. What
is too sharp for the grid is brought on it in a way that keeps the low frequencies, the only ones that the
PSF lets pass.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from lenspipe.lensing.light import sersic
from lenspipe.lensing.raytrace import Deflector, shoot

ops: Any = keras.ops  # its annotations allow None everywhere

#: Least half-light radius drawn [sub-pixels]: a star is a component smaller than this (use n = 0.5).
LEAST_RADIUS = 0.05
#: The same for lensed components, which are sampled on the grid itself.
LEAST_LENSED_RADIUS = 0.5

_ZOOM = 4  # each level of the core's grids is so much finer than the one around it
_LEVELS = 3
_POINTS = 48  # side of each of these grids
_WIDTH = 1.2  # sigma of the hole that a finer level fills, in steps of the outer one; 6 steps away it is over


def unlensed(profile: dict[str, Any], x: Any, y: Any, step: float) -> Any:
    """Return the surface brightness of one component, total flux 1, per object.

    A Sersic cusp is sharper than any grid. It is divided by smooth windows into a wide part, sampled
    on the grid, and a core, sampled on grids 4, 16 and 64 times finer, which is then laid onto the
    grid through band-limited interpolation. Nothing is lost of the flux of even a point source.

    Parameters
    ----------
    profile : dict of tensors (n, 1, 1)
        Arguments of `lensing.light.sersic` but x, y and flux.
    x, y : tensor (1, 1, m), (1, m, 1)
        The grid's axes [arcsec], m points `step` apart.
    step : float
        Sub-pixel [arcsec].

    Returns
    -------
    tensor (n, m, m), 1 / arcsec^2
    """
    profile = {**profile, "r_eff": ops.maximum(profile["r_eff"], LEAST_RADIUS * step)}
    x0, y0 = profile["x0"], profile["y0"]
    r2 = (x - x0) ** 2 + (y - y0) ** 2
    wide = _hole(r2, _WIDTH * step) * sersic(x, y, 1.0, **profile)

    core, positions = _core({**profile, "x0": 0.0 * x0, "y0": 0.0 * y0}, step)
    rows = _interpolation(y, y0 + positions[None, None, :], step)
    columns = _interpolation(ops.transpose(x, (0, 2, 1)), x0 + positions[None, None, :], step)
    core = ops.matmul(ops.matmul(rows, core), ops.transpose(columns, (0, 2, 1)))
    inside = (x0 >= x[0, 0, 0]) & (x0 <= x[0, 0, -1]) & (y0 >= y[0, 0, 0]) & (y0 <= y[0, -1, 0])
    return wide + core * ops.cast(inside, core.dtype)  # the core of one outside would wrap


def _core(profile: dict[str, Any], step: float) -> tuple[Any, Any]:
    """Return the profile within the first window on the level-0 grid (n, p, p), and its axis (p,)."""
    dtype = keras.backend.standardize_dtype(profile["q"].dtype)
    offsets = np.arange(_POINTS) - 0.5 * (_POINTS - 1)
    # one level's points seen from the next outer one, in steps of the latter
    matrix = _cubic(offsets[:, None] - offsets[None, :] / _ZOOM) / _ZOOM
    matrix = ops.cast(matrix, dtype)
    total: Any = None
    for level in reversed(range(_LEVELS)):
        outer = step / _ZOOM**level
        axis = ops.cast(offsets * outer / _ZOOM, dtype)
        u, v = axis[None, None, :], axis[None, :, None]
        r2 = u * u + v * v
        window = 1.0 - _hole(r2, _WIDTH * outer)
        if total is None:  # the finest grid takes all that is left
            total = window * sersic(u, v, 1.0, **profile)
        else:
            inner = ops.matmul(ops.matmul(matrix, total), ops.transpose(matrix))
            window = window + _hole(r2, _WIDTH * outer / _ZOOM) - 1.0
            total = window * sersic(u, v, 1.0, **profile) + inner
    return total, ops.cast(offsets * step / _ZOOM, dtype)


def _hole(r2: Any, sigma: float) -> Any:
    """Return (1 - exp(-r^2 / 2 sigma^2))^4, which takes out the centre and leaves the rest.

    It rises as r^8: a lower power leaves enough of a steep cusp to alias (as r^2 1 % at n = 4, q = 0.2,
    against 0.04 %).
    """
    hole = ops.square(-ops.expm1(r2 * (-0.5 / sigma**2)))
    return hole * hole


def _cubic(t: np.ndarray) -> np.ndarray:
    """Return the cubic convolution kernel of Keys (1981), eq. 15."""
    t = np.abs(t)
    near, far = (1.5 * t - 2.5) * t * t + 1.0, ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0
    return np.where(t < 1.0, near, np.where(t < 2.0, far, 0.0))


def _interpolation(grid: Any, points: Any, step: float) -> Any:
    """Return the band-limited weights (n, m, p) that lay cells of step/zoom onto a periodic grid (1, m, 1).

    The Dirichlet kernel: the one periodic function that is 1 at a grid point, 0 at all others and has
    all of the grid's frequencies at equal strength.
    """
    m = grid.shape[1]
    t = (grid - points) / step
    angle = np.pi / m * t
    below = ops.sin(angle) if m % 2 else ops.tan(angle)
    at_point = ops.abs(below) < 1e-5
    below = ops.where(at_point, 1.0, below)
    return ops.where(at_point, 1.0, ops.sin(np.pi * t) / (m * below)) / _ZOOM


def lensed(profiles: list[dict[str, Any]], deflector: Deflector, x: Any, y: Any, step: float) -> list[Any]:
    """Return the lensed surface brightness of source components, unlensed total flux 1, per object.

    Rays are shot through the corners of the sub-pixels. Four points of each, interpolated between its
    corners, are averaged: a grid twice as fine at a third of the price.

    Parameters
    ----------
    profiles : list of dicts
        As in `unlensed`, positions in the source plane.
    deflector : Deflector
        Its arrays are (n, 1, 1).
    x, y, step
        As in `unlensed`.

    Returns
    -------
    list of tensors (n, m, m), 1 / arcsec^2
    """
    half = 0.5 * step
    corner_x = ops.concatenate([x - half, x[:, :, -1:] + half], axis=2)
    corner_y = ops.concatenate([y - half, y[:, -1:, :] + half], axis=1)
    beta_x, beta_y = shoot(corner_x, corner_y, deflector)
    # the deflection jumps at the lens' centre: interpolated across, it would make an image where none is
    distance2 = (x - deflector.x_lens) ** 2 + (y - deflector.y_lens) ** 2
    weight = ops.where(distance2 < (2.0 * step) ** 2, 1.0, 0.75)
    weight = ops.cast(weight, beta_x.dtype)
    points = list(zip(_quarters(beta_x, weight), _quarters(beta_y, weight), strict=True))
    images = []
    for profile in profiles:
        profile = {**profile, "r_eff": ops.maximum(profile["r_eff"], LEAST_LENSED_RADIUS * step)}
        images.append(0.25 * sum(sersic(bx, by, 1.0, **profile) for bx, by in points))
    return images


def _quarters(corners: Any, weight: Any) -> list[Any]:
    """Return the values at the centres of each cell's quarters: 4 x (n, m, m).

    Interpolated between the cell's corners; the nearer ones weigh `weight` per axis, 3/4 for bilinear.
    """
    low, high = corners[:, :-1, :], corners[:, 1:, :]
    points = []
    for near, far in ((low, high), (high, low)):
        left = weight * near[:, :, :-1] + (1.0 - weight) * far[:, :, :-1]
        right = weight * near[:, :, 1:] + (1.0 - weight) * far[:, :, 1:]
        points += [weight * left + (1.0 - weight) * right, weight * right + (1.0 - weight) * left]
    return points
