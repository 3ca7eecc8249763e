from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenspipe.core.schema import Flag
from lenspipe.core.types import BandImage, Calibration, RawBand, StampFormat
from lenspipe.imaging.calibrate import calibrate_image
from lenspipe.imaging.cutout import linear_wcs
from lenspipe.imaging.stamps import (
    BEYOND,
    FILLED,
    Stamps,
    cut_pixels,
    cut_stamps,
    judge_stamps,
    mend_stamps,
    stack_bands,
)

FORM = StampFormat(("g", "r"), 16, 0.25)


def image(band="g", shape=(60, 60), scale=0.25) -> BandImage:
    flux = np.random.default_rng(len(band)).normal(size=shape).astype(np.float32)
    return BandImage(band, flux, np.full(shape, 2.0, np.float32), None, scale, 1.0, np.zeros(shape, bool), 8)


def test_bands_are_stacked_with_noise_and_flags():
    g, r = image("g"), image("r")
    r.saturated[30, 30] = True
    bands = [cut_stamps(one, [30.0, 20.0], [30.0, 40.0], FORM) for one in (g, r)]
    stamps = stack_bands(bands)
    assert stamps.flux.shape == (2, 16, 16, 2)
    assert np.allclose(stamps.noise_sigma, 2.0)
    assert stamps.flags[0] == 8 | Flag.NO_WCS | Flag.SATURATED
    assert stamps.flags[1] == 8 | Flag.NO_WCS


def test_noise_grows_with_the_area_of_resampled_pixels():
    one = image(scale=0.125)
    stamps = cut_stamps(one, [30.0], [30.0], FORM)
    assert stamps.noise_sigma[0] == pytest.approx(4.0)
    assert stamps.flags[0] & Flag.RESAMPLED
    # sums over many pixels scatter as the noise says; single ones less, for neighbours share pixels
    sums = stamps.flux[0].reshape(4, 4, 4, 4).sum(axis=(1, 3))
    assert np.std(sums) == pytest.approx(4 * 2.0, rel=0.35)  # 16 sums, unit noise in, four pixels in one


def test_bad_pixels_become_sky_with_a_flag_or_a_reason():
    g = image()
    g.flux[28:32, 28:32], g.sigma[28:32, 28:32] = np.nan, np.inf
    few = [cut_stamps(one, [30.0], [30.0], FORM) for one in (g, image("r"))]
    assert judge_stamps(few, FORM, 0.25, edges=True) == [""]
    stamps = stack_bands(few)
    assert stamps.flags[0] & Flag.MASKED
    assert np.isfinite(stamps.flux).all()
    hole = np.zeros((16, 16, 2), np.uint8)
    hole[5:9, 5:9, 0] = FILLED
    np.testing.assert_array_equal(stamps.mask[0], hole)
    rim = np.nanmean(few[0].flux[0, 5:11, 5:11])
    assert stamps.flux[0, 8, 8, 0] == pytest.approx(rim, abs=1.0)  # not a hole, and no wild guess
    (reason,) = judge_stamps(few, FORM, 0.01, edges=True)
    assert reason.startswith("bad_pixels:g: 6% ")
    g.flux[:], g.sigma[:] = np.nan, np.inf
    none = [cut_stamps(one, [30.0], [30.0], FORM) for one in (g, image("r"))]
    assert judge_stamps(none, FORM, 1.0, edges=True)[0].startswith("no_good_pixels:g")


def test_edges_count_for_tiles_and_not_for_cutouts():
    bands = [cut_stamps(one, [1.0], [30.0], FORM) for one in (image(), image("r"))]
    assert judge_stamps(bands, FORM, 0.25, edges=True)[0].startswith("edge: 38% ")
    assert judge_stamps(bands, FORM, 0.25, edges=False) == [""]
    stamps = stack_bands(bands)
    assert stamps.flags[0] & Flag.PADDED
    assert not stamps.flags[0] & Flag.MASKED
    assert (stamps.flux[0, :, 0] == 0).all()
    np.testing.assert_array_equal(stamps.mask[0] == BEYOND, stamps.flux[0] == 0)
    assert set(np.unique(stamps.mask)) == {0, BEYOND}


@pytest.mark.parametrize("kind", ["", "weight", "variance", "rms"])
def test_the_fast_way_cuts_what_the_slow_one_does(kind):
    rng = np.random.default_rng(5)
    data = rng.normal(10, 3, size=(60, 70)).astype(np.float32)
    noise = rng.uniform(3.9, 4.1, size=data.shape).astype(np.float32) if kind else None
    data[20, 30], data[40:44, 10] = np.nan, 900.0
    mask = np.zeros(data.shape, np.int16)
    mask[33, 33], mask[5, 5] = 2, 4
    cal = Calibration("g", "a", 2.0, kind, 2, 800.0, None, 0.25, 1.0, 9.0, 8, noise=1.5, sky=1.0)
    raw = RawBand(data, noise, mask)
    x, y = np.array([30.3, 12.0, 1.0, 66.0]), np.array([25.0, 41.6, 30.0, 58.0])
    fast, slow = cut_pixels(raw, cal, x, y, 16), cut_stamps(calibrate_image(raw, cal), x, y, FORM)
    assert np.array_equal(fast.flux, slow.flux, equal_nan=True)
    assert np.array_equal(fast.rows, slow.rows)
    assert np.array_equal(fast.columns, slow.columns)
    assert fast.bad == pytest.approx(slow.bad)
    assert np.array_equal(fast.flags, slow.flags)
    assert fast.noise_sigma == pytest.approx(slow.noise_sigma, rel=0.02)


def test_no_targets_give_no_stamps():
    one = image()
    stamps = cut_stamps(one, [], [], FORM)
    assert stamps.flux.shape == (0, 16, 16)
    assert judge_stamps([stamps], replace(FORM, bands=("g",)), 0.1, edges=True) == []
    assert stack_bands([stamps, stamps]).flux.shape == (0, 16, 16, 2)


@pytest.mark.parametrize("shift", [0.0, 180.0])
def test_a_band_of_another_sky_is_beyond_the_stamp(shift):
    first, other = linear_wcs(0.25, 30.0, 30.0), linear_wcs(0.25, 28.0, 31.0)
    other.wcs.crval = [shift, 0.0]
    one = replace(image(), wcs=other)
    stamps = cut_stamps(one, [30.0], [30.0], FORM, (first, 0.25))
    assert stamps.flags[0] == 8 | Flag.REPROJECTED
    if shift:
        assert np.isnan(stamps.flux).all()
        assert np.isnan(stamps.noise_sigma).all()
        assert not stamps.within.any()
        (reason,) = judge_stamps([stamps, stamps], FORM, 0.2, edges=True)
        assert reason == "no_good_pixels:g: no usable pixel in the stamp"
    else:
        assert np.isfinite(stamps.flux).all()
        assert (stamps.within == 1.0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.0, 1.0), st.integers(0, 9))
def test_mended_stamps_are_those_that_bands_make(seed, share, beyond):
    """What simulations do to pixels that cannot be used is what is done to those of images."""
    rng = np.random.default_rng(seed)
    flux = rng.normal(size=(2, 16, 16, 2)).astype(np.float32)
    rows, columns = (np.tile(np.arange(16) >= k, (2, 1)) for k in (beyond, 0))
    inside = np.broadcast_to((rows[:, :, None] & columns[:, None, :])[..., None], flux.shape)
    holed = np.where(inside & (rng.random(flux.shape) >= share), flux, np.float32(np.nan))
    bad = np.mean(np.isnan(holed) & inside, axis=(1, 2))
    none = np.zeros(2)
    bands = [Stamps(holed[..., b], none + 1, none.astype(int), rows, columns, bad[:, b]) for b in (0, 1)]
    stacked = stack_bands(bands)
    assert np.array_equal(mend_stamps(flux, stacked.mask), stacked.flux)
    assert np.array_equal(stacked.mask == 0, np.isfinite(holed))
