"""Layers that vary in training what a network sees, so that it learns what does not matter."""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import ops


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
        return self._turn(image, self._draw(image)) if training else image

    def _draw(self, image):
        """Return for each stamp (n, 3), 0 or 1, whether it is flipped in x, then in y, then transposed.

        These generate all eight symmetries of the square.
        """
        return keras.random.randint((ops.shape(image)[0], 3), 0, 2, seed=self.seed_generator)

    def _turn(self, image, draws):
        chosen = ops.reshape(ops.cast(draws, "bool"), (-1, 3, 1, 1, 1))
        image = ops.where(chosen[:, 0], ops.flip(image, axis=2), image)
        image = ops.where(chosen[:, 1], ops.flip(image, axis=1), image)
        return ops.where(chosen[:, 2], ops.transpose(image, (0, 2, 1, 3)), image)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


@keras.saving.register_keras_serializable(package="lenspipe")
class OrientedSky(SkySymmetry):
    """`SkySymmetry` that tells what it did, for a network whose answers turn with the sky; see `TurnBack`."""

    def call(self, image, training=False):
        """Return `image` (n, s, s, b), turned at random if `training`, and how (n, 3), int32."""
        if not training:
            return image, ops.zeros((ops.shape(image)[0], 3), "int32")
        draws = ops.cast(self._draw(image), "int32")
        return self._turn(image, draws), draws

    def compute_output_shape(self, input_shape):
        return input_shape, (input_shape[0], 3)

    def compute_output_spec(self, image, training=False):
        return keras.KerasTensor(image.shape, image.dtype), keras.KerasTensor((image.shape[0], 3), "int32")


@keras.saving.register_keras_serializable(package="lenspipe")
class TurnBack(keras.layers.Layer):
    """Answers about a turned stamp as answers about the stamp as it was: what `OrientedSky` did, undone.

    Positions (x_lens, y_lens) are vectors; ellipticities (e1, e2) have spin 2; anything else does not turn. Errors go
    with what they are errors of.

    Parameters
    ----------
    targets : sequence of str
        Names of the targets, in order.
    """

    def __init__(self, targets: Sequence[str], **kwargs):
        super().__init__(**kwargs)
        self.targets = tuple(targets)

    def call(self, outputs, draws):
        """Turn `outputs` (n, targets, 2), mean and log variance, by `draws` (n, 3)."""
        place = {name: k for k, name in enumerate(self.targets)}
        # the last that was done comes off first
        for k, (negative, swapped) in enumerate(_SYMMETRIES):
            step = len(_SYMMETRIES) - 1 - k
            order = [place[swapped.get(name, name)] for name in self.targets]
            sign = [[-1.0 if name in negative else 1.0, 1.0] for name in self.targets]
            turned = ops.take(outputs, ops.convert_to_tensor(order), axis=1) * ops.convert_to_tensor(
                sign, outputs.dtype
            )
            outputs = ops.where(ops.reshape(draws[:, step] > 0, (-1, 1, 1)), turned, outputs)
        return outputs

    def compute_output_shape(self, outputs_shape, draws_shape=None):
        return outputs_shape

    def get_config(self):
        return {**super().get_config(), "targets": list(self.targets)}


#: What transposition, the flip in y and that in x make of targets: whose sign changes, and what changes places.
_SYMMETRIES: tuple[tuple[set[str], dict[str, str]], ...] = (
    ({"e1"}, {"x_lens": "y_lens", "y_lens": "x_lens"}),
    ({"e2", "y_lens"}, {}),
    ({"e2", "x_lens"}, {}),
)


@keras.saving.register_keras_serializable(package="lenspipe")
class CalibrationJitter(keras.layers.Layer):
    """Multiply each band of each stamp by its own factor of about 1; in training only.

    Zero points of surveys are good to a few per cent, and colours tell redshifts: a network trained on perfect ones is
    misled by a real band that is 2 % too bright.

    Parameters
    ----------
    error : float
        Scatter of the logarithm of the factors: 0.02 = 2 %.
    seed : int, optional
    """

    def __init__(self, error: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not error >= 0:
            raise ValueError(f"CalibrationJitter expects an error >= 0, received {error!r}")
        self.error, self.seed = float(error), seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, image, training=False):
        """Return `image` (n, y, x, b), recalibrated at random if `training`."""
        if not training:
            return image
        shape = (ops.shape(image)[0], 1, 1, image.shape[-1])
        normal = keras.random.normal(shape, dtype=image.dtype, seed=self.seed_generator)
        return ops.multiply(image, ops.exp(self.error * normal))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "error": self.error, "seed": self.seed}


@keras.saving.register_keras_serializable(package="lenspipe")
class Offset(keras.layers.Layer):
    """Move each stamp by whole pixels along both axes; in training only.

    What leaves on one side comes in on the other, which is sky like it.

    Parameters
    ----------
    reach : int
        Largest offset along an axis [px].
    seed : int, optional
    """

    def __init__(self, reach: int, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not reach >= 0:
            raise ValueError(f"Offset expects a reach >= 0 px, received {reach!r}")
        self.reach, self.seed = int(reach), seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, image, training=False):
        """Return `image` (n, y, x, b), moved at random if `training`."""
        if not training:
            return image
        draws = keras.random.randint(
            (ops.shape(image)[0], 2), -self.reach, self.reach + 1, seed=self.seed_generator
        )
        for axis in (1, 2):
            step, moved = ops.reshape(draws[:, axis - 1], (-1, 1, 1, 1)), image
            for k in range(-self.reach, self.reach + 1):
                moved = ops.where(ops.equal(step, k), ops.roll(image, k, axis=axis), moved)
            image = moved
        return image

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "reach": self.reach, "seed": self.seed}
