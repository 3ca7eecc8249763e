"""A mock strip of sky: where its galaxies, stars and lenses are, and the tiles that cover it.

The strip lies along right ascension at (30, -30) deg; its tiles are cut side by side with some overlap.
Galaxies are clustered a little, and the seeing varies smoothly along the strip, so that an object looks the
same in every tile that holds it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table, vstack
from astropy.wcs import WCS

from lenspipe.config import FULL, RealismSection, SimulateSection, TilesSection
from lenspipe.core.errors import ConfigError
from lenspipe.core.rng import derive_seed, stream
from lenspipe.core.survey import NJY_ZERO_POINT, Survey
from lenspipe.simulate.field import draw_satellites
from lenspipe.simulate.galaxies import N_UNIFORMS, draw_galaxies, draw_stars
from lenspipe.simulate.parts import move_lenses
from lenspipe.simulate.scene import draw_bright_lenses

RA0, DEC0 = 30.0, -30.0
LENS_SEPARATION, LENS_MARGIN, CLEARANCE = 16.0, 12.0, 4.0  # arcsec: to lenses, edges, field objects
SPECTROSCOPY_ERROR = 0.07  # of sigma_v
#: Share of the galaxies that stand near another one, and how far off: within REACH, as r^-0.8 per area.
CLUSTERED, CLUSTER_REACH = 0.3, 60.0  # arcsec
#: Seeing and depth vary as a sum of so many waves of these lengths [arcsec].
_WAVES, WAVELENGTHS = 6, (200.0, 1200.0)


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


def lens_seed(seed: int) -> int:
    """Return the seed of the strip's lenses: with it, sample k of `scene` is the strip's lens k."""
    return derive_seed(seed, "sky")


def draw_sky(
    survey: Survey,
    seed: int,
    tiles: TilesSection,
    bands: Sequence[str],
    min_snr: float = 20.0,
    effects: RealismSection = FULL,
) -> Table:
    """Return all objects of the strip that `tiles.count` tiles cover.

    Lenses are those of training stamps, drawn under the seeing and depth of their place: of `effects`,
    misaligned light, clumpy sources and satellites count.

    Columns: object_id, kind (lens, satellite of one, galaxy, star), ra, dec [deg], then the truth columns of
    contract.md, where x_lens = y_lens = 0 (the position is ra, dec) and r_lens, mag_lens_<band>... are the galaxy's or
    star's own. Of galaxies r_lens, n_lens are the disc's (a spheroid's), r_bulge [arcsec] and
    bulge_<band>, its share of the light, those of a de Vaucouleurs bulge.

    Raises
    ------
    ConfigError
        If the tiles have no room for so many lenses.
    """
    side = tiles.size * survey.pixel_scale
    length = side + (tiles.count - 1) * _step(survey, tiles)
    u_lens, v_lens = _lens_positions(seed, tiles.lenses * tiles.count, length, side)
    lenses = _lenses(survey, seed, _to_sky(u_lens, v_lens, side), bands, min_snr, effects)
    satellites, x, y = _satellites(seed, lenses, bands, effects.satellites)
    parts = [lenses, satellites]
    owner = np.asarray(satellites["group"])
    u_all, v_all = [u_lens, u_lens[owner] - x], [v_lens, v_lens[owner] + y]  # East is left
    reach = 10.0  # arcsec: objects beyond the edge shine into it
    area = (length + 2 * reach) * (side + 2 * reach) / 3600.0
    for kind, density in (("galaxy", tiles.galaxies_per_arcmin2), ("star", tiles.stars_per_arcmin2)):
        uniforms = stream(seed, f"sky/{kind}").random((round(density * area), N_UNIFORMS + 5))
        u = (length + 2 * reach) * uniforms[:, N_UNIFORMS] - reach
        v = (side + 2 * reach) * uniforms[:, N_UNIFORMS + 1] - reach
        if kind == "galaxy":
            drawn = draw_galaxies(uniforms, density, bands)
            u, v = _cluster(u, v, uniforms[:, N_UNIFORMS + 2 :])
        else:
            drawn = draw_stars(uniforms, bands)
        clear = np.all(np.hypot(u[:, None] - u_lens, v[:, None] - v_lens) > CLEARANCE, axis=1)
        parts.append(_field_rows(drawn, kind, bands)[clear])
        u_all.append(u[clear])
        v_all.append(v[clear])
    sky = vstack(parts)
    u, v = np.concatenate(u_all), np.concatenate(v_all)
    for column in sky.itercols():
        if column.dtype.kind == "f" and hasattr(column, "filled"):
            sky[column.name] = column.filled(np.nan)
    sky["sample_id"] = sky["group"] = np.arange(len(sky))
    sky["ra"], sky["dec"] = _to_sky(u, v, side)
    sky["object_id"] = [f"{kind}-{k:05d}" for k, kind in enumerate(sky["kind"])]
    sky["x_lens"] = sky["y_lens"] = 0.0
    for name, values in _conditions(survey, seed, bands, sky["ra"], sky["dec"]).items():
        sky[name] = values
    first = ["object_id", "kind", "ra", "dec"]
    return sky[[*first, *(name for name in sky.colnames if name not in first)]]


def _to_sky(u: np.ndarray, v: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Return ra, dec [deg] of places in the strip, (East, North) of its corner [arcsec]."""
    ra = RA0 + (u - 0.5 * side) / 3600.0 / np.cos(np.radians(DEC0))
    return ra, DEC0 + (v - 0.5 * side) / 3600.0


def _conditions(
    survey: Survey, seed: int, bands: Sequence[str], ra: np.ndarray, dec: np.ndarray
) -> dict[str, np.ndarray]:
    """Return what `population.draw_conditions` does, of places in the strip."""
    out = {name: np.full(len(ra), beta) for name, beta in survey.psf_betas(bands).items()}
    for band in bands:
        out[f"psf_fwhm_{band}"] = seeing_at(survey, seed, band, ra, dec)
        out[f"sky_sigma_{band}"] = noise_at(survey, seed, band, ra, dec)
    return out


def seeing_at(survey: Survey, seed: int, band: str, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return the PSF's FWHM [arcsec] at positions [deg]: the survey's, with its scatter, slowly varying."""
    own = survey.bands[band]
    waves = _waves(seed, f"sky/seeing/{band}", ra, dec)
    return own.psf_fwhm * np.exp(own.coadd_scatter(own.psf_scatter) * waves)


def noise_at(survey: Survey, seed: int, band: str, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return the noise of an empty pixel [nJy] at positions [deg]: more exposures here, fewer there."""
    own = survey.bands[band]
    waves = _waves(seed, f"sky/depth/{band}", ra, dec)
    return own.sky_sigma(survey.pixel_scale) * np.exp(own.coadd_scatter(own.sky_scatter) * waves)


def _waves(seed: int, purpose: str, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return a smooth random function of the position, of zero mean and unit scatter over the sky."""
    rng = stream(seed, purpose)
    wavelength = np.exp(rng.uniform(*np.log(WAVELENGTHS), _WAVES))
    direction, phase = rng.uniform(0.0, 2.0 * np.pi, (2, _WAVES))
    u = (np.asarray(ra) - RA0) * 3600.0 * np.cos(np.radians(DEC0))
    v = (np.asarray(dec) - DEC0) * 3600.0
    along = u[..., None] * np.cos(direction) + v[..., None] * np.sin(direction)
    return np.cos(2.0 * np.pi * along / wavelength + phase).sum(axis=-1) * np.sqrt(2.0 / _WAVES)


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


def _lenses(
    survey: Survey,
    seed: int,
    places: tuple[np.ndarray, np.ndarray],
    bands: Sequence[str],
    min_snr: float,
    effects: RealismSection,
) -> Table:
    """Return truth rows of lenses at (ra, dec), positions relative to the lens galaxy."""
    section = SimulateSection(kind="lens", noiseless=True, min_snr=min_snr, realism=effects)
    conditions = _conditions(survey, seed, bands, *places)
    ids = np.arange(len(places[0]))
    truth = draw_bright_lenses(survey, lens_seed(seed), ids, bands, section, conditions)
    return move_lenses(truth, -truth["x_lens"], -truth["y_lens"])


def _satellites(
    seed: int, lenses: Table, bands: Sequence[str], share: float
) -> tuple[Table, np.ndarray, np.ndarray]:
    """Return rows of the lenses' satellites, and how far [arcsec] they stand off: to the right, and up.

    ``group`` is their lens' number.
    """
    light = draw_satellites(lens_seed(seed), lenses, bands, share)
    owner, place = np.nonzero(light.flux[:, :, 0] > 0.0)
    table = Table({"kind": np.full(len(owner), "satellite", dtype="U12"), "group": owner})
    table["z_lens"] = np.asarray(lenses["z_lens"])[owner]
    names = {"r_lens": "r_eff", "n_lens": "n", "q_light": "q", "phi_light": "phi"}
    for column, name in names.items():
        table[column] = getattr(light, name)[owner, place]
    for b, band in enumerate(bands):
        table[f"mag_lens_{band}"] = NJY_ZERO_POINT - 2.5 * np.log10(light.flux[owner, place, b])
    return table, light.x[owner, place], light.y[owner, place]


def _cluster(u: np.ndarray, v: np.ndarray, uniforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions with some galaxies moved beside another one that stays where it is."""
    moved = uniforms[:, 0] < CLUSTERED
    stay = np.flatnonzero(~moved)
    if not len(stay):
        return u, v
    parent = stay[(uniforms[:, 0] / CLUSTERED * len(stay)).astype(int) % len(stay)]
    radius = CLUSTER_REACH * uniforms[:, 1] ** (1.0 / 1.2)
    angle = 2.0 * np.pi * uniforms[:, 2]
    beside = u[parent] + radius * np.cos(angle), v[parent] + radius * np.sin(angle)
    return np.where(moved, beside[0], u), np.where(moved, beside[1], v)


def _field_rows(drawn: dict[str, np.ndarray], kind: str, bands: Sequence[str]) -> Table:
    names = {"z_lens": "z", "r_lens": "r_eff", "n_lens": "n", "q_light": "q", "phi_light": "phi"}
    names |= {"r_bulge": "r_bulge", **{f"bulge_{band}": f"bulge_{band}" for band in bands}}
    table = Table({"kind": np.full(len(drawn["n"]), kind, dtype="U12")})
    for column, name in (names | {f"mag_lens_{band}": f"mag_{band}" for band in bands}).items():
        table[column] = drawn[name]
    return table
