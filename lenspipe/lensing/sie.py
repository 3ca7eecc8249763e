"""The singular isothermal ellipsoid, its round limit, and external shear.

Conventions: `theta_e` is the intermediate-axis Einstein radius sqrt(ab), so that
kappa = theta_e / (2 sqrt(q x^2 + y^2 / q)) with x along the major axis of the mass; lengths in arcsec;
`phi` is the position angle of the major axis, degrees counter-clockwise from +y. lenstronomy's theta_E of an
SIE is the same radius (its two conversions, to the major axis and back, cancel; checked in the tests).

All arguments broadcast against each other; arrays must share one float dtype, which is the result's.
"""

from __future__ import annotations

from typing import Any

import keras

from lenspipe.lensing.coordinates import RADIANS, as_tensors, from_major_axis, to_major_axis

ops: Any = keras.ops  # its annotations allow None everywhere

#: Radius [arcsec] below which an SIE is not resolved further: values and gradients stay finite at its centre.
CORE = 1e-6

_TERMS = 13  # of a series


def deflect(
    x: Any, y: Any, theta_e: Any, q: Any, phi: Any, x_lens: Any = 0.0, y_lens: Any = 0.0
) -> tuple[Any, Any]:
    """Return the deflection (alpha_x, alpha_y) [arcsec] of a singular isothermal ellipsoid.

    Kormann, Schneider & Bartelmann (1994), in the form of Keeton (2001, eq. 33 f.), written with
    atan(t)/t and atanh(t)/t so that q = 1 is an ordinary point. Zero at the lens' centre.

    Parameters
    ----------
    x, y : tensor
        Position in the image plane [arcsec].
    theta_e : tensor
        Intermediate-axis Einstein radius [arcsec].
    q : tensor
        Axis ratio of the mass, 0 < q <= 1.
    phi : tensor
        Position angle of the mass' major axis [deg, counter-clockwise from +y].
    x_lens, y_lens : tensor
        Centre [arcsec].
    """
    x, y, theta_e, q, phi, x_lens, y_lens = as_tensors(x, y, theta_e, q, phi, x_lens, y_lens)
    u, v, psi = _elliptical(x - x_lens, y - y_lens, q, phi)
    u, v = u / psi, v / psi
    strength = theta_e * ops.sqrt(q)
    f_squared = (1.0 - q) * (1.0 + q)
    alpha_u = strength * u * _arctan_ratio(f_squared * u * u)
    alpha_v = strength * v * _arctanh_ratio(f_squared * v * v)
    return from_major_axis(alpha_u, alpha_v, phi)


def converge(x: Any, y: Any, theta_e: Any, q: Any, phi: Any, x_lens: Any = 0.0, y_lens: Any = 0.0) -> Any:
    """Return the convergence kappa of a singular isothermal ellipsoid; parameters as in `deflect`.

    Within `CORE` of the centre, where the formula diverges, it is held constant.
    """
    x, y, theta_e, q, phi, x_lens, y_lens = as_tensors(x, y, theta_e, q, phi, x_lens, y_lens)
    _, _, psi = _elliptical(x - x_lens, y - y_lens, q, phi)
    return 0.5 * theta_e * ops.sqrt(q) / psi


def converge_slope(
    x: Any, y: Any, theta_e: Any, q: Any, phi: Any, x_lens: Any = 0.0, y_lens: Any = 0.0
) -> tuple[Any, Any]:
    """Return the gradient of the convergence (d kappa / dx, d kappa / dy) [1/arcsec]; parameters as in `deflect`.

    Twice it is the Laplacian of the deflection: the curvature that a linear interpolation of rays misses.
    """
    x, y, theta_e, q, phi, x_lens, y_lens = as_tensors(x, y, theta_e, q, phi, x_lens, y_lens)
    u, v, psi = _elliptical(x - x_lens, y - y_lens, q, phi)
    steepness = -0.5 * theta_e * ops.sqrt(q) / (psi * psi * psi)
    return from_major_axis(steepness * q * q * u, steepness * v, phi)


def deflect_sis(x: Any, y: Any, theta_e: Any, x_lens: Any = 0.0, y_lens: Any = 0.0) -> tuple[Any, Any]:
    """Return the deflection (alpha_x, alpha_y) [arcsec] of a singular isothermal sphere."""
    x, y, theta_e, x_lens, y_lens = as_tensors(x, y, theta_e, x_lens, y_lens)
    dx, dy = x - x_lens, y - y_lens
    radius = ops.sqrt(ops.maximum(dx * dx + dy * dy, CORE**2))
    return theta_e * dx / radius, theta_e * dy / radius


def shear(x: Any, y: Any, gamma_ext: Any, phi_ext: Any) -> tuple[Any, Any]:
    """Return the deflection (alpha_x, alpha_y) [arcsec] of an external shear about the stamp's centre.

    gamma_1 = gamma_ext cos 2t and gamma_2 = gamma_ext sin 2t with t = phi_ext + 90 deg, measured from +x.
    About another centre it would differ by a constant, that is by a shift of the source.

    Parameters
    ----------
    x, y : tensor
        Position [arcsec] from the stamp's centre.
    gamma_ext : tensor
        Strength.
    phi_ext : tensor
        Direction in which the image is stretched [deg, counter-clockwise from +y].
    """
    x, y, gamma_ext, phi_ext = as_tensors(x, y, gamma_ext, phi_ext)
    gamma_1 = -gamma_ext * ops.cos(2.0 * RADIANS * phi_ext)
    gamma_2 = -gamma_ext * ops.sin(2.0 * RADIANS * phi_ext)
    return gamma_1 * x + gamma_2 * y, gamma_2 * x - gamma_1 * y


def _elliptical(dx: Any, dy: Any, q: Any, phi: Any) -> tuple[Any, Any, Any]:
    """Return the coordinates along the axes and psi = sqrt(q^2 u^2 + v^2)."""
    u, v = to_major_axis(dx, dy, phi)
    return u, v, ops.sqrt(ops.maximum(q * q * u * u + v * v, CORE**2))


def _arctan_ratio(t_squared: Any) -> Any:
    """Return atan(t)/t as a smooth function of t^2 >= 0.

    atan(t) = 2 atan(t / (1 + sqrt(1 + t^2))), twice, and a series: twenty times faster than a compiled
    arctangent, and an ordinary function at t = 0.
    """
    first = 1.0 / (1.0 + ops.sqrt(1.0 + t_squared))
    z = t_squared * first * first
    second = 1.0 / (1.0 + ops.sqrt(1.0 + z))
    return 4.0 * first * second * _series(-z * second * second)


def _arctanh_ratio(t_squared: Any) -> Any:
    """Return atanh(t)/t as a smooth function of 0 <= t^2 < 1; atanh(t) = 2 atanh(t / (1 + sqrt(1 - t^2)))."""
    ratio, z = 1.0, t_squared
    for _ in range(3):
        half = 1.0 / (1.0 + ops.sqrt(1.0 - z))
        ratio, z = 2.0 * ratio * half, z * half * half
    return ratio * _series(z)


def _series(z: Any) -> Any:
    """Return 1 + z/3 + z^2/5 + ..., cut off where z = 0.18 gives 1e-11."""
    total = 1.0 / (2 * _TERMS + 1)
    for k in reversed(range(_TERMS)):
        total = total * z + 1.0 / (2 * k + 1)
    return total
