"""Stage *catalog*: all tiles' objects together; duplicates merged, candidates ranked and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lenspipe.config import Config, config_hash, settings_of
from lenspipe.core.schema import Flag, catalog_columns
from lenspipe.core.survey import load_survey
from lenspipe.core.types import Done, Quarantined, Stage, Unit
from lenspipe.core.version import code_version
from lenspipe.io.cards import read_card
from lenspipe.io.store import Store
from lenspipe.stages import find, ingest, model
from lenspipe.stages.stamps import detector_folders, existing, regressor_folder, stamp_format
from lenspipe.stages.targets import read_targets, unseen_targets


def plan(config: Config, store: Store) -> list[Unit]:
    """One unit: the whole catalog."""
    tiles = ingest.list_tiles(config, store)
    if not tiles:
        return []
    inputs = [
        str(path)
        for tile in tiles
        for path in (
            ingest.objects_path(config, store, tile.name),
            find.scores_path(store, tile.name),
            model.posteriors_path(store, tile.name),
        )
    ]
    if config.catalog.known:
        inputs.append(existing(config.catalog.known, "catalog.known"))
    if config.targets.table:
        inputs.append(existing(config.targets.table, "targets.table"))
    if grades_path(store).is_file():
        inputs.append(str(grades_path(store)))
    payload = {"tiles": [tile.name for tile in tiles]}
    settings = {**settings_of(config, "catalog", "targets"), "run_id": run_id(config)}
    return [Unit("catalog", payload, tuple(inputs), settings)]


def candidates_path(store: Store) -> Path:
    """Return the candidates' table that later stages read."""
    return store.root / "candidates.parquet"


def grades_path(store: Store) -> Path:
    """Return the table of what people think of the candidates, there after `lenspipe grades merge`."""
    return store.root / "grades.ecsv"


def work(unit: Unit, config: Config, store: Store) -> Done:
    """Write ``scores.parquet`` (every scored object) and the candidates in four formats."""
    from lenspipe.catalog.candidates import expect_purity, rank_candidates
    from lenspipe.catalog.crossmatch import match_known
    from lenspipe.catalog.duplicates import merge_detections
    from lenspipe.catalog.footprint import searched_area
    from lenspipe.catalog.grades import add_grades
    from lenspipe.io.tables import order_columns, read_table, write_catalog, write_table

    form = stamp_format(config)
    detectors = {str(folder): read_card(folder)["weights"] for folder in detector_folders(config, store)}
    regressor = regressor_folder(config, store)
    targets = read_card(regressor)["targets"] if regressor else {}
    folds = sum(map(len, detectors.values()))
    graded = grades_path(store).is_file()
    columns = catalog_columns(form.bands, folds, list(targets), config.model.refine, graded)
    table = _join_tiles(unit.payload["tiles"], config, store, columns)
    table.replace_column("run_id", np.full(len(table), run_id(config)))
    table = merge_detections(table, config.catalog.merge_radius)
    if config.catalog.known:
        table = match_known(table, read_table(config.catalog.known), config.catalog.known_radius)
    if graded:
        table = add_grades(table, read_table(grades_path(store)))
    meta = {
        "run_id": run_id(config),
        "code": code_version(),
        "seed": config.run.seed,
        "survey": config.survey,
        "detector": next(iter(detectors.values())) if len(detectors) == 1 else detectors,
        "threshold": config.catalog.threshold,
    }
    candidates = rank_candidates(table, config.catalog.threshold, config.catalog.top, config.catalog.prefix)
    meta |= expect_purity(candidates, searched_area(table))
    outputs = write_catalog(candidates, store.root / "candidates", columns, meta)
    scores = order_columns(table, columns)
    scores.meta.update(meta)
    outputs.append(store.root / "scores.parquet")
    write_table(scores, outputs[-1])
    counts = {"objects": len(table), "candidates": len(candidates)}
    if config.targets.table and config.targets.where:
        counts["not_selected"] = read_targets(config).not_selected
    return Done(tuple(outputs), counts, tuple(_unseen_targets(table, config, store)))


def describe_candidates(config: Config, store: Store) -> str:
    """Return in a sentence what may be expected of the run's candidates; empty if there are none."""
    from lenspipe.catalog.candidates import describe_purity
    from lenspipe.io.tables import read_table

    if not candidates_path(store).exists():
        return ""
    table = read_table(candidates_path(store))
    if "expected_purity" not in table.meta:
        return ""
    return describe_purity(table.meta, len(table), load_survey(config.survey).lens_prior)


def _unseen_targets(table, config: Config, store: Store) -> list[Quarantined]:
    if not config.targets.table:
        return []
    left_out = {
        row.object
        for stage in ("ingest", "find")
        for _, done in store.finished(stage)
        for row in done.quarantined
    }
    return unseen_targets(config, left_out | set(np.asarray(table["object_id"], str)))


def run_id(config: Config) -> str:
    """Return the identifier of a configuration and code: the same run again has the same one."""
    return f"{config_hash(config)[:8]}-{code_version().rpartition('+')[2]}"


def _join_tiles(tiles, config: Config, store: Store, columns):
    """Return the objects of all tiles with their scores and posteriors, in the order of the tiles."""
    from astropy.table import vstack

    from lenspipe.io.tables import empty_catalog, order_columns, read_table

    parts = []
    for tile in tiles:
        if not find.scores_path(store, tile).exists():
            continue
        objects = read_table(ingest.objects_path(config, store, tile))
        scores = read_table(find.scores_path(store, tile))
        for name in scores.colnames:
            objects[name] = scores[name]
        if model.posteriors_path(store, tile).exists():
            _add_posteriors(objects, read_table(model.posteriors_path(store, tile)))
        parts.append(order_columns(objects, columns))
    if not parts:
        return empty_catalog(columns)
    return vstack(parts, metadata_conflicts="silent")


def _add_posteriors(objects, posteriors) -> None:
    rows = np.asarray(posteriors["row"], int)
    for name in posteriors.colnames:
        if name not in ("row", "fit_flags"):
            values = np.full(len(objects), np.nan, np.float32)
            values[rows] = posteriors[name]
            objects[name] = values
    if "fit_flags" in posteriors.colnames:
        objects["flags"][rows] |= np.asarray(posteriors["fit_flags"], np.int32)
    if "novelty" in posteriors.colnames:
        unlike = rows[np.asarray(posteriors["novelty"]) > 1]
        objects["flags"][unlike] |= int(Flag.UNLIKE_TRAINING)


STAGE = Stage(
    name="catalog",
    reads=("ingest", "find", "model"),
    writes=("catalog",),
    plan=plan,
    work=work,
    counts="candidates",
)
