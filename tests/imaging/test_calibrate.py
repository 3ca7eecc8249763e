from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.stats import sigma_clipped_stats

from lenspipe.core.errors import Rejected
from lenspipe.core.schema import Flag
from lenspipe.core.survey import load_survey
from lenspipe.core.types import RawBand
from lenspipe.imaging.calibrate import (
    calibrate_band,
    estimate_noise,
    read_gain,
    read_wcs,
    read_zero_point,
    subtract_sky,
)

DES = load_survey("des")
NOISE = np.random.default_rng(2).normal(size=(80, 80)).astype(np.float32)


def raw(data=NOISE, header=None, **parts) -> RawBand:
    return RawBand("g", np.asarray(data, np.float32), fits.Header(header or {}), "a.fits", **parts)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"MAGZERO": 27.0}, 27.0),
        ({"MAGZP": 25.5}, 25.5),
        ({"BUNIT": "nJy"}, 31.4),
        ({"BUNIT": "nanomaggies"}, 22.5),
        ({"BUNIT": "nanomaggy"}, 22.5),
        ({"MAGZERO": "n/a"}, None),
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
        band = calibrate_band(raw(counts, {"MAGZERO": zero_point}), DES)
        assert band.flux[40, 40] == pytest.approx(10 ** (0.4 * 11.4), rel=1e-5)
        assert not band.flags & Flag.ZERO_POINT_ASSUMED
    assert calibrate_band(raw(), DES).flags & Flag.ZERO_POINT_ASSUMED


@pytest.mark.parametrize(("kind", "value"), [("weight", 0.25), ("variance", 4.0), ("rms", 2.0)])
def test_noise_maps(kind, value):
    noise = np.full(NOISE.shape, value, np.float32)
    noise[3, 3] = 0.0
    band = calibrate_band(raw(NOISE, {"MAGZERO": 31.4}, noise=noise, noise_kind=kind), DES)
    assert band.sigma[0, 0] == pytest.approx(2.0)
    assert np.isinf(band.sigma[3, 3])
    assert np.isnan(band.flux[3, 3])


def test_bad_pixels_by_mask_bits():
    mask = np.zeros(NOISE.shape, np.int64)
    mask[1, 1], mask[2, 2] = 1, 8
    any_bit = calibrate_band(raw(mask=mask), DES)
    assert np.isnan(any_bit.flux[1, 1])
    assert np.isnan(any_bit.flux[2, 2])
    layout = DES.layout.model_copy(update={"bad_bits": 1})
    only_one = calibrate_band(raw(mask=mask), DES.model_copy(update={"layout": layout}))
    assert np.isnan(only_one.flux[1, 1])
    assert np.isfinite(only_one.flux[2, 2])


@pytest.mark.parametrize(
    ("data", "reason"), [(np.full((40, 40), np.nan), "no_good_pixels:g"), (np.zeros((40, 40)), "no_signal:g")]
)
def test_images_without_signal_are_rejected(data, reason):
    with pytest.raises(Rejected, match=reason):
        calibrate_band(raw(data), DES)


def test_noise_estimate_with_and_without_objects():
    assert estimate_noise(5 * NOISE) == pytest.approx(5, rel=0.05)
    y, x = np.mgrid[:80, :80]
    crowded = 5 * NOISE + 400 * np.exp(-np.hypot(x - 40, y - 40) / 12)  # a galaxy that fills the stamp
    assert sigma_clipped_stats(crowded, sigma=3.0)[2] > 20
    assert estimate_noise(crowded) == pytest.approx(5, rel=0.5)
    holes = np.where(NOISE > 2.5, np.nan, 5 * NOISE)
    assert estimate_noise(holes) == pytest.approx(5, rel=0.1)


def test_psf_width_from_an_image_that_is_not_normalised():
    y, x = np.mgrid[-12:13, -12:13]
    psf = 1.76 * np.exp(-(x**2 + y**2) / (2 * 2.0**2))
    band = calibrate_band(raw(psf=psf, header={"PIXSCALE": 0.263}), DES)
    assert band.psf_fwhm == pytest.approx(2.3548 * 2.0 * 0.263, rel=0.05)
    assert band.psf_image == pytest.approx(psf / psf.sum(), abs=1e-6)
    assert calibrate_band(raw(header={"PSF_FWHM": 1.3}), DES).psf_fwhm == 1.3
    assert calibrate_band(raw(), DES).flags & Flag.PSF_ASSUMED
    broken = calibrate_band(raw(psf=np.where(x == y, np.nan, psf)), DES)
    assert broken.psf_image is None
    assert broken.flags & Flag.PSF_ASSUMED


def test_a_header_without_sky_coordinates_has_none():
    assert read_wcs(fits.Header()) == (None, None)
    assert read_wcs(fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--XXX"})) == (None, None)


@pytest.mark.parametrize("small", [True, False])
def test_sky_is_subtracted_where_there_is_one(small):
    band = calibrate_band(raw(NOISE + 500, {"MAGZERO": 31.4}), DES)
    flat = subtract_sky(band, small)
    assert abs(np.median(flat.flux)) < 0.3
    assert flat.flags & Flag.SKY_SUBTRACTED
    clean = replace(band, flux=NOISE)
    assert subtract_sky(clean, small) is clean


@pytest.mark.parametrize(
    ("image", "survey", "band", "zero_point"),
    [
        *(
            (f"des_J0330-5228_grizY/DESJ033056.9318-522813.0188_{band}_sci.fits", "des", band, 30.0)
            for band in "grizY"
        ),
        *((f"cfhtls_patch/CFHTLS-test_{band}.fits", "cfhtls", band, 30.0) for band in "gri"),
    ],
)
def test_gains_of_real_headers(realdata, image, survey, band, zero_point):
    header = fits.getheader(realdata / image)
    njy_per_count = 10 ** (0.4 * (31.4 - zero_point))
    usual = load_survey(survey).bands[band].electrons_per_njy()
    found = read_gain(header, njy_per_count, usual)
    assert found == pytest.approx(header["GAIN"] / njy_per_count)
    assert found != usual


def test_a_gain_that_cannot_be_the_coadd_s_is_not_believed(realdata):
    folder = realdata / "des_J0330-5228_grizY"
    (path,) = folder.glob("*_g_wht.fits")
    assert fits.getheader(path)["GAIN"] == 0.0  # a weight map's
    assert read_gain(fits.getheader(path), 3.6, 10.9) == 10.9
    for value in ("unknown", -1.0, 1e4, 1e-3):
        assert read_gain(fits.Header({"GAIN": value}), 3.6, 10.9) == 10.9
    assert read_gain(fits.Header({"GAIN": 36.0}), 3.6, 10.9) == pytest.approx(10.0)
    assert read_gain(fits.Header(), 3.6, 10.9) == 10.9
