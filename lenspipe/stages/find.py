"""Stage *find*: the scores of all stamps by the detector, or by a committee of detectors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lenspipe.config import Config, settings_of
from lenspipe.core.errors import ConfigError, Rejected
from lenspipe.core.survey import load_survey
from lenspipe.core.types import Done, Stage, Unit
from lenspipe.io.layout import name_duplicates
from lenspipe.io.store import Store, safe_name
from lenspipe.stages import ingest
from lenspipe.stages.pieces import read_pieces
from lenspipe.stages.stamps import bundle_files, detector_folders, open_bundle, stamp_format
from lenspipe.stages.units import reject_tile, tile_of


def plan(config: Config, store: Store) -> list[Unit]:
    """One unit a tile."""
    tiles = ingest.list_tiles(config, store)
    if not tiles:
        return []
    folders = detector_folders(config, store)
    if not folders:
        raise ConfigError(
            "there are images but no detector: give one with --detector DIR (find.detector), "
            "or train one in the run (train.detector.folds)"
        )
    model = [file for folder in folders for file in bundle_files(folder)]
    settings = settings_of(config, "find")
    if config.ingest.keep:
        return [
            Unit(
                tile.name,
                inputs=(str(ingest.shard_path(config, store, tile.name)), *model),
                settings=settings,
            )
            for tile in tiles
        ]
    settings |= {"threshold": config.catalog.threshold}
    return [
        replace(tile, inputs=(*tile.inputs, *model), settings={**tile.settings, **settings}) for tile in tiles
    ]


def scores_path(store: Store, unit: str) -> Path:
    """Return the scores of a tile, rows in the order of its objects."""
    return store.path("find", f"{safe_name(unit)}.parquet")


def work(unit: Unit, config: Config, store: Store) -> Done:
    """Score the stamps of one tile."""
    return _score_shard(unit, config, store) if config.ingest.keep else _score_images(unit, config, store)


def _score_shard(unit: Unit, config: Config, store: Store) -> Done:
    """Score stamps that *ingest* stored."""
    from lenspipe.io.shards import iterate_shard
    from lenspipe.io.tables import write_table

    path = ingest.shard_path(config, store, unit.name)
    if not path.exists():  # the whole tile is in quarantine
        return Done((), {"scored": 0})
    bundles = _open_detectors(config, store)
    masks = any(bundle.needs_mask for bundle in bundles)
    tables = []
    for part in iterate_shard(path, masks=masks):
        for bundle in bundles:
            bundle.check(part.bands, part.pixel_scale, part.image.shape[1], str(path))
        tables.append(_score(bundles, part.image, part.noise_sigma, part.mask, config))
    table = _join(tables)
    write_table(table, scores_path(store, unit.name))
    return Done((scores_path(store, unit.name),), {"scored": len(table)})


def _score_images(unit: Unit, config: Config, store: Store) -> Done:
    """Cut stamps, score them, and keep those of the candidates alone."""
    from lenspipe.io.shards import writing_shard
    from lenspipe.io.tables import write_table

    survey, form, bundles = load_survey(config.survey), stamp_format(config), _open_detectors(config, store)
    outputs = (
        ingest.shard_path(config, store, unit.name),
        ingest.objects_path(config, store, unit.name),
        scores_path(store, unit.name),
    )
    ledger, scores, stamps = ingest.Ledger(), [], []
    try:
        with writing_shard(outputs[0], form, survey.name, config.run.seed) as shard:
            for piece in read_pieces(tile_of(unit), survey, form, config):
                table = _score(bundles, piece.flux, piece.noise_sigma, piece.mask, config)
                chosen = np.asarray(table["score"]) >= config.catalog.threshold
                local = (piece.flux, piece.mask, piece.noise_sigma, piece.psf_fwhm, piece.electrons_per_njy)
                shard.append(*(values[chosen] for values in local), piece.psf_image)
                ledger.enter(piece)
                scores.append(table)
                stamps.append(chosen)
            objects, kept = ledger.close(form, config), np.concatenate(stamps)
            objects["stamp"] = np.where(kept, np.cumsum(kept) - 1, -1)
            write_table(objects, outputs[1])
            write_table(_join(scores), outputs[2])
    except Rejected as fault:
        return reject_tile(unit, fault, {"found": 0, "objects": 0})
    counts = {**ledger.counts(config), "scored": len(objects)}
    return Done(outputs, counts, (*ledger.rejected, *name_duplicates(tile_of(unit))))


def _open_detectors(config: Config, store: Store) -> list[Any]:
    """Return the bundles that score the run's stamps."""
    bundles, form = [open_bundle(folder) for folder in detector_folders(config, store)], stamp_format(config)
    for bundle in bundles:
        bundle.check(form.bands, form.pixel_scale, form.size)
    return bundles


def _score(
    bundles: list[Any], image: np.ndarray, noise_sigma: np.ndarray, mask: np.ndarray | None, config: Config
) -> Any:
    """Return the table of the scores of some stamps."""
    from astropy.table import Table

    from lenspipe.training.committee import score_committee

    scores = score_committee(
        bundles,
        image,
        noise_sigma,
        config.find.mc_samples,
        config.run.seed,
        config.find.batch_size,
        lens_prior=load_survey(config.survey).lens_prior,
        mask=mask,
    )
    table = Table({"score": scores.score, "score_err": scores.score_err, "p_lens": scores.p_lens})
    for fold in range(scores.score_fold.shape[1]):
        table[f"score_fold_{fold}"] = scores.score_fold[:, fold]
    return table


def _join(tables: list[Any]) -> Any:
    from astropy.table import vstack

    return vstack(tables, metadata_conflicts="silent")


STAGE = Stage(
    name="find", reads=("ingest", "detector"), writes=("find",), plan=plan, work=work, counts="scored"
)
