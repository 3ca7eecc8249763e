"""Lenses painted into image tiles: what was there stays, what was painted is in the table and can be found."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import support
from astropy.io import fits

from lenspipe.config import Config, TilesSection, config_from
from lenspipe.core.errors import ConfigError, InputError
from lenspipe.core.survey import load_survey
from lenspipe.io.store import Store
from lenspipe.io.tables import read_table
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.tiles import draw_sky, render_tile, write_tile
from lenspipe.stages import ingest, simulate
from lenspipe.stages.stamps import stamp_format

DES = load_survey("des")
LENSES = 4


@pytest.fixture(scope="module")
def field(tmp_path_factory) -> Path:
    """Folder with one tile of galaxies, eight of them such as lenses are, without any arcs."""
    folder = tmp_path_factory.mktemp("field")
    tiles = TilesSection(count=1, size=420, lenses=8)
    sky = draw_sky(DES, 3, tiles, DES.model_bands)
    sky["kind"][np.asarray(sky["kind"]) == "lens"] = "galaxy"
    write_tile(folder, DES, render_tile(DES, 3, 0, sky, tiles, DES.model_bands))
    return folder


def paint(out: Path, *into: Path, **changes) -> tuple[Store, Config, dict]:
    """Do the stage; return its store, the configuration, and what the units handed back."""
    section = {"into": [str(path) for path in into], "tiles": {"lenses": LENSES}}
    config = config_from({"simulate": section | changes.pop("simulate", {}), **changes})
    store = Store(out, {"tiles": "."})
    done = {}
    for unit in simulate.plan(config, store):
        done[unit.name] = simulate.work(unit, config, store)
        store.write_done("simulate", unit.name, "key", done[unit.name])
    simulate.gather(config, store)
    return store, config, done


@pytest.fixture(scope="module")
def painted(field, tmp_path_factory):
    return paint(tmp_path_factory.mktemp("painted"), field)


def bands_of(folder: Path, ext: str) -> np.ndarray:
    paths = [folder / f"mock000_{band}.fits" for band in DES.model_bands]
    return np.stack([fits.getdata(path, ext).astype(float) for path in paths], axis=-1)


def test_what_was_painted_is_what_the_tile_has_more(field, painted):
    store, _, done = painted
    truth = read_table(store.root / "truth.parquet")
    assert len(truth) == done["mock000"].counts["lenses"] == LENSES
    assert set(truth["kind"]) == {"lens"}
    assert set(truth["tile"]) == {"mock000"}
    added = bands_of(store.root, "SCI") - bands_of(field, "SCI")
    counts = 10 ** (0.4 * (30.0 - 31.4))
    y, x = np.mgrid[:420, :420]
    near = np.zeros((420, 420), bool)
    for row in truth:
        here = np.hypot(x - row["x"], y - row["y"]) * DES.pixel_scale < 9.0
        near |= here
        for b, band in enumerate(DES.model_bands):
            total = np.nansum(added[here][:, b]) / counts
            noise = np.sqrt(total / DES.bands[band].electrons_per_njy())
            expected = row["mu"] * flux_njy(row[f"mag_src_{band}"])
            # a clumpy source is not magnified alike in all bands, mu is that of the detection band; bad pixels (a
            # dead column) get no light
            blind = np.isnan(added[np.hypot(x - row["x"], y - row["y"]) < 12][:, b]).mean()
            rel = (0.02 if band == "i" else 0.4) + 3 * blind
            assert total == pytest.approx(expected, rel=rel, abs=5 * noise)
        light = np.nan_to_num(added[..., 2] * here)
        centre = [np.sum(light * axis) / np.sum(light) for axis in (x, y)]
        reach = (row["theta_e"] + np.hypot(row["x_src"], row["y_src"])) / DES.pixel_scale
        assert np.hypot(centre[0] - row["x"], centre[1] - row["y"]) < reach
    assert np.nanmax(np.abs(added[~near])) < 2e-3  # float32
    lens = (truth["x_lens"], truth["y_lens"])
    assert np.all(np.stack(lens) == 0.0)


def test_the_table_says_where_on_the_sky_and_lenses_stand_apart(painted):
    store, _, _ = painted
    truth = read_table(store.root / "truth.parquet")
    from astropy.wcs import WCS

    wcs = WCS(fits.getheader(store.root / "mock000_i.fits", "SCI"))
    ra, dec = wcs.all_pix2world(truth["x"], truth["y"], 0)
    assert np.asarray(truth["ra"]) == pytest.approx(ra, abs=1e-8)
    assert np.asarray(truth["dec"]) == pytest.approx(dec, abs=1e-8)
    x, y = np.asarray(truth["x"]), np.asarray(truth["y"])
    distance = np.hypot(x[:, None] - x, y[:, None] - y) + 1e9 * np.eye(len(truth))
    assert distance.min() * DES.pixel_scale >= 15.0


def test_weights_psf_and_bad_pixels_go_with_the_pixels(field, painted):
    store, _, _ = painted
    before, after = bands_of(field, "WGT"), bands_of(store.root, "WGT")
    assert np.array_equal(before == 0, after == 0)
    assert np.all(after <= before * (1 + 1e-5))
    assert np.sum(after < 0.99 * before) > 50  # under the arcs
    assert np.array_equal(np.isnan(bands_of(store.root, "SCI")), bands_of(store.root, "MSK") == 1)
    assert bands_of(store.root, "PSF") == pytest.approx(bands_of(field, "PSF"), abs=1e-4)
    for band in DES.model_bands:
        old, new = (fits.getheader(path / f"mock000_{band}.fits", "SCI") for path in (field, store.root))
        for key in ("MAGZERO", "GAIN", "PSF_FWHM", "BAND", "CRVAL1"):
            # the PSF's width is that of its image, which has the pixel's own in it
            rel = 0.15 if key == "PSF_FWHM" else 1e-6
            assert new[key] == pytest.approx(old[key], rel=rel) if key != "BAND" else new[key] == old[key]


def test_a_search_of_the_painted_tile_meets_its_lenses(painted, tmp_path):
    store, _, _ = painted
    truth = read_table(store.root / "truth.parquet")
    config = config_from({"ingest": {"images": [str(store.root)]}})
    run = Store(tmp_path)
    (unit,) = ingest.plan(config, run)
    ingest.work(unit, config, run)
    found = read_table(ingest.objects_path(config, run, unit.name))
    for row in truth:
        nearest = np.min(np.hypot(found["x"] - row["x"], found["y"] - row["y"])) * DES.pixel_scale
        assert nearest < 1.5  # the arcs may pull the centre
    # a run that paints tiles goes on to search them
    own = config_from({"simulate": {"into": [str(store.root)], "tiles": {"lenses": 1}}})
    (unit,) = ingest.plan(own, run)
    assert unit.payload["files"][0]["path"] == str(tmp_path / "tiles/mock000_g.fits")


def test_the_same_tile_gets_the_same_lenses(field, painted, tmp_path):
    store, _, _ = painted
    again, _, _ = paint(
        tmp_path / "again", field / "mock000_g.fits", *(field / f"mock000_{b}.fits" for b in "ri")
    )
    for name in ("mock000_g.fits", "mock000_i.fits"):
        assert (again.root / name).read_bytes() == (store.root / name).read_bytes()
    one, _, _ = paint(tmp_path / "one", field, simulate={"tiles": {"lenses": 1}})
    many, few = (read_table(s.root / "truth.parquet") for s in (store, one))
    assert list(few["object_id"]) == list(many["object_id"][:1])
    none, _, done = paint(tmp_path / "none", field, simulate={"tiles": {"lenses": 0}})
    assert done["mock000"].counts["lenses"] == 0
    assert len(read_table(none.root / "truth.parquet")) == 0
    same = bands_of(none.root, "SCI"), bands_of(field, "SCI")
    good = np.isfinite(same[0])
    assert same[0][good] == pytest.approx(same[1][good], abs=1e-3)


def test_tiles_that_cannot_be_painted_are_quarantined_and_alone_are_an_error(field, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(field, folder)
    for band in DES.model_bands:
        with fits.open(folder / f"mock000_{band}.fits") as hdus:
            hdus["SCI"].header["CDELT1"] = -0.2 / 3600
            hdus["SCI"].header["CDELT2"] = 0.2 / 3600
            hdus.writeto(folder / f"fine_{band}.fits")
    _, _, done = paint(tmp_path / "out", folder, simulate={"tiles": {"lenses": 1}})
    (row,) = done["fine"].quarantined
    assert row.reason == "pixel_scale"
    assert row.detail.startswith("0.2 arcsec per pixel, the survey des has 0.263; give a --survey")
    assert done["mock000"].counts["tiles"] == 1
    alone = [folder / f"fine_{band}.fits" for band in DES.model_bands]
    with pytest.raises(
        InputError, match=r"no lens could be painted into any of 1 images; .*0\.2 arcsec per pixel"
    ):
        paint(tmp_path / "alone", *alone)
    with pytest.raises(InputError, match=r"no lens could be painted .* grid_mismatch"):
        paint(tmp_path / "coarse", *alone, ingest={"resample": True})


def test_mistakes_are_named(field, tmp_path):
    for out in (field, field / "painted", field / ".." / field.name):
        with pytest.raises(InputError, match="among the images; choose another --out"):
            paint(out, field)
    with pytest.raises(InputError, match="among the images"):
        paint(field, field / "mock000_g.fits")
    with pytest.raises(ConfigError, match="exclude each other"):
        paint(tmp_path, field, simulate={"tiles": {"count": 1}})
    with pytest.raises(InputError, match=r"no such file: .*; give images, or a run's directory"):
        paint(tmp_path, tmp_path / "gone")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.json").write_text("{}")
    with pytest.raises(ConfigError, match="give one sort"):
        paint(tmp_path / "out", tmp_path / "run", field)
    assert stamp_format(config_from({})).size == DES.stamp_size


@pytest.mark.slow
def test_a_real_des_cutout_from_the_command_line(realdata, tmp_path):
    images = realdata / "des_J0330-5228_grizY"
    answer = support.lenspipe(
        "simulate", "--into", images, "--lenses", "3", "--survey", "des", "--out", tmp_path
    )
    assert answer.returncode == 0, answer.stderr
    truth = read_table(tmp_path / "truth.parquet")
    assert len(truth) == 1  # of its central galaxy
    (path,) = tmp_path.glob("*_i.fits")
    (given,) = images.glob("*_i_psf.fits")
    star = fits.getdata(given)
    assert fits.getdata(path, "PSF") == pytest.approx(star / star.sum(), abs=1e-6)
    (image,) = images.glob("*_i_sci.fits")
    added = fits.getdata(path, "SCI") - fits.getdata(image)
    arcs = 10 ** (0.4 * (30.0 - 31.4)) * truth["mu"][0] * flux_njy(truth["mag_src_i"][0])
    assert np.nansum(added) == pytest.approx(arcs, rel=0.1)


def test_a_galactic_tile_has_its_lenses_in_icrs():
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

    from lenspipe.core.types import StampFormat
    from lenspipe.imaging.cutout import linear_wcs
    from lenspipe.stages.inject_tiles import _place

    wcs = linear_wcs(0.263, 100.0, 100.0)
    wcs.wcs.ctype, wcs.wcs.crval = ["GLON-TAN", "GLAT-TAN"], [120.0, 40.0]
    lens = {name: [0.0] for name in ("x_lens", "y_lens", "x_src", "y_src")}
    truth = Table({"kind": ["lens"], **lens})
    hosts = Table({"object_id": ["a"], "x": [100.0], "y": [100.0]})
    placed = _place(truth, hosts, "T", StampFormat(("g",), 33, 0.263), wcs)
    expected = SkyCoord(120.0, 40.0, unit="deg", frame="galactic").icrs
    assert (placed["ra"][0], placed["dec"][0]) == pytest.approx((expected.ra.deg, expected.dec.deg), abs=1e-9)
