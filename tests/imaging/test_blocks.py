from __future__ import annotations

import numpy as np
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.core.types import BandImage
from lenspipe.imaging.blocks import cut_image, split_length
from lenspipe.imaging.cutout import linear_wcs


@given(st.integers(1, 20_000), st.integers(16, 3000), st.integers(0, 200))
def test_blocks_own_each_pixel_once_and_see_a_margin_more(length, core, margin):
    blocks = split_length(length, core, margin)
    owned = [k for block in blocks for k in range(block.start, block.stop)]
    assert owned == list(range(length))
    for block in blocks:
        assert block.low == max(0, block.start - margin)
        assert block.high == min(length, block.stop + margin)
        assert block.stop - block.start <= 1.5 * core + 1


def test_a_part_of_an_image_keeps_its_place_on_the_sky():
    flux = np.arange(600, dtype=np.float32).reshape(20, 30)
    wcs: WCS = linear_wcs(0.2, 3.0, 4.0)
    image = BandImage("g", flux, flux + 1, wcs, 0.2, 1.0, flux > 5)
    part = cut_image(image, slice(5, 15), slice(10, 30))
    assert np.array_equal(part.flux, flux[5:15, 10:])
    assert np.allclose(part.wcs.all_pix2world(2, 3, 0), wcs.all_pix2world(12, 8, 0))
    assert cut_image(image, slice(None), slice(None)) is image
