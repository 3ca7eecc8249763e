"""Training state on disk: weights, optimizer, epoch and history, whole or not at all."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import keras
import numpy as np

from lenspipe.io.files import replacing


@dataclass
class State:
    """What a training knows besides its variables.

    Parameters
    ----------
    hardness : ndarray (n,)
        Last known loss of each training stamp.
    epoch : int
        Epochs done.
    history : list of dict
        A row an epoch.
    best : list of ndarray
        Weights of the best epoch, where it is looked for.
    seconds : float
        How long all epochs took; not part of the history, which is the same on any machine.
    """

    hardness: np.ndarray
    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0


def save_checkpoint(path: Path, key: str, model: keras.Model, state: State) -> None:
    """Write the state after an epoch; `key` stands for the job that it belongs to."""
    arrays = {f"v{k:05d}": np.asarray(keras.ops.convert_to_numpy(v)) for k, v in enumerate(_variables(model))}
    arrays |= {f"b{k:05d}": value for k, value in enumerate(state.best)}
    header = json.dumps(
        {"key": key, "epoch": state.epoch, "history": state.history, "seconds": state.seconds}
    )
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, header=np.frombuffer(header.encode(), np.uint8), hardness=state.hardness, **arrays)


def load_checkpoint(path: Path, key: str, model: keras.Model) -> State | None:
    """Put the variables back into a compiled model and return the rest of the state.

    None if there is no checkpoint, or one of another job (other data, settings or code), or a damaged one. These two
    are put aside under another name, as the next one would take their place: with the old settings and code a job of
    days can still be gone on with.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as saved:
            header = json.loads(saved["header"].tobytes())
            variables = _variables(model)
            if header["key"] == key and len(variables) == sum(name.startswith("v") for name in saved.files):
                values = [saved[f"v{k:05d}"] for k in range(len(variables))]
                best = [saved[name] for name in sorted(saved.files) if name.startswith("b")]
                state = State(saved["hardness"], header["epoch"], header["history"], best, header["seconds"])
                for variable, value in zip(variables, values, strict=True):  # all could be read
                    variable.assign(value)
                return state
            other = header["key"]
    except (BadZipFile, zlib.error, EOFError, KeyError, ValueError):
        other = "damaged"
    path.replace(path.with_name(f"{path.stem}.{other}{path.suffix}"))
    return None


def _variables(model: keras.Model) -> list[Any]:
    model.optimizer.build(model.trainable_variables)
    return [*model.weights, *model.optimizer.variables]
