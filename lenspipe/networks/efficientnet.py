"""EfficientNetV2-B0 lens finder (Tan & Le 2021, arXiv:2104.00298)."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from lenspipe.networks.classifier import build_classifier


def build_efficientnet(
    size: int,
    bands: int,
    dropout: float = 0.1,
    bn_momentum: float = 0.9,
    seed: int = 0,
    channels: Sequence[str] = (),
) -> keras.Model:
    """Return the EfficientNetV2-B0 finder: 5.9 million parameters.

    Its own dropout, which leaves out whole residual branches (stochastic depth), works in training only.
    Parameters and result as for `lenspipe.networks.classifier.build_classifier`.
    """
    return build_classifier(_build_trunk, "efficientnet", size, bands, dropout, bn_momentum, seed, channels)


def _build_trunk(size: int, channels: int) -> keras.Model:
    network = keras.applications.EfficientNetV2B0(
        weights=None,
        include_top=False,
        include_preprocessing=False,  # the stretch is ours, and travels with the model
        pooling="avg",
        input_tensor=keras.Input((size, size, channels), name="stamp", dtype="float32"),
    )
    return keras.Model(network.inputs, network.outputs[0], name="trunk")  # Keras finds its layout by its name
