"""All that a network is trained on: several simulated sets, and what people graded on the sky."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack

from lenspipe.config import TrainSection
from lenspipe.core.errors import InputError
from lenspipe.io.formats import fill_masked
from lenspipe.networks.assemble import name_inputs
from lenspipe.training.datasets import StampSet, check_stamps, find_middle, load_stamps
from lenspipe.training.folds import near_any
from lenspipe.training.graded import KINDS, Graded, find_graded, read_graded


def load_training(folders: str | Path | Sequence[str], task: str, settings: TrainSection) -> StampSet:
    """Return all that a network is trained on: simulated sets, and for a detector what was graded on the sky.

    Of several sets the truth is joined, with the column ``set`` (their number; the graded come last); what a set
    does not know is NaN. Stamps of the sets that show a graded lens are left out: it stands there as a galaxy.

    Raises
    ------
    InputError
        As `load_stamps` and `graded.find_graded`, or if sets differ in bands, pixel scale or stamp size.
    """
    given = [folders] if isinstance(folders, (str, Path)) else folders
    masks = "mask" in settings.channels
    crop = 0 if settings.live else settings.crop  # stamps drawn live are compared with whole ones
    sets = [load_stamps(folder, task == "regressor", masks, crop) for folder in given]
    sets += [
        _load_graded(find_graded(table, settings.graded_run), settings, crop) for table in settings.graded
    ]
    if len(sets) == 1:
        return sets[0]
    _refuse_mixture(sets)
    truth = _join_truth(sets)
    keep = np.ones(len(truth), bool)
    if "ra" in truth.colnames:
        kinds = np.asarray(truth["kind"], str)
        keep = np.isin(kinds, KINDS) | ~near_any(truth["ra"], truth["dec"], kinds == KINDS[1])
    everything = "".join(one.data_hash for one in sets)
    about: dict[str, Any] = {
        "truth": truth[keep],
        "source": ", ".join(one.source for one in sets),
        "data_hash": hashlib.sha256(everything.encode()).hexdigest()[:16],
        "joined": tuple(one.data_hash for one in sets),
    }
    about |= {name: getattr(sets[0], name) for name in ("bands", "pixel_scale", "survey", "margin")}
    return StampSet(**_join_arrays(sets, keep), **about)


def _refuse_mixture(sets: Sequence[StampSet]) -> None:
    mine, *others = ((one.bands, one.pixel_scale, one.size) for one in sets)
    for one, theirs in zip(sets[1:], others, strict=True):
        if mine != theirs:
            raise InputError(
                f"{one.source}: bands, pixel scale and stamp are {theirs}, but {mine} in {sets[0].source}"
            )


def _join_truth(sets: Sequence[StampSet]) -> Table:
    parts = [one.truth.copy() for one in sets]
    for number, (part, one) in enumerate(zip(parts, sets, strict=True)):
        part["set"] = number
        part["weight"] = 1.0 if one.weight is None else one.weight
    return fill_masked(vstack(parts, metadata_conflicts="silent"))


def _join_arrays(sets: list[StampSet], keep: np.ndarray) -> dict[str, np.ndarray]:
    """Return the kept stamps of all sets; each set is let go once it is copied, as memory may not hold all twice."""
    joined = {
        name: np.empty((int(keep.sum()), *values.shape[1:]), values.dtype)
        for name, values in sets[0].arrays.items()
    }
    start = 0
    while sets:
        arrays = sets.pop(0).arrays
        chosen, keep = np.split(keep, [len(arrays["image"])])
        stop = start + int(chosen.sum())
        for name, values in arrays.items():
            np.compress(chosen, values, axis=0, out=joined[name][start:stop])
        start = stop
    return joined


def _load_graded(graded: Graded, settings: TrainSection, crop: int) -> StampSet:
    shard, truth = read_graded(graded, settings.graded_weight, "mask" in settings.channels)
    check_stamps(shard.image, shard.noise_sigma, truth["object_id"], graded.source)
    contents = b"".join(
        values.tobytes() for values in name_inputs(shard.image, shard.noise_sigma, shard.mask).values()
    )
    contents += repr(truth.as_array().tolist()).encode()
    margin, middle = find_middle(shard.image.shape[1], crop)
    return StampSet(
        shard.image[:, middle, middle],
        shard.noise_sigma,
        truth=truth,
        bands=shard.bands,
        pixel_scale=shard.pixel_scale,
        survey=shard.survey,
        source=graded.source,
        data_hash=hashlib.sha256(contents).hexdigest()[:16],
        mask=None if shard.mask is None else shard.mask[:, middle, middle],
        margin=margin,
    )
