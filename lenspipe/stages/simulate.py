"""Stage *simulate*: training shards with their truth, and mock survey tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.table import Table

from lenspipe.config import Config, settings_of
from lenspipe.core.names import mock_tile_name
from lenspipe.core.survey import load_survey
from lenspipe.core.types import Done, Stage, Unit
from lenspipe.io.shards import Shard, shard_name, write_shard
from lenspipe.io.store import Store
from lenspipe.stages.inject import are_images, hosts_of, inject_stamps
from lenspipe.stages.inject_tiles import band_path, gather_tiles, plan_tiles, work_tile


def plan(config: Config, store: Store) -> list[Unit]:
    """One unit a shard of stamps, one a tile."""
    section = config.simulate
    settings = settings_of(config, "simulate")
    del settings["simulate"]["tiles"]
    units = []
    if section.into and are_images(section.into):
        units += plan_tiles(config, store)
    elif section.into:
        for number, path in enumerate(path for run in section.into for path in hosts_of(run)):
            inputs = (str(path), str(path.with_suffix(".parquet")))
            payload = {"kind": "inject", "number": number, "path": str(path)}
            units.append(Unit(f"shard-{number:05d}", payload, inputs, settings))
    # more stamps are more units; those already made stay
    some = {**settings, "simulate": {k: v for k, v in settings["simulate"].items() if k != "count"}}
    for number, first in enumerate(range(0, section.count, section.shard_size)):
        last = min(first + section.shard_size, section.count)
        payload = {"kind": "shard", "number": number, "first": first, "last": last}
        units.append(Unit(f"shard-{number:05d}", payload, settings=some))
    lenses = {"min_snr": section.min_snr, "effects": section.effects().model_dump()}
    settings = {**settings_of(config, "simulate.tiles"), **lenses}
    for number in range(section.tiles.count):
        units.append(Unit(f"tile-{number:05d}", {"kind": "tile", "number": number}, settings=settings))
    return units


def tile_paths(config: Config, store: Store) -> list[str]:
    """Return the files of the run's own tiles, mock or painted, made or still to be made."""
    bands, paths = load_survey(config.survey).model_bands, []
    for unit in plan(config, store):
        if unit.payload["kind"] == "tile":
            name = mock_tile_name(unit.payload["number"])
            paths += [store.path("tiles", f"{name}_{band}.fits") for band in bands]
        elif unit.payload["kind"] == "paint":
            paths += [band_path(store, unit.name, band) for band in unit.payload["bands"]]
    return [str(path) for path in paths]


def work(unit: Unit, config: Config, store: Store) -> Done:
    """Simulate one shard or one tile, or paint lensed sources into real stamps or a real tile."""
    if unit.payload["kind"] == "tile":
        return _work_tile(unit, config, store)
    if unit.payload["kind"] == "paint":
        return work_tile(unit, config, store)
    if unit.payload["kind"] == "inject":
        shard, truth = inject_stamps(Path(unit.payload["path"]), config)
    else:
        shard, truth = _simulate_shard(unit, config)
    return _write_set(shard, truth, unit.payload["number"], store)


def _simulate_shard(unit: Unit, config: Config) -> tuple[Shard, Table]:
    from lenspipe.simulate.scene import mask_stamps, simulate_stamps

    survey = load_survey(config.survey)
    size = config.simulate.size or survey.stamp_size
    ids = range(unit.payload["first"], unit.payload["last"])
    bands = survey.model_bands
    seed, section = config.run.seed, config.simulate
    image, noise_sigma, truth = simulate_stamps(survey, seed, ids, section, bands, size)
    mask = mask_stamps(seed, ids, section, len(bands), size)
    return Shard(image, noise_sigma, bands, survey.pixel_scale, survey.name, seed, mask=mask), truth


def _write_set(shard: Shard, truth: Table, number: int, store: Store) -> Done:
    from lenspipe.io.tables import write_table

    truth["shard"], truth["row"] = number, range(len(truth))
    counts = {"stamps": len(truth)} | _count_draws(truth)
    pixels = store.path("simulate", shard_name(number))
    table = store.path("simulate", f"truth/truth-{number:05d}.parquet")
    write_shard(pixels, shard)
    write_table(truth, table)
    return Done((pixels, table), counts)


def _count_draws(truth: Table) -> dict[str, int]:
    """Return how many lenses were drawn, and of how many candidates; nothing if none were."""
    tried = truth.meta.pop("candidates", {}).get("lens", 0)
    lenses = int(np.sum(np.asarray(truth["kind"], str) == "lens"))
    return {"lenses_accepted": lenses, "candidates_tried": tried} if lenses and tried else {}


def _work_tile(unit: Unit, config: Config, store: Store) -> Done:
    from lenspipe.io.tables import write_table
    from lenspipe.simulate.tiles import draw_sky, render_tile, write_tile

    survey = load_survey(config.survey)
    number = unit.payload["number"]
    tiles, bands = config.simulate.tiles, survey.model_bands
    effects = config.simulate.effects()
    sky = draw_sky(survey, config.run.seed, tiles, bands, config.simulate.min_snr, effects)
    tile = render_tile(survey, config.run.seed, number, sky, tiles, bands, effects)
    paths = write_tile(store.folder("tiles"), survey, tile)
    draws = _count_draws(sky)
    if number == 0:  # the sky's truth is one table for all tiles
        truth = store.path("tiles", "truth.parquet")
        write_table(sky, truth)
        paths = [*paths, truth]
    return Done(tuple(paths), {"tiles": 1} | (draws if number == 0 else {}))


def gather(config: Config, store: Store) -> Done:
    """Join the truth of all shards, and draw the mock spectroscopic follow-up of the tiles' lenses."""
    from astropy.table import vstack

    from lenspipe.io.tables import read_table, write_table

    outputs: list[Path] = []
    units = plan(config, store)
    painted = [unit for unit in units if unit.payload["kind"] == "paint"]
    if painted:
        outputs.append(gather_tiles(painted, store))
    numbers = [u.payload["number"] for u in units if u.payload["kind"] in ("shard", "inject")]
    if numbers:
        parts = [store.path("simulate", f"truth/truth-{n:05d}.parquet") for n in numbers]
        outputs.append(store.path("simulate", "truth.parquet"))
        write_table(
            vstack([read_table(p) for p in parts if p.exists()], metadata_conflicts="silent"), outputs[-1]
        )
    if config.simulate.tiles.count:
        from lenspipe.simulate.strip import mock_spectroscopy

        sky = read_table(store.path("tiles", "truth.parquet"))
        outputs.append(spectroscopy_path(store))
        write_table(mock_spectroscopy(sky, config.run.seed), outputs[-1])
    return Done(tuple(outputs))


def spectroscopy_path(store: Store) -> Path:
    """Return the mock spectroscopic table of a run's tiles."""
    return store.path("tiles", "spectroscopy.ecsv")


STAGE = Stage(
    name="simulate",
    reads=(),
    writes=("simulate", "tiles"),
    plan=plan,
    work=work,
    gather=gather,
    counts="stamps",
    rates={"acceptance": ("lenses_accepted", "candidates_tried")},
    disposable=False,
)
