"""From sample ids to a truth table, and from the table to scenes and finished stamps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table, vstack
from scipy.special import ndtri

from lenspipe.config import PLAIN, RealismSection, SimulateSection
from lenspipe.core.errors import ConfigError
from lenspipe.core.rng import uniforms
from lenspipe.core.survey import Survey
from lenspipe.simulate.artifacts import draw_masks, draw_noise, spoil, strike
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.field import draw_neighbours, draw_satellites
from lenspipe.simulate.lookalike import are_struck, surround
from lenspipe.simulate.measure import expect_arcs
from lenspipe.simulate.morphology import CLUMP_UNIFORMS, clumpy_disc, join, sersic
from lenspipe.simulate.nonlens import draw_nonlenses
from lenspipe.simulate.parts import no_light, stack_betas, stack_columns
from lenspipe.simulate.population import draw_lenses
from lenspipe.simulate.render import Light, Scene, render
from lenspipe.simulate.selection import MIN_MAGNIFICATION

_BATCH = 128  # scenes in memory at once
_MAX_ATTEMPTS = 50


def simulate_stamps(
    survey: Survey,
    seed: int,
    sample_ids: Sequence[int] | np.ndarray,
    section: SimulateSection,
    bands: Sequence[str],
    size: int,
) -> tuple[np.ndarray, np.ndarray, Table]:
    """Return simulated stamps with their truth: as many as there are ids, in their order.

    Of ``mixed`` sets even ids are lenses, odd ones are not. Sample k is the same in any batch: the truth to
    the last bit, the image up to float32 rounding of the renderer (a part in 10^6).

    Parameters
    ----------
    survey : Survey
    seed : int
    sample_ids : sequence of int
    section : SimulateSection
        kind, scene, noiseless, min_snr, mixture and realism are used.
    bands : sequence of str
    size : int
        Side of the stamps [px].

    Returns
    -------
    image : ndarray (n, size, size, b), float32
        nJy per pixel.
    noise_sigma : ndarray (n, b), float32
        Noise of an empty pixel [nJy], also of noiseless sets.
    truth : Table
        Columns of contract.md but shard and row; ``psf_beta_<band>``, each band's own Moffat index, where the bands
        differ (``psf_beta`` is then the first band's). mu and the signal-to-noise are computed on the host so that
        they are the same everywhere (`measure.expect_arcs`): as the images have them to 1 % (one sigma).
    """
    truth = draw_truth(survey, seed, sample_ids, section, bands)
    image = redraw(survey, seed, truth, section, bands, size)
    return image, stack_columns(truth, "sky_sigma", bands).astype(np.float32), truth


def redraw(
    survey: Survey, seed: int, truth: Table, section: SimulateSection, bands: Sequence[str], size: int
) -> np.ndarray:
    """Return the images (n, size, size, b), float32, of truth rows: with the same noise and faults, too.

    Parameters are those of `simulate_stamps` that made the rows.
    """
    image = np.zeros((len(truth), size, size, len(bands)), dtype=np.float32)
    effects = section.effects()
    is_lens = np.asarray(truth["kind"], str) == "lens"
    for some in (np.flatnonzero(is_lens), np.flatnonzero(~is_lens)):
        for start in range(0, len(some), _BATCH):
            rows = some[start : start + _BATCH]
            part = truth[rows]
            scene = build_scene(survey, seed, part, bands, size, effects)
            light, arcs = render(scene, size, survey.pixel_scale)
            seen, ids, sky = (
                light + arcs,
                np.asarray(part["sample_id"]),
                stack_columns(part, "sky_sigma", bands),
            )
            if not section.noiseless:
                seen += draw_noise(survey, seed, ids, seen, sky, bands, effects.correlated_noise)
            struck = are_struck(seed, part)  # what makes an artifact one is no noise
            seen = strike(seen, sky, seed, ids, struck, central=True)
            if not section.noiseless and section.scene == "full":
                seen = spoil(seen, sky, survey.saturation(bands), seed, ids, effects, struck)
            image[rows] = seen
    return image


def mask_stamps(
    seed: int, sample_ids: Sequence[int] | np.ndarray, section: SimulateSection, n_bands: int, size: int
) -> np.ndarray:
    """Return which pixels (n, size, size, n_bands), uint8, of simulated stamps could not be used.

    As *ingest* tells it of stamps cut from images (`imaging.stamps`): 0 good, else filled or zero. Parameters are
    those of `simulate_stamps` that made the stamps.
    """
    faults = PLAIN if section.noiseless else section.effects()
    return draw_masks(seed, np.asarray(sample_ids), size, n_bands, faults)


def draw_truth(
    survey: Survey,
    seed: int,
    sample_ids: Sequence[int] | np.ndarray,
    section: SimulateSection,
    bands: Sequence[str],
) -> Table:
    """Return truth rows of lenses, non-lenses or both (even ids lenses), as `section.kind` says."""
    ids = np.asarray(sample_ids, dtype=np.int64)
    realism = section.effects()
    is_lens = ids % 2 == 0 if section.kind == "mixed" else np.full(len(ids), section.kind == "lens")
    parts = []
    if is_lens.any() or not len(ids):
        parts.append(draw_bright_lenses(survey, seed, ids[is_lens], bands, section))
    if (~is_lens).any():
        parts.append(
            draw_nonlenses(
                survey, seed, ids[~is_lens], bands, section.mixture, section.min_snr, realism, section.offset
            )
        )
    truth = vstack(parts, metadata_conflicts="silent") if len(parts) > 1 else parts[0]
    order = np.concatenate([np.flatnonzero(is_lens), np.flatnonzero(~is_lens)])
    return truth[np.argsort(order)]


def draw_bright_lenses(
    survey: Survey,
    seed: int,
    ids: np.ndarray,
    bands: Sequence[str],
    section: SimulateSection,
    conditions: dict[str, np.ndarray] | None = None,
) -> Table:
    """Return lenses that are as bright in the whole coadd as in Collett's best stack of exposures.

    ``meta["candidates"]["lens"]`` counts those tried in all attempts. `conditions` as in `population.draw_lenses`.
    """
    truth, pending, min_snr, tried = None, np.arange(len(ids)), section.min_snr, 0
    effects = section.effects()
    for attempt in range(_MAX_ATTEMPTS):
        here = conditions and {name: values[pending] for name, values in conditions.items()}
        drawn = draw_lenses(
            survey, seed, ids[pending], bands, min_snr, attempt, realism=effects, conditions=here,
            groups=section.groups, offset=section.offset,
        )  # fmt: skip
        if not section.lens_light:
            for band in bands:
                drawn[f"mag_lens_{band}"] = np.nan
        source = source_light(seed, drawn, bands, effects.clumps)
        for name, values in expect_arcs(survey, drawn, bands, source).items():
            drawn[name] = values
        tried += drawn.meta["candidates"]["lens"]
        if truth is None:
            truth = drawn
        else:
            truth[pending] = drawn
        dim = (np.asarray(drawn["snr"]) < min_snr) | (np.asarray(drawn["mu"]) < MIN_MAGNIFICATION)
        pending = pending[dim]
        if not len(pending):
            truth.meta["candidates"] = {"lens": tried}
            return truth
    raise ConfigError(
        f"{len(pending)} of {len(ids)} lenses never reached S/N {min_snr:g} and a magnification of "
        f"{MIN_MAGNIFICATION:g} in the coadd in {_MAX_ATTEMPTS} draws; lower simulate.min_snr"
    )


def build_scene(
    survey: Survey,
    seed: int,
    truth: Table,
    bands: Sequence[str],
    size: int,
    effects: RealismSection = PLAIN,
) -> Scene:
    """Return the scenes of truth rows, either all lenses or none.

    A plain lens is the host's Sersic light and a lensed Sersic source; a plain non-lens has what makes its kind
    what it is, and no more. Satellites and neighbours neither deflect nor are lensed. What the truth does
    not say comes from streams keyed by sample id.
    """
    ids = np.asarray(truth["sample_id"])
    get = {name: np.nan_to_num(np.asarray(truth[name], float)) for name in _COLUMNS}
    get |= {name: np.where(get[name] > 0.0, get[name], 1.0) for name in ("q", "q_light")}
    host = {name: get[column] for name, column in _HOST.items()}
    parts = [
        sersic(
            **(host | {"n": np.maximum(host["n"], 0.5)}),
            flux=stack_columns(truth, "mag_lens", bands, flux_njy),
        )
    ]
    source = no_light(len(truth), len(bands))
    if np.all(np.asarray(truth["kind"], str) == "lens"):
        source = source_light(seed, truth, bands, effects.clumps)
    else:
        # the shapes that make a kind what it is are no matter of taste, nor are the members of a group
        parts.append(surround(seed, truth, bands, survey.pixel_scale, effects.clumps))
    if effects.satellites or np.any(np.asarray(truth["kind"], str) == "group"):
        parts.append(draw_satellites(seed, truth, bands, effects.satellites))
    if effects.neighbours:
        parts.append(draw_neighbours(survey, seed, ids, bands, size))
    shift = np.zeros((len(truth), 2, len(bands)))
    if effects.astrometry:
        shift = (
            effects.astrometry
            * survey.pixel_scale
            * ndtri(uniforms(seed, "astrometry", ids, 2 * len(bands))).reshape(shift.shape)
        )
    return Scene(
        **{name: get[name] for name in _DEFLECTOR}, light=join(parts), source=source,
        psf_fwhm=stack_columns(truth, "psf_fwhm", bands), psf_beta=stack_betas(truth, bands),
        shift_x=shift[:, 0], shift_y=shift[:, 1],
    )  # fmt: skip


def source_light(seed: int, truth: Table, bands: Sequence[str], clumpy: bool) -> Light:
    """Return the unlensed sources of lenses: smooth ones, or with the knots and bulge of their sample id."""
    disc = {name: np.asarray(truth[column], float) for name, column in _SOURCE.items()}
    flux = stack_columns(truth, "mag_src", bands, flux_njy)
    if not clumpy:
        return sersic(**disc, n=truth["n_src"], flux=flux)
    u = uniforms(seed, "clumps", np.asarray(truth["sample_id"]), CLUMP_UNIFORMS)
    return clumpy_disc(**disc, z=np.asarray(truth["z_src"], float), flux=flux, bands=bands, u=u)


_DEFLECTOR = ("theta_e", "q", "phi", "x_lens", "y_lens", "gamma_ext", "phi_ext")
_HOST = {"x": "x_lens", "y": "y_lens", "r_eff": "r_lens", "n": "n_lens", "q": "q_light", "phi": "phi_light"}
_SOURCE = {"x": "x_src", "y": "y_src", "r_eff": "r_src", "q": "q_src", "phi": "phi_src"}
_COLUMNS = (*_DEFLECTOR, *_HOST.values())
