"""Folds joined to a bundle: what their held-out stamps tell, the calibration, and the card.

This file does not import Keras.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from lenspipe.core.errors import InputError
from lenspipe.core.schema import SCHEMA_VERSION
from lenspipe.core.version import code_version
from lenspipe.io.files import digest, replacing, write_json
from lenspipe.io.tables import read_table, write_table
from lenspipe.training import completeness, regression
from lenspipe.training.bundle import Bundle, load_bundle
from lenspipe.training.calibrate import cross_calibrate, fit_calibration, measure_calibration
from lenspipe.training.metrics import detector_metrics, find_thresholds, roc_by_threshold
from lenspipe.training.recalibrate import cross_recalibrate, fit_recalibration
from lenspipe.training.targets import find_target

#: What the folds of one bundle must have in common.
_COMMON = (
    "task",
    "architecture",
    "bands",
    "pixel_scale",
    "size",
    "targets",
    "survey",
    "data_hash",
    "sets",
    "graded",
    "seed",
    "settings",
)


def write_bundle(
    folder: str | Path,
    lens_prior: float,
    description: str = "",
    calibration_method: str = "temperature",
    trained: int = 0,
) -> Bundle:
    """Join the folds in a folder to a bundle: metrics.json, history.csv, oof.parquet, bundle.json last.

    Parameters
    ----------
    folder : path
        Holds ``fold-<k>.json``, ``.keras``, ``.oof.parquet`` and ``.history.csv`` of every fold.
    lens_prior : float
        Fraction of lenses among the survey's targets, for p_lens.
    description : str
        A line for the model's card.
    calibration_method : str
        Of a detector: ``temperature`` or ``isotonic``, see `calibrate.fit_calibration`.
    trained : int
        How many of the folds were trained; 0 = all.

    Raises
    ------
    InputError
        If a fold is missing or the folds were not trained alike.
    """
    folder = Path(folder)
    folds = _read_folds(folder, trained)
    first = folds[0]
    oof = vstack([read_table(folder / f"fold-{k}.oof.parquet") for k in range(len(folds))])
    if first["task"] == "detector":
        metrics = detector_metrics(oof, first["seed"])
        balanced = first["settings"]["balance"]
        calibration, diagram = _calibrate_detector(
            oof, lens_prior, calibration_method, first["seed"], balanced
        )
        metrics |= {name: diagram.pop(name) for name in list(diagram) if name.startswith("ece")}
        thresholds = find_thresholds(oof) | {"f_beta": metrics["f_beta_threshold"]}
        curves = {
            "roc_by_threshold": roc_by_threshold(oof),
            **completeness.look_closer(oof, thresholds),
            **diagram,
        }
    else:
        calibration = fit_recalibration(oof, first["targets"])
        after, factors = cross_recalibrate(oof, first["targets"])
        metrics = regression.regressor_metrics(after, first["targets"], factors, oof)
        closer = regression.look_closer(after, first["targets"])
        thresholds, curves = {}, {target: {**metrics[target], **closer[target]} for target in closer}
    write_table(oof, folder / "oof.parquet")
    _join_histories(folder, len(folds))
    write_json(folder / "metrics.json", {**metrics, **curves})
    write_json(
        folder / "bundle.json",
        {
            "schema_version": SCHEMA_VERSION,
            "task": first["task"],
            "description": description,
            "architecture": first["architecture"],
            "bands": first["bands"],
            "pixel_scale": first["pixel_scale"],
            "stamp_size": first["size"],
            "targets": {target: find_target(target).unit for target in first["targets"]},
            "weights": _digests(folder, "keras", len(folds)),
            **(
                {"familiar": _digests(folder, "familiar.npz", len(folds))} if "familiar_hash" in first else {}
            ),
            "training": {key: first[key] for key in ("survey", "data_hash", "sets", "graded", "settings")},
            "seed": first["seed"],
            "folds": [{key: value for key, value in fold.items() if key not in _COMMON} for fold in folds],
            "metrics": metrics,
            "calibration": calibration,
            "thresholds": thresholds,
            "package_version": code_version(),
        },
    )
    return load_bundle(folder)


def _digests(folder: Path, ending: str, count: int) -> dict[str, str]:
    return {f"fold-{k}.{ending}": digest(folder / f"fold-{k}.{ending}") for k in range(count)}


def _read_folds(folder: Path, trained: int) -> list[dict[str, Any]]:
    try:
        first = json.loads((folder / "fold-0.json").read_text())
        count = trained or first["settings"]["folds"]
        folds = [first, *(json.loads((folder / f"fold-{k}.json").read_text()) for k in range(1, count))]
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing: this fold has not been trained") from None
    for key in _COMMON:
        for fold in folds[1:]:
            if fold[key] != first[key]:
                raise InputError(
                    f"{folder}: fold {fold['fold']} was trained with {key} {fold[key]}, "
                    f"fold 0 with {first[key]}; train them again"
                )
    return folds


def _calibrate_detector(
    oof: Table, lens_prior: float, method: str, seed: int, balanced: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the calibration, fitted on all folds, and its worth on new data: each fold by the others' fit.

    Networks that saw both classes equally often have even odds as their prior, whatever the set's: so has the fit.
    """
    label, score, fold, group = (np.asarray(oof[name]) for name in ("label", "score", "fold", "group"))
    weight = np.asarray(oof["weight"]) if "weight" in oof.colnames else None
    if balanced:
        weight = np.ones(len(label)) if weight is None else weight
        total = np.bincount(label.astype(int), weight, 2)
        weight = weight / np.where(total > 0, total, 1.0)[label.astype(int)]
    if len(np.unique(fold)) == 1:  # a held-out set: its halves check each other
        fold = np.unique(group, return_inverse=True)[1] % 2
    after = cross_calibrate(label, score, fold, method, weight)
    calibration = {**fit_calibration(label, score, method, weight), "lens_prior": float(lens_prior)}
    return calibration, measure_calibration(label, score, after, group, seed)


def _join_histories(folder: Path, count: int) -> None:
    with replacing(folder / "history.csv") as temporary, temporary.open("w", newline="") as out:
        writer = None
        for k in range(count):
            with (folder / f"fold-{k}.history.csv").open(newline="") as handle:
                for row in csv.DictReader(handle):
                    if writer is None:
                        writer = csv.DictWriter(out, fieldnames=list(row))
                        writer.writeheader()
                    writer.writerow(row)
