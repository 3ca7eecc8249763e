"""The epochs of one fold: fit, look at the held-out fold, save, stop when nothing is gained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lenspipe.config import TrainSection
from lenspipe.core.errors import LenspipeError
from lenspipe.core.rng import derive_seed, stream
from lenspipe.networks.losses import CovarianceNLL, GaussianNLL
from lenspipe.simulate.live import LiveSet
from lenspipe.training.batches import Batches, steps_per_epoch
from lenspipe.training.board import write_board
from lenspipe.training.checkpoint import State, load_checkpoint, save_checkpoint
from lenspipe.training.datasets import StampSet
from lenspipe.training.devices import on_accelerator
from lenspipe.training.feed import feed
from lenspipe.training.kinds import TaughtCrossentropy, lens_accuracy, lens_loss, teach_kinds
from lenspipe.training.live import LiveBatches, LiveTrainer
from lenspipe.training.optimizers import average_weights, averaged, make_optimizer
from lenspipe.training.sampling import draw_rows

OnEpoch = Callable[[Mapping[str, Any]], None]
#: Share of the training stamps whose loss is looked up after an epoch, where hard ones are to be found.
_LOOKED_UP = 0.25
#: Batches of which the statistics of averaged weights are taken.
_STATISTICS = 50


@dataclass(frozen=True)
class Fold:
    """What one fold trains on.

    Parameters
    ----------
    name, task : str
        ``fold-<k>``; "detector" or "regressor".
    number, seed : int
        `seed` is the fold's own.
    key : str
        Hash of all that the weights depend on.
    folder : Path
    stamps : StampSet
    truth : ndarray (n, ...)
        What the loss compares with.
    train, held_out : ndarray of int
        Rows of `stamps`.
    scenes : LiveSet, optional
        Those of `train`, to be drawn live.
    kinds : ndarray (n, kinds), optional
        What a detector is taught beside `truth`; see `lenspipe.training.kinds`.
    """

    name: str
    task: str
    number: int
    seed: int
    key: str
    folder: Path
    stamps: StampSet
    truth: np.ndarray
    train: np.ndarray
    held_out: np.ndarray
    scenes: LiveSet | None = None
    kinds: np.ndarray | None = None

    def lessons(self) -> np.ndarray:
        """Return what the training's loss compares with (n, ...)."""
        return self.truth if self.kinds is None else np.concatenate([self.truth, self.kinds], axis=1)


def train(
    model: keras.Model,
    fold: Fold,
    settings: TrainSection,
    on_epoch: OnEpoch | None = None,
    until: int | None = None,
) -> State:
    """Run the epochs that are missing and return what the training then knows, its history among it.

    With `until` it stops after that epoch, its checkpoint on disk. Otherwise the model is left with the weights of
    the last epoch, averaged where `ema` asks for it; with `patience` with those of the epoch that did best on the
    held-out fold. Validation sees MC dropout, as prediction does.

    Raises
    ------
    LenspipeError
        If the loss is no longer finite.
    """
    learner, steps = (
        _make_learner(model, fold, settings),
        steps_per_epoch(len(fold.train), settings.batch_size),
    )
    if learner is not model:
        compile_model(model, fold.task, settings, steps)
    compile_model(learner, fold.task, settings, steps)
    checkpoint = fold.folder / f"{fold.name}.checkpoint.npz"
    state = load_checkpoint(checkpoint, fold.key, learner) or State(hardness=np.full(len(fold.train), np.nan))
    validation = Batches(fold.stamps, fold.truth, fold.held_out, settings.batch_size)
    while not is_over(state, settings):
        if until is not None and state.epoch >= until:
            return state
        started = time.monotonic()
        batches = _batches(fold, _rows(fold, state, settings), settings.batch_size)
        _reseed(learner, fold.seed, state.epoch)
        # shuffle=False: Keras would shuffle the batches once more, from Python's global random state
        fitted = learner.fit(feed(batches), epochs=1, shuffle=False, verbose=0)
        rate = sum(len(part) for part in batches.parts) / (time.monotonic() - started)
        row = {"fold": fold.number, "epoch": state.epoch + 1}
        row |= {k: float(v[-1]) for k, v in fitted.history.items()}
        row["loss"] = row.pop(
            "lens_loss", row["loss"]
        )  # what the validation's is compared with, without the kinds
        with averaged(learner, _some_inputs(learner, fold, settings)):
            losses: Any = model.evaluate(feed(validation), verbose=0, return_dict=True)
            row |= {f"val_{k}": float(v) for k, v in losses.items() if k != "lens_loss"}
            if not np.isfinite([row["loss"], row["val_loss"]]).all():
                raise LenspipeError(
                    f"{fold.task} fold {fold.number}: the loss is not finite after epoch {row['epoch']}; "
                    f"lower learning_rate (now {settings.learning_rate:g})"
                )
            if settings.hard_share:
                _look_up(model, fold, state, settings.batch_size)
            if settings.patience and row["val_loss"] <= min(r["val_loss"] for r in [*state.history, row]):
                state.best = model.get_weights()
        state.epoch += 1
        state.history.append(row)
        state.seconds += time.monotonic() - started
        save_checkpoint(checkpoint, fold.key, learner, state)
        if settings.tensorboard:
            write_board(fold.folder / "tensorboard" / fold.name, state.history)
        if on_epoch is not None:
            on_epoch({**row, "epochs": settings.epochs, "images_per_s": round(rate, 1)})
    if settings.patience:
        model.set_weights(state.best)
    else:
        average_weights(learner, _some_inputs(learner, fold, settings))
    return state


def _make_learner(model: keras.Model, fold: Fold, settings: TrainSection) -> keras.Model:
    """Return what is fitted in the place of `model`, with which it shares its weights."""
    learner = model if fold.kinds is None else teach_kinds(model, fold.kinds.shape[1], fold.seed)
    if fold.scenes is None:
        return learner
    batch = min(settings.batch_size, len(fold.train))
    return LiveTrainer(learner, fold.scenes, settings.jitter, fold.seed, batch)


def compile_model(model: keras.Model, task: str, settings: TrainSection, steps: int) -> None:
    """Give a model the optimizer, loss and metrics of its task; `steps` are those of an epoch."""
    if task == "detector":
        smoothing = {"label_smoothing": settings.label_smoothing}
        loss = TaughtCrossentropy(**smoothing)
        told = {
            "metrics": [keras.metrics.MeanMetricWrapper(lens_accuracy, name="accuracy")],
            "weighted_metrics": [keras.metrics.MeanMetricWrapper(lens_loss, name="lens_loss", **smoothing)],
        }
    else:
        loss, told = CovarianceNLL() if settings.covariance else GaussianNLL(), {}
    # XLA's convolutions on CPUs are several times slower than oneDNN's
    jit = on_accelerator() if keras.config.backend() == "tensorflow" else "auto"
    model.compile(make_optimizer(settings, steps), loss=loss, jit_compile=jit, **told)


def is_over(state: State, settings: TrainSection) -> bool:
    """Tell whether all epochs are done, or the held-out loss has gained nothing for `patience` of them."""
    if state.epoch >= settings.epochs:
        return True
    losses = [row["val_loss"] for row in state.history]
    return 0 < settings.patience < len(losses) - int(np.argmin(losses)) if losses else False


def _some_inputs(model: keras.Model, fold: Fold, settings: TrainSection) -> Iterator[Any]:
    """Yield the inputs of some batches, always the same, seen by the same layers."""
    rows = stream(fold.seed, "statistics").permutation(fold.train)[: _STATISTICS * settings.batch_size]
    _reseed(model, fold.seed, settings.epochs)
    batches = _batches(fold, rows, settings.batch_size)
    for k in range(len(batches)):
        yield batches[k][0]


def _batches(fold: Fold, rows: np.ndarray, size: int) -> Batches | LiveBatches:
    """Return the batches to train on."""
    if fold.scenes is None:
        return Batches(fold.stamps, fold.lessons(), rows, size, drop_partial=True, weighted=True)
    place = np.searchsorted(fold.train, rows)  # the scenes are those of the training rows, which are in order
    return LiveBatches(fold.scenes, fold.lessons()[fold.train], place, size)


def _rows(fold: Fold, state: State, settings: TrainSection) -> np.ndarray:
    """Return the rows of an epoch, in their order."""
    if fold.task != "detector":
        return draw_rows(fold.train, np.zeros(len(fold.train)), state.hardness, fold.seed, state.epoch)
    classes = fold.truth[fold.train, 1] > 0.5
    return draw_rows(
        fold.train, classes, state.hardness, fold.seed, state.epoch, settings.balance, settings.hard_share
    )


def _look_up(model: keras.Model, fold: Fold, state: State, batch_size: int) -> None:
    """Bring the loss of some of the training stamps up to date: another quarter of them after each epoch."""
    count = len(fold.train)
    order = stream(fold.seed, "look up").permutation(count)
    size = max(1, round(_LOOKED_UP * count))
    some = order[np.arange(state.epoch * size, (state.epoch + 1) * size) % count]
    rows = fold.train[some]
    score = model.predict(feed(Batches(fold.stamps, fold.truth, rows, batch_size)), verbose=0)
    right = np.sum(np.asarray(score) * fold.truth[rows], axis=1)
    state.hardness[some] = -np.log(np.clip(right, 1e-7, 1.0))


def _reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Key dropout and augmentation by (seed, epoch, layer), so that a resumed epoch draws the same."""
    for layer in model._flatten_layers():
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            generator.state.assign(np.array([derive_seed(seed, f"{layer.name}/epoch-{epoch}"), 0], np.uint32))
