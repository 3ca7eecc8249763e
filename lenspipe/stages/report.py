"""Stage *report*: what the run found, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lenspipe.config import Config, load_run, settings_of
from lenspipe.core.errors import InputError
from lenspipe.core.survey import load_survey
from lenspipe.core.types import Done, Quarantined, Stage, Unit
from lenspipe.io.cards import read_card
from lenspipe.io.shards import list_shards, read_shard
from lenspipe.io.store import Store
from lenspipe.stages import catalog, ingest
from lenspipe.stages.stamps import detector_folders, regressor_folder

#: Stamps of the training set that the gallery and the shortcut test look at.
SHOWN_STAMPS = 2000
#: Fewer different stamps, or fewer looks at stamps, do not train a network to be believed.
SERIOUS_STAMPS, SERIOUS_LOOKS = 10_000, 200_000


def plan(config: Config, store: Store) -> list[Unit]:
    """One unit, if there is a catalog or a trained network to report on."""
    models = [str(folder / "metrics.json") for _, folder in _models(config, store)]
    tables = [str(catalog.candidates_path(store))] if catalog.plan(config, store) else []
    if not tables and not models and not config.slip.lenses:
        return []
    inputs = (*tables, *models, str(store.folder("slip") / "slip.json"))
    return [Unit("report", inputs=inputs, settings=settings_of(config, "report"))]


def _models(config: Config, store: Store) -> list[tuple[str, Path]]:
    """Return (task, bundle) of the networks that a run uses."""
    regressor = regressor_folder(config, store)
    models = [("detector", folder) for folder in detector_folders(config, store)]
    return models + ([("regressor", regressor)] if regressor else [])


def report_path(store: Store) -> Path:
    """Return the page's path."""
    return store.folder("report") / "index.html"


def work(unit: Unit, config: Config, store: Store) -> Done:
    """Write the page."""
    from lenspipe.report.html import write_report

    path = report_path(store)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_report(path, collect(config, store))
    return Done((path,), {"pages": 1})


def rewrite_report(run_dir: Path) -> Path:
    """Write the page of a finished run again and return its path.

    Raises
    ------
    ConfigError
        If the folder is not a run's.
    """
    config, store = load_run(run_dir), Store(run_dir)
    work(Unit("report"), config, store)
    return report_path(store)


def collect(config: Config, store: Store):
    """Return what the page shows, read from the run directory."""
    from lenspipe.io.quarantine import make_quarantine_table
    from lenspipe.io.tables import read_table
    from lenspipe.report.data import ReportData

    survey = load_survey(config.survey)
    record = store.read_record()
    here = store.root.is_relative_to(Path.cwd())
    folder = store.root.relative_to(Path.cwd()) if here else store.root
    content: dict[str, Any] = {}
    if catalog.candidates_path(store).exists():
        shown = read_table(catalog.candidates_path(store))[: config.report.candidates]
        content = {"candidates": shown, **read_stamps(shown, config, store)}
    rows = [row for name in store.stages() for _, done in store.finished(name) for row in done.quarantined]
    failed = [(f"{unit['stage']}/{unit['unit']}", unit["error"]) for unit in record.get("failed_units", [])]
    rows += [Quarantined("", "unit_failed", error, unit=name) for name, error in failed]
    incomplete = [f"INCOMPLETE: {name} failed: {error}" for name, error in failed[:5]]
    return ReportData(
        title=store.root.name,
        subtitle=config.report.note or f"Strong-lens search in {survey.description or survey.name}",
        notices=[*incomplete, *notices(config, store)],
        rgb=survey.rgb,
        stretch=config.report.stretch,
        softening=config.report.softening,
        training=_read_training(config, store),
        detector=_read_detector(config, store),
        regressor=_read_regressor(config, store),
        history=_read_history(config, store),
        slip=_read_slip(store),
        funnel=[_funnel_row(entry) for entry in record.get("stages", [])],
        quarantine=make_quarantine_table(rows) if rows else None,
        facts=_facts(record),
        repeat=(f"lenspipe run {folder}/config.toml --out {folder}",),
        prior=survey.lens_prior,
        promise=catalog.describe_candidates(config, store),
        **content,
    )


def notices(config: Config, store: Store) -> list[str]:
    """Return what a reader must know before believing the results."""
    lines, detectors = [], detector_folders(config, store)
    if len(detectors) > 1:
        lines.append(
            f"{len(detectors)} detectors score as a committee; the figures are of {detectors[0].name}."
        )
    for task, folder in _models(config, store):
        if not (folder / "bundle.json").exists():
            continue
        card = read_card(folder)
        first = card["folds"][0]
        stamps, epochs = first["n_train"] + first["n_test"], card["training"]["settings"]["epochs"]
        if stamps < SERIOUS_STAMPS or stamps * epochs < SERIOUS_LOOKS:
            lines.append(
                f"The {task} was trained briefly ({stamps:,} simulated stamps, {epochs} epochs): it is for show. "
                "Do not use its numbers for science."
            )
    return lines


def read_stamps(candidates, config: Config, store: Store) -> dict[str, Any]:
    """Return the candidates' stamps, row by row, with their noise, bands and pixel scale."""
    from lenspipe.io.tables import read_table

    image = noise = shard = None
    tiles = np.asarray(candidates["tile"], str)
    for tile in np.unique(tiles):
        objects = read_table(ingest.objects_path(config, store, tile))
        position = dict(zip(objects["object_id"].astype(str), objects["stamp"], strict=True))
        mine = np.flatnonzero(tiles == tile)
        rows = np.array([position[str(name)] for name in candidates["object_id"][mine]])
        order = np.argsort(rows)  # HDF5 reads rows in increasing order only
        shard = read_shard(ingest.shard_path(config, store, tile), rows[order])
        if image is None or noise is None:
            image = np.zeros((len(candidates), *shard.image.shape[1:]), np.float32)
            noise = np.zeros((len(candidates), len(shard.bands)), np.float32)
        image[mine[order]], noise[mine[order]] = shard.image, shard.noise_sigma
    if shard is None:
        return {}
    return {"stamps": image, "noise_sigma": noise, "bands": shard.bands, "pixel_scale": shard.pixel_scale}


def _read_training(config: Config, store: Store) -> dict[str, Any] | None:
    """Return some stamps of the run's own training set, and how far a shortcut gets with them."""
    from lenspipe.io.tables import read_table
    from lenspipe.training.shortcut import shortcut_auroc

    table = store.path("simulate", "truth.parquet")
    if not table.exists() or not config.simulate.count:
        return None
    truth, survey = read_table(table), load_survey(config.survey)
    shards, rows = [], 0
    for path in list_shards(store.folder("simulate")):
        shards.append(read_shard(path))
        rows += len(shards[-1].image)
        if rows >= SHOWN_STAMPS:
            break
    if not rows or any(name not in shards[0].bands for name in survey.rgb):
        return None
    image = np.concatenate([shard.image for shard in shards])
    noise = np.concatenate([shard.noise_sigma for shard in shards])
    kinds = np.asarray(truth["kind"], str)[:rows]
    try:
        shortcut = shortcut_auroc(image, noise, kinds == "lens", shards[0].pixel_scale, config.run.seed)
    except InputError:  # too few of a class
        shortcut = None
    return {
        "image": image, "noise_sigma": noise, "kinds": kinds, "shortcut": shortcut,
        "rgb": [shards[0].bands.index(name) for name in survey.rgb],
    }  # fmt: skip


def _read_detector(config: Config, store: Store) -> dict[str, Any] | None:
    from lenspipe.training.metrics import roc_curves, roc_points

    loaded = _read_oof(next(iter(detector_folders(config, store)), None))
    if loaded is None:
        return None
    metrics, oof = loaded
    label, score, fold = (np.asarray(oof[name]) for name in ("label", "score", "fold"))
    roc = roc_curves(oof)
    folds = [roc_points(label[fold == k], score[fold == k])[:2] for k in np.unique(fold)]
    return {
        "metrics": metrics,
        "roc": {**{name: roc[name] for name in ("fpr", "tpr_mean", "tpr_std")}, "folds": folds},
        "scores_lens": score[label == 1],
        "scores_nonlens": score[label == 0],
    }


def _read_regressor(config: Config, store: Store) -> dict[str, Any] | None:
    from lenspipe.core.schema import target_columns
    from lenspipe.training.recalibrate import recalibrate

    loaded = _read_oof(regressor_folder(config, store))
    if loaded is None:
        return None
    metrics, oof = loaded
    shown, card = {}, read_card(regressor_folder(config, store))
    oof = recalibrate(oof, list(card["targets"]), card["calibration"])
    for target in card["targets"]:
        shown[target] = {
            "true": np.asarray(oof[f"{target}_true"]),
            "median": np.asarray(oof[target]),
            "err_lo": np.asarray(oof[f"{target}_err_lo"]),
            "err_hi": np.asarray(oof[f"{target}_err_hi"]),
            "unit": target_columns([target])[0].unit,
            "metrics": metrics.get(target, {}),
            "published": config.report.published.get(target, ""),
        }
    return shown


def _read_oof(folder: Path | None):
    """Return (metrics, out-of-fold table) of a bundle, or None if it has none."""
    import json

    from lenspipe.io.tables import read_table

    if folder is None or not (folder / "oof.parquet").exists():
        return None
    return json.loads((folder / "metrics.json").read_text()), read_table(folder / "oof.parquet")


def _read_history(config: Config, store: Store) -> list[dict[str, Any]] | None:
    from lenspipe.io.tables import read_table

    rows = []
    for task, folder in _models(config, store):
        shown = any(row["task"] == task for row in rows)  # of a committee, its first member
        if not shown and (folder / "history.csv").exists():
            table = read_table(folder / "history.csv")
            rows += [{"task": task, **dict(zip(row.colnames, row, strict=True))} for row in table]
    return rows or None


def _read_slip(store: Store) -> dict[str, Any] | None:
    import json

    from lenspipe.io.tables import read_table

    folder = store.folder("slip")
    if not (folder / "slip.json").exists():
        return None
    slip_json = json.loads((folder / "slip.json").read_text())
    if slip_json["gamma"] is None:
        return slip_json
    posterior, realizations = read_table(folder / "posterior.ecsv"), read_table(folder / "realizations.ecsv")
    return {
        **slip_json,
        "posterior": (np.asarray(posterior["gamma"]), np.asarray(posterior["density"])),
        "gamma_realizations": np.asarray(realizations["gamma"]),
    }


def _funnel_row(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "stage": entry["name"],
        "units_done": entry["done"],
        "units_failed": entry["failed"],
        "objects_in": entry.get("objects_in"),
        "objects_out": entry.get("objects_out"),
        "quarantined": entry["quarantined"],
        "seconds": entry["seconds"],
    }


def _facts(record: dict[str, Any]) -> dict[str, str]:
    environment = record.get("environment", {})
    facts = {
        "run": record.get("run_id", ""),
        "lenspipe": record.get("code", ""),
        "commit": environment.get("commit", ""),
        "configuration": record.get("config_hash", ""),
        "seed": str(record.get("seed", "")),
        "survey": record.get("survey", ""),
        "started": record.get("started", ""),
        "python": environment.get("python", ""),
        **environment.get("packages", {}),
    }
    return {name: text for name, text in facts.items() if text}


STAGE = Stage(
    name="report",
    reads=("catalog", "detector", "regressor", "slip"),
    writes=("report",),
    plan=plan,
    work=work,
)
