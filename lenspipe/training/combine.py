"""Several regressors as one: each target is the weighted mean of those that know it best (Hezaveh et al. 2017)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table
from scipy.optimize import nnls

from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.core.version import code_version
from lenspipe.io.cards import check_same_stamps, stamps_of
from lenspipe.io.files import digest, write_json, write_text
from lenspipe.io.tables import read_table, write_table
from lenspipe.training import regression
from lenspipe.training.bundle import Bundle, load_bundle
from lenspipe.training.posterior import WITH_MOMENTS
from lenspipe.training.recalibrate import cross_recalibrate, fit_recalibration
from lenspipe.training.targets import from_network

#: How much the constraint that shares add up to 1 weighs beside the lenses.
_FIRM = 1e4


def combine_bundles(bundles: Sequence[str | Path], folder: str | Path, description: str = "") -> Bundle:
    """Write a bundle of the networks of several, with the share of each in each target.

    Shares are not negative, add up to 1, and make the weighted means of the out-of-fold predictions as good as can be,
    each lens weighted by its error; line, width and intervals are fitted anew to these means.

    Parameters
    ----------
    bundles : sequence of path
        Regressors of the same targets for the same stamps, trained on the same sets, with the same lenses held out.
    folder : path
        A new one.
    description : str
        A line for the card.

    Raises
    ------
    InputError
        If there is only one, or the folder holds a model already.
    ModelMismatch
        If they do not belong together.
    """
    parts, folder = [load_bundle(path) for path in bundles], Path(folder)
    _check(parts, folder)
    targets = parts[0].targets
    tables = [read_table(part.path / "oof.parquet") for part in parts]
    for table in tables:
        table.sort(_ids(table))
    shares = {target: fit_shares(tables, target) for target in targets}
    oof = mix_tables(tables, shares)
    calibration: dict[str, Any] = fit_recalibration(oof, targets)
    # of a bundle of k folds each network has a k-th of its bundle's share
    calibration["shares"] = {
        target: [
            share / len(part.weights)
            for share, part in zip(shares[target], parts, strict=True)
            for _ in part.weights
        ]
        for target in targets
    }
    after, factors = cross_recalibrate(oof, targets)
    metrics = regression.regressor_metrics(after, targets, factors, oof)
    folder.mkdir(parents=True, exist_ok=True)
    names, familiar = _copy_networks(parts, folder)
    write_table(oof, folder / "oof.parquet")
    histories = [(part.path / "history.csv").read_text().splitlines(keepends=True) for part in parts]
    rows = (line for lines in histories for line in lines[1:])
    write_text(folder / "history.csv", "".join([histories[0][0], *rows]))
    closer = regression.look_closer(after, targets)
    write_json(folder / "metrics.json", {target: {**metrics[target], **closer[target]} for target in targets})
    card = {
        **parts[0].card,
        "architecture": "+".join(part.architecture for part in parts),
        "description": description,
        "weights": {name: digest(folder / name) for name in names},
        "familiar": {name: digest(folder / name) for name in familiar},
        "folds": [fold for part in parts for fold in part.card["folds"]],
        "metrics": metrics,
        "calibration": calibration,
        "package_version": code_version(),
    }
    write_json(folder / "bundle.json", card)
    return load_bundle(folder)


def fit_shares(tables: Sequence[Table], target: str) -> list[float]:
    """Return the share of each table's ``<target>_mean`` in their best weighted mean; rows are the same lenses."""
    means = np.stack([np.asarray(table[f"{target}_mean"], np.float64) for table in tables], axis=1)
    truth = np.asarray(tables[0][f"{target}_truth"], np.float64)
    sigma = np.sqrt(
        np.mean([np.asarray(table[f"{target}_sigma"], np.float64) ** 2 for table in tables], axis=0)
    )
    weight = 1.0 / sigma / np.sqrt(np.sum(sigma**-2.0))
    # a row beside the lenses holds the sum; means are taken about the truth, or the constraint would be drowned
    system = np.vstack([weight[:, None] * (means - truth[:, None]), np.full(means.shape[1], _FIRM)])
    found, _ = nnls(system, np.append(np.zeros(len(truth)), _FIRM))
    return (found / found.sum()).tolist()


def mix_tables(tables: Sequence[Table], shares: dict[str, list[float]]) -> Table:
    """Return out-of-fold rows of a mixture: its moments, and percentiles as if it were a Gaussian."""
    out = tables[0].copy()
    for target, weights in shares.items():
        part = {
            name: np.stack([np.asarray(table[f"{target}_{name}"], np.float64) for table in tables])
            for name in WITH_MOMENTS
        }
        weight = np.array(weights)[:, None]
        mean = (weight * part["mean"]).sum(axis=0)
        sigma = np.sqrt((weight * (part["sigma"] ** 2 + (part["mean"] - mean) ** 2)).sum(axis=0))
        median = from_network(mean, target)
        out[f"{target}_mean"], out[f"{target}_sigma"], out[target] = mean, sigma, median
        out[f"{target}_err_lo"] = median - from_network(mean - sigma, target)
        out[f"{target}_err_hi"] = from_network(mean + sigma, target) - median
        for name in ("aleatoric", "epistemic"):
            out[f"{target}_{name}"] = np.sqrt((weight * part[name] ** 2).sum(axis=0))
    out["novelty"] = np.mean([np.asarray(table["novelty"]) for table in tables], axis=0)
    return out


def _check(parts: Sequence[Bundle], folder: Path) -> None:
    if len(parts) < 2:
        raise InputError(f"a combination needs two regressors at least, received {len(parts)}")
    if (folder / "bundle.json").exists():
        raise InputError(f"{folder} holds a model already; choose another folder")
    first = parts[0]
    for part in parts:
        part.check_task("regressor")
        if "shares" in part.calibration:
            raise InputError(f"{part.path} is a combination already; give the bundles that it was made of")
        if "familiar" not in part.card:
            raise InputError(f"{part.path} was trained by an earlier version; train it again")
        for what, mine, theirs in (
            ("targets", first.targets, part.targets),
            ("training sets", first.card["training"]["data_hash"], part.card["training"]["data_hash"]),
            ("channels", *(p.card["training"]["settings"].get("channels", []) for p in (first, part))),
            ("covariance", *(p.card["training"]["settings"].get("covariance", False) for p in (first, part))),
        ):
            if mine != theirs:
                raise ModelMismatch(
                    f"{first.path} and {part.path} cannot be combined: their {what} are {mine} and {theirs}; "
                    "train them alike"
                )
    check_same_stamps([(part.path, stamps_of(part.card)) for part in parts])
    samples = [read_table(part.path / "oof.parquet") for part in parts]
    for table in samples:
        table.sort(_ids(table))
    for part, mine in zip(parts[1:], samples[1:], strict=True):
        if not all(np.array_equal(mine[name], samples[0][name]) for name in _ids(samples[0])):
            raise ModelMismatch(
                f"{first.path} and {part.path} cannot be combined: they held out other lenses; train them with the "
                "same folds, train_folds and seed"
            )


def _ids(table: Table) -> list[str]:
    """Return the columns that tell lenses apart: several sets count their samples each from 0."""
    return [name for name in ("set", "sample_id") if name in table.colnames]


def _copy_networks(parts: Sequence[Bundle], folder: Path) -> tuple[list[str], list[str]]:
    """Copy networks and what they know of their training, numbered through; return the names."""
    names, familiar = [], []
    for part in parts:
        for path, known in zip(part.weights, part.card["familiar"], strict=True):
            names.append(f"fold-{len(names)}.keras")
            shutil.copyfile(path, folder / names[-1])
            familiar.append(f"fold-{len(familiar)}.familiar.npz")
            shutil.copyfile(part.path / known, folder / familiar[-1])
    return names, familiar
