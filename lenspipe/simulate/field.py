"""What stands beside a galaxy: satellites and group members at its redshift, the field along the line of sight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table
from scipy.stats import poisson

from lenspipe.core.rng import uniforms
from lenspipe.core.survey import NJY_ZERO_POINT, Survey
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.galaxies import N_UNIFORMS, count_brighter, draw_galaxies, draw_stars
from lenspipe.simulate.morphology import join
from lenspipe.simulate.parts import galaxy_light
from lenspipe.simulate.render import Light
from lenspipe.simulate.sources import axis_ratio, position_angle

#: Galaxies beside a host are as faint as the survey sees them with this S/N, of this size [arcsec] before the PSF.
LEAST_SNR, TYPICAL_SIZE = 7.0, 0.5
STAR_DENSITY = 1.5  # arcmin^-2
#: A disc galaxy's bulge fainter than this share of it is not drawn apart.
_LEAST_BULGE = 0.08
#: Kind -> (least, most) satellites. Of the others, a share of the early types has one or two.
_GROUPS = {"group": (2, 4)}
MAX_SATELLITES = 4
#: Kinds whose host is the lens population's early type: what stands beside it must not tell the label.
EARLY = ("lens", "elliptical", "companion", "ring", "merger", "artifact")


def galaxy_density(survey: Survey) -> float:
    """Return the number of galaxies per arcmin^2 that the survey sees: 25 in DES (to i = 24.3), 110 in LSST."""
    band = survey.bands[survey.detection_band]
    radius = np.hypot(band.psf_fwhm, TYPICAL_SIZE)  # of the aperture, arcsec
    noise = band.sky_sigma(survey.pixel_scale) * np.sqrt(np.pi) * radius / survey.pixel_scale
    return float(count_brighter(NJY_ZERO_POINT - 2.5 * np.log10(LEAST_SNR * noise)))


def draw_neighbours(
    survey: Survey, seed: int, sample_ids: np.ndarray, bands: Sequence[str], size: int
) -> Light:
    """Return the field's galaxies and stars in the stamps: as the survey sees them, placed at random.

    As many components in any batch; empty ones have no flux.
    """
    side = size * survey.pixel_scale
    parts = []
    for kind, density in (("galaxy", galaxy_density(survey)), ("star", STAR_DENSITY)):
        mean = density * (side / 60.0) ** 2
        most = int(poisson.ppf(0.99, mean))
        u = uniforms(seed, f"field/{kind}", sample_ids, 1 + most * (N_UNIFORMS + 2))
        present = np.arange(most) < np.searchsorted(poisson.cdf(np.arange(most), mean), u[:, :1])
        u = u[:, 1:].reshape(len(u) * most, N_UNIFORMS + 2)
        drawn = draw_galaxies(u, density, bands) if kind == "galaxy" else draw_stars(u, bands)
        columns = {f"{name}_lens": side * (u[:, N_UNIFORMS + k] - 0.5) for k, name in enumerate("xy")}
        columns |= {"r_lens": drawn["r_eff"], "r_bulge": drawn["r_bulge"], "n_lens": drawn["n"]}
        columns |= {"q_light": drawn["q"], "phi_light": drawn["phi"]}
        for band in bands:
            columns[f"mag_lens_{band}"] = np.where(present.ravel(), drawn[f"mag_{band}"], np.nan)
            columns[f"bulge_{band}"] = drawn[f"bulge_{band}"]
        bulge = np.max([columns[f"bulge_{band}"] for band in bands], axis=0) >= _LEAST_BULGE
        columns |= {f"bulge_{band}": np.where(bulge, columns[f"bulge_{band}"], 0.0) for band in bands}
        parts.append(_per_stamp(galaxy_light(columns, bands), len(sample_ids)))
    return join(parts)


def draw_satellites(seed: int, truth: Table, bands: Sequence[str], share: float) -> Light:
    """Return red satellites of the hosts, MAX_SATELLITES components, the missing ones without flux.

    Parameters
    ----------
    share : float
        Of early types outside of groups that have a satellite; one in three of these has two.
    """
    u = uniforms(seed, "satellites", np.asarray(truth["sample_id"]), 1 + 5 * MAX_SATELLITES)
    kinds = np.asarray(truth["kind"], str)
    low, high = np.array([_GROUPS.get(kind, (0, 0)) for kind in kinds], dtype=int).reshape(-1, 2).T
    count = low + (u[:, 0] * (high - low + 1)).astype(int)
    count = np.where(np.isin(kinds, EARLY) & (u[:, 0] < share), np.where(3.0 * u[:, 0] < share, 2, 1), count)
    present = np.arange(MAX_SATELLITES) < count[:, None]
    u = u[:, 1:].reshape(len(u), 5, MAX_SATELLITES)
    fainter = 0.7 + 2.3 * u[:, 0]  # mag; of one colour with the host
    r_host = np.nan_to_num(np.asarray(truth["r_lens"], float))[:, None]
    separation = 1.0 + 0.7 * r_host + 7.0 * u[:, 1] ** 1.3
    angle = 2.0 * np.pi * u[:, 2]
    flux = [flux_njy(np.asarray(truth[f"mag_lens_{band}"])[:, None] + fainter) * present for band in bands]
    return Light(
        x=np.asarray(truth["x_lens"])[:, None] + separation * np.cos(angle),
        y=np.asarray(truth["y_lens"])[:, None] + separation * np.sin(angle),
        r_eff=np.maximum(r_host * 10 ** (-0.24 * fainter), 0.05),
        n=np.full(fainter.shape, 4.0), q=axis_ratio(u[:, 3], 0.25), phi=position_angle(u[:, 4]),
        flux=np.stack(flux, axis=-1),
    )  # fmt: skip


def _per_stamp(light: Light, count: int) -> Light:
    """Return components (n * m, k) of m objects a stamp as (n, m * k)."""
    flat = (count, -1)
    names = ("x", "y", "r_eff", "n", "q", "phi")
    columns = {name: getattr(light, name).reshape(flat) for name in names}
    return Light(**columns, flux=light.flux.reshape(*flat, light.flux.shape[-1]))
