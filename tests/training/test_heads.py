from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from lenspipe.networks.dropout import dropout_layers
from lenspipe.networks.regressor import build_regressor
from lenspipe.training.heads import _Folded, _Repeated, mask_head

KINDS = {
    "branches": {"hidden": (16,)},
    "one": {"hidden": ()},
    "covariance": {"hidden": (16,), "covariance": True},
    "learnt": {"hidden": (16,), "learn_dropout": True},
}


def tower(x):
    return layers.GlobalAveragePooling2D()(layers.Conv2D(12, 3)(x))


@pytest.mark.parametrize("kind", KINDS)
def test_masks_folded_into_the_weights_say_what_a_pass_for_each_says(kind):
    model = build_regressor(
        tower,
        "small",
        12,
        3,
        dropout=0.3,
        target_mean=(0.1, 5.0, 0.3),
        target_std=(0.5, 2.0, 0.1),
        **KINDS[kind],
    )
    head = model.get_layer("head")
    rng = np.random.default_rng(1)
    for weight in head.weights:  # biases of zero would hide one that is lost
        weight.assign(rng.normal(size=weight.shape))
    width = head.input_shape[-1]
    masks = {dropout_layers(head)[0].name: (rng.random((2, 5, 1, width)) > 0.3).astype(np.float32)}
    inputs = {"features": rng.normal(size=(7, width)).astype(np.float32), "masks": masks}
    folded, repeated = mask_head(head), _Repeated(head)
    assert isinstance(folded, _Folded)
    one, other = (np.asarray(each.predict_on_batch(inputs)) for each in (folded, repeated))
    assert other.shape[:3] == (2, 5, 7)
    np.testing.assert_allclose(
        one.reshape(-1, *one.shape[2:]), other.reshape(one.shape[1:]), rtol=2e-4, atol=2e-4
    )
    assert np.ptp(one, axis=1).max() > 0.1  # masks do something


def test_other_heads_see_all_stamps_for_each_mask():
    inputs = keras.Input((8,))
    head = keras.Model(inputs, layers.Dense(2, activation="softmax")(inputs))
    assert isinstance(mask_head(head), _Repeated)
