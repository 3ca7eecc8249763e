"""Stage *ingest*: tiles and cutouts to stamps. What cannot be used goes to the quarantine table."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import vstack

from lenspipe.catalog.accounts import check_rejects
from lenspipe.config import Config
from lenspipe.core.errors import Rejected
from lenspipe.core.schema import object_columns
from lenspipe.core.survey import load_survey
from lenspipe.core.types import Done, Quarantined, Stage, StampFormat, Unit
from lenspipe.io.layout import find_images, name_duplicates
from lenspipe.io.store import Store, safe_name
from lenspipe.io.tables import order_columns, write_table
from lenspipe.stages.pieces import read_pieces
from lenspipe.stages.simulate import tile_paths
from lenspipe.stages.stamps import stamp_format
from lenspipe.stages.tile import Piece
from lenspipe.stages.units import make_units, reject_tile, tile_of


def plan(config: Config, store: Store) -> list[Unit]:
    """One unit a tile or cutout; none if the stamps are not to be kept: *find* cuts them as it goes."""
    return list_tiles(config, store) if config.ingest.keep else []


def list_tiles(config: Config, store: Store) -> list[Unit]:
    """Return one unit a tile or cutout, whether its stamps are kept or only passed on."""
    if config.ingest.images:
        paths = [str(Path(path).absolute()) for path in find_images(config.ingest.images)]
    else:
        paths = tile_paths(config, store)
    return make_units(paths, config)


def shard_path(config: Config, store: Store, unit: str) -> Path:
    """Return the stamps of a tile: all of them, or only its candidates' if the others are not kept."""
    return store.path("ingest" if config.ingest.keep else "find", f"{safe_name(unit)}.h5")


def objects_path(config: Config, store: Store, unit: str) -> Path:
    """Return the object table of a tile; column ``stamp`` is the row of the shard, -1 where there is none."""
    suffix = ".parquet" if config.ingest.keep else ".objects.parquet"
    return store.path("ingest" if config.ingest.keep else "find", f"{safe_name(unit)}{suffix}")


def work(unit: Unit, config: Config, store: Store) -> Done:
    """Read one tile or cutout, find its targets, cut and store their stamps."""
    from lenspipe.io.shards import writing_shard

    survey, form = load_survey(config.survey), stamp_format(config)
    pixels, rows = shard_path(config, store, unit.name), objects_path(config, store, unit.name)
    ledger = Ledger()
    try:
        with writing_shard(pixels, form, survey.name, config.run.seed) as shard:
            for piece in read_pieces(tile_of(unit), survey, form, config):
                shard.append(
                    piece.flux,
                    piece.mask,
                    piece.noise_sigma,
                    piece.psf_fwhm,
                    piece.electrons_per_njy,
                    piece.psf_image,
                )
                ledger.enter(piece)
            objects = ledger.close(form, config)
            objects["stamp"] = np.arange(len(objects))
            write_table(objects, rows)
    except Rejected as fault:
        return reject_tile(unit, fault, {"found": 0, "objects": 0})
    return Done((pixels, rows), ledger.counts(config), (*ledger.rejected, *name_duplicates(tile_of(unit))))


class Ledger:
    """What became of a tile's targets, piece by piece: the books that `catalog.accounts` checks."""

    def __init__(self):
        self.found = self.not_selected = self.stored = 0
        self.objects: list[Any] = []
        self.rejected: list[Quarantined] = []

    def enter(self, piece: Piece) -> None:
        """Add a piece."""
        self.found += piece.found
        self.not_selected += piece.not_selected
        self.stored += len(piece.flux)
        self.objects.append(piece.objects)
        self.rejected += piece.rejected

    def close(self, form: StampFormat, config: Config) -> Any:
        """Return the table of the tile's objects, in the registry's columns and ``edge_distance``.

        Raises
        ------
        Rejected
            ``too_many_rejects`` if more objects were lost than a good tile loses.
        """
        lost = Counter(row.reason for row in self.rejected)
        check_rejects(self.found, lost, config.ingest.max_rejected)
        table = vstack(self.objects, metadata_conflicts="silent")
        edge = table["edge_distance"]
        table = order_columns(table, object_columns(form.bands))
        table["edge_distance"] = edge
        return table

    def counts(self, config: Config) -> dict[str, int]:
        """Return the counts of the unit: targets found, stamps stored, sources cut away where that was asked for."""
        counts = {"found": self.found, "objects": self.stored}
        cut = config.targets.where and not config.targets.table
        return counts | ({"not_selected": self.not_selected} if cut else {})


STAGE = Stage(name="ingest", reads=("tiles",), writes=("ingest",), plan=plan, work=work, counts="objects")
