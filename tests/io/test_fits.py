from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.core.errors import Rejected
from lenspipe.core.survey import load_survey
from lenspipe.core.types import ImageFile, ImageSet
from lenspipe.io.bands import open_bands
from lenspipe.io.fits import naming_faults, opened
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


def whole_file(tmp_path):
    path = tmp_path / "whole.fits"
    fits.HDUList(
        [fits.PrimaryHDU(), fits.ImageHDU(PIXELS, name="SCI"), fits.ImageHDU(PIXELS, name="WGT")]
    ).writeto(path, overwrite=True)
    return path


def test_cut_at_any_block_it_is_rejected(tmp_path):
    content = whole_file(tmp_path).read_bytes()
    assert check_structure(tmp_path / "whole.fits") == 3
    cut = tmp_path / "cut.fits"
    for length in range(0, len(content), 720):
        cut.write_bytes(content[:length])
        with opened_or_rejected(cut) as outcome:
            # a cut between two HDUs leaves a valid, shorter file; anywhere else it must be named
            assert outcome == "rejected" or length % 2880 == 0


class opened_or_rejected:
    def __init__(self, path):
        self.path = path

    def __enter__(self):
        try:
            with opened(str(self.path)) as hdus, naming_faults(str(self.path)):
                for hdu in hdus:
                    _ = hdu.data
            return "opened"
        except Rejected as fault:
            assert fault.reason
            assert fault.path == str(self.path)
            return "rejected"

    def __exit__(self, *_):
        return False


@pytest.mark.parametrize(
    ("card", "value"), [("NAXIS1", 10**9), ("NAXIS1", -5), ("NAXIS", 10**9), ("BITPIX", 7), ("NAXIS2", 2**63)]
)
def test_hostile_axes_are_rejected_before_any_reader_sees_them(tmp_path, card, value):
    path = whole_file(tmp_path)
    content = path.read_bytes()
    start = content.index(f"{card:<8}=".encode(), 2880)
    path.write_bytes(content[:start] + f"{card:<8}= {value:>20}".encode().ljust(80) + content[start + 80 :])
    with pytest.raises(Rejected, match=r"bad_header|fits_truncated"):
        check_structure(path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", struct.pack("<4000d", *range(4000)), gzip.compress(b"no fits")]
)
def test_what_is_no_fits_is_rejected(tmp_path, content):
    path = tmp_path / "odd.fits"
    path.write_bytes(content)
    with pytest.raises(Rejected, match=r"empty_file|not_fits|unreadable"), opened(str(path)):
        pass
    with pytest.raises(Rejected, match="missing_file"), opened(str(tmp_path / "gone.fits")):
        pass


@given(st.integers(0, 8639), st.integers(0, 255))
def test_one_wrong_byte_never_leaks_another_exception(tmp_path_factory, position, value):
    folder = tmp_path_factory.mktemp("byte")
    path = whole_file(folder)
    content = bytearray(path.read_bytes())
    content[position] = value
    path.write_bytes(content)
    try:
        planes = list_planes(ImageSet("t", (ImageFile(str(path), "g", "image"),)), DES)
        read_band(planes, "g")
    except Rejected as fault:
        assert fault.reason
