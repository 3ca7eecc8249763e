"""Galaxies and stars of the field, and what stands beside a host: companions and neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table
from scipy.special import ndtri

from lenspipe.core.rng import stream
from lenspipe.core.survey import Survey
from lenspipe.simulate.colours import ALIASES, flux_njy, k_correction
from lenspipe.simulate.population import axis_ratio, position_angle, source_redshift

#: Neighbours that a stamp may have; a fixed number, so that batches have one shape.
MAX_NEIGHBOURS = 4
FIELD_MAG_RANGE, FIELD_SLOPE = (17.0, 24.5), 0.32  # i band
FIELD_DENSITY = 12.0  # galaxies to the limit above [arcmin^-2]
STAR_MAG_RANGE, STAR_SLOPE = (15.0, 23.5), 0.12
#: Kind of host -> (least, most) companions at its own redshift and colour, beyond chance.
_COMPANIONS = {"merger": (1, 1), "group": (2, 4)}
_GROUP_SHARE = 0.25  # of lenses and ellipticals that have a companion too: companions must not tell the label

_STARS = {"u": (1.6, 5.0), "g": (0.45, 2.6), "r": (0.12, 1.1), "z": (-0.05, -0.5), "Y": (-0.05, -0.7)}


def star_colour(band: str, redness: np.ndarray) -> np.ndarray:
    """Return m_band - m_i [mag] of main-sequence stars, redness 0 (F) to 1 (M)."""
    blue, red = _STARS.get(ALIASES.get(band, band), (0.0, 0.0))
    return blue + redness * (red - blue)


def field_galaxies(u: np.ndarray, bands: Sequence[str]) -> dict[str, np.ndarray]:
    """Return field galaxies from uniforms `u` (m, 8): r_eff ["], n, q, phi [deg], mag_<band>."""
    mag_i = _from_counts(u[:, 0], FIELD_MAG_RANGE, FIELD_SLOPE)
    z = source_redshift(u[:, 1], np.minimum(mag_i, 24.0)) * np.clip((mag_i - 15.0) / 8.0, 0.2, 1.0)
    early = u[:, 2] < 0.2
    blue = u[:, 3]
    out = {
        "r_eff": 0.55 * 10 ** (-0.15 * (mag_i - 21.0) + 0.2 * ndtri(np.clip(u[:, 4], 1e-9, 1 - 1e-9))),
        "n": np.where(early, 4.0, 1.0),
        "q": axis_ratio(u[:, 5], np.where(early, 0.25, 0.4)),
        "phi": position_angle(u[:, 6]),
    }
    out["r_eff"] = np.clip(out["r_eff"], 0.1, 4.0)
    for band in bands:
        late = [k_correction(name, band, z) - k_correction(name, "i", z) for name in ("spiral", "blue")]
        colour = np.where(
            early,
            k_correction("early", band, z) - k_correction("early", "i", z),
            late[0] + blue * (late[1] - late[0]),
        )
        out[f"mag_{band}"] = mag_i + colour
    return out


def field_stars(u: np.ndarray, bands: Sequence[str]) -> dict[str, np.ndarray]:
    """Return field stars from uniforms `u` (m, 8), in the columns of `field_galaxies`."""
    m = len(u)
    mag_i = _from_counts(u[:, 0], STAR_MAG_RANGE, STAR_SLOPE)
    out = {"r_eff": np.zeros(m), "n": np.full(m, 0.5), "q": np.ones(m), "phi": np.zeros(m)}
    return out | {f"mag_{band}": mag_i + star_colour(band, u[:, 1]) for band in bands}


def draw_neighbours(
    survey: Survey, seed: int, truth: Table, bands: Sequence[str], size: int
) -> dict[str, np.ndarray]:
    """Return x, y, r_eff, n, q, phi (n, MAX_NEIGHBOURS) and flux (n, MAX_NEIGHBOURS, b) [nJy] beside hosts.

    Companions of the host's redshift come first, then the field's; empty places have no flux. Streams
    are keyed by sample id.
    """
    count, k = len(truth), MAX_NEIGHBOURS
    half = 0.5 * size * survey.pixel_scale
    generators = [stream(seed, "neighbours", int(i)) for i in truth["sample_id"]]
    u = np.array([g.random((k, 12)) for g in generators]).reshape(count, k, 12)
    chance = np.array([g.poisson(FIELD_DENSITY * (2 * half / 60.0) ** 2) for g in generators], dtype=int)
    low, high = (
        np.array([_COMPANIONS.get(kind, (0, 0)) for kind in truth["kind"]], dtype=int).reshape(-1, 2).T
    )
    companions = low + (u[:, 0, 8] * (high - low + 1)).astype(int)
    hosts = np.isin(truth["kind"], ("lens", "elliptical")) & (u[:, 1, 8] < _GROUP_SHARE)
    companions = np.where(hosts, 1, companions)[:, None]
    slot = np.arange(k)[None, :]
    is_companion = slot < companions
    is_field = ~is_companion & (slot < companions + chance[:, None])

    galaxies = {
        name: values.reshape(count, k) for name, values in field_galaxies(u.reshape(-1, 12), bands).items()
    }
    # companions: 0.5 to 2.5 mag fainter than the host, mergers brighter and closer
    merger = (np.asarray(truth["kind"]) == "merger")[:, None]
    fainter = np.where(merger, 0.2 + 1.3 * u[:, :, 9], 0.5 + 2.0 * u[:, :, 9])
    r_host = np.asarray(truth["r_lens"])[:, None]
    separation = np.where(merger, 0.7 + 0.8 * r_host + u[:, :, 10], 1.3 + 4.0 * u[:, :, 10])
    angle = 2.0 * np.pi * u[:, :, 11]
    host_x, host_y = (np.asarray(truth[name])[:, None] for name in ("x_lens", "y_lens"))
    out = {
        "x": np.where(is_companion, host_x + separation * np.cos(angle), half * (2 * u[:, :, 10] - 1)),
        "y": np.where(is_companion, host_y + separation * np.sin(angle), half * (2 * u[:, :, 11] - 1)),
        "r_eff": np.where(is_companion, r_host * 10 ** (-0.24 * fainter), galaxies["r_eff"]),
        "n": np.where(is_companion, 4.0, galaxies["n"]),
        "q": galaxies["q"],
        "phi": galaxies["phi"],
    }
    fluxes = []
    for band in bands:
        beside = flux_njy(np.asarray(truth[f"mag_lens_{band}"])[:, None] + fainter)
        fluxes.append(
            np.where(is_companion, beside, np.where(is_field, flux_njy(galaxies[f"mag_{band}"]), 0.0))
        )
    return out | {"flux": np.stack(fluxes, axis=-1)}


def _from_counts(u: np.ndarray, limits: tuple[float, float], slope: float) -> np.ndarray:
    """Return magnitudes whose counts go as 10^(slope m) between two limits."""
    low, high = (10 ** (slope * m) for m in limits)
    return np.log10(low + u * (high - low)) / slope
