"""Training of one fold.

A job is a JSON-able dict::

    {"task": "detector" | "regressor",
     "data": folder of shards and truth.parquet, or several,
     "folder": where the fold's files go,
     "fold": which fold is held out,
     "seed": the run's seed,
     "settings": the fields of lenspipe.config.TrainSection,
     "mc_samples": optional, dropout passes of the out-of-fold predictions,
     "until": optional, stop after so many epochs, to be gone on with}

It leaves ``fold-<k>.keras`` (float32), ``fold-<k>.oof.parquet``, ``fold-<k>.history.csv``, of a regressor
``fold-<k>.familiar.npz``, and, last, ``fold-<k>.json``. After each epoch ``fold-<k>.checkpoint.npz`` holds the
whole state; all that is random is keyed by (seed, fold, epoch), so that a training that was killed ends with
the weights of one that was not. The last epoch's weights are kept: the learning rate has fallen to zero, and to
choose the best epoch on the held-out fold, which `patience` does, makes its out-of-fold scores a little too
good.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lenspipe.config import TURNING, TrainSection
from lenspipe.core.errors import InputError
from lenspipe.core.rng import derive_seed
from lenspipe.io.cards import weights_of
from lenspipe.io.files import digest, replacing, write_json
from lenspipe.io.tables import write_table
from lenspipe.networks.registry import build_network, find_architecture
from lenspipe.training.batchnorm import fuse_batch_norms
from lenspipe.training.datasets import StampSet
from lenspipe.training.devices import over_devices
from lenspipe.training.familiarity import save_familiarity
from lenspipe.training.folds import assign_folds, quantile_strata
from lenspipe.training.heldout import predict_held_out
from lenspipe.training.kinds import label_kinds
from lenspipe.training.live import pack_stamps
from lenspipe.training.load import save_model
from lenspipe.training.loop import Fold, OnEpoch, is_over
from lenspipe.training.loop import train as train_epochs
from lenspipe.training.precision import choose_precision, dtype_policy
from lenspipe.training.sets import load_training
from lenspipe.training.start import start_from
from lenspipe.training.targets import to_network

OOF_PASSES = {"detector": 20, "regressor": 50}
#: Settings that leave the weights as they are, or are told by the data's hash.
NOT_TRAINED = {"threads", "data", "calibration", "graded", "graded_run", "train_folds", "start"}


def fit_fold(job: Mapping[str, Any], on_epoch: OnEpoch | None = None) -> dict[str, Any]:
    """Train one fold, or go on with it, and return what stands in ``fold-<k>.json``; empty if it stopped before.

    Parameters
    ----------
    job : mapping
        See the head of this module.
    on_epoch : callable, optional
        Called after each epoch, when its checkpoint is on disk, with ``fold``, ``epoch`` (from 1),
        ``epochs``, ``images_per_s`` and the row of the history.

    Raises
    ------
    InputError, ConfigError
        If the data or settings cannot be used.
    LenspipeError
        If the loss is no longer finite.
    """
    settings = TrainSection.model_validate(job["settings"])
    folder, name, task = Path(job["folder"]), f"fold-{job['fold']}", job["task"]
    stamps = load_training(job["data"], task, settings)
    key = _job_key(job, settings, stamps)
    finished = _read_finished(folder / f"{name}.json", key)
    if finished is not None:
        return finished
    truth, fold = _truth_and_folds(stamps, task, settings, job["seed"])
    train, held_out = np.flatnonzero(fold != job["fold"]), np.flatnonzero(fold == job["fold"])
    if len(held_out) == 0:
        raise InputError(f"fold {job['fold']} does not exist: {settings.folds} folds count from 0")

    seed = derive_seed(job["seed"], f"{task}/{name}")
    build = _builder(stamps, task, settings, truth[train], seed)
    scenes = pack_stamps(stamps, train) if settings.live else None
    kinds = label_kinds(stamps, train) if settings.kinds and task == "detector" else None
    part = Fold(name, task, job["fold"], seed, key, folder, stamps, truth, train, held_out, scenes, kinds)
    with over_devices(settings.devices), dtype_policy(choose_precision(settings.precision)):
        model = build()
        if settings.start:
            start_from(model, settings.start, task, job["fold"], stamps.sets)
        model = fuse_batch_norms(model)
        state = train_epochs(model, part, settings, on_epoch, job.get("until"))
    if not is_over(state, settings):
        return {}
    with dtype_policy("float32"):
        saved = build()
    saved.set_weights(model.get_weights())

    passes = job.get("mc_samples", OOF_PASSES[task])
    rows, familiarity = predict_held_out(saved, part, settings, passes, job["seed"])
    save_model(saved, folder / f"{name}.keras")
    write_table(rows, folder / f"{name}.oof.parquet")
    if familiarity is not None:
        save_familiarity(familiarity, folder / f"{name}.familiar.npz")
    _write_history(folder / f"{name}.history.csv", state.history)
    result = {
        "key": key,
        "fold": job["fold"],
        "task": task,
        "architecture": find_architecture(task, settings.architecture).name,
        "bands": list(stamps.bands),
        "pixel_scale": stamps.pixel_scale,
        "size": stamps.size,
        "targets": list(settings.targets) if task == "regressor" else [],
        "survey": stamps.survey,
        "data": stamps.source,
        "data_hash": stamps.data_hash,
        "sets": stamps.sets,
        "graded": stamps.count_graded(),
        "seed": job["seed"],
        "settings": settings.model_dump(mode="json", exclude=NOT_TRAINED),
        "start": settings.start,
        "precision": choose_precision(settings.precision),
        "backend": keras.config.backend(),
        "n_train": len(train),
        "n_test": len(held_out),
        "last_epoch": state.history[-1],
        "train_seconds": round(state.seconds, 1),
        "weights_hash": digest(folder / f"{name}.keras"),
    }
    if familiarity is not None:
        result["familiar_hash"] = digest(folder / f"{name}.familiar.npz")
    write_json(folder / f"{name}.json", result)
    (folder / f"{name}.checkpoint.npz").unlink(missing_ok=True)
    for leftover in folder.glob(f".{name}.*.part*"):  # of attempts that were killed while writing
        leftover.unlink(missing_ok=True)
    return result


def _truth_and_folds(
    stamps: StampSet, task: str, settings: TrainSection, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the loss compares with (one-hot classes or transformed targets), and the folds."""
    groups = stamps.groups()
    if task == "detector":
        labels = stamps.labels()
        if labels.min() == labels.max():
            raise InputError(f"{stamps.source} holds one class only; a detector needs lenses and non-lenses")
        return np.eye(2, dtype=np.float32)[labels], assign_folds(
            stamps.strata(), groups, settings.folds, seed
        )
    values = to_network(stamps.targets(settings.targets), settings.targets)
    folds = assign_folds(quantile_strata(values[:, 0]), groups, settings.folds, seed)
    return values.astype(np.float32), folds


def _builder(
    stamps: StampSet, task: str, settings: TrainSection, truth: np.ndarray, seed: int
) -> Callable[[], keras.Model]:
    """Return a function that builds the network; normalisation comes from the training folds only."""
    extra: dict[str, Any] = {}
    if task == "regressor":
        std = np.maximum(truth.std(axis=0, dtype=np.float64), 1e-6)
        extra = {"target_mean": truth.mean(axis=0, dtype=np.float64).tolist(), "target_std": std.tolist()}
        own = ("trunks", "covariance", "learn_dropout", "zero_point_error", "shift")
        extra |= {"samples": len(truth), **{name: getattr(settings, name) for name in own}}
        extra["names"] = settings.targets if set(settings.targets) & set(TURNING) else ()
    return lambda: build_network(
        task,
        settings.architecture,
        stamps.size,
        len(stamps.bands),
        dropout=settings.dropout,
        bn_momentum=settings.bn_momentum,
        seed=seed,
        channels=settings.channels,
        crop=settings.crop,
        **extra,
    )


def _job_key(job: Mapping[str, Any], settings: TrainSection, stamps: StampSet) -> str:
    """Return a hash of all that the weights depend on but the number of threads."""
    # of the code only what trains: a change of the report must not throw days of training away
    package = Path(__file__).resolve().parents[1]
    rooms = ("networks", "training", *(("simulate", "lensing", "imaging") if settings.live else ()))
    sources = [digest(path) for name in rooms for path in sorted((package / name).glob("*.py"))]
    start = [digest(path) for path in weights_of(settings.start)] if settings.start else []
    parts = [
        job["task"],
        job["fold"],
        job["seed"],
        job.get("mc_samples"),
        stamps.data_hash,
        sources,
        start,
        settings.model_dump(mode="json", exclude=NOT_TRAINED),
        choose_precision(settings.precision),
        keras.config.backend(),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _read_finished(path: Path, key: str) -> dict[str, Any] | None:
    try:
        result = json.loads(path.read_text())
        weights = path.with_suffix(".keras")
        same = result["key"] == key and digest(weights) == result["weights_hash"]
    except (OSError, ValueError, KeyError):
        return None
    endings = (".oof.parquet", ".history.csv", *((".familiar.npz",) if "familiar_hash" in result else ()))
    others = [path.with_suffix(ending) for ending in endings]
    return result if same and all(other.is_file() for other in others) else None


def _write_history(path: Path, history: list[dict[str, Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
