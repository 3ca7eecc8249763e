"""Stage *find*: the detector's scores of all stamps."""

from __future__ import annotations

from pathlib import Path

from lenspipe.config import Config, settings_of
from lenspipe.core.errors import ConfigError
from lenspipe.core.survey import load_survey
from lenspipe.core.types import Done, Stage, Unit
from lenspipe.io.store import Store, safe_name
from lenspipe.stages import ingest
from lenspipe.stages.stamps import bundle_files, detector_folder, open_bundle


def plan(config: Config, store: Store) -> list[Unit]:
    """One unit a tile."""
    units = ingest.plan(config, store)
    if not units:
        return []
    folder = detector_folder(config, store)
    if folder is None:
        raise ConfigError(
            "there are images but no detector: give one with --detector DIR (find.detector), "
            "or train one in the run (train.detector.folds)"
        )
    model = bundle_files(folder)
    settings = settings_of(config, "find")
    return [
        Unit(unit.name, inputs=(str(ingest.shard_path(store, unit.name)), *model), settings=settings)
        for unit in units
    ]


def scores_path(store: Store, unit: str) -> Path:
    """Return the scores of a tile, rows in the order of its stamps."""
    return store.path("find", f"{safe_name(unit)}.parquet")


def work(unit: Unit, config: Config, store: Store) -> Done:
    """Score the stamps of one tile."""
    from astropy.table import Table

    from lenspipe.io.shards import read_shard
    from lenspipe.io.tables import write_table
    from lenspipe.training.predict import score_stamps

    shard_path = ingest.shard_path(store, unit.name)
    if not shard_path.exists():  # the whole tile is in quarantine
        return Done((), {"scored": 0})
    shard = read_shard(shard_path)
    bundle = open_bundle(detector_folder(config, store))
    bundle.check(shard.bands, shard.pixel_scale, shard.image.shape[1])
    scores = score_stamps(
        bundle,
        shard.image,
        shard.noise_sigma,
        config.find.mc_samples,
        config.run.seed,
        config.find.batch_size,
        lens_prior=load_survey(config.survey).lens_prior,
    )
    table = Table({"score": scores.score, "score_err": scores.score_err, "p_lens": scores.p_lens})
    for fold in range(scores.score_fold.shape[1]):
        table[f"score_fold_{fold}"] = scores.score_fold[:, fold]
    path = scores_path(store, unit.name)
    write_table(table, path)
    return Done((path,), {"scored": len(table)})


STAGE = Stage(
    name="find", reads=("ingest", "detector"), writes=("find",), plan=plan, work=work, counts="scored"
)
