"""Light profiles and point-spread functions as sums of Gaussians.

A Gaussian seen through a Gaussian is a Gaussian: what is a sum of them needs no grid, no convolution and
no special care of its cusp (Cappellari 2002; Hogg & Lang 2013). The functions run once on the host, in
float64; what they return is kept.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lenspipe.core.survey import FWHM_PER_SIGMA
from lenspipe.lensing.light import moffat_brightness, sersic_constants

#: Gaussians of a Sersic profile.
SERSIC_TERMS = 20
#: Gaussians of a Moffat profile, and of one with wings broader than those of beta = 2.5.
MOFFAT_TERMS, BROAD_MOFFAT_TERMS = 8, 10
_BROAD = 2.5
#: 1 / beta -> ln smallest, ln largest sigma [FWHM], found likewise.
_MOFFAT_SPAN = np.array(
    [(1 / 20, -1.24, -0.21), (1 / 8, -1.24, 0.28), (1 / 4.765, -1.24, 0.83), (1 / 3.5, -1.24, 1.18),
     (1 / 3, -1.24, 1.35), (1 / 2.5, -1.24, 1.51)]
)  # fmt: skip
_BROAD_SPAN = np.array(
    [(1 / 2.5, -1.32, 2.04), (1 / 2.1, -1.36, 2.20), (1 / 1.8, -1.40, 2.32), (1 / 1.5, -1.44, 2.56),
     (1 / 1.2, -1.44, 3.24)]
)  # fmt: skip
#: Index n -> (ln smallest, ln largest sigma) [r_eff], from a search for the least error after convolution.
_SPAN = np.array(
    [
        (0.5, -3.00, 0.15), (0.6, -3.07, 0.20), (0.7, -3.27, 0.56), (0.8, -3.50, 0.80), (1.0, -4.20, 0.95),
        (1.3, -4.75, 1.55), (1.7, -5.45, 1.77), (2.2, -5.84, 2.17), (3.0, -6.33, 2.83), (4.0, -6.71, 3.31),
        (5.0, -7.05, 3.80), (6.0, -7.35, 4.13),
    ]
)  # fmt: skip


@lru_cache(maxsize=4096)
def sersic_gaussians(n: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (sigma, weight), (SERSIC_TERMS,) each, of a round Sersic profile of total flux 1.

    sigma is in units of r_eff, widest last. For n = 0.5 the profile is itself a Gaussian: one term, the
    others have weight 0. Convolved with a Gaussian of 0.1 to 1 r_eff the sum is within 3e-4 of the exact
    profile (n = 4: 1.1e-4), as a fraction of sqrt(brightness x peak brightness), the shape of Poisson noise.

    Raises
    ------
    ValueError
        If n is not within 0.5 to 6.
    """
    if not 0.5 <= n <= 6.0:
        raise ValueError(f"Sersic index must be 0.5 to 6, received {n:g}")
    if n == 0.5:
        sigma, weight = np.ones(SERSIC_TERMS), np.zeros(SERSIC_TERMS)
        sigma[-1], weight[-1] = 1.0 / np.sqrt(2.0 * np.log(2.0)), 1.0
        return sigma, weight
    low, high = (np.exp(np.interp(n, _SPAN[:, 0], _SPAN[:, column])) for column in (1, 2))
    sigma = np.geomspace(low, high, SERSIC_TERMS)
    r = np.geomspace(low, 1.8 * high, 300)
    b_n, norm = sersic_constants(n)
    light = norm * np.exp(-b_n * r ** (1.0 / n))
    scale = 1.0 / np.maximum(light, 1e-12 * norm)  # relative errors count, where there is light
    matrix = np.exp(-0.5 * (r[:, None] / sigma) ** 2) / (2.0 * np.pi * sigma**2) * scale[:, None]
    matrix = np.vstack([matrix, np.full(SERSIC_TERMS, 100.0)])  # and the total flux
    weight = np.linalg.lstsq(matrix, np.append(light * scale, 100.0), rcond=1e-12)[0]
    return sigma, weight / weight.sum()


@lru_cache(maxsize=256)
def moffat_gaussians(beta: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (sigma, weight) of the Gaussians, narrowest first, of a Moffat profile of FWHM 1 and total flux 1.

    sigma is in units of the FWHM. A Moffat profile is a mixture of Gaussians: (1 + s)^-beta is the mean of
    exp(-t s) over t ~ Gamma(beta). MOFFAT_TERMS of them, below beta = 2.5 BROAD_MOFFAT_TERMS; one for an
    infinite or NaN beta, which is a Gaussian. Within 4e-4 of the exact profile for beta >= 3, 7e-4 at 2.5,
    2e-4 from 2.5 down to 1.8, 3e-4 at 1.5, as a fraction of sqrt(brightness x peak). What broad wings have
    beyond 20 FWHM (0.3 % of the flux at 1.8) is no part of the sum.

    Raises
    ------
    ValueError
        If beta is not greater than 1, where the flux is infinite.
    """
    if not np.isfinite(beta):
        return np.array([1.0 / FWHM_PER_SIGMA]), np.ones(1)
    if beta <= 1.0:
        raise ValueError(f"Moffat index must exceed 1, received {beta:g}")
    broad = beta < _BROAD
    span, terms = (_BROAD_SPAN, BROAD_MOFFAT_TERMS) if broad else (_MOFFAT_SPAN, MOFFAT_TERMS)
    low, high = (np.interp(1.0 / beta, span[:, 0], span[:, column]) for column in (1, 2))
    sigma = np.exp(np.linspace(low, high, terms))
    end = 20.0 if broad else 12.0
    r = np.append(0.0, np.geomspace(0.02, end, 300))
    steepness = 4.0 * np.expm1(np.log(2.0) / beta)
    light = moffat_brightness(r, 1.0, beta)
    scale = 1.0 / np.sqrt(light * light[0])
    matrix = np.exp(-0.5 * (r[:, None] / sigma) ** 2) / (2.0 * np.pi * sigma**2) * scale[:, None]
    # the flux, too: of broad wings that within the end, or what lies beyond would be piled up inside
    within, flux = np.ones(terms), 1.0
    if broad:
        within, flux = -np.expm1(-0.5 * (end / sigma) ** 2), 1.0 - (1.0 + steepness * end**2) ** (1.0 - beta)
    matrix = np.vstack([matrix, 10.0 * within])
    weight = np.linalg.lstsq(matrix, np.append(light * scale, 10.0 * flux), rcond=1e-12)[0]
    return sigma, weight if broad else weight / weight.sum()
