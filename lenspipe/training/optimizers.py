"""How weights are moved: optimizer, learning rate, and the average of the weights along the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from lenspipe.config import TrainSection
from lenspipe.training.batchnorm import renew_statistics
from lenspipe.training.muon import ConvMuon

_OPTIMIZERS: dict[str, Any] = {
    "adamw": keras.optimizers.AdamW,
    "adam": keras.optimizers.Adam,
    "sgd": keras.optimizers.SGD,
    "muon": ConvMuon,
}
_DECAYING = ("adamw", "muon")


def make_optimizer(settings: TrainSection, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Return the optimizer of the settings, its learning rate scheduled over all epochs.

    With `ema` above 0 it keeps a running mean of the weights beside them (Polyak & Juditsky 1992), for
    `average_weights`.
    """
    options: dict[str, Any] = {}
    if settings.optimizer in _DECAYING:
        options["weight_decay"] = settings.weight_decay
    if settings.optimizer == "muon":
        options["adam_weight_decay"] = settings.weight_decay
    if settings.optimizer == "sgd":
        options |= {"momentum": 0.9, "nesterov": True}
    if settings.ema > 0.0:
        options |= {"use_ema": True, "ema_momentum": settings.ema}
    optimizer = _OPTIMIZERS[settings.optimizer](_schedule(settings, steps_per_epoch), **options)
    if settings.optimizer in _DECAYING:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "logit"])
    # fit ends by putting the averages in the place of the weights, and here fit is called for each epoch anew
    optimizer.finalize_variable_values = lambda variables: None
    return optimizer


def _schedule(settings: TrainSection, steps_per_epoch: int) -> Any:
    """Return a linear warm-up from 0 to the peak, then a cosine to 0 or the peak for good."""
    total = steps_per_epoch * settings.epochs
    warm_up = max(1, round(settings.warm_up * total))
    # a fall over so many steps that it does not fall is a constant rate
    fall = max(1, total - warm_up) if settings.schedule == "cosine" else 10**9
    return keras.optimizers.schedules.CosineDecay(
        0.0, fall, warmup_target=settings.learning_rate, warmup_steps=warm_up
    )


@contextmanager
def averaged(model: keras.Model, batches: Iterable[Any]) -> Iterator[None]:
    """Give the model its averaged weights inside the block, if its optimizer keeps any, then those of the last step."""
    if not model.optimizer.use_ema:
        yield
        return
    last = model.get_weights()
    try:
        average_weights(model, batches)
        yield
    finally:
        model.set_weights(last)


def average_weights(model: keras.Model, batches: Iterable[Any]) -> None:
    """Give the model its averaged weights, if its optimizer keeps any, and what belongs to them.

    The moving statistics of batch norms are those of the weights of the last steps; with averaged weights they are
    taken anew, as the mean over the inputs of `batches` (Izmailov et al. 2018, section 3.2).
    """
    optimizer = model.optimizer
    if not optimizer.use_ema:
        return
    type(optimizer).finalize_variable_values(optimizer, model.trainable_variables)
    renew_statistics(model, batches)
