"""Faults of the detector: where they were asked for, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lenspipe.config import PLAIN
from lenspipe.core.survey import load_survey
from lenspipe.imaging.stamps import BEYOND, FILLED
from lenspipe.simulate.artifacts import draw_masks, draw_noise, saturate, spoil, strike

DES = load_survey("des")
BANDS = ("g", "r", "i")
IDS = np.arange(40)
FULL = DES.saturation(BANDS)
SATURATION = 1e5  # nJy, where it does not matter which
SKY = np.tile([2.0, 3.0, 6.0], (40, 1))


def noise(correlated=False):
    return draw_noise(DES, 1, IDS, np.zeros((40, 32, 32, 3), np.float32), SKY, BANDS, correlated)


def faulty(image, **faults):
    return spoil(image, SKY, FULL, 1, IDS, PLAIN.model_copy(update=faults), np.zeros(40, bool))


def test_noise_has_the_skys_sigma_and_is_the_samples_own():
    values = noise()
    assert values.std(axis=(0, 1, 2)) == pytest.approx([2.0, 3.0, 6.0], rel=0.02)
    alone = draw_noise(DES, 1, [7], np.zeros((1, 32, 32, 3), np.float32), SKY[:1], BANDS, False)
    assert np.array_equal(alone[0], values[7])
    assert values.dtype == np.float32
    assert noise(correlated=True).std(axis=(0, 1, 2)) == pytest.approx([2.0, 3.0, 6.0], rel=0.03)


def test_nothing_asked_for_changes_nothing_but_saturation():
    image = noise()
    assert np.array_equal(faulty(image), image)
    image[0, 5, 5] = 1e7
    assert faulty(image)[0, 5, 5].tolist() == pytest.approx(FULL)


def test_what_a_pixel_cannot_hold_flows_along_its_column_and_is_conserved():
    image = np.random.default_rng(1).normal(0.0, 50.0, (2, 61, 9, 2))
    image[0, 30, 4, 1] += 6.3 * SATURATION
    image[0, 31, 4, 1] += 1.2 * SATURATION
    out = saturate(image.astype(np.float32), [2 * SATURATION, SATURATION])
    assert out.dtype == np.float32
    assert out.max() == SATURATION
    assert out[0, :, 4, 1].sum() == pytest.approx(image[0, :, 4, 1].sum(), rel=1e-6)
    full = np.flatnonzero(out[0, :, 4, 1] == SATURATION)
    assert np.array_equal(full, np.arange(full[0], full[-1] + 1))
    assert full.tolist() == [28, 29, 30, 31, 32, 33]  # 5.5 too many: two pixels and three quarters either way
    elsewhere = np.ones(image.shape, bool)
    elsewhere[0, :, 4, 1] = False
    assert np.array_equal(out[elsewhere], image.astype(np.float32)[elsewhere])
    cut = saturate(image.astype(np.float32), [2 * SATURATION, SATURATION], bleeding=False)
    assert np.array_equal(cut, np.minimum(image.astype(np.float32), SATURATION))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 40), st.floats(0.0, 60.0))
def test_bleeding_never_makes_charge_and_loses_it_at_the_edges_only(seed, row, excess):
    image = np.random.default_rng(seed).uniform(0.0, 0.9 * SATURATION, (41, 3, 1))
    image[row, 1] += excess * SATURATION
    out = saturate(image, [SATURATION])
    assert out.max() <= SATURATION
    assert np.all(out >= np.minimum(image, SATURATION))
    column, before = out[:, 1, 0], image[:, 1, 0].sum()
    assert column.sum() <= before * (1 + 1e-12)
    if column[0] < SATURATION and column[-1] < SATURATION:
        assert column.sum() == pytest.approx(before, rel=1e-12)


def test_a_band_is_missing_in_its_share_of_stamps():
    out = faulty(noise(), missing_bands=0.5)
    gone = np.all(out == 0, axis=(1, 2))
    assert np.all(gone.sum(axis=1) <= 1)
    assert 0.3 < np.mean(gone.any(axis=1)) < 0.7


def test_cosmic_rays_are_sharp_bright_and_in_one_band():
    image = noise()
    change = faulty(image, cosmic_rays=1.0) - image
    assert np.all(np.any(change != 0, axis=(1, 2)).sum(axis=1) <= 1)
    assert np.mean(np.any(change != 0, axis=(1, 2, 3))) > 0.9
    struck = change > 0
    assert np.all(change >= 0)
    assert np.all((change / SKY[:, None, None, :])[struck] > 7.9)
    assert struck.sum() / 40 < 60  # pixels a stamp


def test_artifacts_have_cosmic_rays_near_the_middle():
    image = noise()
    changed = np.any(strike(image, SKY, 1, IDS, np.ones(40, bool), central=True) != image, axis=-1)
    assert np.all(changed.any(axis=(1, 2)))
    rows, columns = np.nonzero(changed)[1:]
    assert np.hypot(rows - 15.5, columns - 15.5).max() < 6 + 14


def test_unusable_pixels_are_filled_with_what_is_near():
    image = np.broadcast_to(np.float32(5.0), (40, 32, 32, 3))
    assert faulty(image, masked=1.0)[:, 4:-4, 4:-4] == pytest.approx(5.0, rel=1e-5)
    image = noise()
    changed = faulty(image, masked=1.0) != image
    assert np.all(np.any(changed, axis=(1, 2)).sum(axis=1) <= 1)
    assert changed.sum(axis=(1, 2, 3)).max() <= 60
    assert np.mean(changed.any(axis=(1, 2, 3))) > 0.9


def test_a_star_that_saturates_one_survey_does_not_saturate_another():
    hsc = load_survey("hsc")
    image = np.full((1, 9, 9, 3), 5e4, np.float32)
    assert np.array_equal(saturate(image, DES.saturation(BANDS)), image)
    assert np.all(saturate(image, hsc.saturation(BANDS)) == np.float32(hsc.saturation(BANDS)))


def test_masks_mark_what_was_taken_away_and_nothing_else():
    image = noise()
    faults = {"masked": 0.5, "missing_bands": 0.3}
    out = faulty(image, **faults)
    mask = draw_masks(1, IDS, 32, 3, PLAIN.model_copy(update=faults))
    assert mask.dtype == np.uint8
    assert np.array_equal(out[mask == 0], image[mask == 0])
    assert np.all(out[mask == FILLED] != image[mask == FILLED])
    assert np.all(out[mask == BEYOND] == 0)
    assert {0, FILLED, BEYOND} == set(np.unique(mask))
    assert np.array_equal((mask == BEYOND).all(axis=(1, 2)), (mask == BEYOND).any(axis=(1, 2)))
    assert np.array_equal(draw_masks(1, IDS[[7, 3]], 32, 3, PLAIN.model_copy(update=faults)), mask[[7, 3]])
