"""Model bundles: a folder with the networks of all folds and everything known about them.

This file does not import Keras: a bundle's card can be read without it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from astropy.table import Table, vstack

from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.core.schema import SCHEMA_VERSION
from lenspipe.core.survey import same_scale
from lenspipe.core.version import code_version
from lenspipe.io.cards import find_bundle, needs_mask, read_card
from lenspipe.io.files import digest, replacing, write_json
from lenspipe.io.tables import read_table, write_table
from lenspipe.training.calibrate import (
    cross_calibrate,
    fit_calibration,
    measure_calibration,
)
from lenspipe.training.completeness import look_closer
from lenspipe.training.metrics import detector_metrics, find_thresholds, roc_by_threshold
from lenspipe.training.recalibrate import cross_recalibrate, fit_recalibration
from lenspipe.training.regression import look_closer as closer_at_posteriors
from lenspipe.training.regression import regressor_metrics
from lenspipe.training.targets import TRANSFORMS, outputs_of

if TYPE_CHECKING:
    from lenspipe.training.load import Network

#: What the folds of one bundle must have in common.
_COMMON = (
    "task",
    "architecture",
    "bands",
    "pixel_scale",
    "size",
    "targets",
    "survey",
    "data_hash",
    "sets",
    "graded",
    "seed",
    "settings",
)


@dataclass(frozen=True)
class Bundle:
    """A trained ensemble; `card` is the whole of bundle.json."""

    path: Path
    task: str
    architecture: str
    bands: tuple[str, ...]
    pixel_scale: float
    size: int
    targets: tuple[str, ...]
    weights: tuple[Path, ...]
    calibration: Mapping[str, Any]
    metrics: Mapping[str, Any]
    card: Mapping[str, Any]
    _loaded: list[Network] = field(default_factory=list, repr=False, compare=False)

    @property
    def needs_mask(self) -> bool:
        """Whether the networks look at which pixels could not be used (`train.*.channels`)."""
        return needs_mask(self.card)

    @property
    def views(self) -> int:
        """In how many orientations a stamp that may show a lens is looked at (`train.*.views`)."""
        return self.card["training"].get("settings", {}).get("views", 1)

    def networks(self) -> list[Network]:
        """Return the networks, read from disk at the first call.

        Raises
        ------
        InputError
            If one cannot be loaded, or is made for other stamps or outputs than the card says.
        """
        if not self._loaded:
            from lenspipe.training.load import check_shapes, load_network  # Keras takes seconds to import

            covariance = self.card["training"].get("settings", {}).get("covariance", False)
            outputs = (2,) if self.task == "detector" else outputs_of(len(self.targets), covariance)
            networks = [load_network(path, path.stem) for path in self.weights]
            for network, path in zip(networks, self.weights, strict=True):
                check_shapes(network, path, self.size, len(self.bands), outputs, self.needs_mask)
            self._loaded.extend(networks)
        return self._loaded

    def check(self, bands: Sequence[str], pixel_scale: float, size: int, of: str = "") -> None:
        """Refuse data that the networks were not made for; `of` says whose they are.

        Raises
        ------
        ModelMismatch
            If bands (also their order), pixel scale [arcsec] or stamp size [px] differ.
        """
        if tuple(bands) != self.bands:
            self._refuse("bands", ",".join(self.bands), ",".join(bands), of)
        if not same_scale(pixel_scale, self.pixel_scale):
            self._refuse("a pixel scale [arcsec]", f"{self.pixel_scale:g}", f"{pixel_scale:g}", of)
        if size != self.size:
            self._refuse("a stamp size [px]", self.size, size, of)

    def check_arrays(self, image: np.ndarray, noise_sigma: np.ndarray, mask: np.ndarray | None) -> None:
        """Refuse stamps of another shape or without the mask that the networks need (`ModelMismatch`), or not finite
        (`InputError`)."""
        from lenspipe.training.datasets import check_stamps  # Keras takes seconds to import

        shape, expected = image.shape, (self.size, self.size, len(self.bands))
        if shape[1:] != expected or noise_sigma.shape != (shape[0], len(self.bands)):
            arrays = "image (n, y, x, band) and noise_sigma (n, band)"
            self._refuse(arrays, f"stamps {expected}", (shape, noise_sigma.shape))
        given = "none" if mask is None else f"{mask.dtype} {mask.shape}"
        if self.needs_mask and given not in (f"uint8 {shape}", f"bool {shape}"):
            raise ModelMismatch(
                f"the {self.task} {self.path} looks at the stamps' masks and expects one, uint8 {shape}, 0 = usable, "
                f"received {given}; give mask=, which `io.shards.read_shard(PATH, masks=True)` reads"
            )
        check_stamps(image, noise_sigma)

    def check_task(self, task: str) -> None:
        """Refuse to be used for another task; `ModelMismatch`."""
        if self.task != task:
            raise ModelMismatch(f"a {task} is needed, but the model {self.path} is a {self.task}")

    def _refuse(self, what: str, expected: Any, received: Any, of: str = "") -> None:
        raise ModelMismatch(
            f"the {self.task} {self.path} expects {what} {expected}, received {received}{of and f' of {of}'}; "
            "use a model made for these data, train one, or resample the images"
        )


def load_bundle(path: str | Path) -> Bundle:
    """Return a bundle, by folder or packaged name; its networks are read when they are first needed.

    Raises
    ------
    InputError
        If bundle.json or a network is missing, or a network is not the one that the bundle was written
        with; the message names the file.
    """
    path = find_bundle(path)
    card = read_card(path)
    for name, expected in card["weights"].items():
        if not (path / name).is_file():
            raise InputError(f"the network {path / name} is missing; copy the whole bundle or train it again")
        try:
            same = digest(path / name) == expected
        except (OSError, BadZipFile):
            same = False
        if not same:
            raise InputError(f"{path / name} is not the network that {path / 'bundle.json'} was written with")
    return Bundle(
        path=path,
        task=card["task"],
        architecture=card["architecture"],
        bands=tuple(card["bands"]),
        pixel_scale=card["pixel_scale"],
        size=card["stamp_size"],
        targets=tuple(card["targets"]),
        weights=tuple(path / name for name in card["weights"]),
        calibration=card["calibration"],
        metrics=card["metrics"],
        card=card,
    )


def write_bundle(
    folder: str | Path,
    lens_prior: float,
    description: str = "",
    calibration_method: str = "temperature",
    trained: int = 0,
) -> Bundle:
    """Join the folds in a folder to a bundle: metrics.json, history.csv, oof.parquet, bundle.json last.

    Parameters
    ----------
    folder : path
        Holds ``fold-<k>.json``, ``.keras``, ``.oof.parquet`` and ``.history.csv`` of every fold.
    lens_prior : float
        Fraction of lenses among the survey's targets, for p_lens.
    description : str
        A line for the model's card.
    calibration_method : str
        Of a detector: ``temperature`` or ``isotonic``, see `calibrate.fit_calibration`.
    trained : int
        How many of the folds were trained; 0 = all.

    Raises
    ------
    InputError
        If a fold is missing or the folds were not trained alike.
    """
    folder = Path(folder)
    folds = _read_folds(folder, trained)
    first = folds[0]
    oof = vstack([read_table(folder / f"fold-{k}.oof.parquet") for k in range(len(folds))])
    if first["task"] == "detector":
        metrics = detector_metrics(oof, first["seed"])
        balanced = first["settings"]["balance"]
        calibration, diagram = _calibrate_detector(
            oof, lens_prior, calibration_method, first["seed"], balanced
        )
        metrics |= {name: diagram.pop(name) for name in list(diagram) if name.startswith("ece")}
        thresholds = find_thresholds(oof) | {"f_beta": metrics["f_beta_threshold"]}
        curves = {"roc_by_threshold": roc_by_threshold(oof), **look_closer(oof, thresholds), **diagram}
    else:
        calibration = fit_recalibration(oof, first["targets"])
        after, factors = cross_recalibrate(oof, first["targets"])
        metrics = regressor_metrics(after, first["targets"], factors, oof)
        closer = closer_at_posteriors(after, first["targets"])
        thresholds, curves = {}, {target: {**metrics[target], **closer[target]} for target in closer}
    write_table(oof, folder / "oof.parquet")
    _join_histories(folder, len(folds))
    write_json(folder / "metrics.json", {**metrics, **curves})
    names = [f"fold-{k}.keras" for k in range(len(folds))]
    write_json(
        folder / "bundle.json",
        {
            "schema_version": SCHEMA_VERSION,
            "task": first["task"],
            "description": description,
            "architecture": first["architecture"],
            "bands": first["bands"],
            "pixel_scale": first["pixel_scale"],
            "stamp_size": first["size"],
            "targets": {target: TRANSFORMS[target][0] for target in first["targets"]},
            "weights": {name: digest(folder / name) for name in names},
            "training": {key: first[key] for key in ("survey", "data_hash", "sets", "graded", "settings")},
            "seed": first["seed"],
            "folds": [{key: value for key, value in fold.items() if key not in _COMMON} for fold in folds],
            "metrics": metrics,
            "calibration": calibration,
            "thresholds": thresholds,
            "package_version": code_version(),
        },
    )
    return load_bundle(folder)


def _read_folds(folder: Path, trained: int) -> list[dict[str, Any]]:
    try:
        first = json.loads((folder / "fold-0.json").read_text())
        count = trained or first["settings"]["folds"]
        folds = [first, *(json.loads((folder / f"fold-{k}.json").read_text()) for k in range(1, count))]
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing: this fold has not been trained") from None
    for key in _COMMON:
        for fold in folds[1:]:
            if fold[key] != first[key]:
                raise InputError(
                    f"{folder}: fold {fold['fold']} was trained with {key} {fold[key]}, "
                    f"fold 0 with {first[key]}; train them again"
                )
    return folds


def _calibrate_detector(
    oof: Table, lens_prior: float, method: str, seed: int, balanced: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the calibration, fitted on all folds, and its worth on new data: each fold by the others' fit.

    Networks that saw both classes equally often have even odds as their prior, whatever the set's: so has the fit.
    """
    label, score, fold, group = (np.asarray(oof[name]) for name in ("label", "score", "fold", "group"))
    weight = np.asarray(oof["weight"]) if "weight" in oof.colnames else None
    if balanced:
        weight = np.ones(len(label)) if weight is None else weight
        total = np.bincount(label.astype(int), weight, 2)
        weight = weight / np.where(total > 0, total, 1.0)[label.astype(int)]
    if len(np.unique(fold)) == 1:  # a held-out set: its halves check each other
        fold = np.unique(group, return_inverse=True)[1] % 2
    after = cross_calibrate(label, score, fold, method, weight)
    calibration = {**fit_calibration(label, score, method, weight), "lens_prior": float(lens_prior)}
    return calibration, measure_calibration(label, score, after, group, seed)


def _join_histories(folder: Path, count: int) -> None:
    with replacing(folder / "history.csv") as temporary, temporary.open("w", newline="") as out:
        writer = None
        for k in range(count):
            with (folder / f"fold-{k}.history.csv").open(newline="") as handle:
                for row in csv.DictReader(handle):
                    if writer is None:
                        writer = csv.DictWriter(out, fieldnames=list(row))
                        writer.writeheader()
                    writer.writerow(row)
