"""How weights are moved: optimizer, learning rate, and the average of the weights along the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras

from lenspipe.config import TrainSection

_OPTIMIZERS: dict[str, Any] = {
    "adamw": keras.optimizers.AdamW,
    "adam": keras.optimizers.Adam,
    "sgd": keras.optimizers.SGD,
}


def make_optimizer(settings: TrainSection, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Return the optimizer of the settings, its learning rate scheduled over all epochs.

    With `ema` above 0 it keeps a running mean of the weights beside them (Polyak & Juditsky 1992); see `averaged`.
    """
    options: dict[str, Any] = {}
    if settings.optimizer == "adamw":
        options["weight_decay"] = settings.weight_decay
    if settings.optimizer == "sgd":
        options |= {"momentum": 0.9, "nesterov": True}
    if settings.ema > 0.0:
        options |= {"use_ema": True, "ema_momentum": settings.ema}
    optimizer = _OPTIMIZERS[settings.optimizer](_schedule(settings, steps_per_epoch), **options)
    if settings.optimizer == "adamw":
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
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
def averaged(model: keras.Model) -> Iterator[None]:
    """Give the model its averaged weights inside the block, if its optimizer keeps any, then those of the last step."""
    optimizer = model.optimizer
    if not optimizer.use_ema:
        yield
        return
    last = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, last, strict=True):
            variable.assign(value)
