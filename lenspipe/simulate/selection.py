"""What a survey can discover: the rules of Collett 2015, section 4, as his code has them.

From the exposures of each band those are stacked that resolve the arcs (his optimal coadd): PSF FWHM w with
w^2 < 2 theta_e^2 - 2 r_src^2 and w < mu r_src. The stack has the PSF of the worst one, and resolves the
ring where w^2 < 2 theta_e^2 - 4 r_src^2. A lens is discovered where mu > 3 and the lensed source has
the asked signal-to-noise in the stack of one band.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.special import ndtri

from lenspipe.core.survey import FWHM_PER_SIGMA, Band, Survey
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.polar import Ring, signal_to_noise

MIN_MAGNIFICATION = 3.0
#: `magnification_limit` lies above the magnification of all but one in 10^4 discs behind SIE and shear.
_LIMIT, _CAUSTIC, _SHEAR, _SOFTENING = 1.35, 1.2, 3.0, 0.6


def resolution_limit(theta_e: np.ndarray, r_src: np.ndarray | float) -> np.ndarray:
    """Return the worst PSF FWHM [arcsec] in which a ring is told from a disc; 0 if in none."""
    return np.sqrt(np.maximum(2.0 * theta_e**2 - 4.0 * r_src**2, 0.0))


def best_seeing(survey: Survey, bands: Sequence[str]) -> float:
    """Return the FWHM [arcsec] of the best exposure in any band where the coadd is 3 sigma better than usual."""
    setups = [survey.bands[band] for band in bands]
    return min(_exposures(b)[0] * np.exp(-3.0 * b.coadd_scatter(b.psf_scatter)) for b in setups)


def magnification_limit(
    radius: np.ndarray, theta_e: np.ndarray, q: np.ndarray, gamma_ext: np.ndarray, r_src: np.ndarray
) -> np.ndarray:
    """Return what the magnification of a disc `radius` off the lens can be at most.

    That of an isothermal sphere, 2 theta_e / radius, at the distance to the region of the caustic.
    """
    outside = np.maximum(radius - (_CAUSTIC * (1.0 - q) + _SHEAR * gamma_ext) * theta_e, 0.0)
    return _LIMIT * 2.0 * theta_e / np.hypot(outside, _SOFTENING * r_src)


def snr_limit(survey: Survey, band: str, flux: np.ndarray, mu: np.ndarray, r_src: np.ndarray) -> np.ndarray:
    """Return the signal-to-noise of sources magnified by `mu`, all exposures as sharp as the best, no lens light.

    One image, stretched by `mu` along the ring; `flux` is the unlensed one [nJy].
    """
    sigma = _exposures(survey.bands[band])[0] / FWHM_PER_SIGMA
    area = 4.0 * np.pi * np.hypot(sigma, 0.4 * r_src) * np.hypot(sigma, 0.2 * mu * r_src)
    return mu * flux * survey.pixel_scale / (survey.bands[band].sky_sigma(survey.pixel_scale) * np.sqrt(area))


def optimal_stack(
    band: Band, coadd_fwhm: np.ndarray, theta_e: np.ndarray, r_src: np.ndarray, mu: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return PSF FWHM [arcsec] of the optimal stack and its share of the exposures, 0 if it does not resolve.

    Exposures stand at the quantiles of the seeing's log-normal distribution, shifted as the coadd's PSF
    `coadd_fwhm` is off the survey's.
    """
    seeing, shift = _exposures(band), coadd_fwhm / band.psf_fwhm
    limit = np.sqrt(np.maximum(2.0 * theta_e**2 - 2.0 * r_src**2, 0.0))
    used = np.searchsorted(seeing, np.minimum(limit, mu * r_src) / shift)
    fwhm = seeing[np.maximum(used - 1, 0)] * shift
    return fwhm, np.where(fwhm < resolution_limit(theta_e, r_src), used / len(seeing), 0.0)


def may_resolve(
    band: Band, coadd_fwhm: np.ndarray, theta_e: np.ndarray, r_src: np.ndarray, least_mu: np.ndarray
) -> np.ndarray:
    """Tell whether the optimal stack resolves the ring for any magnification from `least_mu` on."""
    sharpest = 1.0001 * _exposures(band)[0] * coadd_fwhm / band.psf_fwhm
    return optimal_stack(band, coadd_fwhm, theta_e, r_src, np.maximum(least_mu, sharpest / r_src))[1] > 0.0


def stacked_snr(
    survey: Survey, band: str, ring: Ring, lens: dict[str, np.ndarray], conditions: dict[str, np.ndarray]
) -> np.ndarray:
    """Return the signal-to-noise of lensed sources in the optimal stack of one band, 0 where there is none.

    `lens` has theta_e, r_src, r_lens [arcsec], mag_lens_<band> and mag_src_<band>; `conditions` the coadd's
    psf_fwhm_<band> and sky_sigma_<band>.
    """
    setup = survey.bands[band]
    fwhm, share = optimal_stack(
        setup, conditions[f"psf_fwhm_{band}"], lens["theta_e"], lens["r_src"], ring.mu
    )
    r_e = np.hypot(lens["r_lens"], 0.5 * fwhm)
    de_vaucouleurs = np.exp(-7.669 * ((lens["theta_e"] / r_e) ** 0.25 - 1.0)) / (7.215 * np.pi * r_e**2)
    variance = (conditions[f"sky_sigma_{band}"] / survey.pixel_scale) ** 2
    variance = variance + flux_njy(lens[f"mag_lens_{band}"]) * de_vaucouleurs / setup.electrons_per_njy()
    snr = signal_to_noise(ring, flux_njy(lens[f"mag_src_{band}"]), fwhm, variance)
    return snr * np.sqrt(share)


@cache
def _exposures(band: Band) -> np.ndarray:
    """Return the PSF FWHM of the band's exposures [arcsec], best first."""
    quantile = (np.arange(band.n_exposures) + 0.5) / band.n_exposures
    return band.exposure_fwhm() * np.exp(band.psf_scatter * ndtri(quantile))
