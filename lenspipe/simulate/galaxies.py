"""Field galaxies and stars as deep surveys count them: magnitudes, sizes, shapes, bulges, colours.

Counts and redshifts are those of the LSST Science Book (2009, section 3.7.2); sizes, ellipticities and
bulges those that KiDS and CFHTLenS measure shapes with (Miller et al. 2013, appendix B).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.special import gammaincinv, ndtri

from lenspipe.lensing.light import EXPONENTIAL_RADIUS
from lenspipe.simulate.colours import ALIASES, k_correction
from lenspipe.simulate.sources import position_angle

#: N(< i) = 46 x 10^(0.31 (i - 25)) per arcmin^2 (LSST Science Book, eq. 3.7), for faint galaxies.
COUNTS_25, FAINT_SLOPE = 46.0, 0.31
#: Brighter than 23 the counts are steeper (Metcalfe et al. 2001; the formula alone gives 1.5 times too many
#: at r = 22 in a real KiDS field, with this slope it is right to 15 %).
KNEE, BRIGHT_SLOPE, BRIGHTEST = 23.0, 0.40, 14.0
#: Disc scale lengths, ln(r/arcsec) = a + b (i - 23), and half-light radii of spheroids (Miller et al. 2013).
DISC_SIZE, SPHEROID_SIZE = (-1.145, -0.269), (-1.320, -0.278)
BULGE_SCATTER = 0.1  # of the bulge's share of a disc galaxy, a half Gaussian (the same)
#: Scatter of g - i at given type and redshift [mag] (dust, age), and what of it the other bands get.
REDDENING = 0.12
_REDDENED = {"u": 1.8, "g": 1.0, "r": 0.4, "i": 0.0, "z": -0.25, "Y": -0.4}
STAR_RANGE, STAR_SLOPE = (14.0, 24.5), 0.12  # i band, at middle galactic latitudes
N_UNIFORMS = 10  # that one object needs
#: m_band - m_i [mag] of the bluest (F) and the reddest (M) main-sequence stars.
_STARS = {"u": (1.6, 5.0), "g": (0.45, 2.6), "r": (0.12, 1.1), "z": (-0.05, -0.5), "Y": (-0.05, -0.7)}


def count_brighter(mag_i: np.ndarray | float) -> np.ndarray:
    """Return the number of galaxies per arcmin^2 brighter than an i magnitude."""
    mag_i = np.asarray(mag_i, float)
    at_knee = FAINT_SLOPE / BRIGHT_SLOPE * COUNTS_25 * 10 ** (FAINT_SLOPE * (KNEE - 25.0))
    bright = at_knee * 10 ** (BRIGHT_SLOPE * (np.minimum(mag_i, KNEE) - KNEE))
    faint = COUNTS_25 * (10 ** (FAINT_SLOPE * (mag_i - 25.0)) - 10 ** (FAINT_SLOPE * (KNEE - 25.0)))
    return bright + np.maximum(faint, 0.0)


def draw_galaxies(u: np.ndarray, density: float, bands: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the brightest `density` galaxies per arcmin^2.

    Parameters
    ----------
    u : ndarray (m, N_UNIFORMS)
        Uniform numbers.
    density : float
        Per arcmin^2; decides how faint they get.
    bands : sequence of str

    Returns
    -------
    dict
        ``z``; ``r_eff`` (half-light radius of the disc, or of a spheroid) and ``r_bulge`` [arcsec]; ``n``
        (1 or 4), ``q``, ``phi`` [deg]; ``mag_<band>`` of the whole, ``bulge_<band>``, the bulge's share.
    """
    mag_i = np.interp(u[:, 0] * density, *_counts())
    z = np.clip(gammaincinv(3.0, u[:, 1]) * np.maximum(0.0417 * mag_i - 0.744, 0.065), 0.02, 4.0)
    spheroid = u[:, 2] < np.clip(0.35 - 0.05 * (mag_i - 19.0), 0.1, 0.35)
    # p(r) ~ r exp(-(r/a)^(4/3)), in units of its median
    spread = (gammaincinv(1.5, u[:, 3]) / gammaincinv(1.5, 0.5)) ** 0.75
    scale, radius = (np.exp(a + b * (mag_i - 23.0)) * spread for a, b in (DISC_SIZE, SPHEROID_SIZE))
    ellipticity = np.interp(u[:, 4], *_ellipticities())
    share = np.where(spheroid, 1.0, np.minimum(BULGE_SCATTER * ndtri(0.5 + 0.5 * u[:, 5] * (1 - 1e-9)), 0.9))
    out = {
        "z": z,
        "r_eff": np.clip(np.where(spheroid, radius, EXPONENTIAL_RADIUS * scale), 0.05, 10.0),
        "r_bulge": np.clip(np.where(spheroid, radius, scale), 0.05, 6.0),
        "n": np.where(spheroid, 4.0, 1.0),
        "q": (1.0 - ellipticity) / (1.0 + ellipticity),
        "phi": position_angle(u[:, 6]),
    }
    late = u[:, 7] ** 0.7  # 0 = Sbc, 1 = Im; more of these, or g - r is 0.1 mag redder than in a KiDS field
    reddening = REDDENING * ndtri(np.clip(u[:, 8], 1e-9, 1 - 1e-9))
    for band in bands:
        old, spiral, blue = (
            k_correction(name, band, z) - k_correction(name, "i", z) for name in ("early", "spiral", "blue")
        )
        bulge = share * 10 ** (-0.4 * old)
        disc = (1.0 - share) * 10 ** (-0.4 * (spiral + late * (blue - spiral)))
        dust = reddening * _REDDENED.get(ALIASES.get(band, band), 0.0)
        out[f"mag_{band}"] = mag_i - 2.5 * np.log10(bulge + disc) + dust
        out[f"bulge_{band}"] = bulge / (bulge + disc)
    return out


def star_colour(band: str, redness: np.ndarray) -> np.ndarray:
    """Return m_band - m_i [mag] of main-sequence stars, redness 0 (F) to 1 (M)."""
    blue, red = _STARS.get(ALIASES.get(band, band), (0.0, 0.0))
    return blue + redness * (red - blue)


def draw_stars(u: np.ndarray, bands: Sequence[str]) -> dict[str, np.ndarray]:
    """Return stars from uniform numbers `u` (m, N_UNIFORMS): the columns of `draw_galaxies`, r_eff = 0."""
    m = len(u)
    low, high = (10 ** (STAR_SLOPE * mag) for mag in STAR_RANGE)
    mag_i = np.log10(low + u[:, 0] * (high - low)) / STAR_SLOPE
    out = {"z": np.full(m, np.nan), "r_eff": np.zeros(m), "r_bulge": np.zeros(m)}
    out |= {"n": np.full(m, 0.5), "q": np.ones(m), "phi": np.zeros(m)}
    for band in bands:
        out |= {f"mag_{band}": mag_i + star_colour(band, u[:, 1]), f"bulge_{band}": np.ones(m)}
    return out


@cache
def _counts() -> tuple[np.ndarray, np.ndarray]:
    mag = np.linspace(BRIGHTEST, 28.0, 1401)
    return count_brighter(mag), mag


@cache
def _ellipticities() -> tuple[np.ndarray, np.ndarray]:
    """Return (cumulative, e) of e = (1 - q) / (1 + q) of discs (Miller et al. 2013, eq. B2)."""
    e = np.linspace(0.0, 0.804, 400)
    density = e * (1.0 - np.exp((e - 0.804) / 0.2539)) / ((1.0 + e) * np.sqrt(e**2 + 0.0256**2))
    cumulative = np.cumsum(density)
    return cumulative / cumulative[-1], e
