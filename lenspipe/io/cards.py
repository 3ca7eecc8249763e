"""Cards of model bundles: `bundle.json`, which tells what a model is without loading it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lenspipe.core.errors import InputError, ModelMismatch

_KEYS = (
    *("task", "architecture", "bands", "pixel_scale", "stamp_size", "targets", "weights"),
    *("folds", "training", "calibration", "metrics"),
)


def read_card(bundle: str | Path, task: str = "") -> dict[str, Any]:
    """Return the card of a bundle.

    Parameters
    ----------
    bundle : path
        The bundle's folder.
    task : str
        What the model is needed for, ``detector`` or ``regressor``; empty = either.

    Raises
    ------
    InputError
        If the folder is not a bundle.
    ModelMismatch
        If it is a model for another task.
    """
    path = Path(bundle) / "bundle.json"
    try:
        card = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{bundle} is not a model bundle, or its training has not ended: cannot read {path} ({error})"
        ) from None
    missing = [key for key in _KEYS if not isinstance(card, dict) or key not in card]
    if missing:
        raise InputError(f"{path} is not a model's card: it lacks {', '.join(missing)}")
    if task and card["task"] != task:
        raise ModelMismatch(f"a {task} is needed, but {bundle} is a {card['task']}")
    return card
