"""What a network says of the fold that was held out, predicted as a bundle predicts."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from astropy.table import Table

from lenspipe.config import TrainSection
from lenspipe.core.rng import stream
from lenspipe.training.familiarity import Familiarity, learn_features
from lenspipe.training.load import Network, split_network
from lenspipe.training.loop import Fold
from lenspipe.training.passes import run_passes
from lenspipe.training.posterior import WITH_MOMENTS, posteriors_with
from lenspipe.training.profiles import MOST, predict_from_profiles
from lenspipe.training.scores import score_with
from lenspipe.training.targets import from_network

#: Training stamps whose features are learnt; more fix a covariance of some hundred numbers no better.
_LEARNT = 10_000


def predict_held_out(
    model: keras.Model, fold: Fold, settings: TrainSection, passes: int, seed: int
) -> tuple[Table, Familiarity | None]:
    """Return the out-of-fold rows of a trained network, and what a regressor knows of its training stamps."""
    table, rows = fold.stamps.traits()[fold.held_out], fold.held_out
    table["fold"] = np.full(len(rows), fold.number, np.int64)
    network, inputs = split_network(model, fold.name), fold.stamps.inputs(rows)
    how: dict[str, Any] = {"mc_samples": passes, "seed": seed, "batch_size": settings.batch_size}
    if fold.task == "detector":
        table["label"] = fold.stamps.labels()[rows]
        table["score"], table["score_err"], _ = score_with([network], **inputs, **how, views=settings.views)
        return table, None
    table.remove_columns([name for name in ("theta_e",) if name in table.colnames])  # among the targets
    some = np.sort(stream(fold.seed, "familiar").permutation(fold.train)[:_LEARNT])
    known = learn_features(*(_features(network, fold, those, settings.batch_size) for those in (some, rows)))
    true, truth = fold.stamps.targets(settings.targets)[rows], fold.truth[rows]
    for k, target in enumerate(settings.targets):
        table[f"{target}_true"], table[f"{target}_truth"] = true[:, k], truth[:, k].astype(np.float64)
    found = posteriors_with([network], settings.targets, **inputs, **how, familiar=[known])
    for column, values in found.columns(WITH_MOMENTS).items():
        table[column] = values
    some = np.sort(stream(fold.seed, "profiles").permutation(fold.train)[:MOST])
    simple = predict_from_profiles(fold.stamps.inputs(some), fold.truth[some], inputs, fold.seed)
    for k, target in enumerate(settings.targets):
        table[f"{target}_profile"] = from_network(simple[:, k], target)
    return table, known


def _features(network: Network, fold: Fold, rows: np.ndarray, batch_size: int) -> np.ndarray:
    batches = run_passes([network], fold.stamps.inputs(rows), 1, 0, batch_size)
    return np.concatenate([features[0] for _, _, features in batches])
