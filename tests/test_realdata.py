"""Real survey images through `lenspipe scan` to a catalog (skipped where the images are not)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from support import lenspipe

from lenspipe.core.schema import Flag
from lenspipe.io.tables import read_table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: SL2SJ142209+524652, from the table of known lenses that comes with the images.
KNOWN = (215.53862, 52.78123)


def scan(chain: Path, out: Path, *arguments) -> Table:
    """Scan images with the small chain's networks and return every scored object."""
    answer = lenspipe(
        "scan",
        *arguments,
        "--out",
        out,
        "--threshold",
        "0",
        "--detector",
        chain / "models/detector",
        "--regressor",
        chain / "models/regressor",
        "--set",
        "find.mc_samples=4",
        "--set",
        "model.mc_samples=8",
    )
    assert answer.returncode == 0, answer.stderr
    assert json.loads((out / "run.json").read_text())["status"] == "done"
    assert (out / "report/index.html").stat().st_size > 10_000
    scores = read_table(out / "scores.parquet")
    assert np.isfinite(scores["score"]).all()
    assert np.isfinite(scores["theta_e"]).all()
    return scores


def test_the_five_band_des_lens_with_weights_and_psfs(chain, realdata, tmp_path):
    scores = scan(chain, tmp_path, realdata / "des_J0330-5228_grizY", "--survey", "des")
    assert len(scores) == 1
    row = scores[0]
    assert row["tile"] == "DESJ033056.9318-522813.0188"
    assert (row["ra"], row["dec"]) == pytest.approx((52.737216, -52.470283), abs=2e-5)
    assert row["flags"] == Flag.ZERO_POINT_ASSUMED  # noise and PSF come from the files
    assert 17 < row["mag_i"] < 20
    candidates = read_table(tmp_path / "candidates.fits")
    assert list(candidates["name"]) == ["LP J033056.93-522813.0"]


def test_the_cfhtls_tile_with_its_listed_lens_and_saturated_star(chain, realdata, tmp_path):
    known = tmp_path / "known.csv"
    known.write_text(f"name,ra,dec\nSL2SJ142209+524652,{KNOWN[0]},{KNOWN[1]}\n")
    scores = scan(
        chain,
        tmp_path / "run",
        realdata / "cfhtls_patch",
        "--survey",
        "cfhtls",
        "--resample",
        "--set",
        f"catalog.known={known}",
    )
    assert len(scores) > 8
    lens = scores[scores["known_name"] != ""]
    assert len(lens) == 1
    assert lens["known_sep"][0] < 1.0
    assert lens["flags"][0] & Flag.RESAMPLED
    assert (np.asarray(scores["flags"]) & int(Flag.SATURATED)).any()


def test_without_resample_another_pixel_scale_is_refused(chain, realdata, tmp_path):
    answer = lenspipe(
        "scan",
        realdata / "cfhtls_patch",
        "--survey",
        "cfhtls",
        "--out",
        tmp_path,
        "--detector",
        chain / "models/detector",
    )
    assert answer.returncode == 2
    (line,) = answer.stderr.strip().splitlines()
    assert "0.263 arcsec per pixel, cfhtls has 0.186" in line
    assert "--resample" in line


def test_an_hsc_blend_from_a_cube(chain, realdata, tmp_path):
    scores = scan(chain, tmp_path, realdata / "hsc_blends/Cut_HSC.fits", "--survey", "hsc", "--resample")
    assert list(scores["tile"]) == ["Cut_HSC"]
    assert scores["flags"][0] & Flag.PADDED  # 8.4 arcsec of image for a stamp of 12.6
    assert np.isfinite(scores["ra"][0])


def test_a_rice_compressed_field_without_sky_coordinates(chain, realdata, tmp_path):
    survey = tmp_path / "vst.toml"
    survey.write_text('extends = "kids"\nname = "vst"\npixel_scale = 0.339\n')
    scores = scan(
        chain,
        tmp_path / "run",
        realdata / "kids_viking_field",
        "--survey",
        survey,
        "--resample",
        "--set",
        "ingest.max_mag=20.5",
    )
    assert len(scores) > 100
    assert np.isnan(scores["ra"]).all()
    assert (np.asarray(scores["flags"]) & int(Flag.NO_WCS)).all()
    assert set(read_table(tmp_path / "run/candidates.ecsv")["name"]) <= {""}


def test_the_same_field_with_sky_coordinates_whole_to_a_catalog(chain, realdata, tmp_path):
    """The field's own header has none: a turned TAN projection goes into a copy."""
    turn, scale = np.deg2rad(20.0), 0.339 / 3600
    cards = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 0.003, "CRVAL2": -31.2, "CRPIX1": 1300.0, "CRPIX2": 650.0,
        "CD1_1": -scale * np.cos(turn), "CD1_2": scale * np.sin(turn),
        "CD2_1": scale * np.sin(turn), "CD2_2": scale * np.cos(turn),
    }  # fmt: skip
    (tmp_path / "field").mkdir()
    for path in (realdata / "kids_viking_field").glob("*.fits.fz"):
        with fits.open(
            path, disable_image_compression=True
        ) as hdus:  # the pixels stay as they are compressed
            hdus[1].header.update(cards)
            hdus.writeto(tmp_path / "field" / path.name)
    survey = tmp_path / "vst.toml"
    survey.write_text('extends = "kids"\nname = "vst"\npixel_scale = 0.339\n')
    scores = scan(
        chain, tmp_path / "run", tmp_path / "field", "--survey", survey, "--resample", "--set", "ingest.max_mag=20.5"
    )  # fmt: skip
    assert len(scores) > 100
    assert not (np.asarray(scores["flags"]) & int(Flag.NO_WCS)).any()
    check_places(scores, WCS(fits.Header(cards)))
    assert set(np.asarray(scores["ra"]) > 180) == {True, False}  # on both sides of RA 0
    candidates = read_table(tmp_path / "run/candidates.fits")
    assert len(candidates) > 100
    assert all(name.startswith("LP J") for name in candidates["name"])


def check_places(scores: Table, wcs: WCS) -> None:
    """Check that objects lie where astropy says that their pixels do."""
    ra, dec = wcs.all_pix2world(scores["x"], scores["y"], 0)
    east = (np.asarray(scores["ra"]) - ra + 180) % 360 - 180
    assert np.max(np.abs(east * np.cos(np.deg2rad(dec)))) < 0.01 / 3600
    assert np.max(np.abs(np.asarray(scores["dec"]) - dec)) < 0.01 / 3600


ONE_BAND = """
survey = "{survey}"

[simulate]
count = 24
size = 48

[train.detector]
architecture = "swift"
folds = 2
epochs = 1
batch_size = 16
"""


@pytest.mark.timeout(1200)
def test_a_single_exposure_in_its_one_band_to_a_catalog(realdata, tmp_path):
    """RICE-compressed, on its sky, with weight, mask and TPV coordinates, by a detector for that band."""
    survey = tmp_path / "decam.toml"
    survey.write_text(
        'extends = "decam"\nname = "decam-r"\nmodel_bands = ["r"]\ndetection_band = "r"\nrgb = ["r", "r", "r"]\n'
    )
    (tmp_path / "recipe.toml").write_text(ONE_BAND.format(survey=survey))
    answer = lenspipe("run", tmp_path / "recipe.toml", "--out", tmp_path / "models", timeout=560)
    assert answer.returncode == 0, answer.stderr
    folder = realdata / "single_exposures/testcase8"
    answer = lenspipe(
        "scan", folder, "--survey", survey, "--out", tmp_path / "run", "--threshold", "0",
        "--detector", tmp_path / "models/models/detector", "--set", "find.mc_samples=4",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    scores = read_table(tmp_path / "run/scores.parquet")
    assert len(scores) > 5
    (image,) = folder.glob("*_ooi_*")
    with fits.open(image) as hdus:
        header = hdus[1].header
    assert header["CTYPE1"] == "RA---TPV"
    check_places(scores, WCS(header))
    plain = header.copy()
    plain["CTYPE1"], plain["CTYPE2"] = "RA---TAN", "DEC--TAN"
    del plain["PV*"]
    with pytest.raises(AssertionError):  # that the distortion matters here
        check_places(scores, WCS(plain))
    assert (np.asarray(scores["flags"]) & int(Flag.SKY_SUBTRACTED)).all()
    candidates = read_table(tmp_path / "run/candidates.ecsv")
    assert len(candidates) == len(scores)
    assert all(name.startswith("LP J08") for name in candidates["name"])


def test_single_exposures_have_one_band_and_are_named_in_quarantine(chain, realdata, tmp_path):
    answer = lenspipe(
        "scan",
        realdata / "single_exposures/testcase8",
        "--survey",
        "des",
        "--out",
        tmp_path,
        "--detector",
        chain / "models/detector",
    )
    assert answer.returncode == 0, answer.stderr
    (row,) = read_table(tmp_path / "quarantine.ecsv")
    assert row["reason"] == "missing_band:g"
    assert len(read_table(tmp_path / "candidates.ecsv")) == 0
