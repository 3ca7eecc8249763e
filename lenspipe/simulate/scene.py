"""From a truth table to scenes, and from sample ids to finished stamps."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from astropy.table import Table, vstack

from lenspipe.config import SimulateSection
from lenspipe.core.errors import LenspipeError
from lenspipe.core.rng import stream
from lenspipe.core.survey import Survey
from lenspipe.imaging.observe import noise_sigma
from lenspipe.simulate.colours import flux_njy, k_correction
from lenspipe.simulate.field import MAX_NEIGHBOURS, draw_neighbours
from lenspipe.simulate.nonlens import draw_nonlenses
from lenspipe.simulate.population import MIN_MAGNIFICATION, draw_lenses
from lenspipe.simulate.render import Light, Scene, render

_MAX_ATTEMPTS = 200


def simulate_stamps(
    survey: Survey,
    seed: int,
    sample_ids: Sequence[int] | np.ndarray,
    section: SimulateSection,
    bands: Sequence[str],
    size: int,
) -> tuple[np.ndarray, np.ndarray, Table]:
    """Return simulated stamps with their truth: as many as there are ids, in their order.

    A lens whose rendered arcs miss `section.min_snr` or a magnification of 3 is drawn anew from its own
    stream. Of ``mixed`` sets even ids are lenses, odd ones are not. Sample k is the same in any batch,
    up to float32 rounding of the renderer (a part in 10^6).

    Parameters
    ----------
    survey : Survey
    seed : int
    sample_ids : sequence of int
    section : SimulateSection
        kind, scene, noiseless, oversample, batch_size and min_snr are used.
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
        Columns of contract.md but shard and row.
    """
    ids = np.asarray(sample_ids, dtype=np.int64)
    full = section.scene == "full"
    truth = draw_truth(survey, seed, ids, section.kind, bands, section.min_snr)
    image = np.zeros((len(ids), size, size, len(bands)), dtype=np.float32)
    gain = np.array([survey.bands[band].electrons_per_njy() for band in bands])
    pending = np.arange(len(ids))
    for attempt in range(1, _MAX_ATTEMPTS):
        failed = []
        for start in range(0, len(pending), section.batch_size):
            rows = pending[start : start + section.batch_size]
            scene = build_scene(survey, seed, truth[rows], bands, size, full=full)
            light, arcs = (
                keras.ops.convert_to_numpy(part)
                for part in render(scene, size, survey.pixel_scale, section.oversample)
            )
            measured = measure_arcs(survey, truth[rows], bands, light, arcs, gain)
            for name, values in measured.items():
                truth[name][rows] = values
            good = np.isnan(measured["mu"]) | (
                (measured["snr"] >= section.min_snr) & (measured["mu"] >= MIN_MAGNIFICATION)
            )
            image[rows] = light + arcs
            failed.append(rows[~good])
        pending = np.concatenate(failed) if failed else pending[:0]
        if not len(pending):
            break
        again = draw_lenses(survey, seed, ids[pending], bands, section.min_snr, attempt)
        for name in again.colnames:
            truth[name][pending] = again[name]
    else:
        raise LenspipeError(
            f"{len(pending)} of {len(ids)} lenses never reached S/N {section.min_snr:g} "
            f"in {_MAX_ATTEMPTS} attempts; lower simulate.min_snr"
        )
    sky = np.stack([truth[f"sky_sigma_{band}"] for band in bands], axis=-1)
    if not section.noiseless:
        for k, sample in enumerate(ids):
            # Gaussian, not Poisson, electrons: a sampler of whole numbers would make rounding of the
            # renderer, which differs with the batch, into another noise; under this sky none can tell
            normal = stream(seed, "noise", int(sample)).standard_normal(image[k].shape)
            image[k] += (normal * noise_sigma(image[k], gain, sky[k])).astype(np.float32)
    return image, sky.astype(np.float32), truth


def draw_truth(
    survey: Survey,
    seed: int,
    sample_ids: Sequence[int] | np.ndarray,
    kind: str,
    bands: Sequence[str],
    min_snr: float,
) -> Table:
    """Return truth rows of lenses, non-lenses or both (even ids lenses); mu and snr are NaN as yet."""
    ids = np.asarray(sample_ids, dtype=np.int64)
    is_lens = ids % 2 == 0 if kind == "mixed" else np.full(len(ids), kind == "lens")
    parts = []
    if is_lens.any() or not len(ids):
        parts.append(draw_lenses(survey, seed, ids[is_lens], bands, min_snr))
    if (~is_lens).any():
        parts.append(draw_nonlenses(survey, seed, ids[~is_lens], bands))
    truth = vstack(parts) if len(parts) > 1 else parts[0]
    order = np.concatenate([np.flatnonzero(is_lens), np.flatnonzero(~is_lens)])
    truth = truth[np.argsort(order)]
    for name in ("mu", "snr", *(f"snr_{band}" for band in bands)):
        truth[name] = np.full(len(ids), np.nan)
    return truth


def build_scene(
    survey: Survey, seed: int, truth: Table, bands: Sequence[str], size: int, full: bool = True
) -> Scene:
    """Return the scenes of a truth table.

    A plain scene is the host galaxy's Sersic light and the lensed source. A full one divides discs into
    bulge and disc, gives spirals their arms, and adds companions and neighbours (not lensed, and not
    deflecting), all from streams keyed by sample id.
    """
    get = {name: _no_nan(truth[name]) for name in truth.colnames if truth[name].dtype.kind == "f"}
    host = {
        "x": get["x_lens"][:, None], "y": get["y_lens"][:, None], "r_eff": get["r_lens"][:, None],
        "n": get["n_lens"][:, None], "q": get["q_light"][:, None], "phi": get["phi_light"][:, None],
        "flux": _fluxes(truth, "mag_lens", bands)[:, None, :],
        "arms": np.zeros((len(truth), 1)), "pitch": np.full((len(truth), 1), 20.0),
    }  # fmt: skip
    if full:
        host = _divide_discs(survey, seed, truth, bands, host)
        beside = draw_neighbours(survey, seed, truth, bands, size)
        beside |= {
            "arms": np.zeros((len(truth), MAX_NEIGHBOURS)),
            "pitch": np.full((len(truth), MAX_NEIGHBOURS), 20.0),
        }
        host = {name: np.concatenate([host[name], beside[name]], axis=1) for name in host}
    if not np.any(host["arms"]):
        host["arms"] = host["pitch"] = None
    is_source = np.isfinite(truth["x_src"])
    source = Light(
        x=get["x_src"][:, None], y=get["y_src"][:, None],
        r_eff=np.where(is_source, get["r_src"], 1.0)[:, None],
        n=np.where(is_source, get["n_src"], 1.0)[:, None],
        q=np.where(is_source, get["q_src"], 1.0)[:, None], phi=get["phi_src"][:, None],
        flux=_fluxes(truth, "mag_src", bands)[:, None, :],
    )  # fmt: skip
    return Scene(
        theta_e=get["theta_e"], q=np.where(np.isfinite(truth["q"]), get["q"], 1.0), phi=get["phi"],
        x_lens=get["x_lens"], y_lens=get["y_lens"], gamma_ext=get["gamma_ext"], phi_ext=get["phi_ext"],
        light=Light(**host), source=source,
        psf_fwhm=np.stack([truth[f"psf_fwhm_{band}"] for band in bands], axis=-1),
        psf_beta=np.asarray(truth["psf_beta"]),
    )  # fmt: skip


def measure_arcs(
    survey: Survey, truth: Table, bands: Sequence[str], light: np.ndarray, arcs: np.ndarray, gain: np.ndarray
) -> dict[str, np.ndarray]:
    """Return mu, snr and snr_<band> of rendered lenses; NaN where there is no source.

    mu is the lensed over the unlensed flux in the detection band. The signal-to-noise is the maximum
    over k of the sum of the k brightest source pixels over their noise, in which sky and the lens
    galaxy's Poisson noise count (Collett 2015).
    """
    sky = np.stack([truth[f"sky_sigma_{band}"] for band in bands], axis=-1)
    variance = noise_sigma(light, gain, sky[:, None, None, :]) ** 2
    flat = (len(truth), -1, len(bands))
    signal, variance = arcs.reshape(flat), variance.reshape(flat)
    order = np.argsort(-signal, axis=1)
    signal = np.cumsum(np.take_along_axis(signal, order, axis=1), axis=1, dtype=np.float64)
    noise = np.sqrt(np.cumsum(np.take_along_axis(variance, order, axis=1), axis=1))
    no_source = ~np.isfinite(truth["x_src"])
    snr = np.max(signal / noise, axis=1)
    snr[no_source] = np.nan
    reference = bands.index(survey.detection_band) if survey.detection_band in bands else len(bands) - 1
    unlensed = _fluxes(truth, "mag_src", bands)[:, reference]
    unlensed = np.where(no_source, np.nan, unlensed)
    out = {"mu": arcs[..., reference].sum(axis=(1, 2), dtype=np.float64) / unlensed, "snr": snr.max(axis=1)}
    return out | {f"snr_{band}": snr[:, b] for b, band in enumerate(bands)}


def _divide_discs(
    survey: Survey, seed: int, truth: Table, bands: Sequence[str], host: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the host as two components: all and nothing, or a red bulge and a disc, perhaps with arms."""
    late = np.isin(truth["kind"], ("disc", "spiral"))
    spiral = np.asarray(truth["kind"]) == "spiral"
    u = np.array([stream(seed, "morphology", int(k)).random(6) for k in truth["sample_id"]]).reshape(-1, 6)
    out = {name: np.concatenate([values, values], axis=1) for name, values in host.items()}
    z = np.nan_to_num(np.asarray(truth["z_lens"]), nan=0.1)
    reference = survey.detection_band if survey.detection_band in bands else bands[-1]
    for b, band in enumerate(bands):
        redder = sum(
            sign * (k_correction(template, band, z) - k_correction(template, reference, z))
            for sign, template in ((1, "early"), (-1, "spiral"))
        )
        share = np.clip((0.05 + 0.4 * u[:, 0] ** 2) * 10 ** (-0.4 * redder), 0.0, 0.9)
        share = np.where(late, share, 1.0)
        out["flux"][:, 0, b] *= share
        out["flux"][:, 1, b] *= 1.0 - share
    out["r_eff"][late, 0] *= 0.25
    out["n"][late, 0] = 3.0
    out["q"][late, 0] = np.maximum(out["q"][late, 0], 0.6)  # bulges are rounder than discs
    out["arms"][spiral, 1] = 0.4 + 0.5 * u[spiral, 1]
    out["pitch"][:, 1] = (12.0 + 20.0 * u[:, 2]) * np.where(u[:, 3] < 0.5, -1.0, 1.0)
    return out


def _fluxes(truth: Table, prefix: str, bands: Sequence[str]) -> np.ndarray:
    return np.stack([flux_njy(truth[f"{prefix}_{band}"]) for band in bands], axis=-1)


def _no_nan(values) -> np.ndarray:
    return np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0)
