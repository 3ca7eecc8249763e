"""Muon for convolutions."""

from __future__ import annotations

import math

import keras
from keras import ops


class ConvMuon(keras.optimizers.Muon):
    """Momentum whose steps are made orthogonal (Jordan et al. 2024, Liu et al. 2025), as Keras has it, also of kernels.

    Keras' moves matrices so, and kernels, which are most of a network here, by AdamW. A kernel (y, x, in, out) is the
    matrix (y * x * in, out) of what it does. Output layers, biases and batch norms stay with AdamW.
    """

    _OUTPUTS = ("probabilities", "kinds")

    def _should_use_adamw(self, variable):
        return len(variable.shape) not in (2, 4) or any(name in variable.path for name in self._OUTPUTS)

    def zeropower_via_newtonschulz5(self, x, steps: int):
        """Return the momentum `x` with all its singular values near 1."""
        matrix = ops.reshape(x, (-1, x.shape[-1]))
        return ops.reshape(super().zeropower_via_newtonschulz5(matrix, steps), x.shape)

    def lr_adjust(self, x):
        """Return the step `x` at the size that AdamW's would have (Liu et al. 2025, section 2.2)."""
        return ops.multiply(x, self.rms_rate * math.sqrt(max(math.prod(x.shape[:-1]), x.shape[-1])))
