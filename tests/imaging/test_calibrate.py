from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from lenspipe.core.schema import Flag
from lenspipe.core.survey import load_survey
from lenspipe.core.types import RawBand
from lenspipe.imaging.calibrate import (
    calibrate_image,
    find_flat,
    read_calibration,
    read_gain,
    read_zero_point,
)

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
        ({"MAGZERO": True}, None),
        ({"MAGZERO": "27.5"}, 27.5),  # some write numbers in quotes
        ({"ZEROPT": 25.0}, 25.0),
        ({"MZP_VEGA": 30.098, "MZP_AB": 30.0}, 30.0),
        ({"FLUXMAG0": 63095734448.0194}, 27.0),
        ({"FLUXMAG0": -1.0}, None),
        ({"BUNIT": "nJy", "MAGZERO": 27.0}, 31.4),  # left over from the counts
        ({"BUNIT": "nanomaggies per pixel"}, 22.5),
        ({"BUNIT": "nmgy / pix"}, 22.5),
        ({"BUNIT": "uJy"}, 23.9),
        ({"BUNIT": "10**-32 W m^-2 Hz^-1"}, 23.9),
        ({"BUNIT": "1e-29 erg s^-1 cm^-2 Hz^-1"}, 23.9),
        ({"BUNIT": "MJy/sr"}, None),  # a surface brightness
        ({"BUNIT": "counts/s", "MAGZERO": 26.0}, 26.0),
        ({"BUNIT": "ADU"}, None),
        ({"MAGZERO": -1e308}, None),
        ({"MAGZERO": 1e308, "MAGZP": 25.5}, 25.5),
        ({}, None),
    ],
)
def test_zero_points(header, expected):
    assert read_zero_point(fits.Header(header)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("absurd", [-99.0, 99.0, 1e30, -5.1, 40.1])
def test_an_absurd_zero_point_is_not_believed(absurd):
    assert read_zero_point(fits.Header({"MAGZERO": absurd})) is None
    assert read_zero_point(fits.Header({"MAGZERO": absurd, "ZP": 25.0})) == 25.0
    band = calibrate(header={"MAGZERO": absurd})
    assert band.flags & Flag.ZERO_POINT_ASSUMED
    assert np.array_equal(band.flux, calibrate().flux)


def test_zero_points_for_one_second_need_the_exposure_time():
    header = fits.Header({"MAGZERO": 21.326, "EXPTIME": 80.104, "BUNIT": "counts/s"})
    assert read_zero_point(header) == 21.326
    assert read_zero_point(header, per_second=True) == pytest.approx(26.085, abs=1e-3)
    assert read_zero_point(fits.Header({"MAGZERO": 21.3}), per_second=True) is None
    assert read_zero_point(fits.Header({"BUNIT": "nJy", "EXPTIME": 9.0}), per_second=True) == 31.4


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
    assert band.psf_image == pytest.approx(psf / psf.sum(), abs=1e-6)
    broken = calibrate(psf=np.where(x == y, np.nan, psf))
    assert broken.psf_image is None
    assert broken.flags & Flag.PSF_ASSUMED


def test_a_fwhm_in_pixels_says_so():
    header = fits.Header({"PIXSCALE": 0.263})
    header["FWHM"] = (4.0, "Median FWHM in pixels")
    assert calibrate(header=header).psf_fwhm == pytest.approx(1.052)
    header["FWHM"] = (1.2, "[arcsec] Seeing")
    assert calibrate(header=header).psf_fwhm == 1.2


def test_a_psf_image_beats_the_header():
    y, x = np.mgrid[-12:13, -12:13]
    psf = np.exp(-(x**2 + y**2) / (2 * 2.0**2))
    assert calibrate(psf=psf, header={"PIXSCALE": 0.2, "SEEING": 3.0}).psf_fwhm == pytest.approx(
        0.94, rel=0.05
    )


@pytest.mark.parametrize(("band", "bad"), [("g", 0x24), ("r", 0x48), ("i", 0xC000), ("z", 0x90)])
def test_mask_bits_of_a_band_by_name_and_by_number(band, bad):
    names = {2: "SATUR_G", 3: "SATUR_R", 4: "SATUR_Z", 5: "ALLMASK_G", 6: "ALLMASK_R", 7: "ALLMASK_Z"}
    names |= {1: "BRIGHT", 14: "SATUR_I", 15: "ALLMASK_I"}
    header = fits.Header({f"MBIT_{bit}": name for bit, name in names.items()})
    survey = load_survey("legacy")
    for mask_header in (header, fits.Header()):
        cal = read_calibration(band, fits.Header(), survey, mask_header=mask_header)
        assert cal.bad_bits == bad


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


def test_blocks_of_one_value_are_no_data_but_single_zeros_are():
    data = np.round(3 * NOISE).astype(np.float32)  # counts: neighbours are often alike
    assert calibrate(data).flux[np.isnan(calibrate(data).flux)].size < 5
    data[10:20, 30:50] = 0.0
    data[60, 60] = 0.0
    empty = np.isnan(calibrate(data).flux)
    assert empty[10:20, 30:50].all()
    assert not empty[60, 60]
    assert find_flat(NOISE) is None


@pytest.mark.parametrize(
    ("kind", "value"), [("rms", 1e-30), ("weight", 1e30), ("variance", 1e35), ("rms", np.inf)]
)
def test_noise_that_no_image_has_is_no_noise(kind, value):
    noise = np.full(NOISE.shape, 1.0, np.float32)
    noise[5, 5] = value
    assert np.isnan(calibrate(NOISE, {"MAGZERO": 31.4}, noise=noise, kind=kind).flux[5, 5])


@pytest.mark.parametrize("fwhm", [1e4, 1e-5])
def test_a_width_that_no_psf_has_is_not_believed(fwhm):
    survey = DES
    cal = read_calibration("g", fits.Header(), survey, psf_fwhm=fwhm)
    assert cal.psf_fwhm == survey.bands["g"].psf_fwhm
    assert cal.flags & Flag.PSF_ASSUMED
