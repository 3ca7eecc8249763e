"""`run.json` and `quarantine.ecsv`: what a run was, how far it came, what it left out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from lenspipe.config import Config, config_hash
from lenspipe.core.types import Quarantined, Stage
from lenspipe.core.version import code_version
from lenspipe.io.files import write_json
from lenspipe.io.quarantine import write_quarantine
from lenspipe.io.store import Store
from lenspipe.pipeline.provenance import describe_environment
from lenspipe.stages.catalog import run_id


def open_record(config: Config, store: Store) -> dict[str, Any]:
    """Write the record of a run that begins, and return it."""
    old = store.read_record()
    record = {
        "status": "running",
        "run_id": run_id(config),
        "config_hash": config_hash(config),
        "code": code_version(),
        "seed": config.run.seed,
        "survey": config.survey,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "environment": describe_environment(),
        "stages": old.get("stages", []) if old.get("config_hash") == config_hash(config) else [],
    }
    write_json(store.root / "run.json", record)
    return record


def count_objects(
    stage: Stage, entry: dict[str, Any], others: list[dict[str, Any]], stages: Mapping[str, Stage]
) -> dict[str, Any]:
    """Return how many objects went into a stage and came out, as far as it counts them."""
    # a stage counts what is in its first dataset: stamps, not the mock tiles beside them
    out_of = {stages[e["name"]].writes[0]: e.get("objects_out") for e in others}
    into = [out_of[dataset] for dataset in stage.reads if out_of.get(dataset) is not None]
    return {"objects_in": into[0] if into else None, "objects_out": entry["counts"].get(stage.counts)}


def close_record(
    record: dict[str, Any], status: str, failures: list[dict], store: Store, stages: Mapping[str, Stage]
) -> None:
    """Write how a run ended, and the quarantine table of all that it left out."""
    quarantined = collect_quarantine(store, stages)
    quarantined += [
        Quarantined(path="", reason="unit_failed", detail=f["error"], unit=f"{f['stage']}/{f['unit']}")
        for f in failures
    ]
    write_quarantine(quarantined, store.root / "quarantine.ecsv")
    record.update(
        status=status,
        ended=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        failed_units=failures,
        quarantined=len(quarantined),
        quarantined_files=len({row.path for row in quarantined if row.path and not row.object}),
    )
    write_json(store.root / "run.json", record)


def collect_quarantine(store: Store, stages: Mapping[str, Stage]) -> list[Quarantined]:
    """Return the quarantine rows of all finished units, in the stages' order, each once."""
    rows = [row for name in stages for _, done in store.finished(name) for row in done.quarantined]
    return list(dict.fromkeys(rows))
