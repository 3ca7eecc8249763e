"""Parts of compressed files read right, and without the rest; PSF models; planes of no band."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits
from psfex_file import make_model, write_psfex

from lenspipe.core.errors import Rejected
from lenspipe.core.survey import load_survey
from lenspipe.io.bands import open_bands
from lenspipe.io.layout import group_files
from lenspipe.io.planes import list_planes

DES = load_survey("des")
RNG = np.random.default_rng(5)
PARTS = [
    (slice(0, 64), slice(None)),
    (slice(37, 101), slice(11, 150)),
    (slice(199, 200), slice(0, 1)),
    (slice(None), slice(None)),
]


def planes_of(*paths):
    (one,) = group_files([str(path) for path in paths], DES)
    return list_planes(one, DES)


def write_compressed(path, pixels, **options):
    hdus = [fits.PrimaryHDU(), fits.CompImageHDU(pixels, name="SCI", **options)]
    fits.HDUList(hdus).writeto(path)
    with fits.open(path) as whole:
        return np.array(whole["SCI"].data)


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"])
@pytest.mark.parametrize("tile", [None, (50, 70)])
def test_parts_of_whole_numbers(tmp_path, kind, tile):
    pixels = RNG.integers(-500, 30_000, size=(200, 300)).astype(np.int32)
    whole = write_compressed(tmp_path / "T_g.fits.fz", pixels, compression_type=kind, tile_shape=tile)
    assert np.array_equal(whole, pixels)
    with open_bands(planes_of(tmp_path / "T_g.fits.fz"), "g") as bands:
        for part in PARTS:
            assert np.array_equal(bands["g"].read(*part).data, pixels[part])


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"])
@pytest.mark.parametrize("dither", [-1, 1, 2])
def test_parts_of_quantised_numbers_with_dithering_and_blanks(tmp_path, kind, dither):
    pixels = RNG.normal(scale=3.0, size=(200, 300)).astype(np.float32)
    blanks = kind != "HCOMPRESS_1"  # which smooths over them: the standard advises against it
    if blanks:
        pixels[40:45, 20:60] = np.nan
    pixels[100] = 0.0
    whole = write_compressed(
        tmp_path / "T_g.fits.fz", pixels, compression_type=kind, quantize_level=16.0,
        quantize_method=dither, dither_seed=77,
    )  # fmt: skip
    assert np.array_equal(np.isnan(whole), np.isnan(pixels))
    assert np.nanmax(np.abs(whole - pixels)) < 0.3
    with open_bands(planes_of(tmp_path / "T_g.fits.fz"), "g") as bands:
        for part in PARTS:
            assert np.array_equal(bands["g"].read(*part).data, whole[part], equal_nan=True)


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_2", "HCOMPRESS_1"])
def test_a_strip_of_a_compressed_tile_costs_a_strip(tmp_path, kind):
    pixels = RNG.normal(scale=30.0, size=(4000, 4000)).astype(np.int32)
    write_compressed(tmp_path / "T_g.fits.fz", pixels, compression_type=kind)
    planes = planes_of(tmp_path / "T_g.fits.fz")
    tracemalloc.start()
    start = time.process_time()
    with open_bands(planes, "g") as bands:
        part = bands["g"].read(slice(1968, 2032)).data
    strip = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(part, pixels[1968:2032])
    assert peak < 8 * part.nbytes < pixels.nbytes / 7
    start = time.process_time()
    with open_bands(planes, "g") as bands:
        bands["g"].read()
    whole = time.process_time() - start
    # 64 rows of 4000, and tracemalloc's own cost; HCOMPRESS is unpacked by a guarded process, not in this one
    assert kind == "HCOMPRESS_1" or strip < 0.5 * whole


def test_a_psf_model_in_a_file_of_its_own(tmp_path):
    fits.writeto(tmp_path / "T_g.fits", np.zeros((20, 30), np.float32))
    model = make_model(2, 0.5)
    write_psfex(tmp_path / "T_g_psfcat.psf", model)
    with open_bands(planes_of(*tmp_path.iterdir()), "g") as bands:
        read = bands["g"].psf_model
    assert read.basis == pytest.approx(model.basis, abs=1e-7)
    assert (read.degree, read.zero, read.scale, read.step) == (2, model.zero, model.scale, 0.5)


@pytest.mark.parametrize(
    ("key", "value"), [("POLDEG1", 3), ("POLNAXIS", 3), ("POLSCAL1", 0.0), ("PSF_SAMP", -1.0)]
)
def test_a_psf_model_that_cannot_be_one_is_named(tmp_path, key, value):
    fits.writeto(tmp_path / "T_g.fits", np.zeros((20, 30), np.float32))
    write_psfex(tmp_path / "T_g.psf", make_model(2, 0.5))
    fits.setval(tmp_path / "T_g.psf", key, value=value, ext=1)
    with pytest.raises(Rejected, match="bad_psf:g") as fault, open_bands(planes_of(*tmp_path.iterdir()), "g"):
        pass
    assert fault.value.path.endswith("T_g.psf")


def test_a_mask_of_no_band_is_every_band_s_and_a_weight_is_not(tmp_path):
    for band in "gr":
        fits.writeto(tmp_path / f"T_{band}.fits", np.zeros((20, 30), np.float32))
    fits.writeto(tmp_path / "T_mask.fits", np.full((20, 30), 3, np.int16))
    fits.writeto(tmp_path / "T_wht.fits", np.ones((20, 30), np.float32))
    with open_bands(planes_of(*tmp_path.iterdir()), "gr") as bands:
        for band in bands.values():
            assert (band.read().mask == 3).all()
            assert band.noise_kind == ""


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_a_part_is_read_without_the_rest(tmp_path, suffix):
    side = 1500
    image = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    fits.writeto(tmp_path / f"T_g{suffix}", image)
    planes = planes_of(tmp_path / f"T_g{suffix}")
    tracemalloc.start()
    with open_bands(planes, ["g"]) as bands:
        part = bands["g"].read(slice(700, 720), slice(100, 400)).data
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(part, image[700:720, 100:400])
    assert part.dtype == np.float32
    assert part.dtype.isnative
    assert peak < 0.75 * image.nbytes  # unzipping passes a few MB at a time


def test_a_scaled_image_and_a_float_mask_read_as_what_they_mean(tmp_path):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.arange(600, dtype=np.int16).reshape(20, 30), name="SCI")]
    hdus[1].scale("int16", bscale=0.5, bzero=100.0)
    hdus.append(fits.ImageHDU(np.ones((20, 30), np.float32), name="MSK"))
    fits.HDUList(hdus).writeto(tmp_path / "T_g.fits")
    with open_bands(planes_of(tmp_path / "T_g.fits"), ["g"]) as bands:
        raw = bands["g"].read(slice(2, 4), slice(5, 8))
    assert np.array_equal(raw.data[0], [65, 66, 67])
    assert raw.mask.dtype.kind == "i"


def test_a_psf_is_an_image_of_its_own_size_but_no_tile(tmp_path):
    pixels = np.ones((40, 30), np.float32)
    for side, name in ((25, "T"), (1100, "U")):
        psf = fits.ImageHDU(np.ones((side, side), np.float32), name="PSF")
        fits.HDUList([fits.PrimaryHDU(pixels), psf]).writeto(tmp_path / f"{name}_g.fits")
    with open_bands(planes_of(tmp_path / "T_g.fits"), ["g"]) as bands:
        assert bands["g"].psf.shape == (25, 25)
        assert bands["g"].shape == (40, 30)
    with pytest.raises(Rejected, match="bad_psf:g"), open_bands(planes_of(tmp_path / "U_g.fits"), ["g"]):
        pass
