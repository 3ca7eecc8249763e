"""Lensed light: rays through a window round the lens, onto the detector's pixels by matrix products.

The window is as large as the images can be, so that its grid is as fine as it may be, whatever the
detector's pixels. PSF and pixel act along each axis separately (a Gaussian is a product), hence a band's image
is A I A', with the integrals of Gaussians over pixels in A.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import keras
import numpy as np
from scipy.special import gammaincinv

from lenspipe.lensing import sie
from lenspipe.lensing.light import sersic_brightness
from lenspipe.lensing.raytrace import Deflector, shoot

ops: Any = keras.ops  # its annotations allow None everywhere

#: Cells of the window per side, of smooth sources and of those with knots; each is sampled at 2 x 2 points.
CELLS, CELLS_OF_KNOTS = 128, 192
#: Least half-light radius that is drawn [cells]; a smaller source gets this one, its unlensed flux unchanged.
LEAST_RADIUS = 0.25
#: Share of a source's light that may lie outside of the window.
LOST_LIGHT = 3e-4


def bound_window(
    deflector: Mapping[str, np.ndarray], source: Mapping[str, np.ndarray], reach: np.ndarray
) -> np.ndarray:
    """Return half the side [arcsec] of a square round each lens that holds all images of its sources: (n,).

    An image lies no farther off than its source and the largest deflection together, (1 + gamma) times over.

    Parameters
    ----------
    deflector : mapping of arrays (n,)
        Fields of `Deflector`.
    source : mapping of arrays
        ``x, y, r_eff, n, q`` (n, m) and ``flux`` (n, m, b); components without flux are left out.
    reach : array (n,)
        Beyond this no light gets into the stamp.
    """
    q = np.clip(deflector["q"], 1e-3, 1.0 - 1e-6)
    f = np.sqrt(1.0 - q * q)
    largest = deflector["theta_e"] * np.sqrt(q) / f * np.arcsinh(f / q)
    n = np.maximum(source["n"], 0.5)
    b_n = gammaincinv(2.0 * n, 0.5)
    extent = source["r_eff"] * (gammaincinv(2.0 * n, 1.0 - LOST_LIGHT) / b_n) ** n
    offset = np.hypot(source["x"] - deflector["x_lens"][:, None], source["y"] - deflector["y_lens"][:, None])
    lit = np.any(source["flux"] != 0.0, axis=-1)
    farthest = np.max(np.where(lit, offset + extent / np.sqrt(source["q"]), 0.0), axis=1, initial=0.0)
    stretch = 1.0 / (1.0 - np.minimum(np.abs(deflector["gamma_ext"]), 0.5))
    window = (largest + farthest) * stretch + np.hypot(deflector["x_lens"], deflector["y_lens"]) * (
        stretch - 1
    )
    return np.clip(window, 1e-3, reach)


@dataclass(frozen=True)
class Cells:
    """Lensed light on the windows' grids.

    Parameters
    ----------
    brightness : list of m tensors (n, k, k)
        Source components, of unlensed flux 1 [1 / arcsec^2].
    flux : tensor (n, b, m)
        Their fluxes times a cell's area.
    x, y : tensor (n, k)
        Columns and rows of the cells [arcsec] from the stamp's centre.
    step : tensor (n,)
        Side of a cell [arcsec].
    """

    brightness: list[Any]
    flux: Any
    x: Any
    y: Any
    step: Any


def trace_source(
    deflector: Deflector, window: Any, source: Mapping[str, Any], profiles: Sequence[str]
) -> Cells:
    """Return the lensed light of source components in windows round the lenses.

    Parameters
    ----------
    deflector : Deflector
        Arrays (n,).
    window : tensor (n,)
        Half the side of the window [arcsec], from `bound_window`.
    source : mapping
        ``x, y, r_eff, n, b_n, norm, q, phi`` (n, m), ``flux`` (n, m, b); lengths in arcsec.
    profiles : sequence of m str
        Form of each component, ``gaussian`` (n = 0.5), ``exponential`` (n = 1) or ``sersic`` (any n).
    """
    count = CELLS if len(profiles) == 1 else CELLS_OF_KNOTS
    step = 2.0 * window / count
    corners = ops.cast(np.arange(count + 1) - 0.5 * count, keras.backend.standardize_dtype(window.dtype))
    offsets = step[:, None] * corners
    points = _sample_source_plane(deflector, offsets, step)
    brightness: list[Any] = []
    for c, profile in enumerate(profiles):
        names = ("x", "y", "r_eff", "n", "b_n", "norm", "q", "phi")
        values = {name: source[name][:, c, None, None] for name in names}
        values["r_eff"] = ops.maximum(values["r_eff"], LEAST_RADIUS * step[:, None, None])
        brightness.append(0.25 * sum(sersic_brightness(bx, by, profile, **values) for bx, by in points))
    centres = 0.5 * (offsets[:, 1:] + offsets[:, :-1])
    flux = ops.swapaxes(source["flux"], 1, 2) * (step * step)[:, None, None]
    x, y = centres + deflector.x_lens[:, None], centres + deflector.y_lens[:, None]
    return Cells(brightness, flux, x, y, step)


def expose_cells(
    cells: Cells, psf_sigma: Any, psf_weight: Any, shift: tuple[Any, Any], size: int, pixel_scale: float
) -> Any:
    """Return the images (n, b, size, size) of lensed light, seen through a PSF and integrated over pixels.

    Parameters
    ----------
    cells : Cells
    psf_sigma : tensor (n, b, m) [arcsec]
        The PSF's Gaussians.
    psf_weight : tensor (n, b, m)
    shift : two tensors (n, b) [arcsec]
        Offset of each band's image.
    size, pixel_scale
        Of the stamp [px], [arcsec].
    """
    # the mean of two points half a cell apart has a width of its own, which the PSF must not add again
    variance = ops.square(psf_sigma) - ops.square(cells.step)[:, None, None] / 16.0
    width = ops.sqrt(ops.maximum(variance, 1e-4 * ops.square(psf_sigma)))
    edges = ops.cast(
        (np.arange(size + 1) - 0.5 * size) * pixel_scale, keras.backend.standardize_dtype(width.dtype)
    )
    rows, columns = (
        _blur_matrix(edges, points[:, None] + moved[:, :, None], width)
        for points, moved in ((cells.y, shift[1]), (cells.x, shift[0]))
    )
    rows = rows * psf_weight[..., None, None]
    light = mix(cells)
    if len(cells.brightness) == 1:
        rows = rows * cells.flux[:, :, :, None, None]
    return sum(
        ops.matmul(_product(rows[:, :, m], light), ops.swapaxes(columns[:, :, m], -1, -2))
        for m in range(psf_sigma.shape[2])
    )


def mix(cells: Cells) -> Any:
    """Return the light of the cells in each band (n, b, k, k); of one component, that of flux 1 (n, 1, k, k).

    A product of matrices and not a sum, or a compiler draws the components anew for every band.
    """
    if len(cells.brightness) == 1:  # one image serves all bands
        return cells.brightness[0][:, None]
    stacked = ops.stack(cells.brightness, axis=1)
    count = cells.brightness[0].shape[-1]
    stacked = ops.reshape(stacked, (-1, len(cells.brightness), count * count))
    return ops.reshape(ops.matmul(cells.flux, stacked), (-1, cells.flux.shape[1], count, count))


def _product(rows: Any, cells: Any) -> Any:
    """Return rows x cells (n, b, p, k), where cells may be one for all bands."""
    if cells.shape[1] == rows.shape[1]:
        return ops.matmul(rows, cells)
    count = cells.shape[-1]
    joined = ops.reshape(rows, (-1, 1, rows.shape[1] * rows.shape[2], count))
    return ops.reshape(ops.matmul(joined, cells), (-1, rows.shape[1], rows.shape[2], count))


def _sample_source_plane(deflector: Deflector, offsets: Any, step: Any) -> list[tuple[Any, Any]]:
    """Return the source-plane positions of four points in each of a window's cells: 4 x (x, y), (n, k, k).

    Rays are shot through the cells' corners, and between them interpolated: a grid twice as fine at a third of
    the price. Linear interpolation misses 3/32 step^2 times the Laplacian, which is added beforehand.
    """
    lens = Deflector(*(getattr(deflector, field.name)[:, None, None] for field in fields(Deflector)))
    x, y = offsets[:, None, :] + lens.x_lens, offsets[:, :, None] + lens.y_lens
    beta_x, beta_y = shoot(x, y, lens)
    # the deflection jumps at the lens' centre: interpolated across, it would make an image where none is
    limit = 4.0 * ops.square(step)[:, None, None]
    slope_x, slope_y = sie.converge_slope(x, y, lens.theta_e, lens.q, lens.phi, lens.x_lens, lens.y_lens)
    smooth = offsets[:, None, :] ** 2 + offsets[:, :, None] ** 2 > limit
    curvature = ops.where(smooth, 3.0 / 64.0 * limit, 0.0)
    beta_x, beta_y = beta_x + curvature * slope_x, beta_y + curvature * slope_y
    middle = 0.5 * (offsets[:, 1:] + offsets[:, :-1])
    weight = ops.where(middle[:, None, :] ** 2 + middle[:, :, None] ** 2 < limit, 1.0, 0.75)
    weight = ops.cast(weight, beta_x.dtype)
    return list(zip(_quarters(beta_x, weight), _quarters(beta_y, weight), strict=True))


def _quarters(corners: Any, weight: Any) -> list[Any]:
    """Return the values at the centres of each cell's quarters, interpolated: 4 x (n, k, k).

    The nearer corners weigh `weight` per axis, 3/4 for bilinear interpolation.
    """
    low, high = corners[:, :-1, :], corners[:, 1:, :]
    points = []
    for near, far in ((low, high), (high, low)):
        left = weight * near[:, :, :-1] + (1.0 - weight) * far[:, :, :-1]
        right = weight * near[:, :, 1:] + (1.0 - weight) * far[:, :, 1:]
        points += [weight * left + (1.0 - weight) * right, weight * right + (1.0 - weight) * left]
    return points


def _blur_matrix(edges: Any, points: Any, width: Any) -> Any:
    """Return the share of light at `points` that a Gaussian brings into each pixel: (n, b, m, pixel, point).

    Parameters
    ----------
    edges : tensor (p + 1,)
        Edges of the pixels.
    points : tensor (n, b, k)
    width : tensor (n, b, m)
        Sigma of the Gaussians.
    """
    t = (edges[:, None] - points[:, :, None, None, :]) / (np.sqrt(2.0) * width[:, :, :, None, None])
    reached = ops.erf(t)
    return 0.5 * (reached[:, :, :, 1:, :] - reached[:, :, :, :-1, :])
