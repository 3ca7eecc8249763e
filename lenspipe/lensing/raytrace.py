"""From the image plane to the source plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lenspipe.lensing import sie
from lenspipe.lensing.coordinates import as_tensors


@dataclass(frozen=True)
class Deflector:
    """A singular isothermal ellipsoid with external shear; arrays that broadcast against positions.

    Parameters
    ----------
    theta_e : array
        Intermediate-axis Einstein radius [arcsec]; 0 = no lens.
    q, phi : array
        Axis ratio and position angle [deg, counter-clockwise from +y] of the mass.
    x_lens, y_lens : array
        Centre [arcsec].
    gamma_ext, phi_ext : array
        External shear and its direction [deg, counter-clockwise from +y].
    """

    theta_e: Any
    q: Any
    phi: Any
    x_lens: Any
    y_lens: Any
    gamma_ext: Any
    phi_ext: Any


def shoot(x: Any, y: Any, deflector: Deflector) -> tuple[Any, Any]:
    """Return the source-plane position beta = theta - alpha(theta) [arcsec] of image-plane positions.

    Parameters
    ----------
    x, y : tensor
        Image-plane position [arcsec].
    deflector : Deflector
        Its arrays must broadcast against `x` and `y` and share their dtype.
    """
    x, y = as_tensors(x, y)
    d = deflector
    sie_x, sie_y = sie.deflect(x, y, d.theta_e, d.q, d.phi, d.x_lens, d.y_lens)
    shear_x, shear_y = sie.shear(x, y, d.gamma_ext, d.phi_ext)
    return x - sie_x - shear_x, y - sie_y - shear_y
