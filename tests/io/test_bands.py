from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from astropy.io import fits

from lenspipe.core.errors import Rejected
from lenspipe.core.survey import load_survey
from lenspipe.io.bands import open_bands
from lenspipe.io.layout import group_files
from lenspipe.io.planes import list_planes

DES = load_survey("des")


def planes_of(*paths):
    (one,) = group_files([str(path) for path in paths], DES)
    return list_planes(one, DES)


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
