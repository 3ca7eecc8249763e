"""Tiles for injection-recovery: real images with lensed sources painted round some of their galaxies.

They are written the way mock tiles are, so that a search of them, against the table of what was painted, tells
how complete it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from lenspipe.config import Config
from lenspipe.core.errors import ConfigError, InputError, Rejected
from lenspipe.core.rng import stream
from lenspipe.core.schema import Flag
from lenspipe.core.survey import Survey, load_survey
from lenspipe.core.types import BandImage, Done, ImageSet, Quarantined, StampFormat, Unit
from lenspipe.io.layout import find_images, name_duplicates
from lenspipe.io.shards import Shard
from lenspipe.io.store import Store, safe_name
from lenspipe.stages.inject import numbers_of, spoilt
from lenspipe.stages.pieces import read_whole
from lenspipe.stages.stamps import stamp_format
from lenspipe.stages.tile import load_band
from lenspipe.stages.units import make_units, reject_tile, tile_of


def plan_tiles(config: Config, store: Store) -> list[Unit]:
    """Return one unit a tile.

    Raises
    ------
    InputError
        If there are no images, or painted tiles would be written among them.
    ConfigError
        If mock tiles are asked for too.
    """
    section = config.simulate
    if section.tiles.count:
        raise ConfigError("simulate.tiles.count and images in simulate.into exclude each other; choose one")
    try:
        paths = [Path(path).absolute() for path in find_images(section.into)]
    except InputError as error:
        raise InputError(
            f"simulate.into: {error}; give images, or a run's directory with stamps in it (of `lenspipe run "
            "RECIPE.toml --stage ingest`)"
        ) from None
    out = store.folder("tiles").resolve()
    searched = [folder for item in section.into if (folder := Path(item).resolve()).is_dir()]
    among = any(path.resolve().parent == out for path in paths)
    if among or any(out.is_relative_to(folder) for folder in searched):
        raise InputError(f"painted tiles would be written to {out}, among the images; choose another --out")
    payload = {"kind": "paint", "bands": stamp_format(config).bands}
    settings = {
        "lenses": section.tiles.lenses,
        "min_snr": section.min_snr,
        "clumps": section.realism.clumps,
    }
    return make_units(map(str, paths), config, payload, **settings)


def band_path(store: Store, tile: str, band: str) -> Path:
    """Return the file of one band of a painted tile."""
    return store.path("tiles", f"{safe_name(tile)}_{band}.fits")


def truth_path(store: Store, tile: str) -> Path:
    """Return the table of what was painted into a tile."""
    return store.path("tiles", f"truth/{safe_name(tile)}.parquet")


def work_tile(unit: Unit, config: Config, store: Store) -> Done:
    """Paint lenses into one tile, and write it and its truth; a tile that cannot be used is quarantined."""
    from lenspipe.io.tables import write_table

    image_set = tile_of(unit)
    try:
        paths, truth, suitable, lost = _paint_tile(image_set, config, store)
    except Rejected as fault:
        return reject_tile(unit, fault, {"tiles": 0})
    write_table(truth, truth_path(store, unit.name))
    outputs = (*paths, truth_path(store, unit.name))
    counts = {"tiles": 1, "suitable_galaxies": suitable, "lenses": len(truth)}
    return Done(outputs, counts, (*lost, *name_duplicates(image_set)))


def gather_tiles(units: list[Unit], store: Store) -> Path:
    """Join what was painted into all tiles, in ``truth.parquet`` beside them; return its path.

    Raises
    ------
    InputError
        If none of the images could be used: the message says why the first one could not.
    """
    from lenspipe.io.tables import read_table, write_table

    parts = [path for unit in units if (path := truth_path(store, unit.name)).exists()]
    if not parts:
        rows = [row for _, done in store.finished("simulate") for row in done.quarantined]
        reason = f"{rows[0].path}: {rows[0].reason}: {rows[0].detail}" if rows else "no reason is known"
        raise InputError(f"no lens could be painted into any of {len(units)} images; {reason}")
    path = store.path("tiles", "truth.parquet")
    write_table(vstack([read_table(part) for part in parts], metadata_conflicts="silent"), path)
    return path


def _paint_tile(
    image_set: ImageSet, config: Config, store: Store
) -> tuple[list[Path], Table, int, list[Quarantined]]:
    """Write the bands of a painted tile; return them, the truth, how many hosts there were, and lost targets."""
    from lenspipe.io.planes import list_planes
    from lenspipe.simulate.paint import add_to_band
    from lenspipe.simulate.tiles import BAD, write_band

    survey, form = load_survey(config.survey), stamp_format(config)
    try:
        stamps, objects, lost = read_whole(image_set, survey, form, config)
    except Rejected as fault:
        if fault.reason == "pixel_scale":
            raise _other_scale(fault, survey) from None
        raise
    flags = np.bitwise_or.reduce(np.asarray(objects["flags"], int), initial=0)
    if flags & (Flag.RESAMPLED | Flag.REPROJECTED):
        raise Rejected(
            "grid_mismatch",
            "lenses are painted on the image's own pixels: they must be of the survey's scale, one grid in all "
            "bands; resample the image first",
        )
    painted, rows, added, arcs, suitable = _paint_stamps(stamps, objects, survey, config)
    x, y = (np.asarray(objects[name], float)[rows] for name in "xy")
    planes = list_planes(image_set, survey)
    paths, wcs = [], None
    for b, band in enumerate(form.bands):
        image = load_band(planes, band, survey, form, config)
        wcs = image.wcs if wcs is None else wcs
        variance = arcs[..., b] / image.electrons_per_njy
        flux, sigma = add_to_band(image.flux, image.sigma, x, y, added[..., b], variance)
        good = np.isfinite(flux) & np.isfinite(sigma)
        paths.append(band_path(store, image_set.name, band))
        write_band(
            paths[-1], survey, band, image_set.name, image.wcs, flux,
            None if image.flags & Flag.NOISE_ESTIMATED else np.where(good, sigma, np.inf) ** -2.0,
            np.where(good, 0, BAD).astype(np.int16), image.psf_image,
            float("nan") if image.flags & Flag.PSF_ASSUMED else image.psf_fwhm, image.electrons_per_njy,
            _saturation(image), "real image, simulated arcs",
        )  # fmt: skip
    truth = _place(painted, objects[rows], image_set.name, form, wcs)
    return paths, truth, suitable, [row for row in lost if row.reason == "saturated"]


def _paint_stamps(
    stamps: Shard, objects: Table, survey: Survey, config: Config
) -> tuple[Table, np.ndarray, np.ndarray, np.ndarray, int]:
    """Return the truth of what was painted, whose stamps they are, what they add, the arcs without noise, and
    how many galaxies could have had some."""
    from lenspipe.simulate.hosts import describe_hosts, draw_reference, spread_out
    from lenspipe.simulate.inject import inject
    from lenspipe.simulate.strip import LENS_SEPARATION

    section, seed = config.simulate, config.run.seed
    reference = draw_reference(survey, seed, stamps.bands, section.min_snr)
    numbers = numbers_of(objects)
    suitable = (np.asarray(describe_hosts(stamps, survey, reference)["reason"]) == "") & ~spoilt(objects)
    lot = np.array([stream(seed, "inject/tile", int(number)).random() for number in numbers])
    queue = np.flatnonzero(suitable)[np.argsort(lot[suitable])]
    x, y = (np.asarray(objects[name], float)[queue] for name in "xy")
    queue = queue[spread_out(x, y, LENS_SEPARATION / stamps.pixel_scale)]
    parts: list[tuple[Table, np.ndarray, np.ndarray, np.ndarray]] = []
    missing = section.tiles.lenses
    while not parts or (missing and len(queue)):
        rows, queue = queue[:missing], queue[missing:]
        some = stamps.take(rows)
        image, arcs, truth = inject(
            some, survey, seed, numbers[rows], reference, "lens", section.min_snr, section.realism.clumps
        )
        done = np.flatnonzero(np.asarray(truth["reason"]) == "")
        parts.append((truth[done], rows[done], image[done] - some.image[done], arcs[done]))
        missing -= len(done)
    truths, *arrays = zip(*parts, strict=True)
    rows, added, arcs = (np.concatenate(part) for part in arrays)
    return vstack(list(truths), metadata_conflicts="silent"), rows, added, arcs, int(suitable.sum())


def _place(truth: Table, hosts: Table, tile: str, form: StampFormat, wcs: Any) -> Table:
    """Return truth rows with the lens's place in the tile, lengths from there, as mock tiles have them."""
    from lenspipe.imaging.astrometry import sky_of
    from lenspipe.imaging.cutout import corner

    middle = 0.5 * (form.size - 1)
    place = {}
    for name in "xy":
        first = np.array([corner(c, form.size) for c in hosts[name]], float)
        place[name] = first + middle + np.asarray(truth[f"{name}_lens"]) / form.pixel_scale
        truth[f"{name}_src"] -= truth[f"{name}_lens"]
        truth[f"{name}_lens"] = 0.0
    place["ra"] = place["dec"] = np.full(len(truth), np.nan)
    if wcs is not None and len(truth):
        place["ra"], place["dec"] = sky_of(wcs, place["x"], place["y"])
    out = Table({"object_id": hosts["object_id"], "kind": truth["kind"]})
    out["tile"] = np.full(len(out), tile)
    for name in ("ra", "dec", "x", "y"):
        out[name] = place[name]
    for name in truth.colnames:
        if name not in (*out.colnames, "reason"):
            out[name] = truth[name]
    return out


def _saturation(image: BandImage) -> float:
    """Return the flux from which the band's pixels are saturated [nJy]; NaN where none is."""
    bright = image.flux[image.saturated & np.isfinite(image.flux)]
    return float(bright.min()) if bright.size else float("nan")


def _other_scale(fault: Rejected, survey: Survey) -> Rejected:
    detail = (
        f"{fault.detail.split(',')[0]}, the survey {survey.name} has {survey.pixel_scale:g}; give a --survey whose "
        f'pixel_scale is the image\'s (a TOML file: extends = "{survey.name}", a name, pixel_scale)'
    )
    return Rejected(fault.reason, detail, fault.path, fault.hdu)
