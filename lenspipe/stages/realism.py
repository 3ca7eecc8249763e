"""How real the simulations look: real images against ones simulated like them, through the same ingest."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lenspipe.config import Config
from lenspipe.core.errors import InputError, Rejected
from lenspipe.core.schema import Flag
from lenspipe.core.survey import NJY_ZERO_POINT, Band, Survey, load_survey
from lenspipe.core.types import BandImage, ImageSet, StampFormat
from lenspipe.io.layout import find_images, group_files
from lenspipe.stages.pieces import read_whole
from lenspipe.stages.stamps import stamp_format
from lenspipe.stages.tile import load_band

_TILE = 1000  # side of a mock tile [px]
_LAGS = 24  # of the noise's correlation [px]
_PSF_SCATTER, _SKY_SCATTER = 0.02, 0.02  # of ln(FWHM), ln(noise) within one image
_RATIO = 4  # simulated stamps for each real one, where the real ones are few


@dataclass(frozen=True)
class Twin:
    """An image, as a survey of its own to be simulated.

    `survey` has the image's PSF, noise and correlation; `shape` is the image's (y, x), `weighted` whether it has
    weights; `psf_from` says of each band what its PSF was measured on: stars, psf image, or survey file.
    """

    survey: Survey
    shape: tuple[int, int]
    weighted: bool
    psf_from: dict[str, str]

    def pieces(self) -> tuple[int, int]:
        """Return into how many rows and columns of images a mock tile is cut; a large image is not cut at all."""
        return max(1, _TILE // self.shape[0]), max(1, _TILE // self.shape[1])


def compare_with_sky(config: Config, area: float = 2.0) -> dict[str, Any]:
    """Return how well simulated stamps can be told from those of real images.

    PSF, noise and its correlation are measured on each image; mock tiles are simulated with them, cut to the
    image's size where it is small, and both go through the same detection and cuts. As many of each are
    compared, alike in magnitude; of real ones that are few, with four times as many.

    Parameters
    ----------
    config : Config
        survey, run.seed, ingest (images and cuts) and simulate.tiles (densities of the field) are used.
    area : float
        Simulated over real area; small images get a whole mock tile each.

    Returns
    -------
    dict
        That of `training.probe.probe_realism`, and ``twins``: a `Twin` for each image.

    Raises
    ------
    InputError
        If an image cannot be used, or too few objects are found.
    """
    from lenspipe.training.probe import LEAST_NETWORK, match_magnitudes, probe_realism

    survey, form, seed = load_survey(config.survey), stamp_format(config), config.run.seed
    sets = _image_sets(config, survey)
    real = _stamps(sets, survey, form, config)
    twins, parts = [], []
    for number, image_set in enumerate(sets):
        twin = simulated_twin(image_set, survey, form, config)
        twins.append(twin)
        count = max(1, round(area * twin.shape[0] * twin.shape[1] / _TILE**2))
        with tempfile.TemporaryDirectory(prefix="lenspipe-") as folder:
            # a seed of its own, so that no two images are compared with the same galaxies
            paths = write_twins(twin, seed + number, form, config, count, Path(folder))
            parts.append(_stamps(group_files(paths, twin.survey), twin.survey, form, config))
    shifts = np.cumsum([0, *(part[3].max(initial=-1) + 1 for part in parts)])
    parts = [(*part[:3], part[3] + shift) for part, shift in zip(parts, shifts[:-1], strict=True)]
    simulated = tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))
    ratio = 1 if len(real[0]) >= LEAST_NETWORK else _RATIO
    rows, others = match_magnitudes(real[2], simulated[2], seed, ratio)
    sample = (real[0][rows], real[1][rows], simulated[0][others], simulated[1][others])
    images = None
    if len(sets) > 1:
        images = np.concatenate([real[3][rows], len(sets) + simulated[3][others]])
    return {**probe_realism(*sample, form.bands, seed, images), "twins": twins}


def simulated_twin(image_set: ImageSet, survey: Survey, form: StampFormat, config: Config) -> Twin:
    """Return an image's twin: the survey with the image's own PSF and noise.

    The PSF is measured on stars where there are enough of them, else on the image of the PSF that comes with
    the image, else it is the survey's. The noise's correlation is measured on large images; small ones hold
    too few empty pixels, and keep the survey's.
    """
    from lenspipe.imaging.noise import tabulate_correlation
    from lenspipe.io.planes import list_planes

    bands, psf_from = dict(survey.bands), {}
    shape, scale, weighted = (0, 0), survey.pixel_scale, True
    try:
        planes = list_planes(image_set, survey)
        for name in form.bands:
            image: BandImage = load_band(planes, name, survey, form, config)
            shape, scale = image.flux.shape, image.pixel_scale
            fwhm, beta, psf_from[name] = _find_psf(image, survey.bands[name])
            sigma = float(np.median(image.sigma[np.isfinite(image.sigma)]))
            bands[name] = _band_like(bands[name], fwhm, beta, sigma, scale)
            weighted &= not image.flags & Flag.NOISE_ESTIMATED
            if min(shape) > 0.5 * _TILE:
                # tapered: cut off short, what is left of the sky at large lags would make the power ring
                taper = np.cos(0.5 * np.pi * np.arange(_LAGS + 1) / (_LAGS + 1)) ** 2
                table = tabulate_correlation(image.flux, _LAGS) * np.outer(taper, taper)
                own = {"noise_correlation": tuple(map(tuple, table.tolist()))}
                bands[name] = bands[name].model_copy(update=own)
    except Rejected as fault:
        raise InputError(f"{image_set.name} cannot be compared: {fault}") from None
    update = {"name": f"{survey.name}-twin", "pixel_scale": scale, "bands": bands}
    update["psf_beta_scatter"] = 0.0  # of one image
    return Twin(survey.model_copy(update=update), (shape[0], shape[1]), weighted, psf_from)


def write_twins(
    twin: Twin, seed: int, form: StampFormat, config: Config, count: int, folder: Path
) -> list[str]:
    """Write `count` mock tiles without lenses, in pieces of the image's size; return the paths."""
    from lenspipe.simulate.tiles import cut_tile, draw_sky, render_tile, write_tile

    tiles = config.simulate.tiles.model_copy(
        update={"count": count, "size": _TILE, "overlap": 0.0, "lenses": 0}
    )
    sky = draw_sky(twin.survey, seed, tiles, form.bands)
    paths = []
    for number in range(count):
        tile = render_tile(twin.survey, seed, number, sky, tiles, form.bands)
        pieces = [tile] if twin.pieces() == (1, 1) else cut_tile(tile, twin.shape)
        for piece in pieces:
            written = write_tile(folder, twin.survey, piece, weights=twin.weighted)
            paths += [str(path) for path in written]
    return paths


def describe_realism(result: dict[str, Any], features: int = 12) -> list[str]:
    """Return the lines that tell a reader what the probe found."""
    sources = [source for twin in result["twins"] for source in twin.psf_from.values()]
    counts = ", ".join(f"{source} {sources.count(source)}" for source in sorted(set(sources)))
    lines = [
        f"{result['n_real']} real and {result['n_simulated']} simulated stamps, alike in magnitude; "
        f"PSF of {len(sources)} images measured on: {counts}",
        _describe("linear probe  ", result, "linear"),
        _describe("small network ", result, "network"),
        f"labels shuffled    {result['permuted']:.3f} +- {result['permuted_err']:.3f} (0.5 = cannot be told apart)",
        "what tells them apart, and how well alone (weight > 0 or AUC > 0.5: larger in simulations):",
    ]
    return lines + [
        f"  {name:24s} weight {weight:+.2f}  AUC {alone:.3f}"
        for name, weight, alone in result["features"][:features]
    ]


def _describe(title: str, result: dict[str, Any], name: str) -> str:
    if not np.isfinite(result[name]):
        return f"{title} not trained: too few stamps"
    return (
        f"{title} AUC {result[name]:.3f} +- {result[f'{name}_err']:.3f} (stamps at hand), "
        f"+- {result[f'{name}_scatter']:.3f} (from one cross-validation to the next)"
    )


def _image_sets(config: Config, survey: Survey) -> list[ImageSet]:
    paths = find_images(config.ingest.images)
    return group_files([str(Path(path).absolute()) for path in paths], survey)


def _stamps(
    sets: list[ImageSet], survey: Survey, form: StampFormat, config: Config
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return stamps, their noise, magnitudes in the detection band, and the number of the image of each."""
    first = survey.detection_band if survey.detection_band in form.bands else form.bands[0]
    parts = []
    for number, image_set in enumerate(sets):
        try:
            shard, table, _ = read_whole(image_set, survey, form, config)
        except Rejected as fault:
            raise InputError(f"{image_set.name} cannot be compared: {fault}") from None
        mag = np.asarray(table[f"mag_{first}"], float)
        parts.append((shard.image, shard.noise_sigma, mag, np.full(len(mag), number)))
    image, noise, mag, numbers = (np.concatenate(part) for part in zip(*parts, strict=True))
    return image, noise, mag, numbers


def _find_psf(image: BandImage, band: Band) -> tuple[float, float, str]:
    """Return FWHM [arcsec], Moffat index, and what they were measured on."""
    from lenspipe.imaging.stars import fit_psf, measure_psf

    try:
        return *measure_psf(image), "stars"
    except InputError:
        if image.psf_image is not None:
            return *fit_psf(image.psf_image, image.pixel_scale), "psf image"
        return band.psf_fwhm, band.psf_beta, "survey file"


def _band_like(band: Band, fwhm: float, beta: float, sigma: float, scale: float) -> Band:
    """Return a band with another PSF, whose sky alone makes the noise `sigma` [nJy per pixel]."""
    sky_njy = sigma**2 * band.electrons_per_njy() / scale**2  # per arcsec^2
    sky = NJY_ZERO_POINT - 2.5 * np.log10(sky_njy)
    # one exposure for all: that holds what the survey's exposures hold together, above whatever sky
    full_well = (band.saturation(scale) + sky_njy * scale**2) * band.electrons_per_njy()
    return band.model_copy(
        update={
            "psf_fwhm": fwhm,
            "psf_scatter": _PSF_SCATTER,
            "sky_scatter": _SKY_SCATTER,
            "n_exposures": 1,
            "full_well": full_well,
            "psf_beta": beta,
            "sky": float(sky),
            "read_noise": 0.0,
        }
    )
