"""Cards of model bundles: `bundle.json`, which tells what a model is without loading it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.core.survey import same_scale
from lenspipe.core.types import StampFormat

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


def stamps_of(card: dict[str, Any]) -> StampFormat:
    """Return the stamps that a model was made for."""
    return StampFormat(tuple(card["bands"]), int(card["stamp_size"]), float(card["pixel_scale"]))


def needs_mask(card: dict[str, Any]) -> bool:
    """Tell whether a model looks at which pixels could not be used."""
    return "mask" in card["training"].get("settings", {}).get("channels", ())


def check_same_stamps(models: Sequence[tuple[str | Path, StampFormat]]) -> None:
    """Refuse models, given as (bundle, its stamps), that cannot look at the same stamps.

    Raises
    ------
    ModelMismatch
        If bands (also their order), stamp size or pixel scale differ; the message says which, and whose.
    """
    first, form = models[0]
    for other, wanted in models[1:]:
        if wanted.bands != form.bands:
            differ = "bands", ",".join(form.bands), ",".join(wanted.bands)
        elif wanted.size != form.size:
            differ = "a stamp size [px] of", form.size, wanted.size
        elif not same_scale(wanted.pixel_scale, form.pixel_scale):
            differ = "a pixel scale [arcsec] of", f"{form.pixel_scale:g}", f"{wanted.pixel_scale:g}"
        else:
            continue
        what, mine, theirs = differ
        raise ModelMismatch(
            f"models that work together must be made for the same stamps: {first} expects {what} {mine}, "
            f"{other} expects {theirs}; give models that agree"
        )
