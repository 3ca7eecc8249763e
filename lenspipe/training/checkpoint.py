"""Training state on disk: weights, optimizer, epoch and history, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from lenspipe.io.files import replacing


def save_checkpoint(path: Path, key: str, model: keras.Model, epoch: int, history: Sequence[Mapping]) -> None:
    """Write the state after `epoch` epochs; `key` stands for the job that it belongs to."""
    arrays = {f"v{k:05d}": np.asarray(keras.ops.convert_to_numpy(v)) for k, v in enumerate(_variables(model))}
    header = json.dumps({"key": key, "epoch": epoch, "history": list(history)})
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, header=np.frombuffer(header.encode(), np.uint8), **arrays)


def load_checkpoint(path: Path, key: str, model: keras.Model) -> tuple[int, list[dict[str, Any]]]:
    """Put the state back into a compiled model; return (epochs done, history).

    A checkpoint of another job (other data, settings or code) is left alone: (0, []).
    """
    if not path.is_file():
        return 0, []
    with np.load(path, allow_pickle=False) as state:
        header = json.loads(state["header"].tobytes())
        variables = _variables(model)
        if header["key"] != key or len(variables) != len(state.files) - 1:
            return 0, []
        for k, variable in enumerate(variables):
            variable.assign(state[f"v{k:05d}"])
    return header["epoch"], header["history"]


def _variables(model: keras.Model) -> list[Any]:
    model.optimizer.build(model.trainable_variables)
    return [*model.weights, *model.optimizer.variables]
