"""Collections of cutouts through ingest and predict: the same stamps as from a file an object."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from support import lenspipe

from lenspipe.config import load_config
from lenspipe.core.schema import Flag
from lenspipe.core.survey import load_survey
from lenspipe.io.shards import read_shard
from lenspipe.io.store import Store
from lenspipe.io.tables import read_table
from lenspipe.stages import collection, ingest, pieces
from lenspipe.stages.stamps import stamp_format

BANDS = ("g", "r", "i")
COUNT, SIDE = 5, 40
DES = load_survey("des")


def make_objects() -> np.ndarray:
    """Return (n, y, x, band) in counts of zero point 30."""
    y, x = np.mgrid[:SIDE, :SIDE]
    galaxy = 500.0 * np.exp(-np.hypot(x - 19.5, y - 19.5) / 3.0)
    noise = np.random.default_rng(4).normal(scale=3.0, size=(COUNT, SIDE, SIDE, 3))
    return (galaxy[None, :, :, None] * (1.0 + np.arange(COUNT))[:, None, None, None] + noise).astype(
        np.float32
    )


OBJECTS = make_objects()
NAMES = [f"GAL {k}" for k in range(COUNT)]


def write_files(folder):
    folder.mkdir()
    for k, name in enumerate(NAMES):
        hdus = [
            fits.ImageHDU(OBJECTS[k, ..., b], fits.Header({"MAGZERO": 30.0}), name=f"SCI_{band}")
            for b, band in enumerate(BANDS)
        ]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(folder / f"{name}.fits")
    return folder


def write_hdf5(path, objects=OBJECTS):
    with h5py.File(path, "w") as file:
        file["image"], file["object_id"] = objects, NAMES
        file["ra"], file["dec"] = 10.0 + np.arange(COUNT), np.full(COUNT, -5.0)
        file.attrs.update({"bands": list(BANDS), "zero_point": 30.0, "pixel_scale": 0.263})
    return path


def write_fits(path, objects=OBJECTS):
    hdus = [
        fits.ImageHDU(objects[k, ..., b], fits.Header({"MAGZERO": 30.0}), name=f"{name}_{band}")
        for k, name in enumerate(NAMES) for b, band in enumerate(BANDS)
    ]  # fmt: skip
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


def write_list(path, folder):
    Table({"path": [str(folder / f"{name}.fits") for name in NAMES], "object_id": NAMES}).write(path)
    return path


def run(tmp_path, images):
    """Return the units' results with the tables and shards of those that have any."""
    config = load_config(None, [f"ingest.images={[str(path) for path in images]}", "ingest.size=32"])
    store = Store(tmp_path / "run")
    out = []
    for unit in ingest.plan(config, store):
        done = ingest.work(unit, config, store)
        paths = ingest.objects_path(config, store, unit.name), ingest.shard_path(config, store, unit.name)
        out.append((done, read_table(paths[0]), read_shard(paths[1])) if done.outputs else (done, None, None))
    return out


@pytest.mark.parametrize("kind", ["hdf5", "fits", "list"])
def test_a_collection_gives_the_stamps_of_its_files(tmp_path, kind):
    folder = write_files(tmp_path / "files")
    alone = run(tmp_path / "a", [folder])
    path = {
        "hdf5": lambda: write_hdf5(tmp_path / "many.h5"),
        "fits": lambda: write_fits(tmp_path / "many.fits"),
        "list": lambda: write_list(tmp_path / "many.csv", folder),
    }[kind]()
    ((done, table, shard),) = run(tmp_path / "b", [path])
    assert not done.quarantined
    assert list(table["object_id"]) == NAMES
    assert np.array_equal(shard.image, np.concatenate([one.image for _, _, one in alone]))
    assert np.array_equal(shard.noise_sigma, np.concatenate([one.noise_sigma for _, _, one in alone]))
    assert np.asarray(table["mag_r"]) == pytest.approx([one["mag_r"][0] for _, one, _ in alone])
    assert not any(flags & Flag.ZERO_POINT_ASSUMED for flags in table["flags"])
    if kind == "hdf5":
        assert list(table["ra"]) == list(10.0 + np.arange(COUNT))
        assert not any(flags & Flag.NO_WCS for flags in table["flags"])
    else:
        assert np.isnan(table["ra"]).all()


def test_bad_objects_are_quarantined_by_name_and_the_rest_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "AT_ONCE", 2)  # pieces of two
    objects = OBJECTS.copy()
    objects[1, ..., 2] = np.nan
    objects[3] = 0.0
    for path in (write_hdf5(tmp_path / "many.h5", objects), write_fits(tmp_path / "many.fits", objects)):
        ((done, table, _),) = run(tmp_path / path.suffix[1:], [path])
        assert list(table["object_id"]) == ["GAL 0", "GAL 2", "GAL 4"]
        assert [(row.object, row.reason, row.path) for row in done.quarantined] == [
            ("GAL 1", "no_good_pixels:i", str(path)),
            ("GAL 3", "no_signal:g", str(path)),
        ]
        assert done.counts["objects"] + len(done.quarantined) == COUNT


def test_the_file_of_a_bad_object_of_a_table_is_named(tmp_path):
    folder = write_files(tmp_path / "files")
    with fits.open(folder / "GAL 3.fits", mode="update") as hdus:
        hdus["SCI_g"].data[:20] = np.nan  # half of it: judged as a stamp, not as an image
    (folder / "GAL 1.fits").write_text("<html>")
    ((done, table, _),) = run(tmp_path, [write_list(tmp_path / "many.csv", folder)])
    assert list(table["object_id"]) == ["GAL 0", "GAL 2", "GAL 4"]
    assert [(row.object, row.reason, row.path) for row in done.quarantined] == [
        ("GAL 1", "not_fits", str(folder / "GAL 1.fits")),
        ("GAL 3", "bad_pixels:g", str(folder / "GAL 3.fits")),
    ]


def test_a_collection_of_nothing_good_is_an_empty_table(tmp_path):
    ((done, table, shard),) = run(tmp_path, [write_hdf5(tmp_path / "many.h5", np.zeros_like(OBJECTS))])
    assert len(table) == len(shard.image) == 0
    assert len(done.quarantined) == COUNT


def test_the_chips_of_an_exposure_are_no_cutouts(tmp_path):
    pixels = np.random.default_rng(1).normal(size=(300, 200)).astype(np.float32)
    for band in BANDS:
        hdus = [fits.ImageHDU(pixels, name=f"CCD{k}") for k in range(3)]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / f"exposure_{band}.fits")
    ((done, _, _),) = run(tmp_path, sorted(tmp_path.glob("*.fits")))
    assert [row.reason for row in done.quarantined] == ["not_a_cutout"] * 3


def test_predict_reads_collections_through_the_same_door(tmp_path):
    config = load_config(None, ["ingest.size=32"])
    from lenspipe.io.layout import find_images, group_files

    (one,) = group_files(find_images([str(write_hdf5(tmp_path / "many.h5"))]), DES)
    shard, table, rejected = pieces.read_whole(one, DES, stamp_format(config), config)
    assert (len(shard.image), len(table), rejected) == (COUNT, COUNT, [])
    assert list(table["tile"]) == ["many"] * COUNT


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_predict_scores_every_layout_alike_and_names_what_it_leaves_out(chain, tmp_path):
    objects = OBJECTS.copy()
    objects[1] = np.nan
    folder = write_files(tmp_path / "files")
    inputs = (
        write_hdf5(tmp_path / "a.h5", objects),
        write_fits(tmp_path / "b.fits", objects),
        write_list(tmp_path / "c.csv", folder),
    )
    tables = []
    for path in inputs:
        out = tmp_path / f"{path.stem}.ecsv"
        bundle = chain / "models/detector"
        answer = lenspipe(
            "predict", bundle, "--data", path, "--survey", "des", "--out", out, "--mc-samples", "4"
        )
        assert answer.returncode == 0, answer.stderr
        tables.append(read_table(out))
    assert [len(table) for table in tables] == [4, 4, 5]
    assert list(tables[0]["score"]) == list(tables[1]["score"])
    left = read_table(tmp_path / "a.ecsv.quarantine.ecsv")
    assert list(left["object"]) == ["GAL 1"]


def test_one_bad_wcs_of_a_table_costs_one_object(tmp_path):
    folder = write_files(tmp_path / "files")
    sky = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 10.0,
        "CRVAL2": 5.0,
        "CRPIX1": 20.5,
        "CRPIX2": 20.5,
    }
    sky |= {"CDELT1": -7.3e-5, "CDELT2": 7.3e-5}
    wrong = {1: {"CRVAL1": 1e300}, 2: {"CRVAL2": 200.0}, 3: {"CTYPE1": "FOO", "CTYPE2": "FOO"}}
    for k, name in enumerate(NAMES):
        with fits.open(folder / f"{name}.fits", mode="update") as hdus:
            for hdu in hdus[1:]:
                hdu.header.update(sky | wrong.get(k, {}))
    ((done, table, _),) = run(tmp_path, [write_list(tmp_path / "many.csv", folder)])
    assert list(table["object_id"]) == ["GAL 0", "GAL 4"]
    assert np.asarray(table["ra"]) == pytest.approx([10.0, 10.0])
    assert [(row.object, row.reason, row.path) for row in done.quarantined] == [
        (NAMES[k], "bad_wcs:g", str(folder / f"{NAMES[k]}.fits")) for k in (1, 2, 3)
    ]
