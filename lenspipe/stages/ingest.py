"""Stage *ingest*: tiles and cutouts to stamps. What cannot be used goes to the quarantine table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lenspipe.config import Config, settings_of
from lenspipe.core.errors import Rejected
from lenspipe.core.schema import object_columns
from lenspipe.core.survey import NJY_ZERO_POINT, Survey, load_survey, same_scale
from lenspipe.core.types import BandImage, Done, ImageFile, ImageSet, Quarantined, Stage, StampFormat, Unit
from lenspipe.io.layout import find_images, group_files
from lenspipe.io.shards import Shard, write_shard
from lenspipe.io.store import Store, safe_name
from lenspipe.stages.simulate import tile_paths
from lenspipe.stages.stamps import existing, stamp_format


def plan(config: Config, store: Store) -> list[Unit]:
    """One unit a tile or cutout."""
    survey = load_survey(config.survey)
    if config.ingest.images:
        paths = [str(Path(path).absolute()) for path in find_images(config.ingest.images)]
    else:
        paths = tile_paths(config, store)
    if not paths:
        return []
    form = stamp_format(config)
    settings = {**settings_of(config, "ingest"), "stamps": form.__dict__}
    settings["ingest"].pop("images")  # another tile in the list does not change this one
    units = []
    for image_set in group_files(paths, survey):
        files = [file.__dict__ for file in image_set.files]
        inputs = tuple(file.path for file in image_set.files)
        if config.ingest.targets:
            inputs = (*inputs, existing(config.ingest.targets, "ingest.targets"))
        units.append(Unit(image_set.name, {"files": files}, inputs, settings))
    return units


def shard_path(store: Store, unit: str) -> Path:
    """Return the stamps of a tile."""
    return store.path("ingest", f"{safe_name(unit)}.h5")


def objects_path(store: Store, unit: str) -> Path:
    """Return the object table of a tile, rows in the order of the stamps."""
    return store.path("ingest", f"{safe_name(unit)}.parquet")


def work(unit: Unit, config: Config, store: Store) -> Done:
    """Read one tile or cutout, find its targets, cut and store their stamps."""
    from lenspipe.io.tables import order_columns, write_table

    survey, form = load_survey(config.survey), stamp_format(config)
    image_set = ImageSet(unit.name, tuple(ImageFile(**file) for file in unit.payload["files"]))
    try:
        shard, table, rejected = ingest_images(image_set, survey, form, config)
    except Rejected as fault:
        path = fault.path or image_set.files[0].path
        row = Quarantined(path, fault.reason, fault.detail, fault.hdu, unit=unit.name)
        return Done((), {"objects": 0}, (row,))
    pixels, rows = shard_path(store, unit.name), objects_path(store, unit.name)
    edge = table["edge_distance"]
    table = order_columns(table, object_columns(form.bands))
    table["edge_distance"] = edge
    write_shard(pixels, shard)
    write_table(table, rows)
    return Done((pixels, rows), {"objects": len(table)}, tuple(rejected))


def ingest_images(
    image_set: ImageSet, survey: Survey, form: StampFormat, config: Config
) -> tuple[Shard, Any, list[Quarantined]]:
    """Return the stamps of a tile or cutout, their table, and the objects left out.

    One band is in memory at a time, besides the one in which sources are detected.

    Raises
    ------
    Rejected
        If the whole image cannot be used.
    """
    from lenspipe.imaging.psf import stack_psfs
    from lenspipe.imaging.stamps import cut_stamps, judge_stamps, psf_of_stamps, stack_bands
    from lenspipe.io.fits import list_planes

    planes = list_planes(image_set, survey)
    _require_bands(planes, form.bands)
    first = survey.detection_band if survey.detection_band in form.bands else form.bands[0]
    reference = load_band(planes, first, survey, form, config)
    is_cutout = _is_cutout(reference, form, config)
    targets, lost = _find_targets(reference, is_cutout, image_set.name, config)
    bands, local, psfs = [], [], []
    for band in form.bands:
        image = reference if band == first else load_band(planes, band, survey, form, config)
        bands.append(cut_stamps(image, reference, targets["x"], targets["y"], form))
        local.append((image.psf_fwhm, image.electrons_per_njy))
        psfs.append(psf_of_stamps(image, reference, form))
        del image  # before the next one is read
    reasons = judge_stamps(bands, form, config.ingest.max_bad_fraction, edges=not is_cutout)
    stamps = stack_bands(bands)
    _describe(targets, stamps, form)
    targets["tile"] = np.array([image_set.name] * len(targets), dtype=str)
    keep = np.array([not reason for reason in reasons], bool)
    rejected = [
        Quarantined(image_set.files[0].path, *reason.split(": ", 1), unit=image_set.name, object=str(name))
        for name, reason in zip(targets["object_id"], reasons, strict=True)
        if reason
    ]
    psf_image = stack_psfs(psfs)
    shard = Shard(
        stamps.flux[keep],
        stamps.noise_sigma[keep],
        form.bands,
        form.pixel_scale,
        survey.name,
        config.run.seed,
        *(np.tile(np.float32(values), (int(keep.sum()), 1)) for values in zip(*local, strict=True)),
        *((None, None) if psf_image is None else (psf_image[None], np.zeros(int(keep.sum()), np.int32))),
    )
    return shard, targets[keep], lost + rejected


def _describe(targets, stamps, form: StampFormat) -> None:
    """Add aperture magnitudes, signal-to-noise and flags to the targets' table."""
    from lenspipe.imaging.cutout import measure_aperture

    flux, error = measure_aperture(stamps.flux, stamps.noise_sigma, form.pixel_scale)
    with np.errstate(invalid="ignore", divide="ignore"):
        mag = NJY_ZERO_POINT - 2.5 * np.log10(np.where(flux > 0, flux, np.nan))
        snr = flux / error
    for b, band in enumerate(form.bands):
        targets[f"mag_{band}"], targets[f"snr_{band}"] = mag[:, b], snr[:, b]
    targets["flags"] = stamps.flags


def _require_bands(planes, bands: tuple[str, ...]) -> None:
    there = {plane.band for plane in planes if plane.role == "image"}
    missing = [band for band in bands if band not in there]
    if missing:
        path = planes[0].path if planes else ""
        names = ", ".join(sorted(band or "?" for band in there)) or "none"
        raise Rejected(f"missing_band:{missing[0]}", f"needs {', '.join(bands)}; images found: {names}", path)


def load_band(planes, band: str, survey: Survey, form: StampFormat, config: Config) -> BandImage:
    """Return one band of an image set, calibrated and without its sky; `Rejected` if it cannot be used."""
    from lenspipe.imaging.calibrate import calibrate_band, subtract_sky
    from lenspipe.io.fits import read_band

    raw = read_band(planes, band)
    image = calibrate_band(raw, survey)
    if not same_scale(image.pixel_scale, form.pixel_scale) and not config.ingest.resample:
        raise Rejected(
            "pixel_scale",
            f"{image.pixel_scale:.4g} arcsec per pixel, the model needs {form.pixel_scale:g}; use --resample",
            raw.path,
        )
    return subtract_sky(image, small=_is_cutout(image, form, config))


def _is_cutout(image: BandImage, form: StampFormat, config: Config) -> bool:
    if config.ingest.kind != "auto":
        return config.ingest.kind == "cutout"
    return max(image.flux.shape) * image.pixel_scale <= 4 * form.size * form.pixel_scale


def _find_targets(reference: BandImage, is_cutout: bool, tile: str, config: Config):
    """Return the targets' table (object_id, x, y, ra, dec, edge_distance [px]) and those without a place."""
    from astropy.table import Table

    height, width = reference.flux.shape
    section, lost = config.ingest, []
    if is_cutout:
        table = Table({"x": [(width - 1) / 2], "y": [(height - 1) / 2]})
        ids = [tile]
    elif section.targets:
        table, ids, lost = _place_targets(reference, section.targets)
    else:
        from lenspipe.imaging.detect import detect_sources

        found = detect_sources(reference, section.detect_sigma, section.detect_pixels, section.deblend)
        table = found[(found["snr"] >= section.min_snr) & (found["mag"] <= section.max_mag)]["x", "y"]
        ids = [f"{tile}-{number:05d}" for number in range(len(table))]
    x, y = np.asarray(table["x"], float), np.asarray(table["y"], float)
    if reference.wcs is not None and len(table):
        ra, dec = reference.wcs.all_pix2world(x, y, 0)
    else:
        ra, dec = np.full(len(table), np.nan), np.full(len(table), np.nan)
    edge = np.minimum.reduce([x, y, width - 1 - x, height - 1 - y]) if len(table) else np.zeros(0)
    found = {
        "object_id": np.array(ids, dtype=str),
        "x": x,
        "y": y,
        "ra": ra,
        "dec": dec,
        "edge_distance": edge,
    }
    return Table(found), lost


def _place_targets(reference: BandImage, path: str):
    from lenspipe.io.tables import read_table, require_columns

    if reference.wcs is None:
        raise Rejected("no_wcs", "targets have sky positions, but the image has no WCS")
    table = read_table(path)
    require_columns(table, ("ra", "dec"), path)
    name = next((n for n in ("object_id", "id", "name") if n in table.colnames), None)
    ids = np.array([str(v) for v in table[name]] if name else [f"target-{i:06d}" for i in range(len(table))])
    ra, dec = np.asarray(table["ra"], float), np.asarray(table["dec"], float)
    placed = np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90)
    lost = [
        Quarantined(path, "bad_target", "needs finite ra and dec [deg], dec in -90..90", object=str(name))
        for name in ids[~placed]
    ]
    ra, dec, ids = ra[placed], dec[placed], ids[placed]
    x, y = reference.wcs.all_world2pix(ra, dec, 0, quiet=True)
    height, width = reference.flux.shape
    inside = (x >= -0.5) & (y >= -0.5) & (x < width - 0.5) & (y < height - 0.5)
    from astropy.table import Table

    return Table({"x": x[inside], "y": y[inside]}), list(ids[inside]), lost


STAGE = Stage(name="ingest", reads=("tiles",), writes=("ingest",), plan=plan, work=work, counts="objects")
