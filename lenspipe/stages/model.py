"""Stage *model*: posteriors of the lens parameters, for the objects that look like lenses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lenspipe.config import Config, settings_of
from lenspipe.core.types import Done, Stage, Unit
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
                str(ingest.shard_path(store, unit.name)),
                str(find.scores_path(store, unit.name)),
                *model,
            ),
            settings=settings,
        )
        for unit in ingest.plan(config, store)
    ]


def posteriors_path(store: Store, unit: str) -> Path:
    """Return the posteriors of a tile: column `row` names the stamp."""
    return store.path("model", f"{safe_name(unit)}.parquet")


def work(unit: Unit, config: Config, store: Store) -> Done:
    """Sample the posteriors of one tile's candidates."""
    from astropy.table import Table

    from lenspipe.io.shards import read_shard
    from lenspipe.io.tables import read_table, write_table
    from lenspipe.training.predict import sample_posteriors

    scores_path = find.scores_path(store, unit.name)
    if not scores_path.exists():
        return Done((), {"modelled": 0})
    scores = read_table(scores_path)
    rows = np.flatnonzero(np.asarray(scores["score"]) >= config.catalog.threshold)
    shard = read_shard(ingest.shard_path(store, unit.name), rows)
    bundle = open_bundle(regressor_folder(config, store))
    bundle.check(shard.bands, shard.pixel_scale, shard.image.shape[1])
    posteriors = sample_posteriors(
        bundle,
        shard.image,
        shard.noise_sigma,
        config.model.mc_samples,
        config.run.seed,
        config.model.batch_size,
    )
    table = Table({"row": rows})
    for target, posterior in posteriors.items():
        table[target] = posterior.median
        for part in ("err_lo", "err_hi", "aleatoric", "epistemic"):
            table[f"{target}_{part}"] = getattr(posterior, part)
    path = posteriors_path(store, unit.name)
    write_table(table, path)
    return Done((path,), {"modelled": len(rows)})


STAGE = Stage(
    name="model",
    reads=("ingest", "find", "regressor"),
    writes=("model",),
    plan=plan,
    work=work,
    counts="modelled",
)
