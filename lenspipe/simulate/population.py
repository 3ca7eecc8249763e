"""The population of galaxy-scale lenses that a survey can discover (Collett 2015, LensPop).

Every sample has its own stream of candidates, keyed by (seed, sample id), and takes the first one that
is detectable: sample k is the same whatever the batch. Candidates are proposed with the lensing cross
section already in the density (sigma_v as phi(s) s^4, as theta_e^2 goes with s^4; the source uniform in
the disc of radius theta_e), which leaves only (D_ls/D_s)^2 and the survey's limits to rejection.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from astropy.table import Table
from scipy.special import ndtri

from lenspipe.core.errors import LenspipeError
from lenspipe.core.rng import stream
from lenspipe.core.survey import Survey
from lenspipe.lensing.cosmology import (
    ARCSEC,
    angular_diameter_distance,
    comoving_volume,
    distance_modulus,
    distance_ratio,
    sis_theta_e,
)
from lenspipe.simulate.colours import flux_njy, k_correction, observed_magnitude

SIGMA_STAR, CHOI_A, CHOI_B = 161.0, 2.32, 2.67  # Choi, Park & Vogeley 2007, early types
SIGMA_RANGE, Z_LENS_MAX = (100.0, 400.0), 2.0
#: Sources, i band: counts 10^(slope m), p(z | m) ~ z^2 exp(-(z/z0)^1.5) with z0 = first + second (m - 24),
#: chosen so that the detectable lenses of DES have the redshifts and magnitudes of LensPop's table.
SOURCE_MAG_RANGE, COUNTS_SLOPE, SOURCE_Z0 = (19.0, 27.5), 0.26, (1.02, 0.10)
MIN_MAGNIFICATION = 3.0
#: Least theta_e in seeing FWHM. Collett's rule has 0.5, but on coadds whose PSF is matched to the worst band;
#: with the best band's PSF 0.75 gives the Einstein radii of the released table.
RESOLUTION = 0.75
_BLOCK = 128  # candidates per sample and round
_MAX_ROUNDS = 2000
_UNIFORMS = 20  # numbers that one candidate may use


def draw_lenses(
    survey: Survey,
    seed: int,
    sample_ids: Sequence[int] | np.ndarray,
    bands: Sequence[str],
    min_snr: float = 20.0,
    attempt: int = 0,
    purpose: str = "lens",
) -> Table:
    """Return one detectable lens per sample id, in their order.

    Parameters
    ----------
    survey : Survey
        PSF, sky and exposure decide what is detectable.
    seed : int
    sample_ids : sequence of int
        Row k depends on its id only.
    bands : sequence of str
        Bands of the magnitudes.
    min_snr : float
        Least signal-to-noise of the lensed source in the best band, by an analytic estimate; the
        rendered one differs by tens of per cent.
    attempt : int
        Another number gives the same sample another lens.
    purpose : str
        Names the streams.

    Returns
    -------
    Table
        Truth columns of contract.md, without those known after rendering (shard, row, mu, snr).
    """
    ids = np.asarray(sample_ids, dtype=np.int64)
    if not len(ids):  # a table without rows has its columns all the same
        return draw_lenses(survey, seed, [0], bands, min_snr, attempt, purpose)[:0]
    conditions = draw_conditions(survey, seed, ids, bands)
    kept: dict[str, np.ndarray] = {}
    pending = np.arange(len(ids))
    generators = [stream(seed, f"{purpose}/{attempt}", k) for k in ids]
    for _ in range(_MAX_ROUNDS):
        if not len(pending):
            break
        uniforms = np.stack([generators[k].random((_BLOCK, _UNIFORMS)) for k in pending])
        owner = np.repeat(pending, _BLOCK)
        found, owner = _detectable(survey, bands, uniforms.reshape(-1, _UNIFORMS), owner, conditions, min_snr)
        rows, first = np.unique(owner, return_index=True)
        for name, values in found.items():
            kept.setdefault(name, np.full(len(ids), np.nan))[rows] = values[first]
        pending = np.setdiff1d(pending, rows)
    if len(pending):
        raise LenspipeError(
            f"{len(pending)} of {len(ids)} lenses were not found in {_MAX_ROUNDS * _BLOCK} trials each: "
            f"hardly any lens reaches S/N {min_snr:g} in survey {survey.name!r}; lower simulate.min_snr"
        )
    table = Table({"sample_id": ids, "kind": np.full(len(ids), "lens", dtype="U12"), "group": ids})
    for name, values in (kept | _placements(survey, seed, ids, attempt, purpose)).items():
        table[name] = values
    for axis in "xy":
        table[f"{axis}_src"] += table[f"{axis}_lens"]
    for name, values in conditions.items():
        table[name] = values
    return table


def draw_conditions(
    survey: Survey, seed: int, sample_ids: Sequence[int] | np.ndarray, bands: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return psf_fwhm_<band> [arcsec], psf_beta and sky_sigma_<band> [nJy per pixel] of each sample.

    The PSF scatters log-normally about the survey's, the sky noise by 5 %.
    """
    ids = np.asarray(sample_ids, dtype=np.int64)
    normal = np.array([stream(seed, "conditions", k).standard_normal((2, 12)) for k in ids]).reshape(
        -1, 2, 12
    )
    out: dict[str, np.ndarray] = {}
    for b, name in enumerate(bands):
        band = survey.bands[name]
        out[f"psf_fwhm_{name}"] = band.psf_fwhm * np.exp(band.psf_scatter * normal[:, 0, b])
        out[f"sky_sigma_{name}"] = band.sky_sigma(survey.pixel_scale) * np.exp(0.05 * normal[:, 1, b])
    out["psf_beta"] = np.full(len(ids), survey.bands[bands[0]].psf_beta)
    return out


@cache
def _inverse_tables() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return (cumulative, value) of the quantities drawn by inversion."""
    z = np.linspace(0.01, Z_LENS_MAX, 2000)
    volume = comoving_volume(z)
    s = np.linspace(*SIGMA_RANGE, 2000)
    density = (s / SIGMA_STAR) ** CHOI_A * np.exp(-((s / SIGMA_STAR) ** CHOI_B)) / s * s**4
    x = np.linspace(0.0, 6.0, 2000)  # z / z0
    redshift = x**2 * np.exp(-(x**1.5))
    return {
        "z_lens": ((volume - volume[0]) / (volume[-1] - volume[0]), z),
        "sigma_v": (np.cumsum(density) / np.sum(density), s),
        "z_over_z0": (np.cumsum(redshift) / np.sum(redshift), x),
    }


def _invert(name: str, uniform: np.ndarray) -> np.ndarray:
    return np.interp(uniform, *_inverse_tables()[name])


def source_redshift(uniform: np.ndarray, mag_i: np.ndarray) -> np.ndarray:
    """Return redshifts of galaxies of i magnitude `mag_i`, 0.02 to 6, by inversion of p(z | m)."""
    z0 = np.maximum(SOURCE_Z0[0] + SOURCE_Z0[1] * (mag_i - 24.0), 0.1)
    return np.clip(_invert("z_over_z0", uniform) * z0, 0.02, 6.0)


def _detectable(
    survey: Survey,
    bands: Sequence[str],
    u: np.ndarray,
    owner: np.ndarray,
    conditions: dict[str, np.ndarray],
    min_snr: float,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the detectable ones of candidates with uniforms `u` (m, _UNIFORMS), and whose they are."""
    z_lens, sigma_v = _invert("z_lens", u[:, 0]), _invert("sigma_v", u[:, 1])
    low, high = (10 ** (COUNTS_SLOPE * m) for m in SOURCE_MAG_RANGE)
    mag_i = np.log10(low + u[:, 2] * (high - low)) / COUNTS_SLOPE
    z_src = source_redshift(u[:, 3], mag_i)
    theta_e = sis_theta_e(sigma_v, z_lens, z_src)
    best_seeing = np.min([conditions[f"psf_fwhm_{band}"] for band in bands], axis=0)
    keep = u[:, 4] < np.maximum(distance_ratio(z_lens, z_src), 0.0) ** 2  # cross section
    keep &= theta_e > RESOLUTION * best_seeing[owner]
    z_lens, sigma_v, z_src, mag_i, theta_e, u, owner = (
        a[keep] for a in (z_lens, sigma_v, z_src, mag_i, theta_e, u, owner)
    )
    normal = ndtri(np.clip(u, 1e-12, 1 - 1e-12))

    source_type = u[:, 5] ** 2  # 0 = CWW Im, 1 = Sbc: most distant sources are blue
    k_i = (1 - source_type) * k_correction("blue", "i", z_src) + source_type * k_correction(
        "spiral", "i", z_src
    )
    absolute_v = mag_i - distance_modulus(z_src) - k_i
    r_kpc = 10 ** (-(absolute_v + 18.0) / 4.0 + 0.35 * normal[:, 6]) * ((1.0 + z_src) / 1.6) ** -1.2
    r_src = r_kpc / _kpc_per_arcsec(z_src)
    # mu = 2 theta_e / radius at most, so that larger radii need not be proposed
    radius, angle = theta_e * np.sqrt(u[:, 7]) * 2.0 / MIN_MAGNIFICATION, 2.0 * np.pi * u[:, 8]
    mu = estimate_magnification(radius, r_src, theta_e)
    keep = (mu > MIN_MAGNIFICATION) & (mu * r_src > best_seeing[owner])
    z_lens, sigma_v, z_src, theta_e, u, normal, owner, source_type, absolute_v, r_src, radius, angle, mu = (
        a[keep]
        for a in (
            z_lens, sigma_v, z_src, theta_e, u, normal, owner,
            source_type, absolute_v, r_src, radius, angle, mu,
        )
    )  # fmt: skip

    host = early_type(z_lens, sigma_v, u[:, 9], normal[:, 10], normal[:, 11], bands)
    out = {"z_lens": z_lens, "z_src": z_src, "sigma_v": sigma_v, "theta_e": theta_e, **host}
    out |= {"x_src": radius * np.cos(angle), "y_src": radius * np.sin(angle), "r_src": r_src}
    out |= {
        "n_src": np.ones(len(z_src)),
        "q_src": axis_ratio(u[:, 12], 0.3),
        "phi_src": position_angle(u[:, 13]),
    }
    out |= {"phi": position_angle(u[:, 14]), "gamma_ext": np.minimum(_rayleigh(u[:, 15], 0.03), 0.2)}
    out |= {"phi_ext": position_angle(u[:, 16]), "phi_light": position_angle(u[:, 14])}
    for band in bands:
        k = (1 - source_type) * k_correction("blue", band, z_src) + source_type * k_correction(
            "spiral", band, z_src
        )
        out[f"mag_src_{band}"] = absolute_v + distance_modulus(z_src) + k
    keep = np.zeros(len(owner), dtype=bool)
    for band in bands:  # one band that resolves the arcs and sees them is enough
        seeing = conditions[f"psf_fwhm_{band}"][owner]
        resolved = (theta_e**2 > r_src**2 + (RESOLUTION * seeing) ** 2) & (mu * r_src > seeing)
        keep |= resolved & (estimate_snr(survey, band, out, conditions, owner, mu) > min_snr)
    return {name: values[keep] for name, values in out.items()}, owner[keep]


def early_type(
    z: np.ndarray, sigma_v: np.ndarray, uniform_q: np.ndarray, normal_m: np.ndarray, normal_r: np.ndarray,
    bands: Sequence[str],
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return q, r_lens, n_lens, q_light and mag_lens_<band> of early types of given sigma_v.

    Hyde & Bernardi 2009 for luminosity and size, as coded in LensPop; de Vaucouleurs light follows mass.
    """
    log_s = np.log10(sigma_v)
    absolute_r = (-0.37 + np.sqrt(0.37**2 - 4 * 0.006 * (2.97 + log_s))) / (2 * 0.006) + 0.15 / 2.4 * normal_m
    r_kpc = 10 ** (2.46 - 2.79 * log_s + 0.84 * log_s**2 + 0.11 * normal_r)
    q = axis_ratio(uniform_q, 0.378 - 0.000572 * sigma_v)
    out = {"q": q, "q_light": q, "r_lens": r_kpc / _kpc_per_arcsec(z), "n_lens": np.full(len(z), 4.0)}
    return out | {f"mag_lens_{band}": observed_magnitude("early", band, z, absolute_r) for band in bands}


def estimate_magnification(radius: np.ndarray, r_src: np.ndarray, theta_e: np.ndarray) -> np.ndarray:
    """Return the total magnification of a disc of half-light radius `r_src` seen `radius` off an SIS.

    A point source has 2 / y where y = radius / theta_e < 1; its finite size softens y.
    """
    return 2.0 / np.hypot(radius / theta_e, 0.6 * r_src / theta_e)


def estimate_snr(
    survey: Survey,
    band: str,
    lens: dict[str, np.ndarray],
    conditions: dict[str, np.ndarray],
    owner: np.ndarray,
    mu: np.ndarray,
) -> np.ndarray:
    """Return the arcs' signal-to-noise in one band, from their area and the lens galaxy's light there."""
    fwhm, sky = conditions[f"psf_fwhm_{band}"][owner], conditions[f"sky_sigma_{band}"][owner]
    width = np.hypot(2.0 * lens["r_src"], fwhm)
    area = (mu * 2.0 * lens["r_src"] + fwhm) * width
    r_e = np.hypot(lens["r_lens"], 0.5 * fwhm)
    profile = np.exp(-7.669 * ((lens["theta_e"] / r_e) ** 0.25 - 1.0)) / (7.215 * np.pi * r_e**2)
    lens_light = flux_njy(lens[f"mag_lens_{band}"]) * profile  # nJy per arcsec^2 at theta_e
    variance = sky**2 / survey.pixel_scale**2 + lens_light / survey.bands[band].electrons_per_njy()
    return 0.7 * mu * flux_njy(lens[f"mag_src_{band}"]) / np.sqrt(area * variance)


def _placements(
    survey: Survey, seed: int, ids: np.ndarray, attempt: int, purpose: str
) -> dict[str, np.ndarray]:
    """Return where the lens sits: within half a pixel of the stamp's centre, one in ten within a pixel."""
    u = np.array([stream(seed, f"{purpose}/{attempt}/place", k).random(3) for k in ids]).reshape(-1, 3)
    reach = np.where(u[:, 2] < 0.1, 1.0, 0.5) * survey.pixel_scale
    return {"x_lens": (2 * u[:, 0] - 1) * reach, "y_lens": (2 * u[:, 1] - 1) * reach}


def _kpc_per_arcsec(z: np.ndarray) -> np.ndarray:
    return angular_diameter_distance(z) * 1e3 * ARCSEC


def _rayleigh(uniform: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    return scale * np.sqrt(-2.0 * np.log1p(-uniform))


def axis_ratio(uniform: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """Return q with 1 - q Rayleigh of `scale`, cut (not clipped) at q = 0.2, from uniform numbers."""
    reach = 1.0 - np.exp(-0.5 * (0.8 / np.asarray(scale)) ** 2)
    return 1.0 - _rayleigh(uniform * reach, scale)


def position_angle(uniform: np.ndarray) -> np.ndarray:
    """Return angles in (-90, 90] deg from uniform numbers in [0, 1)."""
    return 90.0 - 180.0 * uniform
