"""Training sets of real galaxies: lensed sources painted into stamps that *ingest* cut from images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack

from lenspipe.config import Config
from lenspipe.core.errors import ConfigError, InputError, ModelMismatch
from lenspipe.core.schema import Flag
from lenspipe.core.survey import Survey, load_survey, same_scale
from lenspipe.imaging.astrometry import sky_groups
from lenspipe.io.shards import Shard, has_masks, read_shard

#: An object gives up to three stamps: with arcs, with the same source unlensed beside it, and as it is.
KINDS = ("lens", "companion", "galaxy")
_BAD = Flag.SATURATED | Flag.PADDED


def are_images(into: Sequence[str]) -> bool:
    """Tell whether lensed sources go into images; else into the stamps of runs.

    Raises
    ------
    ConfigError
        If some are images and some are runs.
    """
    runs = [item for item in into if _is_run(Path(item))]
    if runs and len(runs) < len(into):
        image = next(item for item in into if item not in runs)
        raise ConfigError(f"simulate.into: {runs[0]} is a run, {image} are images; give one sort")
    return bool(into) and not runs


def hosts_of(folder: str | Path) -> list[Path]:
    """Return the files of stamps that a run or a folder of *ingest* holds.

    Raises
    ------
    InputError
        If there are none.
    """
    paths = _stamp_files(Path(folder))
    if paths:
        return paths
    raise InputError(
        f"simulate.into: no stamps cut from images in {folder}; it should be a run's directory, e.g. of "
        "`lenspipe run RECIPE.toml --stage ingest` with ingest.images = your tiles"
    )


def _is_run(folder: Path) -> bool:
    # a folder of mock tiles has its run.json beside them
    return bool(_stamp_files(folder)) or ((folder / "run.json").exists() and not list(folder.glob("*.fits")))


def _stamp_files(folder: Path) -> list[Path]:
    found = (
        sorted(path for path in place.glob("*.h5") if path.with_suffix(".parquet").exists())
        for place in (folder / "ingest", folder)
    )
    return next((paths for paths in found if paths), [])


def inject_stamps(path: Path, config: Config) -> tuple[Shard, Table]:
    """Return the stamps of one file with lensed sources painted round their galaxies, and the truth.

    Objects that resemble no lens galaxy, or are saturated or cut by the image's edge, are kept as they are:
    real non-lenses. Sample ids come from the objects' names, so that an object is the same in any tiling;
    all stamps of a cell of the sky are one ``group``, whatever the tile (an object without a position is its
    own): what two tiles show is never on both sides of a fold. ``reason`` says why nothing was painted.

    Raises
    ------
    ModelMismatch
        If the stamps are not of the survey's pixel scale or lack its bands.
    """
    from lenspipe.io.tables import read_table
    from lenspipe.simulate.hosts import draw_reference
    from lenspipe.simulate.inject import inject

    survey, seed = load_survey(config.survey), config.run.seed
    real = read_shard(
        path, masks=has_masks(path)
    )  # without, networks that see masks cannot be trained on them
    objects = read_table(path.with_suffix(".parquet"))
    _check(real, survey, path)
    hosts = numbers_of(objects)
    reference = draw_reference(survey, seed, real.bands, config.simulate.min_snr)
    bad = spoilt(objects)
    images, tables = [], []
    for k, kind in enumerate(KINDS[:2]):
        image, _, truth = inject(
            real,
            survey,
            seed,
            hosts,
            reference,
            kind,
            config.simulate.min_snr,
            config.simulate.realism.clumps,
        )
        truth["reason"] = np.where(bad, "saturated or cut by the image's edge", truth["reason"])
        painted = np.flatnonzero(np.asarray(truth["reason"]) == "")
        images.append((k, painted, image[painted]))
        tables.append(truth)
    plain = tables[0].copy()
    plain["kind"] = "galaxy"
    for name in plain.colnames:
        if name in _LENS_COLUMNS or name.startswith(("mag_src_", "snr")):
            plain[name] = np.nan
    everything = np.arange(len(hosts))
    images.append((2, everything, real.image))
    rows = np.concatenate([rows for _, rows, _ in images])
    truth = vstack([table[part] for table, (_, part, _) in zip([*tables, plain], images, strict=True)])
    offset = np.concatenate([np.full(len(part), k) for k, part, _ in images])
    ra, dec = np.asarray(objects["ra"]), np.asarray(objects["dec"])
    truth["group"] = sky_groups(ra, dec, hosts)[rows]
    truth["sample_id"] = len(KINDS) * hosts[rows] + offset
    for name in ("object_id", "ra", "dec"):
        truth[name] = objects[name][rows]
    image = np.concatenate([part for *_, part in images])
    return replace(real.take(rows), image=image, seed=seed), truth


_LENS_COLUMNS = (
    "z_lens", "z_src", "sigma_v", "theta_e", "q", "phi", "gamma_ext", "phi_ext", "x_src", "y_src", "r_src",
    "n_src", "q_src", "phi_src", "mu",
)  # fmt: skip


def numbers_of(objects: Table) -> np.ndarray:
    """Return numbers (n,) for objects' names: an object has the same random numbers in any tiling."""
    digests = (hashlib.sha256(str(name).encode()).digest() for name in objects["object_id"])
    return np.array([int.from_bytes(digest[:7], "little") for digest in digests], dtype=np.int64)


def spoilt(objects: Table) -> np.ndarray:
    """Tell which objects (n,) are saturated or cut by the image's edge."""
    return (np.asarray(objects["flags"]) & int(_BAD)) != 0


def _check(shard: Shard, survey: Survey, path: Path) -> None:
    missing = [band for band in shard.bands if band not in survey.bands]
    if missing or not same_scale(shard.pixel_scale, survey.pixel_scale):
        raise ModelMismatch(
            f"{path}: stamps in {', '.join(shard.bands)} at {shard.pixel_scale:g} arcsec per pixel; survey "
            f"{survey.name} has {', '.join(survey.bands)} at {survey.pixel_scale:g}"
        )
