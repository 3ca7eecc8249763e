"""Heads under many dropout masks at once, each mask shared by all stamps."""

from __future__ import annotations

from typing import Any

import keras

from lenspipe.networks.dropout import MCDropout, fixed_masks
from lenspipe.networks.layers import TargetScale

ops: Any = keras.ops  # its annotations allow None everywhere


def mask_head(head: keras.Model) -> keras.Model:
    """Return a model of features (n, f) and masks (c, t, 1, width), c rows of t, to the head's outputs (., ., n, ...).

    The first two axes together are the passes in their order.
    """
    own = [
        layer
        for layer in head.layers
        if not isinstance(layer, (keras.layers.InputLayer, keras.layers.Reshape))
    ]
    if [type(layer) for layer in own[1:]] == [keras.layers.EinsumDense, TargetScale] and isinstance(
        own[0], MCDropout
    ):
        return _Folded(head, *own)
    return _Repeated(head)


class _Repeated(keras.Model):
    """Any head: it sees all stamps once for each mask."""

    def __init__(self, head: keras.Model):
        super().__init__(name="passes")
        self.head = head

    def call(self, inputs):
        features = inputs["features"]

        def some_passes(masks):
            count = ops.shape(next(iter(masks.values())))[0]

            def each_stamp(mask):
                return ops.reshape(ops.repeat(mask, ops.shape(features)[0], axis=1), (-1, mask.shape[-1]))

            with fixed_masks({name: each_stamp(mask) for name, mask in masks.items()}):
                out = self.head(ops.tile(features, (count, 1)), training=False)
            return ops.reshape(out, (count, -1, *out.shape[1:]))

        return ops.map(some_passes, inputs["masks"])


class _Folded(keras.Model):
    """A head of dropout, one linear layer and a scale, as regressors have it: masks are multiplied into the weights.

    Masks are the same for all stamps, so a thousand passes are one product of features and weights, with no copy of
    the features for each of them.
    """

    def __init__(self, head: keras.Model, dropout: Any, linear: Any, scale: Any):
        super().__init__(name="passes")
        self.head, self.dropout, self.linear, self.scale = head, dropout, linear, scale

    def call(self, inputs):
        # the kernel is (k, w, o) where each target has features of its own, else (w, k, o)
        kernel, bias = self.linear.kernel, self.linear.bias
        groups = kernel.shape[0] if len(self.linear.input.shape) == 3 else 1
        width, outputs = int(self.dropout.input.shape[-1]) // groups, tuple(bias.shape)
        masks = ops.reshape(inputs["masks"][self.dropout.name], (-1, groups * width))
        with fixed_masks({self.dropout.name: masks}):
            kept = ops.reshape(self.dropout(ops.ones_like(masks)), (-1, groups, width, 1))
        weights = kept * ops.reshape(kernel, (groups, width, -1))  # (t, g, w, o)
        count, each = ops.shape(weights)[0], weights.shape[-1]
        weights = ops.reshape(ops.transpose(weights, (1, 2, 0, 3)), (groups, width, -1))
        features = ops.transpose(ops.reshape(inputs["features"], (-1, groups, width)), (1, 0, 2))
        out = ops.reshape(ops.matmul(features, weights), (groups, -1, count, each))
        out = ops.reshape(ops.transpose(out, (2, 1, 0, 3)), (-1, *outputs)) + bias
        return ops.reshape(self.scale(out), (1, count, -1, *outputs))
