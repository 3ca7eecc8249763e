"""Stage *model*: posteriors of the lens parameters, for the objects that look like lenses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lenspipe.config import Config, settings_of
from lenspipe.core.types import Done, Stage, Unit
from lenspipe.io.shards import Shard
from lenspipe.io.store import Store, safe_name
from lenspipe.stages import find, ingest
from lenspipe.stages.stamps import bundle_files, check_regressor, open_bundle, regressor_folder


def plan(config: Config, store: Store) -> list[Unit]:
    """One unit a tile; none if the run has no regressor."""
    folder = regressor_folder(config, store)
    if folder is None:
        return []
    check_regressor(config)
    model = bundle_files(folder)
    settings = {**settings_of(config, "model"), "threshold": config.catalog.threshold}
    return [
        Unit(
            unit.name,
            inputs=(
                str(ingest.shard_path(config, store, unit.name)),
                str(find.scores_path(store, unit.name)),
                *model,
            ),
            settings=settings,
        )
        for unit in ingest.list_tiles(config, store)
    ]


def posteriors_path(store: Store, unit: str) -> Path:
    """Return the posteriors of a tile: column `row` names the object."""
    return store.path("model", f"{safe_name(unit)}.parquet")


def work(unit: Unit, config: Config, store: Store) -> Done:
    """Sample the posteriors of one tile's candidates."""
    from astropy.table import vstack

    from lenspipe.io.shards import iterate_shard
    from lenspipe.io.tables import read_table, write_table

    scores_path = find.scores_path(store, unit.name)
    if not scores_path.exists():
        return Done((), {"modelled": 0})
    rows = np.flatnonzero(np.asarray(read_table(scores_path)["score"]) >= config.catalog.threshold)
    objects = read_table(ingest.objects_path(config, store, unit.name))
    bundle = open_bundle(regressor_folder(config, store))
    path, stored = ingest.shard_path(config, store, unit.name), np.asarray(objects["stamp"])[rows]
    stamps = iterate_shard(path, stored, masks=bundle.needs_mask)
    table = vstack([_sample(bundle, shard, config) for shard in stamps], metadata_conflicts="silent")
    table.add_column(rows, name="row", index=0)
    path = posteriors_path(store, unit.name)
    write_table(table, path)
    return Done((path,), {"modelled": len(rows)})


def _sample(bundle, shard: Shard, config: Config):
    """Return the table of the posteriors of some stamps."""
    from astropy.table import Table

    from lenspipe.training.posterior import sample_posteriors

    bundle.check(shard.bands, shard.pixel_scale, shard.image.shape[1])
    section = config.model
    posteriors = sample_posteriors(
        bundle,
        shard.image,
        shard.noise_sigma,
        section.mc_samples,
        config.run.seed,
        section.batch_size,
        shard.mask,
    )
    return Table(posteriors.columns())


STAGE = Stage(
    name="model",
    reads=("ingest", "find", "regressor"),
    writes=("model",),
    plan=plan,
    work=work,
    counts="modelled",
)
