"""Tiles and cutouts of every layout in the contract become the same stamps; the rest is named."""

from __future__ import annotations

import gzip
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from lenspipe.config import Config, config_from, load_config
from lenspipe.core.errors import ConfigError, InputError, Rejected
from lenspipe.core.schema import Flag
from lenspipe.core.survey import load_survey
from lenspipe.core.types import ImageFile, ImageSet, Unit
from lenspipe.io.shards import read_shard
from lenspipe.io.store import Store
from lenspipe.io.tables import read_table
from lenspipe.pipeline import runner
from lenspipe.pipeline.executor import Serial
from lenspipe.stages import ingest, pieces

DES = load_survey("des")
SIZE = 400
SOURCES = [(100.0, 120.0, 4000.0), (300.0, 90.0, 9000.0), (200.0, 310.0, 6000.0), (8.0, 200.0, 8000.0)]


def make_wcs(scale=0.263) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [40.0, -20.0], [200.5, 200.5]
    wcs.wcs.cd = np.array([[-1, 0], [0, 1]]) * scale / 3600
    return wcs


def make_pixels(seed=1, size=SIZE, sources=SOURCES) -> np.ndarray:
    """Return an image in nJy with noise of 5 and Gaussian sources of the given total flux."""
    y, x = np.mgrid[:size, :size]
    image = np.random.default_rng(seed).normal(scale=5.0, size=(size, size))
    for x0, y0, flux in sources:
        image += flux / (2 * np.pi * 2.25) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 4.5)
    return image.astype(np.float32)


def make_header(band, wcs=None, **cards) -> fits.Header:
    header = (wcs or make_wcs()).to_header()
    header.update({"BAND": band, "MAGZERO": 31.4, **cards})
    return header


def write_tile(folder, name="T1", bands="gri", **changes):
    folder.mkdir(exist_ok=True)
    for band in bands:
        pixels = changes.get(band, make_pixels(ord(band)))
        hdus = [
            fits.PrimaryHDU(),
            fits.ImageHDU(pixels, make_header(band), name="SCI"),
            fits.ImageHDU(np.full(pixels.shape, 0.04, np.float32), name="WGT"),
        ]
        fits.HDUList(hdus).writeto(folder / f"{name}_{band}.fits", overwrite=True)
    return folder


def run(tmp_path, images, *overrides):
    """Plan and do the stage; return the units' results by name, and the store."""
    words = [f"ingest.images={[str(path) for path in images]}", "ingest.size=48", *overrides]
    config = load_config(None, words)
    store = Store(tmp_path / "run")
    return {unit.name: ingest.work(unit, config, store) for unit in ingest.plan(config, store)}, store


def read_objects(store, unit):
    return read_table(ingest.objects_path(Config(), store, unit))


def read_stamps(store, unit):
    return read_shard(ingest.shard_path(Config(), store, unit))


def test_a_tile_is_searched_and_its_sources_cut(tmp_path):
    results, store = run(tmp_path, [write_tile(tmp_path / "in")])
    table, shard = (
        read_objects(store, "T1"),
        read_stamps(store, "T1"),
    )
    assert len(table) == 3  # the fourth lies at the edge
    assert shard.image.shape == (3, 48, 48, 3)
    assert shard.bands == ("g", "r", "i")
    assert np.allclose(shard.noise_sigma, 5.0)
    for x, y, flux in SOURCES[:3]:
        row = int(np.argmin(np.hypot(table["x"] - x, table["y"] - y)))
        assert (table["x"][row], table["y"][row]) == pytest.approx((x, y), abs=0.2)
        assert table["mag_i"][row] == pytest.approx(31.4 - 2.5 * np.log10(flux), abs=0.05)
        ra, dec = make_wcs().all_pix2world(x, y, 0)
        assert (table["ra"][row], table["dec"][row]) == pytest.approx((float(ra), float(dec)), abs=3e-5)
        assert shard.image[row, ..., 2].argmax() // 48 in (23, 24)
    (rejected,) = results["T1"].quarantined
    assert (rejected.reason, rejected.unit) == ("edge", "T1")
    assert list(table["flags"]) == [int(Flag.PSF_ASSUMED | Flag.POINT_LIKE)] * 3


def test_all_layouts_give_the_same_stamps(tmp_path):
    pixels = {band: make_pixels(ord(band)) for band in "gri"}
    weight = np.full((SIZE, SIZE), 0.04, np.float32)
    write_tile(tmp_path / "a")
    mef = [fits.PrimaryHDU()]
    for band in "irg":
        mef += [
            fits.ImageHDU(pixels[band], make_header(band), name=f"SCI_{band}"),
            fits.ImageHDU(weight, name=f"WGT_{band}"),
        ]
    (tmp_path / "b").mkdir()
    fits.HDUList(mef).writeto(tmp_path / "b/T1.fits.gz")
    (tmp_path / "c").mkdir()
    cube = fits.PrimaryHDU(np.stack([pixels[band] for band in "gri"]), make_header("", BANDS="g r i"))
    variance = fits.ImageHDU(np.stack([1 / weight] * 3), fits.Header({"BANDS": "g r i"}), name="VARIANCE")
    fits.HDUList([cube, variance]).writeto(tmp_path / "c/T1.fits")
    stamps = []
    for folder in "abc":
        _, store = run(tmp_path / folder, [tmp_path / folder])
        stamps.append(read_stamps(store, "T1"))
    for other in stamps[1:]:
        assert np.array_equal(other.image, stamps[0].image)
        assert np.allclose(other.noise_sigma, stamps[0].noise_sigma)


def test_a_small_image_is_a_cutout_of_its_centre_padded_if_need_be(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for band in "gri":
        pixels = make_pixels(ord(band), size=41, sources=[(20.0, 20.0, 3000.0)])
        fits.writeto(folder / f"obj_{band}.fits", pixels, fits.Header({"MAGZERO": 31.4}))
    results, store = run(tmp_path, [folder])
    table, shard = (
        read_objects(store, "obj"),
        read_stamps(store, "obj"),
    )
    assert results["obj"].counts == {"found": 1, "objects": 1}
    assert list(table["object_id"]) == ["obj"]
    assert np.isnan(table["ra"][0])
    flags = Flag(int(table["flags"][0]))
    assert Flag.PADDED | Flag.NO_WCS | Flag.NOISE_ESTIMATED in flags
    assert (shard.image[0, 0] == 0).all()
    assert shard.noise_sigma[0] == pytest.approx(5.0, rel=0.2)
    as_tile, store = run(tmp_path / "t", [folder], "ingest.kind=tile", "ingest.size=16")
    assert as_tile["obj"].counts == {"found": 1, "objects": 1}
    assert list(read_objects(store, "obj")["object_id"]) == ["obj-00000"]


def test_psf_images_go_with_the_stamps(tmp_path):
    folder = write_tile(tmp_path / "in")
    y, x = np.mgrid[-12:13, -12:13]
    star = np.exp(-(x**2 + 1.5 * y**2) / 6.0)
    for band, total in zip("gi", (0.88, 1.76), strict=True):
        fits.append(folder / f"T1_{band}.fits", total * star / star.sum(), fits.Header({"EXTNAME": "PSF"}))
    _, store = run(tmp_path, [folder])
    shard = read_shard(ingest.shard_path(Config(), store, "T1"))
    assert shard.psf_image.shape == (1, 3, 25, 25)
    assert list(shard.psf_index) == [0, 0, 0]
    for b in (0, 2):
        assert shard.psf_image[0, b] == pytest.approx(star / star.sum(), abs=1e-6)
    assert np.isnan(shard.psf_image[0, 1]).all()
    assert shard.psf_fwhm[0, 0] == shard.psf_fwhm[0, 2] != shard.psf_fwhm[0, 1]
    assert read_table(ingest.objects_path(Config(), store, "T1"))["flags"][0] & Flag.PSF_ASSUMED
    _, plain = run(tmp_path / "plain", [write_tile(tmp_path / "other")])
    assert read_shard(ingest.shard_path(Config(), plain, "T1")).psf_image is None


def test_targets_of_a_table_are_cut_with_their_ids(tmp_path):
    ra, dec = make_wcs().all_pix2world([100.0, 300.0, 5000.0], [120.0, 90.0, 0.0], 0)
    Table({"id": ["first", "second", "far"], "ra": ra, "dec": dec}).write(tmp_path / "targets.csv")
    tile = write_tile(tmp_path / "in")
    _, store = run(tmp_path, [tile], f"targets.table={tmp_path / 'targets.csv'}")
    table = read_objects(store, "T1")
    assert list(table["object_id"]) == ["second", "first"]  # by rows of the image
    assert np.asarray(table["x"]) == pytest.approx([300.0, 100.0], abs=1e-3)
    with pytest.raises(InputError, match="which is not there"):
        run(tmp_path, [tile], "targets.table=gone.csv")
    Table({"RA": ra}).write(tmp_path / "bad.csv")
    with pytest.raises(InputError, match="ra, dec not found"):
        run(tmp_path, [tile], f"targets.table={tmp_path / 'bad.csv'}")


def test_a_missing_band_is_never_scored_as_zeros(tmp_path):
    results, store = run(tmp_path, [write_tile(tmp_path / "in", bands="gr")])
    (row,) = results["T1"].quarantined
    assert row.reason == "missing_band:i"
    assert row.path.endswith("T1_g.fits")
    assert not ingest.shard_path(Config(), store, "T1").exists()


def test_bad_pixels_name_the_object_or_are_filled(tmp_path):
    r = make_pixels(ord("r"))
    r[80:160, 80:118] = np.nan  # most of the first source's stamp, in one band
    r[90, 300] = np.nan  # a pixel of the second's
    results, store = run(tmp_path, [write_tile(tmp_path / "in", r=r)])
    reasons = {row.reason for row in results["T1"].quarantined}
    assert "bad_pixels:r" in reasons
    table, shard = (
        read_objects(store, "T1"),
        read_stamps(store, "T1"),
    )
    assert len(table) == 2
    assert np.isfinite(shard.image).all()
    second = int(np.argmin(np.abs(table["x"] - 300)))
    assert table["flags"][second] & Flag.MASKED


def test_bands_on_another_grid_are_reprojected_and_shapes_without_wcs_refused(tmp_path):
    folder = write_tile(tmp_path / "in", bands="gi")
    shifted = make_wcs()
    shifted.wcs.crpix = [197.0, 205.5]  # the sky moved by (-3.5, +5) pixels
    moved = make_pixels(ord("r"), sources=[(x - 3.5, y + 5.0, flux) for x, y, flux in SOURCES])
    fits.writeto(folder / "T1_r.fits", moved, make_header("r", shifted))
    _, store = run(tmp_path, [folder])
    table, shard = (
        read_objects(store, "T1"),
        read_stamps(store, "T1"),
    )
    assert all(flags & Flag.REPROJECTED for flags in table["flags"])
    y, x = np.mgrid[:48, :48]
    for stamp in shard.image:
        core = stamp[18:30, 18:30]
        centres = [
            np.average(axis[18:30, 18:30], weights=np.clip(core[..., b], 0, None))
            for axis in (x, y)
            for b in (1, 2)
        ]
        assert centres[0] == pytest.approx(centres[1], abs=0.2)
        assert centres[2] == pytest.approx(centres[3], abs=0.2)


def test_another_pixel_scale_is_refused_or_resampled(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for band in "gri":
        fits.writeto(folder / f"T1_{band}.fits", make_pixels(ord(band)), make_header(band, make_wcs(0.2)))
    results, _ = run(tmp_path, [folder])
    assert [row.reason for row in results["T1"].quarantined] == ["pixel_scale"]
    results, store = run(tmp_path / "again", [folder], "ingest.resample=true")
    table = read_objects(store, "T1")
    assert all(flags & Flag.RESAMPLED for flags in table["flags"])
    brightest = int(np.argmin(table["mag_i"]))
    assert table["mag_i"][brightest] == pytest.approx(31.4 - 2.5 * np.log10(9000), abs=0.06)


def test_one_tile_s_key_does_not_depend_on_the_others(tmp_path):
    folder = write_tile(write_tile(tmp_path / "in"), "T2")
    config = load_config(None, [f"ingest.images={[str(folder)]}"])
    alone = load_config(None, [f"ingest.images={[str(folder / f'T1_{b}.fits') for b in 'gri']}"])
    store = Store(tmp_path)
    both = {unit.name: store.key("ingest", unit) for unit in ingest.plan(config, store)}
    (one,) = ingest.plan(alone, store)
    assert set(both) == {"T1", "T2"}
    assert store.key("ingest", one) == both["T1"]


def test_unusual_names_are_processed(tmp_path):
    name = "tile – ñ 'quoted' " + "x" * 150
    results, store = run(tmp_path, [write_tile(tmp_path / "in dir", name)])
    (unit,) = results
    assert ingest.shard_path(Config(), store, unit).exists()
    assert read_table(ingest.objects_path(Config(), store, unit))["tile"][0] == unit


def test_a_name_that_is_not_utf8_stops_nothing(tmp_path):
    folder = write_tile(write_tile(tmp_path / "in"), os.fsdecode(b"T\xff"))
    (folder / os.fsdecode(b"bad\xfe_g.fits")).write_text("no image")
    for number, images in enumerate(([folder], sorted(folder.iterdir()))):  # found, or named one by one
        config = config_from({"ingest": {"images": list(map(str, images)), "size": 48, "keep": True}})
        store = Store(tmp_path / f"run{number}")
        assert runner.run(config, store, Serial(), runner.open_journal(store), ["ingest"]) == runner.OK
        assert [len(read_objects(store, name)) for name in ("T1", "T\\udcff")] == [3, 3]
        assert set(read_objects(store, "T\\udcff")["tile"]) == {"T\\udcff"}
        left = read_table(store.root / "quarantine.ecsv")
        (reason,) = left["reason"][left["unit"] == "bad\\udcfe"]
        assert reason == "not_fits"
        assert tomllib.loads((store.root / "config.toml").read_text())["ingest"]["keep"]


def test_a_tile_named_twice_or_zipped_beside_itself_is_cut_once(tmp_path, monkeypatch):
    folder = write_tile(tmp_path / "in")
    for band in "gri":
        path = folder / f"T1_{band}.fits"
        path.with_suffix(".fits.gz").write_bytes(gzip.compress(path.read_bytes()))
    monkeypatch.chdir(tmp_path)
    config = config_from({"ingest": {"images": ["in", str(folder)], "size": 48, "keep": True}})
    store = Store(tmp_path / "run")
    assert runner.run(config, store, Serial(), runner.open_journal(store), ["ingest"]) == runner.OK
    assert len(read_objects(store, "T1")) == 3
    left = read_table(store.root / "quarantine.ecsv")
    rows = {
        (Path(path).name, reason)
        for path, reason, name in left["path", "reason", "object"].iterrows()
        if not name
    }
    assert rows == {(f"T1_{band}.fits.gz", "duplicate_file") for band in "gri"}
    lines = (store.root / "log.jsonl").read_text()
    assert "T1: 4 found = 3 stored + 1 quarantined (1 edge)" in lines  # a duplicate is no fault of the tile's


def test_rejections_carry_the_file_at_fault(tmp_path):
    folder = write_tile(tmp_path / "in")
    (folder / "T1_r.fits").write_bytes((folder / "T1_r.fits").read_bytes()[:5000])
    config = load_config(None, [f"ingest.images={[str(folder)]}"])
    (unit,) = ingest.plan(config, Store(tmp_path))
    assert isinstance(unit, Unit)
    image_set = ImageSet("T1", tuple(ImageFile(**file) for file in unit.payload["files"]))
    with pytest.raises(Rejected) as fault:
        pieces.read_whole(image_set, DES, ingest.stamp_format(config), config)
    assert fault.value.path.endswith("T1_r.fits")


@pytest.mark.parametrize("named", [True, False])
def test_lsst_masks_mark_detections_that_are_not_bad(tmp_path, named):
    folder = tmp_path / "in"
    folder.mkdir()
    mask = np.zeros((SIZE, SIZE), np.int32)
    for x, y, _ in SOURCES:
        mask[int(y) - 5 : int(y) + 6, int(x) - 5 : int(x) + 6] |= 32  # DETECTED
    mask[0:3] |= 16  # EDGE
    planes = (
        {
            "MP_BAD": 0,
            "MP_SAT": 1,
            "MP_CR": 3,
            "MP_EDGE": 4,
            "HIERARCH MP_DETECTED": 5,
            "HIERARCH MP_NO_DATA": 8,
        }
        if named
        else {}
    )
    for band in "gri":
        hdus = [
            fits.PrimaryHDU(),
            fits.ImageHDU(make_pixels(ord(band)), make_header(band, make_wcs(0.2)), name="IMAGE"),
            fits.ImageHDU(mask, fits.Header(planes), name="MASK"),
            fits.ImageHDU(np.full(mask.shape, 25.0, np.float32), name="VARIANCE"),
        ]
        fits.HDUList(hdus).writeto(folder / f"8523_{band}.fits")
    _, store = run(tmp_path, [folder], "survey=lsst")
    table = read_objects(store, "8523")
    assert len(table) == 3
    assert not any(flags & Flag.MASKED for flags in table["flags"])


def test_bad_pixels_are_filled_also_where_the_stamp_leaves_the_image(tmp_path):
    r = make_pixels(ord("r"), sources=[(22.0, 200.0, 9000.0)])
    r[:, 30] = np.nan
    flat = {band: make_pixels(ord(band), sources=[(22.0, 200.0, 9000.0)]) + 100 for band in "gi"}
    _, store = run(tmp_path, [write_tile(tmp_path / "in", r=r + 100, **flat)], "ingest.min_snr=20")
    table, shard = (
        read_objects(store, "T1"),
        read_stamps(store, "T1"),
    )
    row = int(np.argmin(np.abs(table["x"] - 22)))
    assert Flag.PADDED | Flag.MASKED in Flag(int(table["flags"][row]))
    column = shard.image[row, :, :, 1]
    dead = 30 - int(np.floor(table["x"][row] - 23.5 + 0.5))
    assert np.abs(column[:8, dead] - column[:8, dead + 2]).mean() < 30
    assert (column[:, 0] == 0).all()


def test_sentinels_are_bad_pixels_and_no_magnitudes(tmp_path):
    g = make_pixels(ord("g"))
    g[120, 104] = 3e38
    _, store = run(tmp_path, [write_tile(tmp_path / "in", g=g)])
    table = read_objects(store, "T1")
    assert np.nanmin(table["mag_g"]) > 15


def test_what_an_extension_leaves_to_the_primary_header_is_read_there(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for band in "gri":
        primary = fits.PrimaryHDU(header=fits.Header({"FILTER": f"{band} DECam", "MAGZERO": 28.9}))
        image = fits.ImageHDU(make_pixels(ord(band)) * 0.1, make_wcs().to_header(), name="SCI")
        fits.HDUList([primary, image]).writeto(folder / f"T1_{band}.fits")
    _, store = run(tmp_path, [folder])
    table = read_objects(store, "T1")
    assert not any(flags & Flag.ZERO_POINT_ASSUMED for flags in table["flags"])
    assert np.min(table["mag_i"]) == pytest.approx(31.4 - 2.5 * np.log10(9000), abs=0.06)


def test_targets_without_a_place_stop_nothing(tmp_path):
    ra, dec = make_wcs().all_pix2world([100.0, 300.0], [120.0, 90.0], 0)
    Table({"id": ["a", "lost"], "ra": [ra[0], np.nan], "dec": dec}).write(tmp_path / "targets.csv")
    results, store = run(tmp_path, [write_tile(tmp_path / "in")], f"targets.table={tmp_path / 'targets.csv'}")
    assert list(read_objects(store, "T1")["object_id"]) == ["a"]
    assert not results["T1"].quarantined  # named once by *catalog*, not by every tile


def test_sources_are_cut_away_by_what_was_measured_and_counted(tmp_path):
    folder = write_tile(tmp_path / "in")
    results, store = run(tmp_path, [folder], "targets.where=mag_i < 22 and x > 250")
    assert results["T1"].counts == {"found": 4, "objects": 1, "not_selected": 2}
    (rejected,) = results["T1"].quarantined
    assert rejected.reason == "edge"  # not measured, so not cut away
    assert read_objects(store, "T1")["x"][0] == pytest.approx(300, abs=0.2)
    assert len(read_stamps(store, "T1").image) == 1
    results, _ = run(tmp_path / "none", [folder], "targets.where=x < 0")
    assert results["T1"].counts == {"found": 4, "objects": 0, "not_selected": 3}
    with pytest.raises(ConfigError, match="no column 'mag_q'"):
        run(tmp_path / "plan", [folder], "targets.where=mag_q < 22")
