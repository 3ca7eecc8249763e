"""How real the simulations look: a real field against one simulated like it, through the same ingest."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lenspipe.config import Config
from lenspipe.core.errors import InputError, Rejected
from lenspipe.core.schema import Flag
from lenspipe.core.survey import NJY_ZERO_POINT, Band, Survey, load_survey
from lenspipe.core.types import BandImage, ImageSet, StampFormat
from lenspipe.io.layout import find_images, group_files
from lenspipe.stages.ingest import ingest_images
from lenspipe.stages.stamps import stamp_format
from lenspipe.stages.tile import load_band

_TILE = 1000  # side of a mock tile [px]
_LAGS = 3
_PSF_SCATTER = 0.02  # of ln(FWHM) within one field


def compare_with_sky(config: Config, area: float = 2.0) -> dict[str, Any]:
    """Return how well simulated stamps can be told from those of real images.

    PSF, noise and its correlation are measured on the images; mock tiles are simulated with them, and both
    go through the same detection and cuts. As many of each are compared, alike in magnitude.

    Parameters
    ----------
    config : Config
        survey, run.seed, ingest (images and cuts) and simulate.tiles (densities of the field) are used.
    area : float
        Simulated over real area.

    Returns
    -------
    dict
        That of `training.probe.probe_realism`, and ``survey``: the `Survey` that was simulated.

    Raises
    ------
    InputError
        If no image can be used, or too few objects or stars are found.
    """
    from lenspipe.training.probe import match_magnitudes, probe_realism

    survey, form = load_survey(config.survey), stamp_format(config)
    real = _stamps(_image_sets(config, survey), survey, form, config)
    twin, pixels, weighted = simulated_twin(config)
    count = max(1, round(area * pixels / _TILE**2))
    with tempfile.TemporaryDirectory(prefix="lenspipe-") as folder:
        paths = write_twins(twin, form, config, count, Path(folder), weighted)
        simulated = _stamps(group_files(paths, twin), twin, form, config)
    seed = config.run.seed
    rows, others = match_magnitudes(real[2], simulated[2], seed)
    sample = (real[0][rows], real[1][rows], simulated[0][others], simulated[1][others])
    return {**probe_realism(*sample, form.bands, seed), "survey": twin}


def simulated_twin(config: Config) -> tuple[Survey, int, bool]:
    """Return the survey with its images' PSF, noise and correlation; their pixels; whether they have weights."""
    from lenspipe.imaging.noise import measure_correlation
    from lenspipe.imaging.psf import measure_psf
    from lenspipe.io.planes import list_planes

    survey, form = load_survey(config.survey), stamp_format(config)
    measured: dict[str, list[tuple[float, float, float]]] = {band: [] for band in form.bands}
    correlation, pixels, scale, weighted = [], 0, survey.pixel_scale, True
    for image_set in _image_sets(config, survey):
        planes = list_planes(image_set, survey)
        for band in form.bands:
            image: BandImage = load_band(planes, band, survey, form, config)
            good = np.isfinite(image.sigma)
            measured[band].append((*measure_psf(image), float(np.median(image.sigma[good]))))
            correlation.append(measure_correlation(image.flux, _LAGS))
            scale = image.pixel_scale
            weighted &= not image.flags & Flag.NOISE_ESTIMATED
        pixels += int(good.sum())
    bands = dict(survey.bands)
    for name, values in measured.items():
        fwhm, beta, sigma = np.mean(values, axis=0)
        bands[name] = _band_like(bands[name], float(fwhm), float(beta), float(sigma), scale)
    update = {
        "name": f"{survey.name}-twin", "pixel_scale": scale, "bands": bands,
        "noise_correlation": tuple(float(c) for c in np.mean(correlation, axis=0)),
    }  # fmt: skip
    return survey.model_copy(update=update), pixels, weighted


def write_twins(
    survey: Survey, form: StampFormat, config: Config, count: int, folder: Path, weights: bool
) -> list[str]:
    """Write `count` mock tiles without lenses, with weights if the real ones have them; return the paths."""
    from lenspipe.simulate.tiles import draw_sky, render_tile, write_tile

    tiles = config.simulate.tiles.model_copy(
        update={"count": count, "size": _TILE, "overlap": 0.0, "lenses": 0}
    )
    sky = draw_sky(survey, config.run.seed, tiles, form.bands)
    paths = []
    for number in range(count):
        tile = render_tile(survey, config.run.seed, number, sky, tiles, form.bands)
        paths += [str(path) for path in write_tile(folder, survey, tile, weights=weights)]
    return paths


def describe_realism(result: dict[str, Any], features: int = 12) -> list[str]:
    """Return the lines that tell a reader what the probe found."""
    lines = [
        f"{result['n_real']} real and {result['n_simulated']} simulated stamps, alike in magnitude",
        f"linear probe   AUC {result['linear']:.3f} +- {result['linear_err']:.3f}",
        f"small network  AUC {result['network']:.3f} +- {result['network_err']:.3f}",
        f"labels shuffled    {result['permuted']:.3f} +- {result['permuted_err']:.3f} (0.5 = cannot be told apart)",
        "what tells them apart, and how well alone (weight > 0 or AUC > 0.5: larger in simulations):",
    ]
    return lines + [
        f"  {name:24s} weight {weight:+.2f}  AUC {alone:.3f}"
        for name, weight, alone in result["features"][:features]
    ]


def _image_sets(config: Config, survey: Survey) -> list[ImageSet]:
    paths = find_images(config.ingest.images)
    return group_files([str(Path(path).absolute()) for path in paths], survey)


def _stamps(
    sets: list[ImageSet], survey: Survey, form: StampFormat, config: Config
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return stamps, their noise, and magnitudes in the detection band."""
    first = survey.detection_band if survey.detection_band in form.bands else form.bands[0]
    parts = []
    for image_set in sets:
        try:
            shard, table, _ = ingest_images(image_set, survey, form, config)
        except Rejected as fault:
            raise InputError(f"{image_set.name} cannot be compared: {fault}") from None
        parts.append((shard.image, shard.noise_sigma, np.asarray(table[f"mag_{first}"], float)))
    image, noise, mag = (np.concatenate(part) for part in zip(*parts, strict=True))
    return image, noise, mag


def _band_like(band: Band, fwhm: float, beta: float, sigma: float, scale: float) -> Band:
    """Return a band with another PSF, whose sky alone makes the noise `sigma` [nJy per pixel]."""
    sky_njy = sigma**2 * band.electrons_per_njy() / scale**2  # per arcsec^2
    sky = NJY_ZERO_POINT - 2.5 * np.log10(sky_njy)
    return band.model_copy(
        update={
            "psf_fwhm": fwhm,
            "psf_scatter": _PSF_SCATTER,
            "n_exposures": 1,
            "psf_beta": beta,
            "sky": float(sky),
            "read_noise": 0.0,
        }
    )
