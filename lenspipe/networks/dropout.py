"""Monte-Carlo dropout: layers that drop units at prediction too, at a fixed or a learnt rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.special import logit

_FIXED_MASKS: ContextVar[Mapping[str, Any] | None] = ContextVar("fixed_masks", default=None)


@contextmanager
def fixed_masks(masks: Mapping[str, Any]) -> Iterator[None]:
    """Make every `MCDropout` called inside the block use the mask given for its name.

    Parameters
    ----------
    masks : mapping of str to tensor
        Layer name -> mask that broadcasts to the layer's input: 1 keeps a unit, 0 drops it.
    """
    token = _FIXED_MASKS.set(masks)
    try:
        yield
    finally:
        _FIXED_MASKS.reset(token)


@keras.saving.register_keras_serializable(package="lenspipe")
class MCDropout(keras.layers.Layer):
    """Dropout that is always on: in training, under ``predict`` and after save and load.

    A plain ``Dropout(r)(x, training=True)`` of a functional model drops nothing under ``predict`` in
    Keras 3; calling the whole model with ``training=True`` would take BatchNorm out of inference mode.
    Gal & Ghahramani 2016: each mask is a draw from the approximate posterior of the weights.

    Parameters
    ----------
    rate : float
        Fraction of units dropped, in [0, 1).
    seed : int, optional
        Seed of the masks drawn when none are given by `fixed_masks`.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"MCDropout expects a rate in [0, 1), received {rate!r}")
        self.rate, self.seed = float(rate), seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs):
        """Drop units of `inputs` (n, ..., features)."""
        masks = _FIXED_MASKS.get()
        if masks is not None:
            return self._keep(inputs, ops.cast(masks[self.name], inputs.dtype))
        if self.rate == 0:
            return inputs
        return keras.random.dropout(inputs, self.rate, seed=self.seed_generator)

    def _keep(self, inputs, mask):
        """Return what a mask leaves, as large on average as what came in."""
        return inputs * mask / (1.0 - self.rate)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}

    def rates(self) -> np.ndarray:
        """Return the rate at which each unit of the input is dropped (features,)."""
        return np.full(int(self.input.shape[-1]), self.rate)


@keras.saving.register_keras_serializable(package="lenspipe")
class ConcreteDropout(MCDropout):
    """MC dropout whose rates are learnt, one for each group of units (Gal, Hron & Kendall 2017).

    In training masks are relaxed to numbers between 0 and 1 (their eq. 5), so that the loss has a gradient in the
    rates; at prediction they are 0 or 1. The loss gains their entropy term (eq. 3 for a flat prior of the weights, of
    which weight decay is the rest): with few samples the rates are held up, with many the data decide.

    Parameters
    ----------
    rate : float
        With which training begins, in (0, 1).
    groups : int
        Into so many equal parts, one after the other, the units are divided.
    samples, targets : int
        Stamps in the training set, and targets, over both of which the loss is a mean.
    seed : int, optional
    """

    #: Sharpness of the relaxed masks (the authors' own).
    TEMPERATURE = 0.1

    def __init__(
        self,
        rate: float,
        groups: int = 1,
        samples: int = 1,
        targets: int = 1,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(rate, seed, **kwargs)
        if not rate > 0:
            raise ValueError(f"ConcreteDropout expects a first rate in (0, 1), received {rate!r}")
        if groups < 1 or samples < 1:
            raise ValueError(f"ConcreteDropout expects groups and samples >= 1, received {groups}, {samples}")
        self.groups, self.samples, self.targets = int(groups), int(samples), int(targets)

    def build(self, input_shape):
        """Make the logits of the rates (groups,)."""
        if input_shape[-1] % self.groups:
            raise ValueError(f"{input_shape[-1]} units cannot be divided into {self.groups} equal groups")
        start = keras.initializers.Constant(float(logit(self.rate)))
        self.logit = self.add_weight(shape=(self.groups,), initializer=start, name="logit")
        self.built = True

    def call(self, inputs, training=False):
        """Drop units of `inputs` (n, features)."""
        masks = _FIXED_MASKS.get()
        if masks is not None:
            return self._keep(inputs, ops.cast(masks[self.name], inputs.dtype))
        noise: Any = keras.random.uniform(
            ops.shape(inputs), 1e-6, 1 - 1e-6, inputs.dtype, self.seed_generator
        )
        if not training:
            return self._keep(inputs, ops.cast(noise >= self._rate(inputs), inputs.dtype))
        p: Any = ops.sigmoid(self.logit)
        entropy = -p * ops.log(p) - (1 - p) * ops.log(1 - p)
        units = inputs.shape[-1] // self.groups
        self.add_loss(-units * ops.sum(entropy) / (self.samples * self.targets))
        odds = ops.add(self._spread(self.logit, inputs), ops.log(noise / (1 - noise)))
        return self._keep(inputs, 1 - ops.sigmoid(ops.divide(odds, self.TEMPERATURE)))

    def rates(self) -> np.ndarray:
        """Return the learnt rate of each unit of the input (features,)."""
        learnt = 1 / (1 + np.exp(-np.asarray(keras.ops.convert_to_numpy(self.logit), np.float64)))
        return np.repeat(learnt, int(self.input.shape[-1]) // self.groups)

    def _keep(self, inputs, mask):
        return inputs * mask / (1.0 - self._rate(inputs))

    def _rate(self, inputs):
        return ops.sigmoid(self._spread(self.logit, inputs))

    def _spread(self, values, inputs):
        """Return a value for each unit (features,) of one for each group."""
        return ops.repeat(ops.cast(values, inputs.dtype), inputs.shape[-1] // self.groups)

    def get_config(self):
        own = {"groups": self.groups, "samples": self.samples, "targets": self.targets}
        return {**super().get_config(), **own}


def dropout_layers(model: keras.Model) -> list[MCDropout]:
    """Return the `MCDropout` layers of a model and its sub-models, in order."""
    found: list[MCDropout] = []
    for layer in model.layers:
        if isinstance(layer, MCDropout):
            found.append(layer)
        elif isinstance(layer, keras.Model):
            found += dropout_layers(layer)
    return found
