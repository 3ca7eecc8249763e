from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from lenspipe.core.schema import Flag
from lenspipe.core.survey import load_survey
from lenspipe.core.types import RawBand
from lenspipe.imaging.calibrate import calibrate_image, read_calibration, read_wcs, read_zero_point

DES = load_survey("des")
NOISE = np.random.default_rng(2).normal(size=(80, 80)).astype(np.float32)


def calibrate(data=NOISE, header=None, survey=DES, kind="", psf=None, **parts):
    raw = RawBand(np.asarray(data, np.float32), **parts)
    return calibrate_image(
        raw, read_calibration("g", fits.Header(header or {}), survey, "a.fits", kind, None, psf)
    )


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"MAGZERO": 27.0}, 27.0),
        ({"MAGZP": 25.5}, 25.5),
        ({"BUNIT": "nJy"}, 31.4),
        ({"BUNIT": "nanomaggies"}, 22.5),
        ({"BUNIT": "nanomaggy"}, 22.5),
        ({"MAGZERO": "n/a"}, None),
        ({"MAGZERO": -1e308}, None),
        ({"MAGZERO": 1e308, "MAGZP": 25.5}, 25.5),
        ({}, None),
    ],
)
def test_zero_points(header, expected):
    assert read_zero_point(fits.Header(header)) == expected


def test_flux_is_in_nanojansky():
    # a source of magnitude 20 has 10^(0.4 (31.4 - 20)) nJy, whatever the image's zero point
    for zero_point in (0.0, 27.0, 31.4):
        counts = NOISE * 1e-3
        counts[40, 40] = 10 ** (0.4 * (zero_point - 20))
        band = calibrate(counts, {"MAGZERO": zero_point})
        assert band.flux[40, 40] == pytest.approx(10 ** (0.4 * 11.4), rel=1e-5)
        assert not band.flags & Flag.ZERO_POINT_ASSUMED
    assert calibrate().flags & Flag.ZERO_POINT_ASSUMED


@pytest.mark.parametrize(("kind", "value"), [("weight", 0.25), ("variance", 4.0), ("rms", 2.0)])
def test_noise_maps(kind, value):
    noise = np.full(NOISE.shape, value, np.float32)
    noise[3, 3] = 0.0
    band = calibrate(NOISE, {"MAGZERO": 31.4}, noise=noise, kind=kind)
    assert band.sigma[0, 0] == pytest.approx(2.0)
    assert np.isinf(band.sigma[3, 3])
    assert np.isnan(band.flux[3, 3])


def test_bad_pixels_by_mask_bits():
    mask = np.zeros(NOISE.shape, np.int64)
    mask[1, 1], mask[2, 2] = 1, 8
    any_bit = calibrate(mask=mask)
    assert np.isnan(any_bit.flux[1, 1])
    assert np.isnan(any_bit.flux[2, 2])
    layout = DES.layout.model_copy(update={"bad_bits": 1})
    only_one = calibrate(mask=mask, survey=DES.model_copy(update={"layout": layout}))
    assert np.isnan(only_one.flux[1, 1])
    assert np.isfinite(only_one.flux[2, 2])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.int64])
def test_bits_that_a_mask_s_type_has_no_room_for_are_set_nowhere(dtype):
    mask = np.zeros(NOISE.shape, dtype)
    mask[1, 1], mask[2, 2] = 4, 3
    layout = DES.layout.model_copy(update={"bad_bits": 4 + 2**40})
    band = calibrate(mask=mask, survey=DES.model_copy(update={"layout": layout}))
    assert np.isnan(band.flux[1, 1])
    assert np.isfinite(band.flux[2, 2])


def test_psf_width_from_an_image_that_is_not_normalised():
    y, x = np.mgrid[-12:13, -12:13]
    psf = 1.76 * np.exp(-(x**2 + y**2) / (2 * 2.0**2))
    band = calibrate(psf=psf, header={"PIXSCALE": 0.263})
    assert band.psf_fwhm == pytest.approx(2.3548 * 2.0 * 0.263, rel=0.05)
    assert calibrate(header={"PSF_FWHM": 1.3}).psf_fwhm == 1.3
    assert calibrate().flags & Flag.PSF_ASSUMED


def test_a_header_without_sky_coordinates_has_none():
    assert read_wcs(fits.Header()) == (None, None)
    assert read_wcs(fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--XXX"})) == (None, None)
