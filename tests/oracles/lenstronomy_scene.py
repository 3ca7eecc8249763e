"""Scenes drawn by other people's code: lenstronomy for lensing and light, GalSim for unlensed galaxies.

lenstronomy's own convolution darkens the frame's edges, its pixel PSF is low at the peak and its b_n is
an approximation, so it is asked for surface brightness only, on a fine grid and a wide frame; the PSF is
GalSim's, the convolution scipy's. Where the conventions differ, the parameters are converted here and
nowhere else.
"""

from __future__ import annotations

from typing import Any

import galsim
import numpy as np
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel
from scipy.signal import fftconvolve
from scipy.special import gamma, gammaincinv


def direction(phi: float) -> float:
    """Return the angle from +x [rad] of a table's angle (degrees from +y)."""
    return np.deg2rad(phi + 90.0)


def ellipticity(q: float, phi: float) -> tuple[float, float]:
    """Return lenstronomy's (e1, e2) = (1-q)/(1+q) (cos 2t, sin 2t)."""
    e = (1.0 - q) / (1.0 + q)
    return e * np.cos(2 * direction(phi)), e * np.sin(2 * direction(phi))


def sie_parameters(theta_e: float, q: float, phi: float, x: float = 0.0, y: float = 0.0) -> dict[str, float]:
    """Return lenstronomy's SIE parameters; its theta_E is the intermediate-axis radius, as ours."""
    e1, e2 = ellipticity(q, phi)
    return {"theta_E": theta_e, "e1": e1, "e2": e2, "center_x": x, "center_y": y}


def sersic_parameters(
    flux: float, r_eff: float, n: float, q: float, phi: float, x: float = 0.0, y: float = 0.0
) -> dict[str, float]:
    """Return lenstronomy's SERSIC_ELLIPSE parameters of a profile with exact b_n and given total flux."""
    e1, e2 = ellipticity(q, phi)
    exact, theirs = gammaincinv(2 * n, 0.5), 1.9992 * n - 0.3271
    total = 2 * np.pi * n * r_eff**2 * exact ** (-2 * n) * gamma(2 * n)  # of exp(-b_n (r/r_eff)^(1/n))
    return {
        "amp": flux / total * np.exp(-theirs),
        "R_sersic": r_eff * (theirs / exact) ** n,
        "n_sersic": n,
        "e1": e1,
        "e2": e2,
        "center_x": x,
        "center_y": y,
    }


def lensed_image(
    deflector: dict[str, float],
    source: dict[str, float],
    size: int,
    pixel_scale: float,
    fwhm: float,
    beta: float,
    oversample: int = 11,
    margin: int = 16,
) -> np.ndarray:
    """Return the image (size, size) of one Sersic source behind an SIE with shear."""
    frame = size + 2 * margin
    light = lensed_brightness(deflector, source, frame * oversample, pixel_scale / oversample)
    radius = margin * oversample
    kernel = psf_image(fwhm, beta, radius, pixel_scale / oversample)
    blurred = fftconvolve(light, kernel, mode="same")
    binned = blurred.reshape(frame, oversample, frame, oversample).sum(axis=(1, 3))
    return binned[margin:-margin, margin:-margin]


def lensed_brightness(
    deflector: dict[str, float], source: dict[str, float], side: int, step: float
) -> np.ndarray:
    """Return the flux (side, side) of one Sersic source behind an SIE with shear at points `step` arcsec apart."""
    t = direction(deflector["phi_ext"])
    g = deflector["gamma_ext"]
    lens = LensModel(["SIE", "SHEAR"])
    lens_parameters = [
        sie_parameters(*(deflector[k] for k in ("theta_e", "q", "phi", "x_lens", "y_lens"))),
        {"gamma1": g * np.cos(2 * t), "gamma2": g * np.sin(2 * t)},
    ]
    axis = (np.arange(side) - 0.5 * (side - 1)) * step
    x, y = (grid.ravel() for grid in np.meshgrid(axis, axis))
    beta_x, beta_y = lens.ray_shooting(x, y, lens_parameters)
    light = LightModel(["SERSIC_ELLIPSE"]).surface_brightness(beta_x, beta_y, [sersic_parameters(**source)])
    return light.reshape(side, side) * step**2


def psf_image(fwhm: float, beta: float, radius: int, step: float) -> np.ndarray:
    """Return GalSim's PSF on (2 radius + 1)^2 points, sum 1."""
    profile = galsim_psf(fwhm, beta)
    side = 2 * radius + 1
    image = profile.drawImage(nx=side, ny=side, scale=step, method="no_pixel", dtype=np.float64).array
    return image / image.sum()


def galsim_psf(fwhm: float, beta: float) -> Any:
    """Return a GalSim PSF of lenspipe's convention (beta inf or NaN = Gaussian)."""
    precise = galsim.GSParams(folding_threshold=1e-4, maxk_threshold=1e-5, maximum_fft_size=32768)
    if np.isfinite(beta):
        return galsim.Moffat(beta=beta, fwhm=fwhm, gsparams=precise)
    return galsim.Gaussian(fwhm=fwhm, gsparams=precise)


def galsim_image(
    component: dict[str, float], size: int, pixel_scale: float, fwhm: float, beta: float
) -> np.ndarray:
    """Return GalSim's image (size, size) of one unlensed Sersic galaxy."""
    precise = galsim.GSParams(folding_threshold=1e-4, maxk_threshold=1e-5, maximum_fft_size=32768)
    galaxy = galsim.Sersic(
        component["n"], half_light_radius=component["r_eff"], flux=component["flux"], gsparams=precise
    )
    galaxy = galaxy.shear(q=component["q"], beta=direction(component["phi"]) * galsim.radians)
    galaxy = galaxy.shift(component["x"], component["y"])
    seen = galsim.Convolve([galaxy, galsim_psf(fwhm, beta)], gsparams=precise)
    return seen.drawImage(nx=size, ny=size, scale=pixel_scale, method="auto", dtype=np.float64).array
