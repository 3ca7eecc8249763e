"""Keras layers that travel inside the saved models.

All are registered (package ``lenspipe``), hold their settings in their config and no weights, and load
in Keras's safe mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
from keras import ops

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
class Stretch(keras.layers.Layer):
    """Calibrated flux to network input: ``asinh(image / (softening * noise_sigma)) * scale``.

    Linear for the faint arc, logarithmic for the bright lens galaxy, and free of the unit of flux.

    Parameters
    ----------
    softening : float
        Where the stretch turns from linear to logarithmic [noise sigmas per pixel].
    scale : float
        Factor of the result.
    """

    def __init__(self, softening: float = 1.0, scale: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        if not softening > 0:
            raise ValueError(f"Stretch expects softening > 0 noise sigmas, received {softening!r}")
        self.softening, self.scale = float(softening), float(scale)

    def call(self, image, noise_sigma):
        """Stretch `image` (n, y, x, b) [nJy per pixel] by `noise_sigma` (n, b) [same unit]."""
        noise_sigma = ops.expand_dims(ops.expand_dims(noise_sigma, 1), 1)
        unit = ops.multiply(noise_sigma, self.softening)
        return ops.multiply(ops.arcsinh(ops.divide(image, unit)), self.scale)

    def compute_output_shape(self, image_shape, noise_sigma_shape=None):
        return image_shape

    def get_config(self):
        return {**super().get_config(), "softening": self.softening, "scale": self.scale}


@keras.saving.register_keras_serializable(package="lenspipe")
class NoiseChannel(keras.layers.Layer):
    """Append the noise of each band as a channel: ``asinh(noise_sigma / unit) * scale``, even over the stamp.

    The stretch divides by the noise; with this a network knows how deep a stamp is. Logarithmic above
    `unit`, which lies below the noise of today's surveys.

    Parameters
    ----------
    unit : float
        Noise at which the logarithm begins [nJy per pixel].
    scale : float
        Factor of the result.
    """

    #: The input of the network that is appended.
    source = "noise_sigma"

    def __init__(self, unit: float = 1.0, scale: float = 0.5, **kwargs):
        super().__init__(**kwargs)
        if not unit > 0:
            raise ValueError(f"NoiseChannel expects unit > 0 nJy per pixel, received {unit!r}")
        self.unit, self.scale = float(unit), float(scale)

    def call(self, image, noise_sigma):
        """Append `noise_sigma` (n, b) [nJy per pixel] to the stretched `image` (n, y, x, c)."""
        level = ops.multiply(ops.arcsinh(ops.divide(noise_sigma, self.unit)), self.scale)
        level = ops.cast(ops.expand_dims(ops.expand_dims(level, 1), 1), image.dtype)
        shape = ops.shape(image)
        even = ops.broadcast_to(level, (shape[0], shape[1], shape[2], level.shape[-1]))
        return ops.concatenate([image, even], axis=-1)

    def compute_output_shape(self, image_shape, noise_sigma_shape):
        return (*image_shape[:-1], image_shape[-1] + noise_sigma_shape[-1])

    def get_config(self):
        return {**super().get_config(), "unit": self.unit, "scale": self.scale}


@keras.saving.register_keras_serializable(package="lenspipe")
class MaskChannel(keras.layers.Layer):
    """Append for each band a channel that is 1 where a pixel could not be used, and 0 where it could.

    Filled from its neighbours such a pixel looks like sky or like a smooth galaxy; with this a network knows that
    nothing was seen there. This way round an ordinary stamp appends zeros: convolutions, which surround stamps with
    zeros, find no edge in it, and no bias has to make up for it.
    """

    #: The input of the network that is appended.
    source = "mask"

    def call(self, image, pixel_mask):  # "mask" would be Keras' own, of steps in time
        """Append `pixel_mask` (n, y, x, b), 0 = good, to the stretched `image` (n, y, x, c)."""
        return ops.concatenate([image, ops.cast(ops.not_equal(pixel_mask, 0), image.dtype)], axis=-1)

    def compute_output_shape(self, image_shape, pixel_mask_shape):
        return (*image_shape[:-1], image_shape[-1] + pixel_mask_shape[-1])


@keras.saving.register_keras_serializable(package="lenspipe")
class SkySymmetry(keras.layers.Layer):
    """One of the eight flips and quarter turns of the sky, drawn for each stamp; in training only.

    Use it only where the labels are invariant (a class, theta_e, sigma_v, redshifts). Angles, shear and
    offsets would have to be turned with the stamp. Stamps must be square.

    Parameters
    ----------
    seed : int, optional
    """

    def __init__(self, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, image, training=False):
        """Return `image` (n, s, s, b), turned at random if `training`."""
        if not training:
            return image
        # x-flip, y-flip and transposition generate all eight symmetries of the square
        draws = keras.random.randint((ops.shape(image)[0], 3), 0, 2, seed=self.seed_generator)
        chosen = ops.reshape(ops.cast(draws, "bool"), (-1, 3, 1, 1, 1))
        image = ops.where(chosen[:, 0], ops.flip(image, axis=2), image)
        image = ops.where(chosen[:, 1], ops.flip(image, axis=1), image)
        return ops.where(chosen[:, 2], ops.transpose(image, (0, 2, 1, 3)), image)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


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
            return inputs * ops.cast(masks[self.name], inputs.dtype) / (1.0 - self.rate)
        if self.rate == 0:
            return inputs
        return keras.random.dropout(inputs, self.rate, seed=self.seed_generator)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package="lenspipe")
class TargetScale(keras.layers.Layer):
    """Standardised (mean, log variance) to the units of the transformed targets.

    Parameters
    ----------
    mean, std : sequence of float
        Mean and standard deviation of each transformed target over the training folds.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs):
        super().__init__(**kwargs)
        self.mean, self.std = [float(m) for m in mean], [float(s) for s in std]
        if len(self.mean) != len(self.std) or not all(s > 0 for s in self.std):
            raise ValueError(f"TargetScale expects a mean and a std > 0 per target, received {mean}, {std}")

    def call(self, inputs):
        """Scale `inputs` (n, targets, 2)."""
        mean = ops.convert_to_tensor(self.mean, dtype=inputs.dtype)
        std = ops.convert_to_tensor(self.std, dtype=inputs.dtype)
        return ops.stack([inputs[..., 0] * std + mean, inputs[..., 1] + 2.0 * ops.log(std)], axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "mean": self.mean, "std": self.std}


def dropout_layers(model: keras.Model) -> list[MCDropout]:
    """Return the `MCDropout` layers of a model and its sub-models, in order."""
    found: list[MCDropout] = []
    for layer in model.layers:
        if isinstance(layer, MCDropout):
            found.append(layer)
        elif isinstance(layer, keras.Model):
            found += dropout_layers(layer)
    return found
