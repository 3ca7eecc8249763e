"""Training curves for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lenspipe.core.errors import ConfigError


def write_board(folder: Path, history: Iterable[Mapping[str, Any]]) -> None:
    """Write the rows of a history as TensorBoard events, a curve a column; old events are replaced.

    Raises
    ------
    ConfigError
        If TensorBoard is not installed.
    """
    try:
        from tensorboard.summary import Writer
    except ImportError:
        raise ConfigError("train.*.tensorboard needs it installed: pip install lenspipe[board]") from None
    for old in folder.glob("events.*"):
        old.unlink()
    writer = Writer(str(folder))
    for row in history:
        for name, value in row.items():
            if name not in ("fold", "epoch"):
                writer.add_scalar(name, value, step=int(row["epoch"]))
    writer.close()
