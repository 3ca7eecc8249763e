"""Cards of model bundles: `bundle.json`, which tells what a model is without loading it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError

from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.core.survey import same_scale
from lenspipe.core.types import StampFormat

#: A network lies in the bundle's own folder: its name has no way out of it.
_FileName = Annotated[str, Field(pattern=r"^[\w.-]+\.keras$")]
_Share = Annotated[float, Field(gt=0, lt=1)]


class _Calibration(BaseModel):
    """What turns a detector's scores into probabilities."""

    train_prior: _Share
    lens_prior: _Share
    method: Literal["temperature", "isotonic"] = "temperature"
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    score: list[float] = []
    probability: list[float] = []


class _Training(BaseModel):
    survey: str
    settings: dict[str, Any] = {}


class _Card(BaseModel):
    """What every card must say, so that whoever reads it need not look twice."""

    task: Literal["detector", "regressor"]
    architecture: str
    bands: list[str] = Field(min_length=1)
    pixel_scale: float = Field(gt=0, allow_inf_nan=False, strict=True)
    stamp_size: int = Field(gt=0, strict=True)
    targets: dict[str, str]
    weights: dict[_FileName, str] = Field(min_length=1)
    familiar: dict[Annotated[str, Field(pattern=r"^[\w.-]+\.npz$")], str] = {}
    folds: list[dict[str, Any]] = Field(min_length=1)
    training: _Training
    calibration: Mapping[str, Any]
    metrics: dict[str, Any]


class _DetectorCard(_Card):
    calibration: _Calibration


def packaged_models() -> dict[str, Path]:
    """Return the folders of the models that come with lenspipe, by name."""
    folder = Path(str(resources.files("lenspipe.core"))) / "data" / "models"
    return {path.parent.name: path.parent for path in sorted(folder.glob("*/bundle.json"))}


def find_bundle(bundle: str | Path) -> Path:
    """Return the folder of a bundle that is given by its folder or, packaged, by its name."""
    folder = Path(bundle)
    return folder if folder.exists() else packaged_models().get(str(bundle), folder)


def packaged_for(task: str, survey: str) -> list[str]:
    """Return the names of the packaged models that a survey is searched with; several detectors are a committee.

    Those whose card says ``aside`` are used only where they are named.
    """
    cards = {name: read_card(folder) for name, folder in packaged_models().items()}
    return [
        name
        for name, card in cards.items()
        if (card["task"], card["training"]["survey"]) == (task, survey) and not card.get("aside")
    ]


def regressor_beside(detector: str | Path, survey: str) -> str:
    """Return the name of the packaged regressor of a survey for the stamps that a detector sees; empty = none."""
    form = stamps_of(read_card(detector, "detector"))
    names = packaged_for("regressor", survey)
    return next((name for name in names if stamps_of(read_card(name)) == form), "")


def describe_card(card: dict[str, Any]) -> list[str]:
    """Return a model's card as lines to read: what it is for, how it was made, how good it is, and its limits."""
    form, training, folds = stamps_of(card), card["training"], card["folds"]
    hours = sum(fold.get("train_seconds", 0.0) for fold in folds) / 3600
    first = folds[0]
    lines = [
        f"{card['task']}, {card['architecture']}: {training['survey']} {''.join(form.bands)}, "
        f"{form.size} px of {form.pixel_scale:g} arcsec"
        + (", used where it is named" if card.get("aside") else ""),
        card.get("description", ""),
        f"trained on {first['n_train']:,} stamps, {training['settings']['epochs']} epochs, "
        f"{len(card['weights'])} network(s), {hours:.1f} h, seed {card['seed']}"
        + (f", beginning with the weights of {first['start']}" if first.get("start") else ""),
    ]
    scores = card.get("test", card["metrics"])
    if "auroc" in scores:
        sample = "held-out fold" if "test" not in card else card["test"]["data"]
        told = ", ".join(
            f"{words} {scores[key]:.{digits}f}"
            for key, words, digits in (
                ("auroc", "AUROC", 4), ("tpr_at_fpr_1e-3", "TPR at FPR 1e-3", 3), ("tpr10", "TPR10", 3)
            )
        )  # fmt: skip
        lines.append(f"{told} ({scores['n_lens']} lenses, {scores['n_nonlens']} others: {sample})")
    for target in card["targets"] if isinstance(card["targets"], dict) else ():
        if "scatter68" in scores.get(target, ()):
            m = scores[target]
            lines.append(
                f"{target}: 68 % scatter {m['scatter68']:.3f}, bias {m['bias']:+.3f}, 68 % intervals hold "
                f"{m['coverage']['0.68']:.2f} ({m['n_test']:,} lenses)"
            )
    return [line for line in (*lines, *card.get("limits", ())) if line]


def read_card(bundle: str | Path, task: str = "") -> dict[str, Any]:
    """Return the card of a bundle.

    Parameters
    ----------
    bundle : path
        The bundle's folder, or a packaged model's name.
    task : str
        What the model is needed for, ``detector`` or ``regressor``; empty = either.

    Raises
    ------
    InputError
        If the folder is not a bundle, or its card lacks something or has nonsense in its place.
    ModelMismatch
        If it is a model for another task.
    """
    path = find_bundle(bundle) / "bundle.json"
    try:
        card = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{bundle} is not a model bundle, or its training has not ended: cannot read {path} ({error}); "
            f"packaged models are {', '.join(packaged_models()) or 'none'}"
        ) from None
    try:
        kind = _DetectorCard if isinstance(card, dict) and card.get("task") == "detector" else _Card
        kind.model_validate(card)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path} is not a model's card: {place or 'all of it'}: {first['msg']}") from None
    if task and card["task"] != task:
        raise ModelMismatch(f"a {task} is needed, but {bundle} is a {card['task']}")
    return card


def weights_of(bundle: str | Path) -> list[Path]:
    """Return the files with a bundle's networks; `InputError` if it is none."""
    return [find_bundle(bundle) / name for name in sorted(read_card(bundle)["weights"])]


def stamps_of(card: dict[str, Any]) -> StampFormat:
    """Return the stamps that a model was made for."""
    return StampFormat(tuple(card["bands"]), int(card["stamp_size"]), float(card["pixel_scale"]))


def sets_of(card: dict[str, Any]) -> tuple[str, ...]:
    """Return the hashes of the sets that a model was trained on."""
    training = card["training"]
    return tuple(training.get("sets", (training.get("data_hash", ""),)))


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
