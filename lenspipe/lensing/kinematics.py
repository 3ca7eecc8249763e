"""Velocity dispersions of power-law galaxies in an aperture, for a given Einstein radius.

Total mass rho ~ r^-alpha, light nu ~ r^-delta, constant anisotropy beta = 1 - s_t^2 / s_r^2, and
xi = alpha + delta - 2. All is told as a factor to the singular isothermal sphere of the same Einstein radius
(`cosmology.sis_sigma_v`), which is 1 at alpha = delta = 2, beta = 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

#: Of sigma (1 sigma) to sigma in another aperture, (r / r')^EXPONENT (Cappellari et al. 2006).
CAPPELLARI = (-0.066, 0.035)


#: Widest aperture, in standard deviations of the seeing, for which a Gaussian stands for both (Schwab et al. 2010 have
#: 2.5; their series grows without limit beyond).
WIDEST = 3.0


def blurs(aperture_radius: ArrayLike, seeing_fwhm: ArrayLike) -> np.ndarray:
    """Tell whether the seeing matters: else the aperture is a circle with an edge."""
    seeing = np.asarray(seeing_fwhm, np.float64) / np.sqrt(8 * np.log(2))
    return (seeing > 0) & (np.asarray(aperture_radius, np.float64) <= WIDEST * seeing)


def is_physical(alpha: ArrayLike, beta: ArrayLike, delta: ArrayLike) -> np.ndarray:
    """Tell whether a power-law galaxy's dispersion in an aperture is finite and positive.

    Mass must have a finite projection and a finite centre, 1 < alpha < 3, so must the light, 1 < delta < 3; the
    brightness times dispersion must project, 1 < xi < 3, and stars must not fall in, xi > 2 beta and beta < 1.
    """
    alpha, beta, delta = (np.asarray(values, np.float64) for values in (alpha, beta, delta))
    xi = alpha + delta - 2.0
    slopes = (alpha > 1) & (alpha < 3) & (delta > 1) & (delta < 3) & (xi > 1) & (xi < 3)
    return slopes & (xi > 2 * beta) & (beta < 1)


def log_shape(alpha: ArrayLike, beta: ArrayLike, delta: ArrayLike, seeing: bool) -> np.ndarray:
    """Return the part of ln(sigma^2 / sigma_sis^2) that no radius enters; all broadcast, NaN where not physical.

    Parameters
    ----------
    alpha, beta, delta : array_like
    seeing : bool
        Whether the aperture is a Gaussian weight (fibre and seeing) or a circle with an edge.

    Returns
    -------
    ndarray
        With seeing of Schwab, Bolton & Rappaport 2010, eq. 23, else of Cao et al. 2017 and Chen et al. 2019, their
        uniform circular aperture.
    """
    alpha, beta, delta = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (alpha, beta, delta)))
    good = is_physical(alpha, beta, delta)
    alpha, beta, delta = (
        np.where(good, values, usual)
        for values, usual in zip((alpha, beta, delta), (2.0, 0.0, 2.0), strict=True)
    )
    xi = alpha + delta - 2.0
    stars = np.exp(_log_lambda(xi)) - beta * np.exp(_log_lambda(xi + 2))
    out = np.log(2 * np.sqrt(np.pi)) - np.log(xi - 2 * beta) - _log_lambda(alpha) - _log_lambda(delta)
    with np.errstate(invalid="ignore", divide="ignore"):
        out = out + np.log(np.where(stars > 0, stars, np.nan))
    if seeing:
        out = out + gammaln((3 - xi) / 2) - gammaln((3 - delta) / 2)
    else:
        out = out + np.log((3 - delta) / (3 - xi))
    return np.where(good, out, np.nan)


def log_reach(
    theta_e: ArrayLike, aperture_radius: ArrayLike, seeing_fwhm: ArrayLike | None = None
) -> np.ndarray:
    """Return ln of the square of an aperture's radius in Einstein radii: 2 - alpha times its half is the rest of
    ln(sigma^2 / sigma_sis^2).

    With a seeing of `seeing_fwhm` [arcsec] the radius is sqrt(2) times the width of the Gaussian that stands for fibre
    and seeing (Schwab et al. 2010, eq. 20).
    """
    theta_e, radius = np.asarray(theta_e, np.float64), np.asarray(aperture_radius, np.float64)
    if seeing_fwhm is None:
        return 2 * np.log(radius / theta_e)
    seeing = np.asarray(seeing_fwhm, np.float64) / np.sqrt(8 * np.log(2))
    chi = radius / seeing
    return np.log(2 * (seeing / theta_e) ** 2 * (1 + chi**2 / 4 + chi**4 / 40))


def power_law_factor(
    theta_e: ArrayLike,
    alpha: ArrayLike,
    beta: ArrayLike,
    delta: ArrayLike,
    aperture_radius: ArrayLike,
    seeing_fwhm: ArrayLike | None = None,
) -> np.ndarray:
    """Return sigma / sigma_sis of a power-law galaxy; all arguments broadcast.

    Parameters
    ----------
    theta_e : array_like
        Einstein radius [arcsec].
    alpha, beta, delta : array_like
        Slope of the mass, anisotropy, slope of the light (both of the density in space).
    aperture_radius : array_like
        Radius of the aperture [arcsec].
    seeing_fwhm : array_like, optional
        Of the spectrum [arcsec]; without it the aperture is a circle with an edge.

    Returns
    -------
    ndarray
        NaN where `is_physical` says no.
    """
    shape = log_shape(alpha, beta, delta, seeing_fwhm is not None)
    reach = log_reach(theta_e, aperture_radius, seeing_fwhm)
    return np.exp(0.5 * (shape + (1 - 0.5 * np.asarray(alpha, np.float64)) * reach))


def slit_radius(width: ArrayLike, length: ArrayLike) -> np.ndarray:
    """Return the radius of the circle that sees what a slit sees (Jorgensen, Franx & Kjaergaard 1995)."""
    return 1.025 * np.sqrt(np.asarray(width, np.float64) * np.asarray(length, np.float64) / np.pi)


def to_half_radius(
    sigma_v: ArrayLike, aperture_radius: ArrayLike, r_eff: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Return sigma within half the effective radius, and what relative error that adds (Cappellari et al. 2006)."""
    ratio = np.asarray(r_eff, np.float64) / (2 * np.asarray(aperture_radius, np.float64))
    exponent, error = CAPPELLARI
    return np.asarray(sigma_v, np.float64) * ratio**exponent, np.abs(np.log(ratio)) * error


def _log_lambda(x: np.ndarray) -> np.ndarray:
    """Return ln of Gamma((x - 1) / 2) / Gamma(x / 2)."""
    return gammaln((x - 1) / 2) - gammaln(x / 2)
