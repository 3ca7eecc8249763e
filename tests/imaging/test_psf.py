"""PSF images centred, normalised, resampled."""

from __future__ import annotations

import galsim
import numpy as np
import pytest
from astropy.io import fits

from lenspipe.imaging.psf import (
    MOST_PIXELS,
    centre_psf,
    psf_width,
    resample_psf,
    stack_psfs,
)

SCALE = 0.263


def star(side: int, x: float = 0.0, y: float = 0.0, scale: float = SCALE) -> np.ndarray:
    """Return a Moffat star of 0.9 arcsec, off the middle of the image by (x, y) pixels."""
    profile = galsim.Moffat(beta=3.0, fwhm=0.9)
    return profile.drawImage(nx=side, ny=side, scale=scale, offset=(x, y), dtype=float).array


@pytest.mark.parametrize("total", [0.88, 1.0, 1.76])
@pytest.mark.parametrize(
    ("side", "x", "y"),
    [(25, 0.0, 0.0), (31, 1.0, -1.0), (31, 0.2, -0.3), (32, 0.5, 0.5), (32, 0.1, 0.0)],
)
def test_a_psf_image_is_centred_and_normalised(side, x, y, total):
    found = centre_psf(total * star(side, x, y))
    assert found is not None
    assert found.shape[0] == found.shape[1]
    assert found.shape[0] % 2 == 1
    assert found.sum() == pytest.approx(1.0, abs=1e-6)
    expected = star(len(found))
    assert np.max(np.abs(found - expected / expected.sum())) < 0.01 * expected.max()


def test_a_centred_image_keeps_its_pixels():
    given = 1.3 * star(25)
    np.testing.assert_allclose(centre_psf(given), given / given.sum(), rtol=1e-6)
    assert centre_psf(star(301)).shape == (MOST_PIXELS, MOST_PIXELS)


def test_what_is_no_psf_image_is_none():
    hole = star(25)
    hole[3, 3] = np.nan
    for image in (hole, np.zeros((25, 25)), -star(25), star(25, 11.6), np.ones((25, 25, 2)), np.ones((2, 2))):
        assert centre_psf(image) is None


def test_a_psf_image_on_other_pixels_is_the_star_resampled():
    fine = centre_psf(star(61, scale=0.1))
    coarse = resample_psf(fine, 3.0)
    expected = star(len(coarse), scale=0.3)
    # the star on large pixels, and the fine pixels' own width
    assert np.max(np.abs(coarse - expected / expected.sum())) < 0.03 * coarse.max()
    assert coarse.sum() == pytest.approx(1.0, abs=1e-5)
    assert resample_psf(fine, 1.0) is fine


def test_bands_of_unlike_images_are_stacked():
    small, large = centre_psf(star(15)), centre_psf(star(25))
    stacked = stack_psfs([small, None, large])
    assert stacked.shape == (3, 25, 25)
    np.testing.assert_array_equal(stacked[0, 5:20, 5:20], small)
    assert stacked[0].sum() == pytest.approx(1.0, abs=1e-6)
    assert np.isnan(stacked[1]).all()
    assert stack_psfs([None, None]) is None


def test_real_psf_images(realdata):
    for path in sorted((realdata / "des_J0330-5228_grizY").glob("*_psf.fits")):
        given = fits.getdata(path).astype(float)
        np.testing.assert_allclose(centre_psf(given), given / given.sum(), rtol=1e-5, atol=1e-9)
        assert 0.8 < psf_width(given) * SCALE < 1.4
    for given in fits.getdata(
        realdata / "hsc_blends/PSF_HSC.fits"
    ):  # a quarter of a pixel off, drawn off-centre
        found = centre_psf(given)
        assert found.shape == (31, 31)
        np.testing.assert_allclose(centre_psf(found), found, atol=2e-3 * found.max())
    off = centre_psf(fits.getdata(realdata / "hst_cosmos_galaxy/147246.0_150.416558_1.998697.psf.fits"))
    assert np.unravel_index(np.argmax(off), off.shape) == (len(off) // 2, len(off) // 2)
