"""Stage *model*: posteriors of the lens parameters, for the objects that look like lenses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lenspipe.config import Config, settings_of
from lenspipe.core.errors import ConfigError, UserError
from lenspipe.core.schema import SIS_TARGETS
from lenspipe.core.types import Done, Stage, Unit
from lenspipe.io.cards import read_card
from lenspipe.io.shards import Shard
from lenspipe.io.store import Store, safe_name
from lenspipe.stages import find, ingest
from lenspipe.stages.stamps import bundle_files, check_regressor, open_bundle, regressor_folder


def plan(config: Config, store: Store) -> list[Unit]:
    """One unit a tile; none if the run has no regressor."""
    folder = regressor_folder(config, store)
    if config.model.refine:
        _check_start(folder)
    if folder is None:
        return []
    check_regressor(config)
    model = bundle_files(folder)
    settings = {**settings_of(config, "model"), "threshold": config.catalog.threshold}
    return [
        Unit(
            unit.name,
            inputs=(
                str(ingest.shard_path(config, store, unit.name)),
                str(find.scores_path(store, unit.name)),
                *model,
            ),
            settings=settings,
        )
        for unit in ingest.list_tiles(config, store)
    ]


def _check_start(folder: Path | None) -> None:
    """Refuse to refine without a regressor that says where to begin; `ConfigError`."""
    if folder is None:
        raise ConfigError(
            "model.refine begins with a regressor's theta_e, and this run has no regressor: give one, "
            "--set model.regressor=NAME_OR_DIR, or leave refine out"
        )
    if (folder / "bundle.json").exists() and "theta_e" not in read_card(folder)["targets"]:
        raise ConfigError(f"model.refine begins with theta_e, which the regressor {folder} does not predict")


def posteriors_path(store: Store, unit: str) -> Path:
    """Return the posteriors of a tile: column `row` names the object."""
    return store.path("model", f"{safe_name(unit)}.parquet")


def residuals_path(store: Store, unit: str) -> Path:
    """Return the images less their models of a tile's refined candidates, a shard in the order of its posteriors."""
    return store.path("model", f"{safe_name(unit)}.residual.h5")


def work(unit: Unit, config: Config, store: Store) -> Done:
    """Sample the posteriors of one tile's candidates, and refine them if the run asks for it."""
    from astropy.table import vstack

    from lenspipe.io.shards import iterate_shard, write_shard
    from lenspipe.io.tables import read_table, write_table

    scores_path = find.scores_path(store, unit.name)
    if not scores_path.exists():
        return Done((), {"modelled": 0})
    rows = np.flatnonzero(np.asarray(read_table(scores_path)["score"]) >= config.catalog.threshold)
    objects = read_table(ingest.objects_path(config, store, unit.name))
    bundle = open_bundle(regressor_folder(config, store))
    path, stored = ingest.shard_path(config, store, unit.name), np.asarray(objects["stamp"])[rows]
    if (stored < 0).any():
        raise UserError(
            f"{unit.name}: the stamps of {int((stored < 0).sum())} candidates were not kept, as they did not reach "
            "the threshold of the scan; scan again with the lower threshold, or with --keep"
        )
    refine = config.model.refine and len(rows) > 0
    stamps = iterate_shard(path, stored, masks=bundle.needs_mask or refine)
    parts, residuals = [], []
    for shard in stamps:
        part = _sample(bundle, shard, config)
        if refine:
            part, residual = _refine(part, shard, config)
            residuals.append(residual)
        parts.append(part)
    table = vstack(parts, metadata_conflicts="silent")
    table.add_column(rows, name="row", index=0)
    outputs = [posteriors_path(store, unit.name)]
    write_table(table, outputs[0])
    if refine:
        outputs.append(residuals_path(store, unit.name))
        write_shard(outputs[-1], _join(residuals))
    return Done(tuple(outputs), {"modelled": len(rows), **({"refined": len(rows)} if refine else {})})


def _sample(bundle, shard: Shard, config: Config):
    """Return the table of the posteriors of some stamps."""
    from astropy.table import Table

    from lenspipe.training.posterior import sample_posteriors

    bundle.check(shard.bands, shard.pixel_scale, shard.image.shape[1])
    section = config.model
    posteriors = sample_posteriors(
        bundle,
        shard.image,
        shard.noise_sigma,
        section.mc_samples,
        config.run.seed,
        section.batch_size,
        shard.mask,
    )
    return Table(posteriors.columns() | _compare(posteriors))


def _compare(posteriors) -> dict[str, np.ndarray]:
    """Return the column ``sis_pull`` of posteriors of all that it takes; else none."""
    from lenspipe.lensing.slip import isothermal_pull

    if not set(SIS_TARGETS) <= set(posteriors.by_target):
        return {}
    given = {}
    for name in SIS_TARGETS:
        one = posteriors[name]
        given |= {name: one.median, f"{name}_err": 0.5 * (one.err_lo + one.err_hi)}
    return {"sis_pull": isothermal_pull(**given)}


def _refine(posteriors, shard: Shard, config: Config):
    """Return posteriors with the models fitted to the pixels beside them, and a shard of the residuals."""
    from dataclasses import replace

    from astropy.table import hstack

    from lenspipe.core.survey import load_survey
    from lenspipe.refine.fit import refine_lenses
    from lenspipe.refine.stamps import tell_refined, weigh_stamps

    median = np.asarray(posteriors["theta_e"], np.float64)
    sigma = 0.5 * np.asarray(posteriors["theta_e_err_lo"] + posteriors["theta_e_err_hi"], np.float64)
    refined = refine_lenses(weigh_stamps(shard, load_survey(config.survey)), median, sigma)
    residual = replace(shard, image=refined.residual, mask=None, psf_image=None, psf_index=None)
    return hstack([posteriors, tell_refined(refined, posteriors)]), residual


def _join(parts: list[Shard]) -> Shard:
    """Return shards as one, of what residuals need."""
    image, noise = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("image", "noise_sigma")
    )
    first = parts[0]
    return Shard(image, noise, first.bands, first.pixel_scale, first.survey, first.seed)


STAGE = Stage(
    name="model",
    reads=("ingest", "find", "regressor"),
    writes=("model",),
    plan=plan,
    work=work,
    counts="modelled",
)
