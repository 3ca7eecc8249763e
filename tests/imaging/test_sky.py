from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits
from astropy.stats import sigma_clipped_stats

from lenspipe.core.errors import Rejected
from lenspipe.core.schema import Flag
from lenspipe.core.survey import load_survey
from lenspipe.core.types import RawBand
from lenspipe.imaging.calibrate import calibrate_image, read_calibration
from lenspipe.imaging.sky import estimate_noise, measure_levels, measure_sky, sample_rows, settle_levels

CAL = read_calibration("g", fits.Header({"MAGZERO": 31.4}), load_survey("des"), "a.fits")
NOISE = np.random.default_rng(2).normal(size=(640, 600)).astype(np.float32)


def parts(image):
    return [RawBand(image[rows]) for rows in sample_rows(len(image))]


@pytest.mark.parametrize(("value", "reason"), [(np.nan, "no_good_pixels:g"), (0.0, "no_signal:g")])
def test_images_without_signal_are_rejected(value, reason):
    with pytest.raises(Rejected, match=reason):
        measure_levels(parts(np.full((400, 40), value, np.float32)), CAL)


def test_noise_estimate_with_and_without_objects():
    noise = NOISE[:80, :80]
    assert estimate_noise(5 * noise) == pytest.approx(5, rel=0.05)
    y, x = np.mgrid[:80, :80]
    crowded = 5 * noise + 400 * np.exp(-np.hypot(x - 40, y - 40) / 12)  # a galaxy that fills the stamp
    assert sigma_clipped_stats(crowded, sigma=3.0)[2] > 20
    assert estimate_noise(crowded) == pytest.approx(5, rel=0.5)
    holes = np.where(noise > 2.5, np.nan, 5 * noise)
    assert estimate_noise(holes) == pytest.approx(5, rel=0.1)


@pytest.mark.parametrize("size", [80, 600])
def test_sky_is_subtracted_where_there_is_one(size):
    ramp = np.linspace(0, 5, 600, dtype=np.float32)[:size] if size > 500 else np.float32(0)
    image = NOISE[:size, :size] + 500 + ramp
    cal = settle_levels(CAL, measure_levels(parts(image), CAL), image.shape)
    assert (cal.sky is None) == (size > 500)  # a map for the large one, a number for the small
    raw = RawBand(image)
    flat = calibrate_image(measure_sky(raw, cal) if cal.sky is None else raw, cal)
    assert abs(np.median(flat.flux)) < 0.3
    # most of a slope of 5 is gone, also at the edges, where the map has no support
    assert abs(np.median(flat.flux[:, :40]) - np.median(flat.flux[:, -40:])) < 2.0
    assert flat.flags & Flag.SKY_SUBTRACTED
    assert np.median(flat.sigma) == pytest.approx(1.0, rel=0.5)  # a slope passes for noise


def test_a_coadd_without_sky_is_left_alone():
    levels = measure_levels(parts(NOISE), CAL)
    assert not levels.has_sky
    assert levels.noise == pytest.approx(1.0, rel=0.05)
    assert settle_levels(CAL, levels, NOISE.shape).sky == 0.0


def test_an_image_that_is_empty_but_for_a_corner_still_has_levels():
    image = np.full((6400, 50), np.nan, np.float32)
    image[-200:] = 3.0 * NOISE[:200, :50]
    assert measure_levels(parts(image), CAL).noise == pytest.approx(3.0, rel=0.1)


def test_samples_cover_every_row_once_and_spread_from_the_start():
    rows = sample_rows(1000)
    assert sorted(k for part in rows for k in range(part.start, part.stop)) == list(range(1000))
    first = sorted(part.start for part in rows[:4])
    assert np.diff(first).max() < 400
