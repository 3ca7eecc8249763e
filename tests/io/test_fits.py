from __future__ import annotations

import gzip
import os
import struct
import time

import numpy as np
import pytest
from astropy.io import fits

from lenspipe.core.errors import Rejected
from lenspipe.core.survey import load_survey
from lenspipe.core.types import ImageSet
from lenspipe.io import fits as reader
from lenspipe.io.bands import open_bands
from lenspipe.io.fits import describe_file, opened
from lenspipe.io.guard import naming_faults
from lenspipe.io.layout import group_files
from lenspipe.io.planes import list_planes
from lenspipe.io.preflight import check_structure

DES = load_survey("des")
RNG = np.random.default_rng(3)
PIXELS = RNG.normal(size=(20, 30)).astype(np.float32)


def image_set(*paths) -> ImageSet:
    (one,) = group_files([str(path) for path in paths], DES)
    return one


def read_band(planes, band):
    with open_bands(planes, [band]) as bands:
        return bands[band].read()


def test_a_file_per_band_with_extensions_by_name(tmp_path):
    for factor, band in enumerate("gri", start=1):
        hdus = [
            fits.PrimaryHDU(),
            fits.ImageHDU(np.ones((20, 30), np.int32), name="MSK"),
            fits.ImageHDU(np.full((20, 30), factor, np.float32), name="WGT"),
            fits.ImageHDU(PIXELS * factor, name="SCI"),  # found by name, not by number
        ]
        fits.HDUList(hdus).writeto(tmp_path / f"T_{band}.fits")
    planes = list_planes(image_set(*tmp_path.glob("*.fits")), DES)
    raw = read_band(planes, "r")
    assert np.array_equal(raw.data, PIXELS * 2)
    assert (float(raw.noise[0, 0]), int(raw.mask[0, 0])) == (2.0, 1)
    with open_bands(planes, ["r"]) as bands:
        assert bands["r"].noise_kind == "weight"
        part = bands["r"].read(slice(3, 9), slice(10, 30))
    assert np.array_equal(part.data, 2 * PIXELS[3:9, 10:])
    assert part.noise.shape == part.mask.shape == (6, 20)
    with pytest.raises(Rejected, match=r"missing_band:z: images found: g, i, r"):
        read_band(planes, "z")


def test_several_bands_in_one_file_by_name_and_by_keyword(tmp_path):
    by_name = [fits.ImageHDU(PIXELS * k, name=f"SCI_{band}") for k, band in enumerate("griY", start=1)]
    by_name.append(fits.ImageHDU(PIXELS**2, name="VARIANCE_g"))
    fits.HDUList([fits.PrimaryHDU(), *by_name]).writeto(tmp_path / "names.fits")
    planes = list_planes(image_set(tmp_path / "names.fits"), DES)
    assert np.array_equal(read_band(planes, "i").data, PIXELS * 3)
    assert np.array_equal(read_band(planes, "Y").data, PIXELS * 4)
    with open_bands(planes, ["g"]) as bands:
        assert bands["g"].noise_kind == "variance"
    by_key = [
        fits.ImageHDU(PIXELS * k, name="IMAGE", header=fits.Header({"BAND": b}))
        for k, b in enumerate("gri", 1)
    ]
    fits.HDUList([fits.PrimaryHDU(), *by_key]).writeto(tmp_path / "keys.fits")
    planes = list_planes(image_set(tmp_path / "keys.fits"), DES)
    assert np.array_equal(read_band(planes, "r").data, PIXELS * 2)


def test_a_cube_has_the_survey_s_bands_or_those_it_names(tmp_path):
    cube = np.stack([PIXELS * k for k in range(1, 4)])
    fits.writeto(tmp_path / "plain.fits", cube)
    fits.writeto(tmp_path / "named.fits", cube, fits.Header({"BANDS": "i,r,g"}))
    fits.writeto(tmp_path / "four.fits", np.stack([PIXELS] * 4))
    assert np.array_equal(read_band(list_planes(image_set(tmp_path / "plain.fits"), DES), "i").data, cube[2])
    assert np.array_equal(read_band(list_planes(image_set(tmp_path / "named.fits"), DES), "i").data, cube[0])
    with pytest.raises(Rejected, match="cube_bands"):
        list_planes(image_set(tmp_path / "four.fits"), DES)


def test_the_file_s_name_beats_a_wrong_header(tmp_path):
    # DES headers can name the wrong band (traps.md, 19)
    fits.writeto(tmp_path / "T_g.fits", PIXELS, fits.Header({"BAND": "r"}))
    assert [plane.band for plane in list_planes(image_set(tmp_path / "T_g.fits"), DES)] == ["g"]


@pytest.mark.parametrize("suffix", [".fits.gz", ".fits.fz"])
def test_compressed_files_read_the_same(tmp_path, suffix):
    path = tmp_path / f"T_g{suffix}"
    integers = RNG.integers(0, 1000, size=(20, 30)).astype(np.int32)
    if suffix == ".fits.gz":
        fits.writeto(path, integers)
    else:
        hdu = fits.CompImageHDU(integers, name="SCI", compression_type="RICE_1")
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    assert np.array_equal(read_band(list_planes(image_set(path), DES), "g").data, integers)


def test_two_images_of_a_band_and_a_weight_of_another_shape_are_refused(tmp_path):
    twice = [fits.ImageHDU(PIXELS, name="SCI_g"), fits.ImageHDU(PIXELS, name="IMAGE_g")]
    fits.HDUList([fits.PrimaryHDU(), *twice]).writeto(tmp_path / "twice.fits")
    with pytest.raises(Rejected, match="ambiguous_band:g"):
        read_band(list_planes(image_set(tmp_path / "twice.fits"), DES), "g")
    other = [fits.ImageHDU(PIXELS, name="SCI_g"), fits.ImageHDU(PIXELS[1:], name="WGT_g")]
    fits.HDUList([fits.PrimaryHDU(), *other]).writeto(tmp_path / "other.fits")
    with pytest.raises(Rejected, match="shape_mismatch:g"):
        read_band(list_planes(image_set(tmp_path / "other.fits"), DES), "g")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_scaled_images_are_read(tmp_path, suffix):
    path = tmp_path / f"T_g.fits{suffix}"
    unsigned = RNG.integers(0, 65535, size=(20, 30)).astype(np.uint16)
    stored = RNG.integers(-500, 500, size=(20, 30)).astype(np.int16)
    scaled = fits.ImageHDU(stored, name="SCI")
    scaled.header["BSCALE"], scaled.header["BZERO"] = 0.5, 1000
    fits.HDUList([fits.PrimaryHDU(), scaled, fits.ImageHDU(unsigned, name="MSK")]).writeto(path)
    with open_bands(list_planes(image_set(path), DES), ["g"]) as bands:
        raw = bands["g"].read(slice(2, 9))
    assert np.array_equal(raw.data, 0.5 * stored[2:9] + 1000)
    assert np.array_equal(raw.mask, unsigned[2:9])


@pytest.mark.parametrize("codec", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1"])
@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32])
def test_every_codec_gives_the_same_pixels(tmp_path, codec, dtype):
    path = tmp_path / "T_g.fits.fz"
    if (codec, dtype) == ("PLIO_1", np.uint16):
        pytest.skip("astropy writes no such file")
    integers = RNG.integers(0, 1000, size=(70, 90)).astype(dtype)
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(PIXELS, name="OTHER"),
        fits.CompImageHDU(integers, name="SCI", compression_type=codec),
    ]
    fits.HDUList(hdus).writeto(path)
    planes = list_planes(image_set(path), DES)
    (science,) = [plane for plane in planes if plane.label == "2:SCI"]
    with open_bands([science], ["g"]) as bands:
        assert np.array_equal(bands["g"].read().data, integers)
        assert np.array_equal(bands["g"].read(slice(60, 70), slice(5, 9)).data, integers[60:, 5:9])


def test_every_real_file_is_described_and_its_pixels_can_be_read(realdata):
    paths = sorted(str(path) for path in realdata.rglob("*") if path.name.endswith((".fits", ".fits.fz")))
    assert len(paths) > 50
    for path in paths:
        described = describe_file(path)
        with opened(path) as hdus, naming_faults(path):
            assert [(h.name, h.shape) for h in described] == [
                (h.name, h.shape if h.is_image else ()) for h in hdus
            ]
            for mine, theirs in zip(described, hdus, strict=True):
                for key in ("CRVAL1", "CTYPE2", "MAGZERO", "BUNIT", "EXPTIME"):
                    if key in theirs.header:
                        assert mine.header[key] == theirs.header[key]
                if mine.shape and min(mine.shape):
                    assert theirs.section[..., :3, :3].shape[-2:] == (3, 3)


def whole_file(path, checksum=False):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(PIXELS, name="SCI"), fits.ImageHDU(PIXELS, name="WGT")]
    fits.HDUList(hdus).writeto(path, checksum=checksum)
    return path.read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"<html>404</html>",
        struct.pack("<4000d", *range(4000)),
        gzip.compress(b"no fits", mtime=0),
    ],
)
@pytest.mark.parametrize("suffix", [".fits", ".fits.gz", ".fits.fz"])
def test_what_is_no_fits_is_rejected(tmp_path, content, suffix):
    path = tmp_path / f"odd{suffix}"
    path.write_bytes(content)
    for read in (describe_file, lambda path: opened(path).__enter__()):
        with pytest.raises(Rejected, match=r"empty_file|not_fits|unreadable") as fault:
            read(str(path))
        assert fault.value.path == str(path)
        with pytest.raises(Rejected, match="missing_file"):
            read(str(tmp_path / "gone.fits"))


def test_a_wrong_checksum_is_named_unless_the_file_is_too_large_to_verify(tmp_path):
    path = tmp_path / "t.fits"
    content = bytearray(whole_file(path, checksum=True))
    assert [hdu.name for hdu in describe_file(str(path))] == ["PRIMARY", "SCI", "WGT"]
    content[-2880 + 7] ^= 4  # a pixel of the weights
    path.write_bytes(content)
    with pytest.raises(Rejected, match="checksum: DATASUM says") as fault:
        describe_file(str(path))
    assert (fault.value.path, fault.value.hdu) == (str(path), "2")
    assert len(describe_file(str(path), max_verified=len(content) - 1)) == 3


def test_a_header_that_ends_the_reader_costs_one_file(tmp_path, monkeypatch):
    whole_file(tmp_path / "t.fits")
    with monkeypatch.context() as patch:
        # stands for a header that wcslib cannot bear: the child ends where it would examine the file
        guarded = reader.run_guarded
        patch.setattr(reader, "run_guarded", lambda *_, path: guarded(os.abort, path=path))
        with pytest.raises(Rejected, match=r"reader_crashed: .*SIGABRT") as fault:
            describe_file(str(tmp_path / "t.fits"))
        assert fault.value.path == str(tmp_path / "t.fits")
    assert len(describe_file(str(tmp_path / "t.fits"))) == 3


def test_cards_that_say_nothing_are_left_out(tmp_path):
    path = tmp_path / "T_g.fits"
    fits.writeto(path, PIXELS, fits.Header({"FILTER": "r", "MAGZERO": 30.0, "GAIN": 4.0}))
    content = path.read_bytes().replace(b"'r       '   ", b"'r       ' v ").replace(b"30.0 ", b"30.0|")
    assert content != path.read_bytes()
    path.write_bytes(content)
    (hdu,) = describe_file(str(path))
    assert {key: hdu.header.get(key) for key in ("FILTER", "MAGZERO", "GAIN")} == {
        "FILTER": None, "MAGZERO": None, "GAIN": 4.0,
    }  # fmt: skip
    planes = list_planes(image_set(path), DES)
    with open_bands(planes, ["g"]) as bands:
        assert bands["g"].header.get("MAGZERO") is None


def test_reading_first_in_a_child_costs_little(tmp_path):
    path = str(tmp_path / "t.fits")
    whole_file(tmp_path / "t.fits")
    describe_file(path)
    start = time.process_time()
    for _ in range(20):
        describe_file(path)
    assert (time.process_time() - start) / 20 < 0.02, "seconds of this process for a file of three HDUs"


@pytest.mark.parametrize("codec", ["RICE_1", "GZIP_2"])
@pytest.mark.parametrize(
    ("length", "offset"), [(47, -467_000_000), (-1, 0), (2**31 - 1, 0), (-(2**31), -(2**31)), (47, 2**31 - 1)]
)
def test_a_tile_that_claims_to_lie_elsewhere_is_rejected(tmp_path, codec, length, offset):
    path = tmp_path / "T_g.fits.fz"
    integers = RNG.integers(0, 1000, size=(20, 30)).astype(np.int32)
    hdu = fits.CompImageHDU(integers, name="SCI", compression_type=codec)
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    content = bytearray(path.read_bytes())
    fifth = check_structure(path)[1].data + 5 * 8
    content[fifth : fifth + 8] = struct.pack(">ii", length, offset)
    path.write_bytes(content)
    with open_bands(list_planes(image_set(path), DES), ["g"]) as bands:
        for rows in (slice(4, 7), slice(None)):
            with pytest.raises(Rejected, match=r"unreadable|too_large"):
                bands["g"].read(rows)
        assert np.array_equal(bands["g"].read(slice(8, 20)).data, integers[8:])
