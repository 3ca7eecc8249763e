"""Training sets of real galaxies: lensed sources painted into stamps that *ingest* cut from images."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack

from lenspipe.config import Config
from lenspipe.core.errors import InputError, ModelMismatch
from lenspipe.core.schema import Flag
from lenspipe.core.survey import Survey, load_survey, same_scale
from lenspipe.io.shards import Shard, read_shard

#: An object gives up to three stamps: with arcs, with the same source unlensed beside it, and as it is.
KINDS = ("lens", "companion", "galaxy")
_BAD = Flag.SATURATED | Flag.PADDED


def hosts_of(folder: str | Path) -> list[Path]:
    """Return the files of stamps that a run or a folder of *ingest* holds.

    Raises
    ------
    InputError
        If there are none.
    """
    folder = Path(folder)
    places = [folder / "ingest", folder]
    for place in places:
        paths = sorted(path for path in place.glob("*.h5") if path.with_suffix(".parquet").exists())
        if paths:
            return paths
    raise InputError(
        f"simulate.into: no stamps cut from images in {folder}; it should be a run's directory, e.g. of "
        "`lenspipe run RECIPE.toml --stage ingest` with ingest.images = your tiles"
    )


def inject_stamps(path: Path, config: Config) -> tuple[Shard, Table]:
    """Return the stamps of one file with lensed sources painted round their galaxies, and the truth.

    Objects that resemble no lens galaxy, or are saturated or cut by the image's edge, are kept as they are:
    real non-lenses. Sample ids come from the objects' names, so that an object is the same in any tiling;
    all stamps of an object are one ``group``. ``reason`` says why nothing was painted.

    Raises
    ------
    ModelMismatch
        If the stamps are not of the survey's pixel scale or lack its bands.
    """
    from lenspipe.io.tables import read_table
    from lenspipe.simulate.inject import draw_reference, inject

    survey, seed = load_survey(config.survey), config.run.seed
    real, objects = read_shard(path), read_table(path.with_suffix(".parquet"))
    _check(real, survey, path)
    hosts = np.array([_number(name) for name in objects["object_id"]], dtype=np.int64)
    reference = draw_reference(survey, seed, real.bands, config.simulate.min_snr)
    bad = (np.asarray(objects["flags"]) & int(_BAD)) != 0
    images, tables = [], []
    for k, kind in enumerate(KINDS[:2]):
        image, _, truth = inject(
            real.image, real.noise_sigma, survey, seed, hosts, real.bands, reference, real.psf_fwhm,
            real.electrons_per_njy, kind, config.simulate.min_snr,
        )  # fmt: skip
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
    truth["group"] = hosts[rows]
    truth["sample_id"] = len(KINDS) * hosts[rows] + offset
    truth["object_id"] = objects["object_id"][rows]
    image = np.concatenate([part for *_, part in images])
    shard = Shard(image, real.noise_sigma[rows], real.bands, real.pixel_scale, real.survey, seed)
    return shard, truth


_LENS_COLUMNS = (
    "z_lens", "z_src", "sigma_v", "theta_e", "q", "phi", "gamma_ext", "phi_ext", "x_src", "y_src", "r_src",
    "n_src", "q_src", "phi_src", "mu",
)  # fmt: skip


def _number(object_id: str) -> int:
    return int.from_bytes(hashlib.sha256(str(object_id).encode()).digest()[:7], "little")


def _check(shard: Shard, survey: Survey, path: Path) -> None:
    missing = [band for band in shard.bands if band not in survey.bands]
    if missing or not same_scale(shard.pixel_scale, survey.pixel_scale):
        raise ModelMismatch(
            f"{path}: stamps in {', '.join(shard.bands)} at {shard.pixel_scale:g} arcsec per pixel; survey "
            f"{survey.name} has {', '.join(survey.bands)} at {survey.pixel_scale:g}"
        )
