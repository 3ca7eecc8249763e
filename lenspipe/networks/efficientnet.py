"""EfficientNetV2-B0 lens finder (Tan & Le 2021, arXiv:2104.00298)."""

from __future__ import annotations

import keras


def efficientnet_trunk(size: int, channels: int) -> keras.Model:
    """Return the trunk: 5.9 million parameters.

    Its own dropout, which leaves out whole residual branches (stochastic depth), works in training only.
    """
    network = keras.applications.EfficientNetV2B0(
        weights=None,
        include_top=False,
        include_preprocessing=False,  # the stretch is ours, and travels with the model
        pooling="avg",
        input_tensor=keras.Input((size, size, channels), name="stamp", dtype="float32"),
    )
    return keras.Model(network.inputs, network.outputs[0], name="trunk")  # Keras finds its layout by its name
