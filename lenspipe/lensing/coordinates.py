"""What all profiles share: tensors of one float dtype, and the axes of an ellipse.

Angles are those of lenspipe's tables: degrees, counter-clockwise from +y.

float64 is kept throughout on TensorFlow. On JAX, Keras (3.15) takes sines, cosines and arctangents in
float32 even where JAX runs in 64 bits, so that 1e-7 is the accuracy to be had there.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

ops: Any = keras.ops  # its annotations allow None everywhere

RADIANS = math.pi / 180.0


def as_tensors(*values: Any) -> list[Any]:
    """Return arrays and numbers as tensors of the one float dtype that the arrays have.

    Parameters
    ----------
    *values : array, tensor or number
        Numbers take the arrays' dtype; without any array it is Keras' default.

    Raises
    ------
    TypeError
        If arrays of different float dtypes meet: a promotion would hide where float64 was lost.
    """
    tensors = [value if _is_number(value) else ops.convert_to_tensor(value) for value in values]
    found = {keras.backend.standardize_dtype(tensor.dtype) for tensor in tensors if not _is_number(tensor)}
    found = {dtype for dtype in found if "float" in dtype}
    if len(found) > 1:
        raise TypeError(
            f"arguments must share one float dtype, received {' and '.join(sorted(found))}; cast them first"
        )
    dtype = found.pop() if found else keras.config.floatx()
    return [_to_tensor(tensor, dtype) for tensor in tensors]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.generic))


def _to_tensor(value: Any, dtype: str) -> Any:
    if _is_number(value):  # ops.cast would take it through float32
        return ops.convert_to_tensor(np.asarray(value, dtype))
    return ops.cast(value, dtype)


def to_major_axis(dx: Any, dy: Any, phi: Any) -> tuple[Any, Any]:
    """Return offsets along the major and the minor axis of an ellipse.

    Parameters
    ----------
    dx, dy : tensor
        Offsets from the centre.
    phi : tensor
        Position angle of the major axis, degrees counter-clockwise from +y.
    """
    cos, sin = ops.cos(phi * RADIANS), ops.sin(phi * RADIANS)
    return cos * dy - sin * dx, -cos * dx - sin * dy


def from_major_axis(u: Any, v: Any, phi: Any) -> tuple[Any, Any]:
    """Return the (x, y) components of a vector given along the major and the minor axis."""
    cos, sin = ops.cos(phi * RADIANS), ops.sin(phi * RADIANS)
    return -sin * u - cos * v, cos * u - sin * v
