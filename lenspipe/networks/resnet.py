"""ResNet50 lens finder: the lectures' detector (He et al. 2016; De Bom et al.)."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from lenspipe.networks.classifier import build_classifier


def build_resnet50(
    size: int,
    bands: int,
    dropout: float = 0.1,
    bn_momentum: float = 0.9,
    seed: int = 0,
    channels: Sequence[str] = (),
) -> keras.Model:
    """Return the ResNet50 finder: 23,591,810 parameters on three bands, 23,538,690 of them trainable.

    Parameters and result as for `lenspipe.networks.classifier.build_classifier`.
    """
    return build_classifier(_build_trunk, "resnet50", size, bands, dropout, bn_momentum, seed, channels)


def _build_trunk(size: int, channels: int) -> keras.Model:
    inputs = keras.Input((size, size, channels), name="stamp", dtype="float32")
    return keras.applications.ResNet50(
        weights=None, include_top=False, pooling="avg", input_tensor=inputs, name="trunk"
    )
