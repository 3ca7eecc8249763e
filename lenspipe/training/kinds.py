"""What a detector is taught beside lens or not: what kind of object it sees, as the truth of simulated sets tells.

To tell a ring from a spiral from a companion a trunk must see what makes a lens, and every stamp tells it so: after
90,000 of the default mixture swift reached an accuracy of 0.81 instead of 0.76 (one run each). The kinds have an output
of their own while a network trains; what is saved has none.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from lenspipe.networks.assemble import seeded_weights
from lenspipe.training.datasets import StampSet
from lenspipe.training.graded import KINDS

#: Weight of the kinds in the loss, beside that of lens or not.
SHARE = 0.5
#: Columns of what a detector tells: non-lens and lens.
_CLASSES = 2


def label_kinds(stamps: StampSet, rows: np.ndarray) -> np.ndarray | None:
    """Return the kinds of all stamps, one-hot (n, kinds), 0 throughout where people graded and nobody knows.

    The kinds are those of the training stamps `rows`. None if these are lenses and one kind of non-lens: that the label
    tells already.
    """
    kinds = np.asarray(stamps.truth["kind"], str)
    known = np.setdiff1d(kinds[rows], KINDS)
    return (kinds[:, None] == known).astype(np.float32) if len(known) > _CLASSES else None


def teach_kinds(model: keras.Model, kinds: int, seed: int) -> keras.Model:
    """Return a network that shares all with the detector `model` and appends the probabilities of kinds to its own."""
    features = model.get_layer("trunk")(model.get_layer("sky_symmetry").output)
    with seeded_weights(seed):
        layer = keras.layers.Dense(kinds, activation="softmax", dtype="float32", name="kinds")
        parts = [model.get_layer("head")(features), layer(features)]
    return keras.Model(model.inputs, keras.layers.Concatenate(dtype="float32")(parts), name="with_kinds")


class TaughtCrossentropy(keras.losses.Loss):
    """The cross entropy of non-lens and lens, and `SHARE` times that of the kinds where they follow."""

    def __init__(self, label_smoothing: float = 0.0, name: str = "taught_crossentropy"):
        super().__init__(name=name, dtype="float32")
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        """Return the loss per stamp (n,)."""
        loss = lens_loss(y_true, y_pred, self.label_smoothing)
        if y_pred.shape[-1] == _CLASSES:
            return loss
        kinds = ops.categorical_crossentropy(y_true[:, _CLASSES:], y_pred[:, _CLASSES:])
        return ops.add(loss, ops.multiply(SHARE, kinds))


def lens_loss(y_true, y_pred, label_smoothing: float = 0.0):
    """Return the cross entropy of non-lens and lens per stamp (n,)."""
    return keras.losses.categorical_crossentropy(
        y_true[:, :_CLASSES], y_pred[:, :_CLASSES], label_smoothing=label_smoothing
    )


def lens_accuracy(y_true, y_pred):
    """Return 1 for each stamp (n,) whose likelier class is the true one."""
    return keras.metrics.categorical_accuracy(y_true[:, :_CLASSES], y_pred[:, :_CLASSES])
