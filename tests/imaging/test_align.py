from __future__ import annotations

import numpy as np
import pytest

from lenspipe.imaging.align import compare_bands, judge_alignment
from lenspipe.imaging.cutout import cut_many

RNG = np.random.default_rng(7)
PLACES = RNG.uniform(30, 370, (60, 2))
FLUXES = 10 ** RNG.uniform(2.5, 4, 60)


def draw(places, fluxes, seed):
    y, x = np.mgrid[:400, :400]
    image = np.random.default_rng(seed).normal(size=(400, 400))
    for (x0, y0), flux in zip(places, fluxes, strict=True):
        image += flux / (2 * np.pi * 3) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 6)
    return image.astype(np.float32)


FIRST = draw(PLACES, FLUXES, 1)
OTHER = draw(PLACES, 0.6 * FLUXES, 2)
ONES = np.ones(60)


def compare(other):
    stamps = [cut_many(image, *PLACES.T, 31) for image in (FIRST, other)]
    return compare_bands(stamps[0], ONES, stamps[1], ONES)


def test_bands_of_the_same_sky_fit():
    dx, dy, bright = compare(OTHER)
    assert bright > 50
    assert len(dx) > 40
    assert np.median(np.hypot(dx, dy)) < 0.2
    assert judge_alignment(dx, dy, bright) == ("", False)


@pytest.mark.parametrize(("x", "y"), [(1.5, 0.0), (0.0, -2.0), (2.0, 3.0)])
def test_a_shift_is_measured_and_refused(x, y):
    dx, dy, bright = compare(draw(np.add(PLACES, [x, y]), 0.6 * FLUXES, 2))
    assert (np.median(dx), np.median(dy)) == pytest.approx((x, y), abs=0.2)
    reason, doubtful = judge_alignment(dx, dy, bright)
    assert reason.startswith("its sources lie ")
    assert not doubtful


def test_half_a_pixel_passes():
    assert judge_alignment(*compare(draw(np.add(PLACES, [0.5, 0.0]), 0.6 * FLUXES, 2)))[0] == ""


@pytest.mark.parametrize(
    "change", [lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a.T, lambda a: np.roll(a, 40, 0)]
)
def test_flips_and_large_shifts_are_doubtful(change):
    reason, doubtful = judge_alignment(*compare(np.ascontiguousarray(change(OTHER))))
    assert "flipped" in reason
    assert doubtful


def test_a_wrong_scale_is_seen():
    middle = 199.5
    reason, _ = judge_alignment(*compare(draw(middle + (PLACES - middle) * 1.03, 0.6 * FLUXES, 2)))
    assert reason


def test_few_or_faint_sources_decide_nothing():
    assert judge_alignment(*compare(RNG.normal(size=(400, 400)).astype(np.float32)))[1]  # shallow: look again
    nothing = np.zeros(0)
    assert judge_alignment(nothing, nothing, 5) == ("", False)


def test_few_sources_that_scatter_are_no_shift():
    angle = np.linspace(0, 2 * np.pi, 7)[:-1]
    assert judge_alignment(1.4 * np.cos(angle), 1.4 * np.sin(angle), 6) == ("", False)
    assert "beside those of the first band (6 sources)" in judge_alignment(1.4 + 0 * angle, 0 * angle, 6)[0]
