"""`lenspipe predict`: scores and posteriors of bundles for shards of stamps or FITS cutouts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lenspipe.config import config_from
from lenspipe.core.errors import Rejected, UserError
from lenspipe.core.survey import load_survey
from lenspipe.core.types import Quarantined, StampFormat
from lenspipe.io.cards import check_same_stamps, stamps_of
from lenspipe.stages.pieces import read_whole


def predict_table(
    bundle_paths: Sequence[Path],
    data: Sequence[str],
    out: Path,
    mc_samples: int,
    seed: int,
    survey: str = "",
    resample: bool = False,
) -> tuple[int, int]:
    """Write one row a stamp with the columns of each bundle; return rows written and inputs left out.

    Parameters
    ----------
    bundle_paths : sequence of Path
        Detectors (several score as a committee), a regressor or both, made for the same stamps.
    data : sequence of str
        Folders of shards, or FITS cutouts (with `survey`).
    out : Path
        ``.parquet`` or ``.ecsv``. Inputs left out are named in ``<out>.quarantine.ecsv``.
    """
    from astropy.table import Table, vstack

    from lenspipe.io.quarantine import write_quarantine
    from lenspipe.io.tables import write_table
    from lenspipe.training.bundle import load_bundle

    if out.suffix not in (".parquet", ".ecsv"):
        raise UserError(f"--out must end in .parquet or .ecsv, received {out}")
    bundles = [load_bundle(path) for path in bundle_paths]
    detectors = [bundle for bundle in bundles if bundle.task == "detector"]
    regressors = [bundle for bundle in bundles if bundle.task == "regressor"]
    if len(regressors) > 1:
        raise UserError("give at most one regressor: two would write the same columns")
    check_same_stamps([(bundle.path, stamps_of(bundle.card)) for bundle in bundles])
    form = stamps_of(bundles[0].card)
    rejected: list[Quarantined] = []
    parts = []
    masks = any(bundle.needs_mask for bundle in bundles)
    for source, table, shard in _read_stamps(data, form, survey, resample, masks, rejected):
        for bundle in bundles:
            bundle.check(shard.bands, shard.pixel_scale, shard.image.shape[1], source)
        if detectors:
            _add_scores(table, detectors, shard, mc_samples, seed, survey)
        for bundle in regressors:
            _add_posteriors(table, bundle, shard, mc_samples, seed)
        parts.append(table)
    table = vstack(parts) if parts else Table({"object_id": np.zeros(0, "U1")})
    write_table(table, out)
    if rejected:
        write_quarantine(rejected, out.with_name(out.name + ".quarantine.ecsv"))
    return len(table), len(rejected)


def _read_stamps(
    data, form: StampFormat, survey: str, resample: bool, masks: bool, rejected: list
) -> Iterator:
    """Yield (its name; table of object_id and, for images, tile, ra, dec; shard) of each shard or image."""
    from astropy.table import Table

    from lenspipe.io.layout import find_images, group_files, name_duplicates
    from lenspipe.io.shards import list_shards, read_shard
    from lenspipe.training.datasets import find_faults

    folders = [path for path in data if any(Path(path).glob("shard-*.h5"))]
    for folder in folders:
        for path in list_shards(folder):
            shard = read_shard(path, masks=masks)
            ids = np.array([f"{path.stem}-{row:05d}" for row in range(len(shard.image))], str)
            good = np.ones(len(ids), bool)
            for what, bad in find_faults(shard.image, shard.noise_sigma).items():
                good &= ~bad
                rejected += [Quarantined(str(path), "bad_stamp", what, object=name) for name in ids[bad]]
            if good.any() or not len(good):
                yield str(path), Table({"object_id": ids[good]}), shard.take(np.flatnonzero(good))
    images = [path for path in data if path not in folders]
    if not images:
        return
    if not survey:
        raise UserError("FITS cutouts need --survey, which says what their bands and units are")
    config = config_from({"survey": survey, "ingest": {"resample": resample}})
    numbers = load_survey(survey)
    for image_set in group_files(find_images(images), numbers):
        rejected += name_duplicates(image_set)
        try:
            shard, table, left_out = read_whole(image_set, numbers, form, config)
        except Rejected as fault:
            path = fault.path or image_set.files[0].path
            rejected.append(Quarantined(path, fault.reason, fault.detail, fault.hdu, image_set.name))
            continue
        rejected += left_out
        if len(table):
            yield image_set.name, Table(table["object_id", "tile", "ra", "dec"]), shard


def _add_posteriors(table, bundle, shard, mc_samples: int, seed: int) -> None:
    from lenspipe.training.posterior import sample_posteriors

    stamps = (shard.image, shard.noise_sigma)
    posteriors = sample_posteriors(bundle, *stamps, max(2, mc_samples), seed, 64, shard.mask)
    for name, values in posteriors.columns().items():
        table[name] = values


def _add_scores(table, bundles, shard, mc_samples: int, seed: int, survey: str) -> None:
    from lenspipe.training.committee import score_committee

    prior = load_survey(survey).lens_prior if survey else None  # None: that of the survey it was trained for
    stamps = (shard.image, shard.noise_sigma)
    scores = score_committee(bundles, *stamps, mc_samples, seed, 64, prior, shard.mask)
    table["score"], table["score_err"], table["p_lens"] = scores.score, scores.score_err, scores.p_lens
    for fold in range(scores.score_fold.shape[1]):
        table[f"score_fold_{fold}"] = scores.score_fold[:, fold]
