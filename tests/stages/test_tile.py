"""Tiles as the surveys publish them become stamps of the right flux, place and PSF; strips of distorted skies too."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from psfex_file import make_model
from survey_files import BAD, SIZE, SOURCES, make_wcs, psf_sizes, write_tile

from lenspipe.config import load_config
from lenspipe.core.schema import Flag
from lenspipe.core.survey import load_survey
from lenspipe.imaging.psf import psf_width
from lenspipe.imaging.psfmodel import psf_at
from lenspipe.io.shards import read_shard
from lenspipe.io.store import Store
from lenspipe.io.tables import read_table
from lenspipe.stages import ingest, search

#: What is not in the files of a survey and has to be assumed.
ASSUMED = {
    "des": 0,
    "lsst": Flag.PSF_ASSUMED,
    "hsc": Flag.PSF_ASSUMED,
    "kids": Flag.ZERO_POINT_ASSUMED | Flag.PSF_ASSUMED,
    "legacy": 0,
    "cfhtls": Flag.PSF_ASSUMED,
    "euclid": Flag.PSF_ASSUMED,
}


def run(tmp_path, folder, *overrides):
    """Return the tables, the shards and the quarantined rows of a folder's only tile."""
    words = [f"ingest.images={[str(folder)]}", "ingest.size=32", "ingest.kind=tile", *overrides]
    config = load_config(None, words)
    store = Store(tmp_path / "run")
    (unit,) = ingest.plan(config, store)
    done = ingest.work(unit, config, store)
    assert not done.quarantined, done.quarantined
    return read_table(ingest.objects_path(config, store, unit.name)), read_shard(
        ingest.shard_path(config, store, unit.name)
    )


def rows_of(table, places):
    return [int(np.argmin(np.hypot(table["x"] - x, table["y"] - y))) for x, y, *_ in places]


@pytest.mark.parametrize("survey", list(ASSUMED))
def test_a_tile_as_the_survey_writes_it(tmp_path, survey):
    write_tile(survey, tmp_path / "in")
    table, shard = run(tmp_path, tmp_path / "in", f"survey={survey}", "ingest.min_snr=30")
    assert len(table) == 3
    numbers = load_survey(survey)
    rows = rows_of(table, SOURCES)
    wcs = make_wcs(numbers.pixel_scale)
    stamp = shard.image[:, 4:28, 4:28]
    for row, (x, y, flux) in zip(rows, SOURCES, strict=True):
        assert (table["x"][row], table["y"][row]) == pytest.approx((x, y), abs=0.2)
        ra, dec = wcs.all_pix2world(table["x"][row], table["y"][row], 0)
        assert (table["ra"][row], table["dec"][row]) == pytest.approx((float(ra), float(dec)), abs=1e-9)
        assert stamp[row].sum(axis=(0, 1)) == pytest.approx(flux, rel=0.05)  # every band, in nJy
    assert np.allclose(shard.noise_sigma, 20.0, rtol=0.02)
    flags = [Flag(int(table["flags"][row])) for row in rows]
    if survey == "legacy":  # the bad bit is of g, the seeing's map jumps
        assert shard.psf_fwhm[rows, 0] == pytest.approx(
            [psf_sizes()[0, round(x)] for x, *_ in SOURCES], abs=0.02
        )
    if survey == "des":
        model = make_model(2, 0.8, centre=(SIZE / 2, SIZE / 2))
        direct = [psf_width(psf_at(model, x, y)) * numbers.pixel_scale for x, y, _ in SOURCES]
        assert shard.psf_fwhm[rows, 0] == pytest.approx(direct, rel=0.02)
        assert np.ptp(direct) > 0.03
    flags = [flag & ~Flag.POINT_LIKE for flag in flags]
    assert flags == [ASSUMED[survey], ASSUMED[survey] | Flag.MASKED, ASSUMED[survey]]
    column = int(BAD[1] - np.floor(table["x"][rows[1]] - 15.5 + 0.5))
    assert np.isfinite(shard.image[rows[1], :, column]).all()


def distorted(kind: str) -> fits.Header:
    header = make_wcs(0.263).to_header(relax=True)
    if kind == "TPV":
        header["CTYPE1"], header["CTYPE2"] = "RA---TPV", "DEC--TPV"
        terms = {
            "PV1_0": 1e-5,
            "PV1_1": 1.01,
            "PV1_4": 0.9,
            "PV1_7": 30.0,
            "PV2_1": 0.99,
            "PV2_5": -0.7,
            "PV2_10": 25.0,
        }
        header.update(terms)
    if kind == "SIP":
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
        header.update(
            {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 5e-5, "A_1_1": -3e-5, "B_0_2": 4e-5, "B_2_0": -2e-5}
        )
    return header


@pytest.mark.parametrize("kind", ["TAN", "TPV", "SIP"])
@pytest.mark.parametrize("compressed", [False, True])
def test_strips_of_a_distorted_tile_keep_their_places(tmp_path, monkeypatch, kind, compressed):
    monkeypatch.setattr(search, "STRIP", 96)
    header = distorted(kind)
    wcs = WCS(header)
    y, x = np.mgrid[:400, :260]
    places = [(60.3, 50.2), (200.1, 140.7), (100.6, 250.4), (180.2, 350.9)]
    pixels = np.random.default_rng(3).normal(scale=5.0, size=(400, 260))
    for x0, y0 in places:
        pixels += 30000 / (2 * np.pi * 2.25) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 4.5)
    header.update({"BAND": "g", "MAGZERO": 31.4})
    (tmp_path / "in").mkdir()
    for band in "gri":
        image = pixels.astype(np.float32)
        hdu = (
            fits.CompImageHDU(image, header, name="SCI", quantize_level=64.0)
            if compressed
            else fits.ImageHDU(image, header, name="SCI")
        )
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / f"in/T_{band}.fits")
    table, shard = run(tmp_path, tmp_path / "in", "ingest.min_snr=50")
    assert len(table) == 4
    expected = wcs.all_pix2world(np.stack([table["x"], table["y"]], axis=1), 0)
    found = np.stack([table["ra"], table["dec"]], axis=1)
    assert np.abs((found - expected) * 3600).max() < 1e-6
    for row, (x0, y0) in zip(rows_of(table, places), places, strict=True):
        ra, dec = wcs.all_pix2world(x0, y0, 0)
        assert table["ra"][row] == pytest.approx(float(ra), abs=0.2 * 0.263 / 3600)
        assert table["dec"][row] == pytest.approx(float(dec), abs=0.2 * 0.263 / 3600)
        light = shard.image[row, ..., 1].clip(0)
        corner = [np.floor(c - 15.5 + 0.5) for c in (table["x"][row], table["y"][row])]
        yy, xx = np.mgrid[:32, :32]
        core = np.hypot(xx + corner[0] - x0, yy + corner[1] - y0) < 5
        assert np.average(xx, weights=light * core) + corner[0] == pytest.approx(x0, abs=0.1)
        assert np.average(yy, weights=light * core) + corner[1] == pytest.approx(y0, abs=0.1)


@pytest.mark.parametrize("kind", ["TPV", "SIP"])
def test_targets_are_found_on_a_distorted_sky(tmp_path, kind):
    header = distorted(kind)
    header.update({"BAND": "g", "MAGZERO": 31.4})
    places = np.array([[40.0, 300.0], [210.0, 77.0]])
    sky = WCS(header).all_pix2world(places, 0)
    (tmp_path / "in").mkdir()
    for band in "gri":
        pixels = np.random.default_rng(ord(band)).normal(size=(400, 260)).astype(np.float32)
        fits.writeto(tmp_path / f"in/T_{band}.fits", pixels, header)
    (tmp_path / "targets.csv").write_text(
        "id,ra,dec\n" + "".join(f"{k},{a!r},{d!r}\n" for k, (a, d) in enumerate(sky.tolist()))
    )
    table, _ = run(tmp_path, tmp_path / "in", f"targets.table={tmp_path / 'targets.csv'}")
    order = np.argsort(np.asarray(table["object_id"], str))
    assert np.stack([table["x"], table["y"]], axis=1)[order] == pytest.approx(places, abs=1e-4)


def test_a_real_rice_exposure_keeps_its_tpv_sky_and_its_seeing(tmp_path, realdata):
    folder = realdata / "single_exposures/testcase8"
    table, shard = run(tmp_path, folder, "survey=decam", "ingest.bands=['r']", "ingest.min_snr=50")
    (path,) = folder.glob("*ooi*")
    with fits.open(path) as hdus:
        wcs, fwhm = WCS(hdus[1].header), hdus[1].header["FWHM"]
    assert len(table) > 5
    sky = wcs.all_pix2world(np.stack([table["x"], table["y"]], axis=1), 0)
    assert np.abs(np.stack([table["ra"], table["dec"]], axis=1) - sky).max() * 3600 < 1e-6
    assert shard.psf_fwhm[:, 0] == pytest.approx(fwhm * 0.263, rel=0.02)  # 4.02 px, not arcsec
    assert all(flags & Flag.ZERO_POINT_ASSUMED for flags in table["flags"])


def test_real_exposures_whose_zero_point_is_short_of_the_exposure_time(tmp_path, realdata):
    survey = tmp_path / "bass.toml"
    survey.write_text(
        'extends = "decam"\nname = "bass"\npixel_scale = 0.454\n[layout]\nzero_point_per_second = true\n'
    )
    tables = {}
    for band, night in (("g", "180313_081856"), ("r", "170430_055945")):
        (tmp_path / band).mkdir()
        for path in (realdata / "single_exposures/mzlsbass2").glob(f"ksb_{night}_*"):
            (tmp_path / band / path.name).symlink_to(path)
        words = (
            f"survey={survey}",
            f"ingest.bands=['{band}']",
            "ingest.size=16",
            "ingest.max_bad_fraction=0.5",
        )
        tables[band], _ = run(tmp_path / band, tmp_path / band, *words)
        assert not any(flags & Flag.ZERO_POINT_ASSUMED for flags in tables[band]["flags"])
    g, r = tables["g"], tables["r"]
    away = (
        np.hypot((g["ra"][:, None] - r["ra"]) * np.cos(np.radians(34)), g["dec"][:, None] - r["dec"]) * 3600
    )
    pairs = np.argwhere(away < 1.0)
    assert len(pairs) >= 4  # the same stars, a year apart
    colours = np.array([g["mag_g"][i] - r["mag_r"][k] for i, k in pairs])
    assert (colours > 0.2).all()
    assert (colours < 1.7).all()
    assert 17 < np.min(g["mag_g"]) < 18.5  # 12.7 as the header has it


def write_bands(folder, headers):
    """Write a tile of three sources whose bands have these headers; return where its sources are."""
    y, x = np.mgrid[:260, :400]
    places = np.array([(60.3, 50.2), (200.1, 140.7), (330.6, 210.4)])
    folder.mkdir()
    for band, header in headers.items():
        pixels = np.random.default_rng(ord(band)).normal(scale=5.0, size=(260, 400))
        for x0, y0 in places:
            pixels += 2000 * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 4.5)
        header.update({"BAND": band, "MAGZERO": 31.4})
        fits.writeto(folder / f"T_{band}.fits", pixels.astype(np.float32), header)
    return places


def ingest_folder(tmp_path, *words):
    config = load_config(
        None, [f"ingest.images=['{tmp_path / 'in'}']", "ingest.size=32", "ingest.kind=tile", *words]
    )
    store = Store(tmp_path / "run")
    (unit,) = ingest.plan(config, store)
    done = ingest.work(unit, config, store)
    return done, read_table(ingest.objects_path(config, store, unit.name)) if done.outputs else None


def galactic(**cards) -> fits.Header:
    header = make_wcs(0.263).to_header()
    header.update({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", **cards})
    return header


@pytest.mark.parametrize("cards", [{}, {"RADESYS": "ICRS"}])
def test_a_galactic_tile_has_its_objects_in_icrs(tmp_path, cards):
    places = write_bands(tmp_path / "in", {band: galactic(**cards) for band in "gri"})
    done, table = ingest_folder(tmp_path, "ingest.min_snr=50")
    assert not done.quarantined
    assert len(table) == 3
    native = WCS(galactic()).all_pix2world(np.stack([table["x"], table["y"]], axis=1), 0)
    expected = SkyCoord(*native.T, unit="deg", frame="galactic").icrs
    assert expected.separation(SkyCoord(table["ra"], table["dec"], unit="deg")).arcsec.max() < 1e-6
    rows = rows_of(table, places)
    targets = Table({"id": ["a", "b", "c"], "ra": table["ra"][rows], "dec": table["dec"][rows]})
    targets.write(tmp_path / "targets.ecsv")
    other = tmp_path / "other"
    other.mkdir()
    (other / "in").symlink_to(tmp_path / "in")
    done, found = ingest_folder(other, f"targets.table={tmp_path / 'targets.ecsv'}")
    assert not done.quarantined
    assert sorted(found["object_id"]) == ["a", "b", "c"]
    assert np.sort(found["x"]) == pytest.approx(np.sort(places[:, 0]), abs=0.2)


def test_bands_of_two_frames_are_put_on_one_sky(tmp_path):
    sky = SkyCoord(40.0, -20.0, unit="deg")
    turn = sky.position_angle(SkyCoord(0, 90, unit="deg", frame="galactic").icrs).rad
    step = 0.263 / 3600
    c, s = step * np.cos(turn), step * np.sin(turn)
    matrix = {"PC1_1": -c, "PC1_2": -s, "PC2_1": -s, "PC2_2": c, "CDELT1": 1.0, "CDELT2": 1.0}
    turned = galactic(CRVAL1=sky.galactic.l.deg, CRVAL2=sky.galactic.b.deg, **matrix)
    plain = make_wcs(0.263).to_header()
    plain.update({"CRVAL1": 40.0, "CRVAL2": -20.0})
    write_bands(tmp_path / "in", {"g": plain, "r": turned, "i": plain.copy()})
    done, table = ingest_folder(tmp_path, "ingest.min_snr=50")
    assert not done.quarantined
    assert len(table) == 3
    assert not any(flags & Flag.REPROJECTED for flags in table["flags"])  # one grid, told in two ways


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ({"CRVAL2": 200.0}, "bad_wcs:g"),
        ({"CRVAL1": 1e300}, "bad_wcs:g"),
        ({"CRPIX1": 1e30}, "bad_wcs:g"),
        ({"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN"}, "bad_wcs:g"),
        (
            {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1.0},
            "bad_wcs:g",
        ),
        ({"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN"}, "bad_wcs:g"),
        ({"CRVAL1": 220.0, "CRVAL2": 20.0}, "no_good_pixels:g"),  # the other side of the sky
    ],
)
def test_an_absurd_sky_costs_the_tile_or_its_objects_by_name(tmp_path, cards, reason):
    wrong, right = (make_wcs(0.263).to_header() for _ in range(2))
    wrong.update(cards)
    write_bands(tmp_path / "in", {"g": wrong, "r": right, "i": right.copy()})
    done, _ = ingest_folder(tmp_path, "ingest.min_snr=50")
    assert {row.reason for row in done.quarantined} == {reason}
    assert len(done.quarantined) == (1 if "wcs" in reason else 3)


def test_a_target_from_afar_does_not_land_on_a_distorted_tile(tmp_path):
    header = make_wcs(0.263).to_header()
    terms = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 5e-4, "B_0_2": 5e-4, "A_1_1": 3e-4}
    header.update(
        {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRPIX1": 200.0, "CRPIX2": 130.0, **terms}
    )
    places = write_bands(tmp_path / "in", {band: header.copy() for band in "gri"})
    wcs = WCS(header)
    centre = wcs.all_pix2world(200.0, 130.0, 0)
    ra, dec = (c.ravel() for c in np.meshgrid(*(float(v) + np.linspace(-1, 1, 81) for v in centre)))
    x, y = wcs.all_world2pix(ra, dec, 0, quiet=True)
    far = np.hypot((ra - centre[0]) * np.cos(np.radians(centre[1])), dec - centre[1]) > 0.2
    landing = far & (x > 0) & (y > 0) & (x < 400) & (y < 260)
    assert landing.any()
    near = wcs.all_pix2world(places, 0)
    names = ["near"] * 3 + ["far"] * int(landing.sum())
    places_of = np.concatenate([near, np.stack([ra[landing], dec[landing]], axis=1)])
    Table({"id": names, "ra": places_of[:, 0], "dec": places_of[:, 1]}).write(tmp_path / "t.ecsv")
    _, table = ingest_folder(tmp_path, f"targets.table={tmp_path / 't.ecsv'}")
    assert sorted(table["object_id"]) == ["near#0", "near#1", "near#2"]
