"""In what precision a network trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras


def choose_precision(wanted: str) -> str:
    """Return the dtype policy: "auto" is mixed_bfloat16 on a GPU and on processors that compute in it."""
    if wanted != "auto":
        return wanted
    if any(
        "gpu" in device.lower() or "cuda" in device.lower() for device in keras.distribution.list_devices()
    ):
        return "mixed_bfloat16"
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "float32"
    return "mixed_bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Build layers inside the block under a dtype policy, and put the old one back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
