"""Light profiles: the Sersic law, normalised to its total flux."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from scipy.special import gammaincinv, gammaln

from lenspipe.lensing.coordinates import as_tensors, to_major_axis

ops: Any = keras.ops  # its annotations allow None everywhere

#: Square of the least radius [r_eff] that is told from the centre, so that its logarithm stays finite.
_CENTRE = 1e-14


def sersic_bn(n: np.ndarray | float) -> np.ndarray:
    """Return the exact b_n, for which half of the flux lies within r_eff: P(2n, b_n) = 1/2.

    Ciotti & Bertin (1999), eq. 2, inverted numerically in float64.
    """
    return gammaincinv(2.0 * np.asarray(n, np.float64), 0.5)


#: Half-light radius of an exponential disc [scale lengths], 1.678.
EXPONENTIAL_RADIUS = float(sersic_bn(1.0))


def sersic_constants(n: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return (b_n, norm) of Sersic indices, float64, computed on the host.

    `norm` is the central surface brightness in units of total flux / r_eff^2:
    b_n^(2n) / (2 pi n Gamma(2n)) (Graham & Driver 2005, eq. 2, solved for the centre).
    """
    n = np.asarray(n, np.float64)
    b_n = sersic_bn(n)
    return b_n, np.exp(2.0 * n * np.log(b_n) - gammaln(2.0 * n)) / (2.0 * np.pi * n)


def sersic(
    x: Any, y: Any, flux: Any, r_eff: Any, n: Any, b_n: Any, norm: Any, q: Any, phi: Any, x0: Any, y0: Any
) -> Any:
    """Return the surface brightness [flux / arcsec^2] of an elliptical Sersic profile.

    Parameters
    ----------
    x, y : tensor
        Position [arcsec].
    flux : tensor
        Total flux to infinity, any unit.
    r_eff : tensor
        Half-light radius [arcsec] on the intermediate axis: the elliptical radius is sqrt(q u^2 + v^2/q).
    n, b_n, norm : tensor
        Sersic index, 0.5 to 6, and its `sersic_constants`.
    q, phi : tensor
        Axis ratio and position angle of the major axis [deg, counter-clockwise from +y].
    x0, y0 : tensor
        Centre [arcsec].
    """
    x, y, flux, r_eff, n, b_n, norm, q, phi, x0, y0 = as_tensors(
        x, y, flux, r_eff, n, b_n, norm, q, phi, x0, y0
    )
    return flux * sersic_brightness(x, y, "sersic", x0, y0, r_eff, n, b_n, norm, q, phi)


def sersic_brightness(
    bx: Any, by: Any, profile: str, x: Any, y: Any, r_eff: Any, n: Any, b_n: Any, norm: Any, q: Any, phi: Any
) -> Any:
    """Return what `sersic` does for total flux 1, at (bx, by), by the cheapest formula for its form.

    Parameters
    ----------
    bx, by : tensor
        Position [arcsec].
    profile : {"gaussian", "exponential", "sersic"}
        n = 0.5, n = 1, or any n.
    x, y : tensor
        Centre [arcsec].
    r_eff, n, b_n, norm, q, phi : tensor
        As in `sersic`, tensors of one dtype.
    """
    # one scale after the other: the square of a tiny radius is no float32
    u, v = to_major_axis((bx - x) / r_eff, (by - y) / r_eff, phi)
    r2 = q * u * u + v * v / q
    if profile == "gaussian":
        shape = r2
    elif profile == "exponential":
        shape = ops.sqrt(ops.maximum(r2, _CENTRE))
    else:  # exp(log) instead of a power: ten times faster in TensorFlow
        shape = ops.exp((0.5 / n) * ops.log(ops.maximum(r2, _CENTRE)))
    return norm / (r_eff * r_eff) * ops.exp(-b_n * shape)


def moffat_brightness(r: np.ndarray, fwhm: np.ndarray | float, beta: np.ndarray | float) -> np.ndarray:
    """Return the brightness [1 / arcsec^2] at radius `r` [arcsec] of a star of flux 1 (Moffat 1969).

    All arguments broadcast; a beta of inf is a Gaussian.
    """
    beta = np.asarray(beta, np.float64)
    finite = np.where(np.isfinite(beta), beta, 2.0)
    steepness = 4.0 * np.expm1(np.log(2.0) / finite)
    moffat = (finite - 1.0) / np.pi * steepness * (1.0 + steepness * (r / fwhm) ** 2) ** -finite
    gaussian = 4.0 * np.log(2.0) / np.pi * np.exp(-4.0 * np.log(2.0) * (r / fwhm) ** 2)
    return np.where(np.isfinite(beta), moffat, gaussian) / np.square(fwhm)
