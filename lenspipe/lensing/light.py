"""Light profiles: the Sersic law, normalised to its total flux, with optional spiral arms."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from scipy.special import gammaincinv, gammaln

from lenspipe.lensing.coordinates import RADIANS, as_tensors, to_major_axis

ops: Any = keras.ops  # its annotations allow None everywhere

#: Square of the least radius [r_eff] that is told from the centre, so that its logarithm stays finite.
_CENTRE = 1e-14


def sersic_bn(n: np.ndarray | float) -> np.ndarray:
    """Return the exact b_n, for which half of the flux lies within r_eff: P(2n, b_n) = 1/2.

    Ciotti & Bertin (1999), eq. 2, inverted numerically in float64.
    """
    return gammaincinv(2.0 * np.asarray(n, np.float64), 0.5)


def sersic_constants(n: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return (b_n, norm) of Sersic indices, float64, computed on the host.

    `norm` is the central surface brightness in units of total flux / r_eff^2:
    b_n^(2n) / (2 pi n Gamma(2n)) (Graham & Driver 2005, eq. 2, solved for the centre).
    """
    n = np.asarray(n, np.float64)
    b_n = sersic_bn(n)
    return b_n, np.exp(2.0 * n * np.log(b_n) - gammaln(2.0 * n)) / (2.0 * np.pi * n)


def sersic(
    x: Any,
    y: Any,
    flux: Any,
    r_eff: Any,
    n: Any,
    b_n: Any,
    norm: Any,
    q: Any,
    phi: Any,
    x0: Any,
    y0: Any,
    arms: Any = None,
    pitch: Any = None,
) -> Any:
    """Return the surface brightness [flux / arcsec^2] of an elliptical Sersic profile.

    With spiral arms the profile is multiplied by 1 + arms cos 2(angle - ln(r/r_eff) / tan(pitch)), a
    two-armed logarithmic spiral in the coordinates of the disc seen face-on. The total flux stays the same.

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
    arms : tensor, optional
        Relative amplitude of the arms, 0 to 1.
    pitch : tensor, optional
        Their pitch angle [deg]; needed with `arms`. Negative ones wind the other way.
    """
    x, y, flux, r_eff, n, b_n, norm, q, phi, x0, y0 = as_tensors(
        x, y, flux, r_eff, n, b_n, norm, q, phi, x0, y0
    )
    u, v = to_major_axis(x - x0, y - y0, phi)
    stretch = ops.sqrt(q) / r_eff
    shrink = 1.0 / (ops.sqrt(q) * r_eff)
    u, v = u * stretch, v * shrink
    log_r2 = ops.log(ops.maximum(u * u + v * v, _CENTRE))
    # exp(log) instead of a power: ten times faster in TensorFlow
    light = flux * norm / (r_eff * r_eff) * ops.exp(-b_n * ops.exp((0.5 / n) * log_r2))
    if arms is None:
        return light
    return light * _spiral(u, v, log_r2, *as_tensors(x, arms, pitch)[1:])


def _spiral(u: Any, v: Any, log_r2: Any, arms: Any, pitch: Any) -> Any:
    """Return 1 + arms cos 2(angle - winding), through the double angle of (u, v): no arctangent."""
    twice_winding = log_r2 / ops.tan(pitch * RADIANS)
    cosine = (u * u - v * v) * ops.cos(twice_winding) + 2.0 * u * v * ops.sin(twice_winding)
    return 1.0 + arms * cosine * ops.exp(-log_r2)
