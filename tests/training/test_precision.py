from pathlib import Path

import keras
import pytest

from lenspipe.training.precision import choose_precision, dtype_policy


@pytest.mark.parametrize("wanted", ["float32", "mixed_bfloat16"])
def test_what_is_asked_for_is_taken(wanted):
    assert choose_precision(wanted) == wanted


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("sse avx512_bf16", "mixed_bfloat16"), ("amx_bf16", "mixed_bfloat16"), ("avx2", "float32")],
)
def test_auto_follows_the_processor(monkeypatch, flags, expected):
    monkeypatch.setattr(Path, "read_text", lambda self: f"flags : {flags}")
    assert choose_precision("auto") == expected


def test_the_policy_is_put_back():
    before = keras.config.dtype_policy().name
    with dtype_policy("mixed_bfloat16"):
        assert keras.layers.Dense(1).compute_dtype == "bfloat16"
    assert keras.config.dtype_policy().name == before
