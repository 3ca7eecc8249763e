"""Stage *ingest*: tiles and cutouts to stamps. What cannot be used goes to the quarantine table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lenspipe.config import Config, settings_of
from lenspipe.core.errors import Rejected
from lenspipe.core.names import mock_tile_name
from lenspipe.core.schema import object_columns
from lenspipe.core.survey import Survey, load_survey
from lenspipe.core.types import Done, ImageFile, ImageSet, Quarantined, Stage, StampFormat, Unit
from lenspipe.io.layout import find_images, group_files
from lenspipe.io.shards import Shard
from lenspipe.io.store import Store, safe_name
from lenspipe.stages.simulate import plan as plan_simulate
from lenspipe.stages.stamps import stamp_format
from lenspipe.stages.targets import check_targets
from lenspipe.stages.tile import read_pieces


def plan(config: Config, store: Store) -> list[Unit]:
    """One unit a tile or cutout."""
    survey = load_survey(config.survey)
    if config.ingest.images:
        paths = [str(Path(path).absolute()) for path in find_images(config.ingest.images)]
    else:
        paths = mock_tile_paths(config, store, survey)
    if not paths:
        return []
    form = stamp_format(config)
    settings = {**settings_of(config, "ingest", "targets"), "stamps": form.__dict__}
    settings["ingest"].pop("images")  # another tile in the list does not change this one
    targets = check_targets(config, form.bands)
    units = []
    for image_set in group_files(paths, survey):
        files = [file.__dict__ for file in image_set.files]
        inputs = (*(file.path for file in image_set.files), *targets)
        units.append(Unit(image_set.name, {"files": files}, inputs, settings))
    return units


def mock_tile_paths(config: Config, store: Store, survey: Survey) -> list[str]:
    """Return the files of the run's own mock tiles, made or still to be made."""
    tiles = [unit for unit in plan_simulate(config, store) if unit.payload["kind"] == "tile"]
    return [
        str(store.folder("tiles") / f"{mock_tile_name(unit.payload['number'])}_{band}.fits")
        for unit in tiles
        for band in survey.model_bands
    ]


def shard_path(store: Store, unit: str) -> Path:
    """Return the stamps of a tile."""
    return store.path("ingest", f"{safe_name(unit)}.h5")


def objects_path(store: Store, unit: str) -> Path:
    """Return the object table of a tile, rows in the order of the stamps."""
    return store.path("ingest", f"{safe_name(unit)}.parquet")


def work(unit: Unit, config: Config, store: Store) -> Done:
    """Read one tile or cutout, find its targets, cut and store their stamps."""
    from astropy.table import vstack

    from lenspipe.io.shards import writing_shard
    from lenspipe.io.tables import write_table

    survey, form = load_survey(config.survey), stamp_format(config)
    image_set = ImageSet(unit.name, tuple(ImageFile(**file) for file in unit.payload["files"]))
    pixels, rows = shard_path(store, unit.name), objects_path(store, unit.name)
    objects, rejected, not_selected = [], [], 0
    try:
        with writing_shard(pixels, form, survey.name, config.run.seed) as shard:
            for piece in read_pieces(image_set, survey, form, config):
                shard.append(piece.flux, piece.noise_sigma, piece.psf_fwhm, piece.electrons_per_njy)
                objects.append(piece.objects)
                rejected += piece.rejected
                not_selected += piece.not_selected
            table = _number_rows(vstack(objects, metadata_conflicts="silent"), form)
            write_table(table, rows)
    except Rejected as fault:
        path = fault.path or image_set.files[0].path
        row = Quarantined(path, fault.reason, fault.detail, fault.hdu, unit=unit.name)
        return Done((), {"objects": 0}, (row,))
    counts = {"objects": len(table)}
    if config.targets.where and not config.targets.table:
        counts["not_selected"] = not_selected
    return Done((pixels, rows), counts, tuple(rejected))


def ingest_images(
    image_set: ImageSet, survey: Survey, form: StampFormat, config: Config
) -> tuple[Shard, Any, list[Quarantined]]:
    """Return all stamps of a tile or cutout, their table, and the objects left out: in memory.

    Raises
    ------
    Rejected
        If the whole image cannot be used.
    """
    from astropy.table import vstack

    pieces = list(read_pieces(image_set, survey, form, config))
    names = ("flux", "noise_sigma", "psf_fwhm", "electrons_per_njy")
    flux, noise, fwhm, gain = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in names)
    shard = Shard(flux, noise, form.bands, form.pixel_scale, survey.name, config.run.seed, fwhm, gain)
    table = vstack([piece.objects for piece in pieces], metadata_conflicts="silent")
    return shard, table, [row for piece in pieces for row in piece.rejected]


def _number_rows(table, form: StampFormat):
    """Return the object table of a tile in the registry's columns, and how far each is from the edge."""
    from lenspipe.io.tables import order_columns

    edge = table["edge_distance"]
    table = order_columns(table, object_columns(form.bands))
    table["edge_distance"] = edge
    return table


STAGE = Stage(name="ingest", reads=("tiles",), writes=("ingest",), plan=plan, work=work, counts="objects")
