"""Committees: several detectors give one score, from the images to the catalog and the page."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from support import SIZE, lenspipe, write_detector

from lenspipe.io.tables import read_table


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    seeing_masks = write_detector(folder / "b", 5, folds=2, temperature=2.0, channels=("mask",))
    return [write_detector(folder / "a", 1), seeing_masks]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    for name in ("one", "two"):
        for band in "gri":
            galaxy = rng.uniform(100, 900) * np.exp(-(x**2 + y**2) / 18)
            header = fits.Header({"BAND": band, "MAGZERO": 31.4, "PSF_FWHM": 0.93})
            pixels = (galaxy + rng.normal(0, 5, galaxy.shape)).astype(np.float32)
            weight = fits.ImageHDU(np.full(galaxy.shape, 0.04, np.float32), name="WGT")
            weight.data[:, 20] = 0.0  # a dead column
            fits.HDUList([fits.PrimaryHDU(pixels, header), weight]).writeto(folder / f"{name}_{band}.fits")
    return folder


def scan(images, out, *detectors):
    words = [word for folder in detectors for word in ("--detector", folder)]
    return lenspipe("scan", images, "--survey", "des", "--out", out, "--threshold", "0", *words)


def test_a_committee_scores_from_the_images_to_the_catalog_and_predict_agrees(detectors, images, tmp_path):
    answer = scan(images, tmp_path / "scan", *detectors)
    assert answer.returncode == 0, answer.stderr
    scores = read_table(tmp_path / "scan/scores.parquet")
    assert list(scores["tile"]) == ["one", "two"]
    assert [name for name in scores.colnames if "fold" in name] == [f"score_fold_{k}" for k in range(3)]
    first, second, third = (np.asarray(scores[f"score_fold_{k}"], float) for k in range(3))
    hot = [1 / (1 + np.sqrt(1 / score - 1)) for score in (second, third)]  # their temperature is 2
    votes = np.array([first, np.mean(hot, axis=0)])
    np.testing.assert_allclose(scores["score"], votes.mean(axis=0), rtol=1e-5)
    assert np.all(np.asarray(scores["score_err"]) >= votes.std(axis=0))
    assert "2 detectors score as a committee" in (tmp_path / "scan/report/index.html").read_text()

    table = tmp_path / "predicted.parquet"
    words = ("--data", images, "--survey", "des", "--out", table, "--mc-samples", "20")
    answer = lenspipe("predict", *detectors, *words)
    assert answer.returncode == 0, answer.stderr
    predicted = read_table(table)
    for name in ("score", "score_err", "p_lens", "score_fold_2"):
        np.testing.assert_allclose(predicted[name], scores[name], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"bands": "gi"}, "bands g,r,i, "), ({"pixel_scale": 0.2}, "a pixel scale [arcsec] of 0.263, ")],
)
def test_members_made_for_other_stamps_are_refused_before_anything_runs(
    detectors, images, tmp_path, change, message
):
    other = write_detector(tmp_path / "other", 9, **change)
    answer = scan(images, tmp_path / "scan", detectors[0], other)
    assert answer.returncode == 2
    assert f"{detectors[0]} expects {message}{other} expects" in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "scan/find").exists()


def test_stored_stamps_of_other_bands_are_refused_although_the_run_s_detector_was_exchanged(
    detectors, images, tmp_path
):
    assert scan(images, tmp_path / "scan", detectors[0]).returncode == 0
    other = write_detector(tmp_path / "other", 9, bands="riz")
    words = ("--stage", "find", "--set", f"find.detector=['{other}']", "--out", tmp_path / "scan")
    answer = lenspipe("run", tmp_path / "scan/config.toml", *words)
    assert answer.returncode != 0
    assert "expects bands r,i,z, received g,r,i of" in answer.stderr + answer.stdout
