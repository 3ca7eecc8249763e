from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from lenspipe.catalog.cells import image_noise


def test_an_image_s_noise_is_the_median_around_and_does_not_hang_on_a_band():
    rng = np.random.default_rng(1)
    n = 400
    tile, cell = rng.integers(0, 2, n), rng.integers(0, 3, n)
    error = np.where(tile == 0, 1.0, 1.3) * np.exp(rng.normal(0, 0.1, n))  # tile 1 is 30 % noisier
    table = Table()
    for band, factor in (("g", 1.0), ("z", 5.0)):
        flux = rng.uniform(20, 500, n)
        table[f"mag_{band}"] = 31.4 - 2.5 * np.log10(flux)
        table[f"snr_{band}"] = flux / (factor * error)
    table["mag_g"][rng.random(n) < 0.3] = np.nan  # a negative flux has no magnitude
    noise = image_noise(table, tile, cell)
    for c in range(3):
        (first,), (second,) = (set(noise[(tile == t) & (cell == c)]) for t in (0, 1))
        assert second - first == pytest.approx(np.log(1.3), abs=0.06)
    table["mag_g"], table["mag_z"] = np.nan, np.nan
    assert np.isinf(image_noise(table, tile, cell)).all()
    assert (image_noise(table["snr_g",], tile, cell) == 0).all()
    assert len(image_noise(table[:0], tile[:0], cell[:0])) == 0
