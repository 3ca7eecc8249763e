"""Light profiles and point-spread functions as sums of Gaussians.

A Gaussian seen through a Gaussian is a Gaussian: what is a sum of them needs no grid, no convolution and
no special care of its cusp (Cappellari 2002; Hogg & Lang 2013). The functions run once on the host, in
float64; what they return is kept.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lenspipe.lensing.light import sersic_constants

#: Gaussians of a Sersic profile.
SERSIC_TERMS = 20
#: Gaussians of a Moffat profile.
MOFFAT_TERMS = 8
#: 1 / beta -> ln of the largest sigma [FWHM], and ln of the smallest, found likewise.
_MOFFAT_HIGH = np.array([(1 / 20, -0.21), (1 / 8, 0.28), (1 / 4.765, 0.83), (1 / 3.5, 1.18), (1 / 3, 1.35),
                         (1 / 2.5, 1.51), (1 / 1.8, 2.15), (1 / 1.5, 2.75)])  # fmt: skip
_MOFFAT_LOW = -1.24
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
    """Return (sigma, weight), (MOFFAT_TERMS,) each, of a Moffat profile of FWHM 1 and total flux 1.

    sigma is in units of the FWHM. A Moffat profile is a mixture of Gaussians: (1 + s)^-beta is the mean of
    exp(-t s) over t ~ Gamma(beta). Infinite or NaN beta is a Gaussian: one term, the others have weight 0.
    Within 4e-4 of the exact profile for beta >= 3, 7e-4 at 2.5, 2e-3 at 1.8, 4e-3 at 1.5, as a
    fraction of sqrt(brightness x peak).

    Raises
    ------
    ValueError
        If beta is not greater than 1, where the flux is infinite.
    """
    if not np.isfinite(beta):
        sigma, weight = np.ones(MOFFAT_TERMS), np.zeros(MOFFAT_TERMS)
        sigma[0], weight[0] = 1.0 / np.sqrt(8.0 * np.log(2.0)), 1.0
        return sigma, weight
    if beta <= 1.0:
        raise ValueError(f"Moffat index must exceed 1, received {beta:g}")
    high = np.interp(1.0 / beta, _MOFFAT_HIGH[:, 0], _MOFFAT_HIGH[:, 1])
    sigma = np.exp(np.linspace(_MOFFAT_LOW, high, MOFFAT_TERMS))
    r = np.append(0.0, np.geomspace(0.02, 12.0, 300))
    steepness = 4.0 * np.expm1(np.log(2.0) / beta)
    light = (beta - 1.0) / np.pi * steepness * (1.0 + steepness * r * r) ** -beta
    scale = 1.0 / np.sqrt(light * light[0])
    matrix = np.exp(-0.5 * (r[:, None] / sigma) ** 2) / (2.0 * np.pi * sigma**2) * scale[:, None]
    matrix = np.vstack([matrix, np.full(MOFFAT_TERMS, 10.0)])
    weight = np.linalg.lstsq(matrix, np.append(light * scale, 10.0), rcond=1e-12)[0]
    return sigma, weight / weight.sum()
