"""Small copies of bundles, to be given away: half-precision weights, and more on the card."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lenspipe.core.errors import InputError
from lenspipe.io.cards import read_card
from lenspipe.io.files import digest, replacing, write_json
from lenspipe.networks.assemble import name_inputs
from lenspipe.training.bundle import Bundle, load_bundle
from lenspipe.training.load import load_network

#: Largest change of an output by the lost digits, on noise: a score's error over dropout passes is larger.
_SAME = 0.01
_WEIGHTS = "model.weights.h5"


def pack_bundle(
    bundle: str | Path,
    folder: str | Path,
    description: str = "",
    folds: Sequence[int] = (),
    facts: Mapping[str, Any] | None = None,
) -> Bundle:
    """Write a small copy of a bundle: float16 weights, the card, and what the report shows of its training.

    Parameters
    ----------
    bundle, folder : path
        From, and to; the latter must not hold another model.
    description : str
        A line for the card: what it is for.
    folds : sequence of int
        The networks to keep; empty = all. The calibration is that of all of them, each on its own held-out fold.
    facts : mapping, optional
        More for the card, e.g. metrics on an independent test set, and limits.

    Raises
    ------
    InputError
        If a fold does not exist, the folder holds something else, or half precision changes what the networks say.
    """
    source, target = load_bundle(bundle), Path(folder)
    numbers = sorted(set(folds)) or list(range(len(source.weights)))
    if numbers[-1] >= len(source.weights) or numbers[0] < 0:
        raise InputError(f"{bundle} has the folds 0 to {len(source.weights) - 1}, received {list(folds)}")
    if "shares" in source.calibration and len(numbers) < len(source.weights):
        raise InputError(f"{bundle} is a combination, whose networks belong together: leave out --fold")
    if (target / "bundle.json").exists():
        raise InputError(f"{target} holds a model already; choose another folder")
    target.mkdir(parents=True, exist_ok=True)
    names = []
    familiar = []
    for k, number in enumerate(numbers):
        names.append(f"fold-{k}.keras")
        halve_weights(source.weights[number], target / names[-1])
        _check_same(source, number, target / names[-1])
        if "familiar" in source.card:
            familiar.append(f"fold-{k}.familiar.npz")
            shutil.copyfile(source.path / f"fold-{number}.familiar.npz", target / familiar[-1])
    for name in ("metrics.json", "history.csv", "oof.parquet"):
        shutil.copyfile(source.path / name, target / name)
    card = {**read_card(source.path), **(facts or {})}
    card["folds"] = [
        {**fold, **{key: _without_folders(fold.get(key, "")) for key in ("data", "start")}}
        for fold in card["folds"]
    ]
    card |= {
        "description": description or card["description"],
        "packed": {"dtype": "float16", "folds": numbers},
        "weights": {name: digest(target / name) for name in names},
        **({"familiar": {name: digest(target / name) for name in familiar}} if familiar else {}),
    }
    write_json(target / "bundle.json", card)  # last: without it a folder is no model
    return load_bundle(target)


def read_figures(folder: Path) -> dict[str, Any]:
    """Return what a card tells of a `lenspipe evaluate`: its figures with their errors, and on what data."""
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{folder} holds no metrics of `lenspipe evaluate` ({error})") from None
    figures = {name: value for name, value in metrics.items() if isinstance(value, (int, float, str))}
    told = ("bias", "scatter68", "outlier_frac", "coverage", "n_test")
    figures |= {
        target: {name: value[name] for name in told}
        for target, value in metrics.items()
        if isinstance(value, dict) and set(told) <= set(value)
    }
    return {"data": metrics.get("data", ""), **figures}


def _without_folders(data: str) -> str:
    """Return the names of training sets or models: where they lay on the machine that trained helps nobody."""
    return ", ".join(Path(folder).name for folder in data.split(", "))


def halve_weights(source: Path, target: Path) -> None:
    """Write a network with its float32 weights as float16; it is float32 again when it is loaded."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    half = io.BytesIO()
    with h5py.File(io.BytesIO(members[_WEIGHTS])) as old, h5py.File(half, "w") as new:
        _copy_group(old, new, source)
    members[_WEIGHTS] = half.getvalue()
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _copy_group(old: h5py.Group, new: h5py.Group, source: Path) -> None:
    new.attrs.update(old.attrs)
    for name, item in old.items():
        if isinstance(item, h5py.Group):
            _copy_group(item, new.create_group(name), source)
            continue
        values = item[()]
        if values.dtype == np.float32:
            with np.errstate(over="ignore"):
                values = values.astype(np.float16)
            if not np.isfinite(values).all():
                raise InputError(f"{source}: {item.name} has weights that half precision cannot hold")
        new.create_dataset(name, data=values).attrs.update(item.attrs)


def _check_same(source: Bundle, number: int, half: Path) -> None:
    rng = np.random.default_rng(1)
    shape = (16, source.size, source.size, len(source.bands))
    image = rng.normal(0.0, 1.0, shape).astype(np.float32) * rng.uniform(1, 30, (16, 1, 1, 1))
    mask = np.zeros(shape, np.uint8) if source.needs_mask else None
    stamps = name_inputs(image, np.ones((16, len(source.bands)), np.float32), mask)
    answers = []
    for network in (source.networks()[number], load_network(half, half.stem)):
        features = network.trunk.predict_on_batch(stamps)
        masks = {
            name: np.ones((1, 1, 1, len(rates)), np.float32) for name, rates in network.mask_rates.items()
        }
        answers.append(np.asarray(network.passes.predict_on_batch({"features": features, "masks": masks})))
    change = float(np.abs(answers[0] - answers[1]).max())
    if not change < _SAME:
        raise InputError(
            f"{source.weights[number]}: half precision changes its answers by {change:.3g}, more than {_SAME:g}; "
            "give the whole bundle away"
        )
