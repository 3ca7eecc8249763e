"""What is not a lens but may look like one, in the kinds of `config.MIXTURE`, and galaxies of the field.

Every non-lens but those of the field is made from a lens that the same survey would discover: its galaxy, and the
light of its arcs, of the same brightness in the same distance, but as the arms of a spiral, a ring, a merging galaxy,
a blue companion. Hence neither magnitude nor colour gives the label away, shape alone does.

The columns `mag_lens_<band>`, `r_lens`... hold the middle: an early type, a bulge, a star. The columns of
the source hold what is beside or around it, as it is seen: `r_src` is the half-light radius, or the ring's
radius, `mag_src_<band>` the magnitude. They are NaN where there is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from astropy.table import Table

from lenspipe.config import FULL, IngestSection, RealismSection
from lenspipe.core.rng import uniforms
from lenspipe.core.survey import NJY_ZERO_POINT, Survey
from lenspipe.simulate.colours import flux_njy, k_correction
from lenspipe.simulate.field import galaxy_density
from lenspipe.simulate.galaxies import N_UNIFORMS, count_brighter, draw_galaxies, star_colour
from lenspipe.simulate.measure import magnify
from lenspipe.simulate.population import draw_lenses

#: Columns of what only a lens has, and of the source.
_LENSING = ("theta_e", "gamma_ext", "phi_ext", "mu", "snr")
_SOURCE = ("z_src", "x_src", "y_src", "r_src", "n_src", "q_src", "phi_src")
#: Kinds whose host is no early type; kinds that have nothing beside it; groups with a blue member.
_NO_SPHEROID = ("disc", "edge_on", "spiral", "star", "double", "spike", "empty", "field")
_ALONE = ("elliptical", "star", "spike", "artifact", "empty")
_BLUE_MEMBER = 0.6
#: Share of the light in a disc galaxy's bulge, i band: (kind, least, most).
_BULGES = {"disc": (0.1, 0.5), "edge_on": (0.1, 0.5), "spiral": (0.15, 0.55)}
#: The faintest galaxies of the field [mag, i band], as in a search. Fainter ones that are seen are nearly all of those
#: that there are, and no target.
TARGET_MAG = IngestSection().max_mag
SPIKE_RANGE = (12.5, 15.5)  # magnitude of a star with spikes


def draw_nonlenses(
    survey: Survey,
    seed: int,
    sample_ids: Sequence[int] | np.ndarray,
    bands: Sequence[str],
    mixture: Mapping[str, float],
    min_snr: float = 20.0,
    realism: RealismSection = FULL,
    offset: float = 0.5,
) -> Table:
    """Return one non-lens per sample id, in their order.

    Parameters
    ----------
    survey, seed, sample_ids, bands, min_snr, realism, offset
        As in `population.draw_lenses`.
    mixture : mapping
        Kind -> share; they need not add up to 1.

    Returns
    -------
    Table
        Columns of `draw_lenses`; theta_e and shear are NaN, and sigma_v, q, phi too where there is no
        early type.
    """
    ids = np.asarray(sample_ids, dtype=np.int64)
    table = draw_lenses(survey, seed, ids, bands, min_snr, purpose="nonlens", realism=realism, offset=offset)
    u = uniforms(seed, "nonlens/kind", ids, 12)
    names, shares = list(mixture), np.cumsum(list(mixture.values()))
    kinds = np.array(names, dtype="U12")[np.searchsorted(shares, u[:, 0] * shares[-1], side="right")]
    table["kind"] = kinds
    table["mu"] = magnify(table)
    _unlens(table, bands, u)
    reference = survey.reference_band(bands)
    for kind, make in _MAKERS.items():
        rows = np.flatnonzero(kinds == kind)
        if len(rows):
            part = table[rows]
            make(part, u[rows], bands, reference)
            table[rows] = part
    rows = np.flatnonzero(kinds == "field")
    if len(rows):
        part = table[rows]
        _make_field(
            part, uniforms(seed, "nonlens/field", ids[rows], N_UNIFORMS), bands, target_density(survey)
        )
        table[rows] = part
    alone = np.isin(kinds, _ALONE) | ((kinds == "group") & (u[:, 1] > _BLUE_MEMBER))
    for name in (*_SOURCE, *(f"mag_src_{band}" for band in bands)):
        table[name][alone] = np.nan
    table["z_src"][kinds != "companion"] = np.nan
    for name in (*_LENSING, *(f"snr_{band}" for band in bands)):
        table[name] = np.nan
    for name in ("sigma_v", "q", "phi"):
        table[name][np.isin(kinds, _NO_SPHEROID)] = np.nan
    return table


def target_density(survey: Survey) -> float:
    """Return the number of galaxies per arcmin^2 that a search of the survey looks at."""
    return min(galaxy_density(survey), float(count_brighter(TARGET_MAG)))


def _unlens(table: Table, bands: Sequence[str], u: np.ndarray) -> None:
    """Put the source where the arcs were, with their flux and surface brightness, not lensed."""
    angle = 2.0 * np.pi * u[:, 2]
    distance = np.asarray(table["theta_e"]) * (0.8 + 0.6 * u[:, 3])
    table["x_src"] = table["x_lens"] + distance * np.cos(angle)
    table["y_src"] = table["y_lens"] + distance * np.sin(angle)
    for band in bands:
        table[f"mag_src_{band}"] -= 2.5 * np.log10(table["mu"])
    table["r_src"] = np.clip(table["r_src"] * np.sqrt(table["mu"]), 0.1, 0.6 * distance)


def _make_disc(part: Table, u: np.ndarray, bands: Sequence[str], reference: str) -> None:
    """A bulge, and a disc with the rest of the galaxy's light and that of the arcs."""
    kind = str(part["kind"][0])
    low, high = _BULGES[kind]
    bulge = low + (high - low) * u[:, 4]
    host = flux_njy(part[f"mag_lens_{reference}"])
    z = np.asarray(part["z_lens"])
    for band in bands:
        colour = k_correction("spiral", band, z) - k_correction("spiral", reference, z)
        disc = host * (1.0 - bulge) * 10 ** (-0.4 * colour) + flux_njy(part[f"mag_src_{band}"])
        part[f"mag_src_{band}"] = _magnitude(disc)
        part[f"mag_lens_{band}"] -= 2.5 * np.log10(bulge)
    part["x_src"], part["y_src"] = part["x_lens"], part["y_lens"]
    r_galaxy = np.asarray(part["r_lens"])
    part["r_lens"] = np.clip(r_galaxy * (0.15 + 0.3 * u[:, 6]), 0.1, 1.2)
    part["n_lens"], part["n_src"] = np.round(2.0 + 2.0 * u[:, 7], 2), 1.0
    flattest, roundest = {"disc": (0.75, 1.0), "edge_on": (0.12, 0.3), "spiral": (0.45, 1.0)}[kind]
    part["q_src"] = flattest + (roundest - flattest) * u[:, 8]
    # an inclined disc is as long as one seen face on
    part["r_src"] = np.clip(r_galaxy * (1.1 + 0.8 * u[:, 5]), 0.6, 5.0) * np.sqrt(part["q_src"])
    part["phi_light"] = part["phi_src"]
    part["q_light"] = np.maximum(part["q_src"], 0.6 + 0.3 * u[:, 9])


def _make_ring(part: Table, u: np.ndarray, bands: Sequence[str], reference: str) -> None:
    """A ring round an early type, of the arcs' light and radius."""
    distance = np.hypot(part["x_src"] - part["x_lens"], part["y_src"] - part["y_lens"])
    part["r_src"] = distance * (0.85 + 0.4 * u[:, 4])
    part["x_src"], part["y_src"], part["n_src"] = part["x_lens"], part["y_lens"], 0.5
    part["q_src"] = 0.45 + 0.55 * np.sqrt(u[:, 5])


def _make_merger(part: Table, u: np.ndarray, bands: Sequence[str], reference: str) -> None:
    """A second galaxy, of the arcs' light and a good part of the first one's, farther out."""
    share = 0.03 + 0.3 * u[:, 4] ** 2
    z = np.asarray(part["z_lens"])
    host = flux_njy(part[f"mag_lens_{reference}"])
    for band in bands:
        colour = k_correction("spiral", band, z) - k_correction("spiral", reference, z)
        other = host * share * 10 ** (-0.4 * colour)
        part[f"mag_src_{band}"] = _magnitude(flux_njy(part[f"mag_src_{band}"]) + other)
        part[f"mag_lens_{band}"] -= 2.5 * np.log10(1.0 - share)
    for axis in "xy":
        part[f"{axis}_src"] += (0.2 + 0.6 * u[:, 5]) * (part[f"{axis}_src"] - part[f"{axis}_lens"])
    part["r_src"] = np.clip(part["r_lens"] * (0.4 + 0.5 * u[:, 6]), 0.2, 2.0)


def _make_star(part: Table, u: np.ndarray, bands: Sequence[str], reference: str) -> None:
    """A star in place of the galaxy, and of the arcs."""
    mag = np.asarray(part[f"mag_lens_{reference}"]).copy()
    if str(part["kind"][0]) == "spike":
        mag = SPIKE_RANGE[0] + (SPIKE_RANGE[1] - SPIKE_RANGE[0]) * np.sqrt(u[:, 4])
    other = np.asarray(part[f"mag_src_{reference}"]).copy()
    for band in bands:
        first, second = (star_colour(band, v) - star_colour(reference, v) for v in (u[:, 5] ** 0.5, u[:, 6]))
        part[f"mag_lens_{band}"] = mag + first
        part[f"mag_src_{band}"] = np.maximum(other, mag) + second
    for where in ("lens", "src"):
        part[f"r_{where}"], part[f"n_{where}"] = 0.0, 0.5
    part["q_light"] = part["q_src"] = 1.0
    part["z_lens"] = np.nan


def _make_empty(part: Table, u: np.ndarray, bands: Sequence[str], reference: str) -> None:
    """Nothing in the middle."""
    part["z_lens"] = np.nan
    for band in bands:
        part[f"mag_lens_{band}"] = np.nan


def _make_field(part: Table, u: np.ndarray, bands: Sequence[str], density: float) -> None:
    """A bulge and a disc, or a spheroid, of the brightest `density` galaxies per arcmin^2."""
    drawn = draw_galaxies(u, density, bands)
    for band in bands:
        bulge = drawn[f"bulge_{band}"]
        for name, share in (("lens", bulge), ("src", 1.0 - bulge)):
            lit = np.where(share > 0.0, share, np.nan)
            part[f"mag_{name}_{band}"] = drawn[f"mag_{band}"] - 2.5 * np.log10(lit)
    part["z_lens"], part["n_lens"], part["n_src"] = drawn["z"], 4.0, 1.0
    part["r_lens"], part["r_src"] = drawn["r_bulge"], drawn["r_eff"]
    part["q_light"] = part["q_src"] = drawn["q"]
    part["phi_light"] = part["phi_src"] = drawn["phi"]
    part["x_src"], part["y_src"] = part["x_lens"], part["y_lens"]


_MAKERS: dict[str, Callable[[Table, np.ndarray, Sequence[str], str], None]] = {
    "disc": _make_disc, "edge_on": _make_disc, "spiral": _make_disc, "ring": _make_ring,
    "merger": _make_merger, "star": _make_star, "double": _make_star, "spike": _make_star,
    "empty": _make_empty,
}  # fmt: skip


def _magnitude(flux: np.ndarray) -> np.ndarray:
    return NJY_ZERO_POINT - 2.5 * np.log10(flux)
