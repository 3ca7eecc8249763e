"""Luminosities, sizes and colours of early-type galaxies of a given velocity dispersion.

`published` is the recipe of LensPop, whose galaxies are too much alike: 0.06 mag of scatter in luminosity, one
spectrum. From them a network learns sigma_v and redshifts that no sky has; `varied` is nearer to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lenspipe.lensing.cosmology import ARCSEC
from lenspipe.simulate.colours import k_correction, observed_magnitude
from lenspipe.simulate.sources import distance_to

#: M_r at given log sigma_v: slope [mag per dex] and scatter [mag]: what Hyde & Bernardi's (2009) sigma_v at given M_r
#: becomes the other way round, with 0.075 dex of scatter in it and 0.84 mag in M_r.
SLOPE, SCATTER = -5.6, 0.59
#: M_r today at PIVOT [km/s], a usual lens: between all early types (-22.5: Bernardi et al. 2003) and lenses (-22.95:
#: SLACS, Auger et al. 2009), and by how much it was brighter at z = 1 (Bernardi et al. 2003). The mean M_r of a
#: sigma_v is not the M_r of which it is the mean: `published` takes that one and is a magnitude brighter.
LEVEL, PIVOT, BRIGHTER = -22.7, 270.0, 0.85
#: Change of log10 radius per magnitude of M_r at given sigma_v: brighter galaxies are larger ones, as far as the
#: fundamental plane, R ~ sigma^1.2 I^-0.8 (Hyde & Bernardi 2009), has it; 0.11 dex remain.
GROWTH = -0.26
#: Share of a spiral's colours in a galaxy's: mean and scatter, and how far a tenth of them, young ones, may reach.
#: A choice: 0.08 mag in g - i at z = 0.4, where red sequences have 0.05 to 0.1.
BLUENESS, YOUNG, YOUNG_SHARE = (0.03, 0.08), 0.5, 0.1


def published(
    z: np.ndarray, sigma_v: np.ndarray, normal_m: np.ndarray, normal_r: np.ndarray, bands: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return r_lens [arcsec] and mag_lens_<band> of early types as LensPop draws them (Hyde & Bernardi 2009).

    Parameters
    ----------
    z, sigma_v : ndarray (n,)
        Velocity dispersion in km/s.
    normal_m, normal_r : ndarray (n,)
        Standard normal numbers, of luminosity and of size.
    bands : sequence of str
    """
    absolute_r = _magnitude(sigma_v) + 0.15 / 2.4 * normal_m
    out = {"r_lens": _radius(z, sigma_v, 0.11 * normal_r)}
    return out | {f"mag_lens_{band}": observed_magnitude("early", band, z, absolute_r) for band in bands}


def varied(
    z: np.ndarray,
    sigma_v: np.ndarray,
    normal_m: np.ndarray,
    normal_r: np.ndarray,
    normal_colour: np.ndarray,
    young: np.ndarray,
    bands: Sequence[str],
) -> dict[str, np.ndarray]:
    """Return what `published` does, of galaxies fainter by a magnitude and of many kinds.

    sigma_v scatters by 0.07 to 0.08 dex at given luminosity, spectra are many, and stars were brighter when younger.

    `normal_colour` are standard normal, `young` uniform numbers (n,).
    """
    fainter = SCATTER * normal_m
    absolute_r = LEVEL - BRIGHTER * z + SLOPE * np.log10(sigma_v / PIVOT) + fainter
    out = {"r_lens": _radius(z, sigma_v, GROWTH * fainter + 0.11 * normal_r)}
    tail = np.where(young < YOUNG_SHARE, YOUNG * young / YOUNG_SHARE, 0.0)
    blueness = BLUENESS[0] + BLUENESS[1] * normal_colour + tail
    for band in bands:
        red, blue = (k_correction(template, band, z) for template in ("early", "spiral"))
        out[f"mag_lens_{band}"] = observed_magnitude("early", band, z, absolute_r) + blueness * (blue - red)
    return out


def _magnitude(sigma_v: np.ndarray) -> np.ndarray:
    """Return the mean M_r [AB mag] at a velocity dispersion [km/s] (Hyde & Bernardi 2009, as coded in LensPop)."""
    return (-0.37 + np.sqrt(0.37**2 - 4 * 0.006 * (2.97 + np.log10(sigma_v)))) / (2 * 0.006)


def _radius(z: np.ndarray, sigma_v: np.ndarray, dex: np.ndarray) -> np.ndarray:
    """Return the half-light radius [arcsec], `dex` larger than the mean."""
    log_s = np.log10(sigma_v)
    return 10 ** (2.46 - 2.79 * log_s + 0.84 * log_s**2 + dex) * (1.0 + z) / (distance_to(z) * 1e3 * ARCSEC)
