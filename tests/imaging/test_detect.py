from __future__ import annotations

import numpy as np
import pytest

from lenspipe.core.types import BandImage
from lenspipe.imaging.detect import detect_sources


def tile(sources, size=200, sigma=1.0, seed=1, fwhm_px=4.0) -> BandImage:
    y, x = np.mgrid[:size, :size]
    s = fwhm_px / 2.3548
    flux = np.random.default_rng(seed).normal(scale=sigma, size=(size, size))
    for x0, y0, total in sources:
        flux += total / (2 * np.pi * s**2) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * s**2))
    sigma_map = np.full((size, size), sigma, np.float32)
    return BandImage(
        "i", flux.astype(np.float32), sigma_map, None, 0.25, fwhm_px * 0.25, np.zeros((size, size), bool)
    )


def test_sources_are_found_where_they_are_with_their_flux():
    truth = [(40.3, 50.7, 3000.0), (120.0, 30.5, 1500.0), (150.2, 160.9, 5000.0)]
    found = detect_sources(tile(truth))
    assert len(found) == 3
    for x, y, total in truth:
        distance = np.hypot(found["x"] - x, found["y"] - y)
        row = found[int(distance.argmin())]
        assert distance.min() < 0.3
        assert row["flux"] == pytest.approx(total, rel=0.1)
        assert row["mag"] == pytest.approx(31.4 - 2.5 * np.log10(total), abs=0.12)
        assert row["snr"] > 20


def test_neighbours_are_deblended_unless_told():
    image = tile([(95.0, 100.0, 6000.0), (105.0, 100.0, 4000.0)])
    assert len(detect_sources(image, deblend=True)) == 2
    assert len(detect_sources(image, deblend=False)) == 1


def test_noise_alone_gives_next_to_nothing_also_where_it_is_correlated():
    assert len(detect_sources(tile([]))) <= 2
    from scipy.ndimage import uniform_filter

    image = tile([])
    correlated = 3 * uniform_filter(image.flux, 3)
    assert len(detect_sources(BandImage("i", correlated, image.sigma, None, 0.25, 1.0, image.saturated))) <= 6


def test_bad_pixels_are_no_sources_and_an_empty_image_gives_an_empty_table():
    image = tile([(100.0, 100.0, 3000.0)])
    image.flux[20:30, 20:30] = np.nan
    image.sigma[20:30, 20:30] = np.inf
    found = detect_sources(image)
    assert len(found) == 1
    empty = detect_sources(tile([], sigma=1.0), detect_sigma=50.0)
    assert (len(empty), empty.colnames) == (0, ["x", "y", "flux", "snr", "mag", "saturated", "n_pixels"])


@pytest.mark.parametrize("masked", [False, True])
def test_what_a_saturated_star_left_is_told(masked):
    image = tile([(100.0, 100.0, 90_000.0), (40.0, 50.0, 3000.0)])
    y, x = np.mgrid[:200, :200]
    core = np.hypot(x - 100, y - 100) < 3
    image.saturated[core] = True
    if masked:
        image.flux[core], image.sigma[core] = np.nan, np.inf
    found = detect_sources(image)
    near = np.hypot(found["x"] - 100, found["y"] - 100) < 15
    assert near.sum() >= 1
    assert found["saturated"][near].all()
    assert not found["saturated"][~near].any()
