"""ResNet50 lens finder: the lectures' detector (He et al. 2016; De Bom et al.)."""

from __future__ import annotations

import keras


def resnet50_trunk(size: int, channels: int) -> keras.Model:
    """Return the trunk; with its head on three bands 23,591,810 parameters, 23,538,690 of them trainable."""
    inputs = keras.Input((size, size, channels), name="stamp", dtype="float32")
    return keras.applications.ResNet50(
        weights=None, include_top=False, pooling="avg", input_tensor=inputs, name="trunk"
    )
