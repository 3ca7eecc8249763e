"""A mock strip of sky: where its galaxies, stars and lenses are, and the tiles that cover it.

The strip lies along right ascension at (30, -30) deg; its tiles are cut side by side with some overlap.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table, vstack
from astropy.wcs import WCS

from lenspipe.config import SimulateSection, TilesSection
from lenspipe.core.errors import ConfigError
from lenspipe.core.rng import derive_seed, stream
from lenspipe.core.survey import Survey
from lenspipe.simulate.field import field_galaxies, field_stars
from lenspipe.simulate.scene import simulate_stamps

RA0, DEC0 = 30.0, -30.0
LENS_SEPARATION, LENS_MARGIN, CLEARANCE = 16.0, 12.0, 4.0  # arcsec: to lenses, edges, field objects
SPECTROSCOPY_ERROR = 0.07  # of sigma_v


def tile_name(index: int) -> str:
    """Return the name of a mock tile."""
    return f"mock{index:03d}"


def tile_wcs(survey: Survey, tiles: TilesSection, index: int) -> WCS:
    """Return the tangential projection of a tile: North up, East left."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [RA0 + index * _step(survey, tiles) / 3600.0 / np.cos(np.radians(DEC0)), DEC0]
    wcs.wcs.crpix = [0.5 * (tiles.size + 1)] * 2
    wcs.wcs.cdelt = [-survey.pixel_scale / 3600.0, survey.pixel_scale / 3600.0]
    wcs.wcs.cunit = ["deg", "deg"]
    return wcs


def draw_sky(
    survey: Survey, seed: int, tiles: TilesSection, bands: Sequence[str], min_snr: float = 20.0
) -> Table:
    """Return all objects of the strip that `tiles.count` tiles cover.

    Columns: object_id, kind (lens, galaxy, star), ra, dec [deg], then the truth columns of contract.md,
    where x_lens = y_lens = 0 (the position is ra, dec) and r_lens, mag_lens_<band>... are the galaxy's or
    star's own.

    Raises
    ------
    ConfigError
        If the tiles have no room for so many lenses.
    """
    side = tiles.size * survey.pixel_scale
    length = side + (tiles.count - 1) * _step(survey, tiles)
    u_lens, v_lens = _lens_positions(seed, tiles.lenses * tiles.count, length, side)
    parts = [_lenses(survey, seed, len(u_lens), bands, min_snr)]
    u_all, v_all = [u_lens], [v_lens]
    reach = 10.0  # arcsec: objects beyond the edge shine into it
    area = (length + 2 * reach) * (side + 2 * reach) / 3600.0
    for kind, density, draw in (
        ("galaxy", tiles.galaxies_per_arcmin2, field_galaxies),
        ("star", tiles.stars_per_arcmin2, field_stars),
    ):
        rng = stream(seed, f"sky/{kind}")
        uniforms = rng.random((round(density * area), 10))
        u = (length + 2 * reach) * uniforms[:, 8] - reach
        v = (side + 2 * reach) * uniforms[:, 9] - reach
        to_lenses = np.hypot(u[:, None] - u_lens, v[:, None] - v_lens)
        clear = np.all(to_lenses > CLEARANCE, axis=1)
        parts.append(_field_rows(draw(uniforms[clear, :8], bands), kind, bands))
        u_all.append(u[clear])
        v_all.append(v[clear])
    sky = vstack(parts)
    u, v = np.concatenate(u_all), np.concatenate(v_all)
    for column in sky.itercols():
        if column.dtype.kind == "f" and hasattr(column, "filled"):
            sky[column.name] = column.filled(np.nan)
    sky["sample_id"] = sky["group"] = np.arange(len(sky))
    sky["ra"] = RA0 + (u - 0.5 * side) / 3600.0 / np.cos(np.radians(DEC0))
    sky["dec"] = DEC0 + (v - 0.5 * side) / 3600.0
    sky["object_id"] = [f"{kind}-{k:05d}" for k, kind in enumerate(sky["kind"])]
    sky["x_lens"] = sky["y_lens"] = 0.0
    sky["psf_beta"] = survey.bands[bands[0]].psf_beta
    for band in bands:  # the same in all tiles, so that an object looks the same wherever it is seen
        sky[f"psf_fwhm_{band}"] = survey.bands[band].psf_fwhm
        sky[f"sky_sigma_{band}"] = survey.bands[band].sky_sigma(survey.pixel_scale)
    first = ["object_id", "kind", "ra", "dec"]
    return sky[[*first, *(name for name in sky.colnames if name not in first)]]


def mock_spectroscopy(sky: Table, seed: int) -> Table:
    """Return what spectroscopy of the lenses would give: ra, dec, z_lens, z_src, sigma_v, sigma_v_err.

    Redshifts are exact; sigma_v [km/s] has a Gaussian error of 7 % of the true one.
    """
    lenses = sky[np.asarray(sky["kind"]) == "lens"]
    normal = np.array([stream(seed, "spectroscopy", int(k)).standard_normal() for k in lenses["sample_id"]])
    out = lenses["object_id", "ra", "dec", "z_lens", "z_src"].copy()
    out["sigma_v"] = lenses["sigma_v"] * (1.0 + SPECTROSCOPY_ERROR * normal)
    out["sigma_v_err"] = SPECTROSCOPY_ERROR * lenses["sigma_v"]
    return out


def _step(survey: Survey, tiles: TilesSection) -> float:
    step = tiles.size * survey.pixel_scale - tiles.overlap
    if step <= 0:
        raise ConfigError(f"simulate.tiles.overlap ({tiles.overlap} arcsec) must be less than a tile's side")
    return step


def _lens_positions(seed: int, count: int, length: float, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Return (east, north) [arcsec] of lenses, apart from each other and from the strip's edges."""
    rng = stream(seed, "sky/lens")
    placed = np.empty((0, 2))
    for _ in range(200 * max(count, 1)):
        if len(placed) == count:
            break
        trial = LENS_MARGIN + rng.random(2) * (np.array([length, side]) - 2 * LENS_MARGIN)
        if not len(placed) or np.min(np.hypot(*(placed - trial).T)) > LENS_SEPARATION:
            placed = np.vstack([placed, trial])
    if len(placed) < count:
        raise ConfigError(
            f"no room for {count} lenses {LENS_SEPARATION:g} arcsec apart on "
            f"{length:.0f} x {side:.0f} arcsec; lower simulate.tiles.lenses or raise simulate.tiles.size"
        )
    return placed[:, 0], placed[:, 1]


def _lenses(survey: Survey, seed: int, count: int, bands: Sequence[str], min_snr: float) -> Table:
    """Return truth rows of lenses, positions relative to the lens galaxy."""
    section = SimulateSection(kind="lens", scene="plain", noiseless=True, min_snr=min_snr, batch_size=16)
    _, _, truth = simulate_stamps(
        survey, derive_seed(seed, "sky"), range(count), section, bands, survey.stamp_size
    )
    for axis in "xy":
        truth[f"{axis}_src"] -= truth[f"{axis}_lens"]
    return truth


def _field_rows(drawn: dict[str, np.ndarray], kind: str, bands: Sequence[str]) -> Table:
    names = {"r_lens": "r_eff", "n_lens": "n", "q_light": "q", "phi_light": "phi"}
    table = Table({"kind": np.full(len(drawn["n"]), kind, dtype="U12")})
    for column, name in (names | {f"mag_lens_{band}": f"mag_{band}" for band in bands}).items():
        table[column] = drawn[name]
    return table
