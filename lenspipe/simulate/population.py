"""The population of galaxy-scale lenses that a survey can discover (Collett 2015, LensPop), as truth tables.

Against LensPop's released table of DES lenses (3,000 lenses, rendered) the medians of theta_e, z_lens, z_src,
sigma_v, q, sizes, magnitudes and mu agree within 11 % or 0.1 mag. Three tails do not, on purpose: that table has
tiny sources (r_e of 0.02") with magnifications of 40 to 800, which its grid of 0.05" makes and an exact
calculation does not (mu at 95 %: 20 against 66; source g at 95 %: 25.9 against 27.4). Lenses at z = 0.9 are 0.7 mag
brighter in i than there: our template is bluer than LensPop's 10 Gyr one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table
from scipy.special import ndtri

from lenspipe.config import PLAIN, RealismSection
from lenspipe.core.rng import stream_keys, uniforms
from lenspipe.core.survey import Survey
from lenspipe.simulate.candidates import first_detectable
from lenspipe.simulate.sources import LEAST_Q

#: Light against mass (Koopmans et al. 2006, Bolton et al. 2008): scatter of angle [deg], q and ln n about 4.
MISALIGNMENT, Q_SCATTER, LN_N_SCATTER, N_RANGE = 10.0, 0.1, 0.2, (2.5, 6.0)
#: How many times theta_e a group or cluster makes it.
WIDENED = (1.5, 8.0)
#: No PSF has stronger wings; betas are told in steps, so that the renderer has met most of them before.
LEAST_BETA, BETA_STEP = 1.6, 0.05
_GROUP = 4096  # samples at a time


def draw_lenses(
    survey: Survey,
    seed: int,
    sample_ids: Sequence[int] | np.ndarray,
    bands: Sequence[str],
    min_snr: float = 20.0,
    attempt: int = 0,
    purpose: str = "lens",
    realism: RealismSection = PLAIN,
    conditions: dict[str, np.ndarray] | None = None,
    groups: float = 0.0,
    offset: float = 0.5,
) -> Table:
    """Return one detectable lens per sample id, in their order.

    Parameters
    ----------
    survey : Survey
        PSF, sky and exposures decide what is detectable.
    seed : int
    sample_ids : sequence of int
        Row k depends on its id only.
    bands : sequence of str
        Bands of the magnitudes.
    min_snr : float
        Least signal-to-noise of the lensed source in the best band of Collett's optimal coadd, by
        `polar.signal_to_noise`, good to 7 %; in the whole coadd nearly all have more.
    attempt : int
        Another number gives the same sample another lens.
    purpose : str
        Names the streams.
    realism : RealismSection
        Whether the light may differ from the mass in angle and axis ratio, and from de Vaucouleurs (`misaligned`), and
        the galaxies from each other as `early_types.varied` has it (`varied`); the rest concerns no truth.
    conditions : dict of ndarray (n,), optional
        How the coadd is where each lens stands, as `draw_conditions` has it, which it stands in for.
    groups : float
        Share of lenses whose group or cluster widens theta_e, by `draw_halos`; sigma_v stays the galaxy's.
    offset : float
        How far from the middle of the stamp the lens stands at most, along an axis [px]; one in ten twice as far.

    Returns
    -------
    Table
        Truth columns of contract.md, without those known after rendering (shard, row, mu, snr).
        ``meta["candidates"][purpose]``: how many were tried, the accepted ones included.

    Raises
    ------
    ConfigError
        If hardly any candidate is detectable.
    """
    ids = np.asarray(sample_ids, dtype=np.int64)
    if not len(ids):  # a table without rows has its columns all the same
        return draw_lenses(survey, seed, [0], bands, min_snr, attempt, purpose, realism)[:0]
    conditions = conditions or draw_conditions(survey, seed, ids, bands)
    streams = f"{purpose}/{attempt}"
    halo = draw_halos(uniforms(seed, f"{purpose}/halo", ids, 2), groups)
    drawn, trials = [], 0
    for start in range(0, len(ids), _GROUP):
        rows = slice(start, start + _GROUP)
        here = {name: values[rows] for name, values in conditions.items()}
        keys = stream_keys(seed, streams, ids[rows])
        found, tried = first_detectable(survey, bands, keys, here, min_snr, halo[rows], realism.varied)
        drawn.append(found)
        trials += int(tried.sum())
    table = Table({"sample_id": ids, "kind": np.full(len(ids), "lens", dtype="U12"), "group": ids})
    table.meta["candidates"] = {purpose: trials}  # a dictionary, so that tables can be stacked
    for name in drawn[0]:
        table[name] = np.concatenate([found[name] for found in drawn])
    table["x_lens"], table["y_lens"] = _placements(
        offset * survey.pixel_scale, uniforms(seed, f"{streams}/place", ids, 3)
    )
    for axis in "xy":
        table[f"{axis}_src"] += table[f"{axis}_lens"]
    if realism.misaligned:
        light = misalign(table["q"], table["phi"], uniforms(seed, f"{streams}/light", ids, 3))
        for name, values in light.items():
            table[name] = values
    for name, values in conditions.items():
        table[name] = values
    return table


def draw_conditions(
    survey: Survey, seed: int, sample_ids: Sequence[int] | np.ndarray, bands: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return psf_fwhm_<band> [arcsec], sky_sigma_<band> [nJy per pixel], psf_beta of each sample's coadd.

    Also psf_beta_<band>, where the bands differ in it (`Survey.psf_betas`). The first two scatter log-normally about
    the survey's, by a single exposure's scatter over the root of their number; beta scatters as it does among coadds,
    in all bands alike.
    """
    normal = ndtri(uniforms(seed, "conditions", sample_ids, 24 * -(-len(bands) // 12)))
    out: dict[str, np.ndarray] = {}
    for b, name in enumerate(bands):
        band = survey.bands[name]
        psf, sky = band.coadd_scatter(band.psf_scatter), band.coadd_scatter(band.sky_scatter)
        place = b % 12 + 24 * (b // 12)  # twelve numbers for the PSFs, twelve for the skies, and so on
        out[f"psf_fwhm_{name}"] = band.psf_fwhm * np.exp(psf * normal[:, place])
        out[f"sky_sigma_{name}"] = band.sky_sigma(survey.pixel_scale) * np.exp(sky * normal[:, place + 12])
    wings = np.exp(survey.psf_beta_scatter * ndtri(uniforms(seed, "conditions/wings", sample_ids, 1))[:, 0])
    for name, beta in survey.psf_betas(bands).items():
        drawn = np.maximum(beta * wings, min(LEAST_BETA, beta))
        varied = survey.psf_beta_scatter > 0
        out[name] = (
            np.round(np.round(drawn / BETA_STEP) * BETA_STEP, 2) if varied else np.full(len(wings), beta)
        )
    return out


def draw_halos(u: np.ndarray, groups: float) -> np.ndarray:
    """Return how many times a galaxy's own theta_e that of its surroundings and itself is (n,), of uniforms `u` (n, 2).

    1 but for a share `groups`, whose factors are log-uniform from 1.5 to 8, a choice: arcs of groups lie between those
    of galaxies and of clusters (More et al. 2012).
    """
    return np.where(u[:, 0] < groups, WIDENED[0] * (WIDENED[1] / WIDENED[0]) ** u[:, 1], 1.0)


def misalign(q: np.ndarray, phi: np.ndarray, u: np.ndarray) -> dict[str, np.ndarray]:
    """Return q_light, phi_light [deg] and n_lens of light about mass with `q` and `phi`, uniforms `u` (n, 3).

    Shapes are those of `scatter_shape`, indices held within 2.5 and 6.
    """
    normal = ndtri(u)
    q_light, phi_light = scatter_shape(q, phi, normal[:, 0], normal[:, 1])
    # two digits, so that the renderer has met most indices before
    n_lens = np.round(np.clip(4.0 * np.exp(LN_N_SCATTER * normal[:, 2]), *N_RANGE), 2)
    return {"q_light": q_light, "phi_light": phi_light, "n_lens": n_lens}


def scatter_shape(q, phi, normal_q, normal_phi) -> tuple[np.ndarray, np.ndarray]:
    """Return the axis ratio and angle [deg] of light about mass with `q` and `phi`, or of mass about light.

    Scattered by standard normal numbers; axis ratios are reflected at 1 and at LEAST_Q.
    """
    other = np.asarray(q) + Q_SCATTER * np.asarray(normal_q)
    other = LEAST_Q + np.abs(np.where(other > 1.0, 2.0 - other, other) - LEAST_Q)
    return other, 90.0 - (90.0 - (np.asarray(phi) + MISALIGNMENT * np.asarray(normal_phi))) % 180.0


def _placements(offset: float, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the lens sits: within `offset` of the stamp's centre, one in ten within twice that."""
    reach = np.where(u[:, 2] < 0.1, 2.0, 1.0) * offset
    return (2 * u[:, 0] - 1) * reach, (2 * u[:, 1] - 1) * reach
