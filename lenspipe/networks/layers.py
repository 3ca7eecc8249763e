"""Keras layers that travel inside the saved models.

All are registered (package ``lenspipe``), hold their settings in their config and no weights, and load
in Keras's safe mode.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops


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
class TargetScale(keras.layers.Layer):
    """Standardised means and errors to the units of the transformed targets.

    Errors are a log variance a target, or the square that `losses.CovarianceNLL` describes.

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
        """Scale `inputs` (n, targets, 2) or (n, targets, 1 + targets)."""
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        targets, errors = len(mean), inputs.shape[-1] - 1
        # a log variance gains the square of its unit; what stands off the diagonal is per unit
        own = np.ones((targets, 1)) if errors == 1 else np.eye(targets)
        times = np.concatenate([std[:, None], np.where(own > 0, 1.0, 1.0 / std[:, None])], axis=1)
        plus = np.concatenate([mean[:, None], own * 2.0 * np.log(std)[:, None]], axis=1)
        return inputs * ops.convert_to_tensor(times, inputs.dtype) + ops.convert_to_tensor(plus, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "mean": self.mean, "std": self.std}
