"""Galaxies behind the lenses: how many, how far, how large, of what colour and shape.

LensPop draws its sources from a mock catalogue (lsst.1sqdegree_catalog2). The first 137 galaxies of it set
the sizes and colours here; its counts and redshifts, which so few do not, are those with which the lenses
of DES, LSST and Euclid have the magnitudes and redshifts of LensPop's tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.integrate import cumulative_trapezoid

from lenspipe.lensing.cosmology import ARCSEC, comoving_distance
from lenspipe.simulate.colours import k_correction

#: i band: counts 10^(slope m), which end softly (at, width) where the catalogue does.
MAG_RANGE, COUNTS_SLOPE, COUNTS_END = (18.0, 29.0), 0.32, (27.6, 0.25)
#: p(z | m) ~ z^rise exp(-(z / z0)^tail), ln z0 = a + b (m - 25).
REDSHIFT_RISE, REDSHIFT_TAIL, REDSHIFT_SCALE = 0.7, 1.4, (0.08, 0.1)
Z_MAX = 6.0
#: Absolute r magnitude less i - DM(z): a + b z until z = 2, and its scatter, which dust and age make.
REST_FRAME, REST_FRAME_SCATTER = (-0.2, -0.36), 0.9
SIZE_SCATTER = 0.35  # dex, Collett 2015
LEAST_Q = 0.2  # of sources, and of lenses' mass and light (Collett 2015)
_DISTANCE_STEPS = 8192


def draw_behind(uniform_m: np.ndarray, uniform_z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (i magnitude, z) of galaxies weighted by chi(z)^3, the volume in which lenses stand before them."""
    magnitudes, redshifts = _behind()
    mag_i = interpolate(magnitudes, uniform_m)
    row = (mag_i - MAG_RANGE[0]) / (MAG_RANGE[1] - MAG_RANGE[0]) * (len(redshifts) - 1)
    near = np.minimum(row.astype(np.int64), len(redshifts) - 2)
    steps = redshifts.shape[1]
    z_near, z_far = (
        interpolate(redshifts.ravel(), uniform_z, start * steps, steps) for start in (near, near + 1)
    )
    return mag_i, z_near + (row - near) * (z_far - z_near)


def source_size(normal: np.ndarray, mag_i: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return half-light radii [arcsec]: Collett 2015, his scatter and that of M_r at given i.

    log10 r/kpc = -(M_r + 18) / 4 - 1.2 log10((1 + z) / 1.6).
    """
    distance = distance_to(z)
    modulus = 5.0 * np.log10(distance * (1.0 + z)) + 25.0
    absolute = mag_i - modulus + REST_FRAME[0] + REST_FRAME[1] * np.minimum(z, 2.0)
    scatter = np.hypot(SIZE_SCATTER, 0.25 * REST_FRAME_SCATTER * np.minimum(z, 1.0))
    log_kpc = -(absolute + 18.0) / 4.0 - 1.2 * np.log10((1.0 + z) / 1.6) + scatter * normal
    return 10**log_kpc * (1.0 + z) / (distance * 1e3 * ARCSEC)


def source_colours(uniform: np.ndarray, z: np.ndarray, bands: Sequence[str]) -> dict[str, np.ndarray]:
    """Return m_band - m_i of star-forming galaxies: between a starburst and Sbc, bluer at high redshift."""
    old = uniform ** np.maximum(2.0 * z, 0.5)
    i_band = _mixture(old, "i", z)
    return {band: _mixture(old, band, z) - i_band for band in bands}


@cache
def brightest_colour(band: str) -> float:
    """Return the least m_band - m_i that `source_colours` has at any redshift."""
    z = np.linspace(0.0, Z_MAX, 301)
    return float(np.min([source_colours(np.full(len(z), old), z, [band])[band] for old in (0.0, 1.0)]))


def distance_to(z: np.ndarray) -> np.ndarray:
    """Return the comoving distance [Mpc] to z < 6, good to 1e-6, at a fifth of a spline's price."""
    return interpolate(_distances()[0], z / Z_MAX)


def redshift_of(distance: np.ndarray) -> np.ndarray:
    """Return the redshift at a comoving distance [Mpc]."""
    distances, redshifts = _distances()
    return interpolate(redshifts, distance / distances[-1])


def axis_ratio(uniform: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """Return q with 1 - q Rayleigh of `scale`, cut (not clipped) at LEAST_Q, from uniform numbers."""
    reach = 1.0 - np.exp(-0.5 * ((1.0 - LEAST_Q) / np.asarray(scale)) ** 2)
    return 1.0 - rayleigh(uniform * reach, scale)


def rayleigh(uniform: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """Return Rayleigh deviates from uniform numbers."""
    return scale * np.sqrt(-2.0 * np.log1p(-uniform))


def position_angle(uniform: np.ndarray) -> np.ndarray:
    """Return angles in (-90, 90] deg from uniform numbers in [0, 1)."""
    return 90.0 - 180.0 * uniform


def quantiles(density: np.ndarray, values: np.ndarray, steps: int = 4096) -> np.ndarray:
    """Return the values at equal steps of the cumulative distribution whose density is given at `values`."""
    cumulative = cumulative_trapezoid(density, values, initial=0.0)
    return np.interp(np.linspace(0.0, 1.0, steps + 1), cumulative / cumulative[-1], values)


def interpolate(
    table: np.ndarray, fraction: np.ndarray, start: np.ndarray | int = 0, size: int | None = None
) -> np.ndarray:
    """Return values at fractions 0 to 1 of a table with equal steps, linear between them.

    Of a flat array of tables of `size` each, `start` says where the one to use begins.
    """
    steps = (len(table) if size is None else size) - 1
    place = fraction * steps
    low = np.minimum(place.astype(np.int64), steps - 1)
    left = table[start + low]
    return left + (place - low) * (table[start + low + 1] - left)


def _mixture(old: np.ndarray, band: str, z: np.ndarray) -> np.ndarray:
    return (1.0 - old) * k_correction("starburst", band, z) + old * k_correction("spiral", band, z)


def _scale(mag_i: np.ndarray | float) -> np.ndarray:
    return np.exp(REDSHIFT_SCALE[0] + REDSHIFT_SCALE[1] * (np.asarray(mag_i) - 25.0))


def _redshift_density(x: np.ndarray) -> np.ndarray:
    return x**REDSHIFT_RISE * np.exp(-(x**REDSHIFT_TAIL))


@cache
def _distances() -> tuple[np.ndarray, np.ndarray]:
    """Return the comoving distance at equal steps of z, and z at equal steps of the distance."""
    z = np.linspace(0.0, Z_MAX, _DISTANCE_STEPS + 1)
    distance = comoving_distance(z)
    return distance, np.interp(np.linspace(0.0, distance[-1], len(z)), distance, z)


@cache
def _behind() -> tuple[np.ndarray, np.ndarray]:
    """Return the tables of `draw_behind`: magnitudes, and redshifts in rows of equal steps of magnitude."""
    z, rows = np.linspace(0.02, Z_MAX, 3000), np.linspace(*MAG_RANGE, 111)
    volume = comoving_distance(z) ** 3
    densities = [volume * _redshift_density(z / _scale(m)) / _scale(m) for m in rows]
    ends = 1.0 + np.exp((rows - COUNTS_END[0]) / COUNTS_END[1])
    weight = 10 ** (COUNTS_SLOPE * rows) / ends * np.trapezoid(densities, z, axis=1)
    fine = np.linspace(*MAG_RANGE, 4001)
    magnitudes = quantiles(np.exp(np.interp(fine, rows, np.log(weight))), fine)
    return magnitudes, np.stack([quantiles(density, z, 1024) for density in densities])
