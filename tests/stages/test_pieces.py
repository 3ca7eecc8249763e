"""A tile gives the same stamps whether it is read whole or in strips, and refuses bands that do not fit."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from lenspipe.config import load_config
from lenspipe.core.errors import Rejected
from lenspipe.core.survey import load_survey
from lenspipe.io import bands
from lenspipe.io.layout import find_images, group_files
from lenspipe.stages import pieces, search
from lenspipe.stages.pieces import read_pieces
from lenspipe.stages.stamps import stamp_format

DES = load_survey("des")
RNG = np.random.default_rng(11)
WIDTH, HEIGHT = 500, 700
X, Y = RNG.uniform(5, WIDTH - 5, 90), RNG.uniform(5, HEIGHT - 5, 90)
FLUX = 10 ** RNG.uniform(3.2, 4.2, 90)


def draw(band):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.random.default_rng(ord(band)).normal(scale=5, size=(HEIGHT, WIDTH))
    for x0, y0, flux in zip(X, Y, FLUX, strict=True):
        image += flux / (2 * np.pi * 2.25) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 4.5)
    return image.astype(np.float32)


def write(folder, change=lambda band, pixels: pixels):
    folder.mkdir(exist_ok=True)
    for band in "gri":
        header = fits.Header({"BAND": band, "MAGZERO": 31.4, "PSF_FWHM": 0.93})
        weight = fits.ImageHDU(np.full((HEIGHT, WIDTH), 0.04, np.float32), name="WGT")
        pixels = np.ascontiguousarray(change(band, draw(band)))
        fits.HDUList([fits.PrimaryHDU(pixels, header), weight]).writeto(
            folder / f"T_{band}.fits", overwrite=True
        )
    return folder


def cut(folder, *overrides):
    words = [f"ingest.images=['{folder}']", "ingest.size=32", 'ingest.kind="tile"', *overrides]
    config = load_config(None, words)
    (one,) = group_files(find_images(config.ingest.images), DES)
    parts = list(read_pieces(one, DES, stamp_format(config), config))
    flux = np.concatenate([piece.flux for piece in parts])
    ids = np.concatenate([np.asarray(piece.objects["object_id"]) for piece in parts])
    places = np.concatenate([np.stack([piece.objects["x"], piece.objects["y"]], axis=-1) for piece in parts])
    left_out = [row for piece in parts for row in piece.rejected]
    return flux, ids, places, left_out


def test_strips_and_pieces_change_nothing(tmp_path, monkeypatch):
    folder = write(tmp_path / "in")
    flux, ids, places, left_out = cut(folder)
    assert len(ids) + len(left_out) > 65
    monkeypatch.setattr(search, "STRIP", 150)
    monkeypatch.setattr(pieces, "AT_ONCE", 7)
    in_strips = cut(folder)
    assert np.allclose(in_strips[2], places, atol=0.05)  # backgrounds are local: centres move by hundredths
    assert list(in_strips[1]) == list(ids)
    assert [row.object for row in in_strips[3]] == [row.object for row in left_out]
    same = np.all(np.floor(in_strips[2]) == np.floor(places), axis=1)
    assert np.array_equal(in_strips[0][same], flux[same])


@pytest.mark.parametrize(
    "change",
    [
        lambda pixels: np.roll(pixels, 2, axis=1),
        lambda pixels: np.roll(pixels, -3, axis=0),
        lambda pixels: pixels[::-1],
        lambda pixels: pixels[:, ::-1],
        lambda pixels: np.roll(pixels, 100, axis=0),
    ],
)
def test_a_band_that_shows_another_place_is_refused(tmp_path, change):
    folder = write(tmp_path / "in", lambda band, pixels: change(pixels) if band == "r" else pixels)
    with pytest.raises(Rejected, match="misaligned:r"):
        cut(folder)


def test_a_band_without_sources_is_shallow_not_misaligned(tmp_path):
    noise = np.random.default_rng(3).normal(scale=5, size=(HEIGHT, WIDTH)).astype(np.float32)
    folder = write(tmp_path / "in", lambda band, pixels: noise if band == "g" else pixels)
    assert len(cut(folder)[1]) > 60


def test_a_tile_without_sources_and_one_without_targets_are_empty_not_failed(tmp_path):
    noise = np.random.default_rng(5).normal(scale=5, size=(HEIGHT, WIDTH)).astype(np.float32)
    folder = write(tmp_path / "in", lambda band, pixels: noise)
    assert len(cut(folder, "ingest.min_snr=50")[1]) == 0


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_rows_without_data_cost_only_their_own_objects(tmp_path, monkeypatch, value):
    monkeypatch.setattr(search, "STRIP", 150)

    def hole(band, pixels):
        pixels[200:520] = value
        return pixels

    _, ids, places, _ = cut(write(tmp_path / "in", hole))
    assert len(ids) > 20
    assert not np.any((places[:, 1] > 205) & (places[:, 1] < 515))


def test_a_band_filled_with_zeros_is_never_scored(tmp_path):
    def hole(band, pixels):
        if band == "g":
            pixels[200:] = 0.0
        return pixels

    _, ids, places, left_out = cut(write(tmp_path / "in", hole))
    assert np.all(places[:, 1] < 210)
    assert len(ids) > 5
    assert sum(row.reason == "bad_pixels:g" or row.reason == "no_good_pixels:g" for row in left_out) > 20


def test_few_sources_a_piece_still_tell_a_shift(tmp_path, monkeypatch):
    monkeypatch.setattr(search, "STRIP", 150)
    monkeypatch.setattr(pieces, "AT_ONCE", 3)
    folder = write(
        tmp_path / "in", lambda band, pixels: np.roll(pixels, 4, axis=1) if band == "g" else pixels
    )
    with pytest.raises(Rejected, match="misaligned:g: g and i do not show the same sky"):
        cut(folder)


def test_a_turned_band_is_read_in_blocks_and_changes_nothing(tmp_path, monkeypatch):
    middle, step = (0.5 * WIDTH, 0.5 * HEIGHT), 0.263 / 3600
    for band in "gri":
        turn = np.deg2rad(45.0 if band == "r" else 0.0)
        turned = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
        header = fits.Header(
            {"BAND": band, "MAGZERO": 31.4, "PSF_FWHM": 0.93, "CRVAL1": 50.0, "CRVAL2": -30.0}
        )
        header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
        header.update({"CRPIX1": middle[0] + 1, "CRPIX2": middle[1] + 1})
        for (i, j), value in np.ndenumerate(np.diag([-step, step]) @ np.linalg.inv(turned)):
            header[f"CD{i + 1}_{j + 1}"] = value
        places = np.array(turned) @ [X - middle[0], Y - middle[1]] + np.array(middle)[:, None]
        image = np.random.default_rng(ord(band)).normal(scale=5, size=(HEIGHT, WIDTH))
        y, x = np.mgrid[:HEIGHT, :WIDTH]
        for x0, y0, flux in zip(*places, FLUX, strict=True):
            image += flux / (2 * np.pi * 2.25) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 4.5)
        fits.PrimaryHDU(image.astype(np.float32), header).writeto(tmp_path / f"T_{band}.fits")
    read, whole_read = [], bands.OpenBand.read

    def note(self, *window):
        read.append(whole_read(self, *window))
        return read[-1]

    monkeypatch.setattr(bands.OpenBand, "read", note)
    monkeypatch.setattr(search, "STRIP", 150)
    flux, ids, places, left_out = cut(tmp_path, "ingest.max_bad_fraction=0.9")
    largest = max(part.data.size for part in read[3:])  # the first three: levels of the bands
    read.clear()
    monkeypatch.setattr(pieces, "BLOCK", 100)
    again = cut(tmp_path, "ingest.max_bad_fraction=0.9")
    assert max(part.data.size for part in read[3:]) < 0.6 * largest
    assert len(ids) > 40
    order, other = np.argsort(ids), np.argsort(again[1])
    assert np.array_equal(ids[order], again[1][other])
    assert np.array_equal(places[order], again[2][other])
    assert np.allclose(flux[order], again[0][other], atol=1e-2, equal_nan=True)
    assert {row.object for row in left_out} == {row.object for row in again[3]}
