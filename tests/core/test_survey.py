from __future__ import annotations

import math

import pytest

from lenspipe.core.errors import ConfigError
from lenspipe.core.survey import FWHM_PER_SIGMA, load_survey, same_scale, survey_names


def test_all_packaged_surveys_load():
    assert {"des", "lsst", "hsc", "kids", "cfhtls", "euclid", "hst", "hst_fine", "legacy", "decam"} <= set(
        survey_names()
    )
    for name in survey_names():
        assert load_survey(name).name == name


def test_des_sky_reproduces_the_published_depths():
    # S/N 10 in a 1.95 arcsec aperture, DES Y6: science.md, section 4
    survey = load_survey("des")
    pixels = math.pi * (1.95 / 2 / survey.pixel_scale) ** 2
    for band, depth in {"g": 24.7, "r": 24.4, "i": 23.8, "z": 23.1, "Y": 21.7}.items():
        flux = 10 * survey.bands[band].sky_sigma(survey.pixel_scale) * math.sqrt(pixels)
        assert 31.4 - 2.5 * math.log10(flux) == pytest.approx(depth, abs=0.25)


def test_a_survey_file_extends_another(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'extends = "des"\nname = "mine"\n[bands.g]\npsf_fwhm = 2.5\n[layout]\npattern = ["{tile}.{band}.fits"]\n'
    )
    survey = load_survey(str(path))
    assert survey.bands["g"].psf_fwhm == 2.5
    assert survey.bands["g"].sky == load_survey("des").bands["g"].sky
    assert survey.layout.pattern == ("{tile}.{band}.fits",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pixel_scale = ", "not valid TOML"),
        ('extends = "des"\npixel_scael = 1', "pixel_scael"),
        ('extends = "des"\npixel_scale = 0.3', "needs a name of its own"),
        ('extends = "des"\npixel_scale = -1', "pixel_scale"),
        ('extends = "des"\nmodel_bands = ["q"]', "'q'"),
        ('extends = "des"\n[layout.band_names]\nHSC-Q = "q"', "layout.band_names names 'q'"),
        ('extends = "des"\n[layout]\nbad_bits = -1', "layout.bad_bits"),
    ],
)
def test_a_bad_survey_file_is_named_with_its_key(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_survey(str(path))


def test_unknown_survey_and_circles(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown survey 'dse'; packaged ones are .*des"):
        load_survey("dse")
    a, b = tmp_path / "a.toml", tmp_path / "b.toml"
    a.write_text('extends = "b.toml"')
    b.write_text('extends = "a.toml"')
    with pytest.raises(ConfigError, match="circle"):
        load_survey(str(a))


def test_same_scale():
    assert same_scale(0.263, 0.2637)
    assert not same_scale(0.263, 0.27)


def test_a_coadd_scatters_less_than_an_exposure():
    band = load_survey("des").bands["g"]
    # 5 and 95 % of the single exposures: 0.99 and 1.65 arcsec (science.md, section 4)
    ends = [band.exposure_fwhm() * math.exp(sign * 1.645 * band.psf_scatter) for sign in (-1, 1)]
    assert ends == pytest.approx([0.99, 1.65], rel=0.035)
    assert band.coadd_scatter(band.psf_scatter) == pytest.approx(0.049, abs=0.001)
    space = load_survey("euclid").bands["VIS"]
    assert space.exposure_fwhm() == space.psf_fwhm


def saturating_star(survey, band) -> float:
    """Return the magnitude of a star, seen through a Gaussian on a pixel's middle, that fills the pixel."""
    own = survey.bands[band]
    share = math.erf(0.5 * survey.pixel_scale / (own.exposure_fwhm() / FWHM_PER_SIGMA) / math.sqrt(2.0)) ** 2
    return 31.4 - 2.5 * math.log10(own.saturation(survey.pixel_scale) / share)


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("des", {"g": 15.2, "r": 15.7, "i": 15.8, "z": 15.5, "Y": 13.6}),  # DR2, table 1; all from memory
        ("hsc", {"i": 18.4}),  # Aihara et al. 2018
        ("euclid", {"VIS": 17.8}),
    ],
)
def test_stars_saturate_where_the_survey_says(name, limits):
    survey = load_survey(name)
    for band, limit in limits.items():
        assert saturating_star(survey, band) == pytest.approx(limit, abs=0.4)


def test_saturation_follows_the_exposure_and_may_be_set(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'extends = "des"\nname = "mine"\n[bands.g]\nfull_well = 65000.0\n[bands.r]\nexposure = 1800.0\n'
    )
    mine, des = load_survey(str(path)), load_survey("des")
    for band in ("g", "r"):
        sky = des.bands[band].sky_flux(des.pixel_scale)
        wells = [survey.saturation([band])[0] + sky for survey in (mine, des)]
        assert wells[0] == pytest.approx(wells[1] / 2)
    path.write_text('extends = "des"\nname = "mine"\n[bands.z]\nexposure = 90000.0\n')
    with pytest.raises(
        ConfigError,
        match=r"'mine', bands.z: the sky alone saturates an exposure of 9000 s",
    ):
        load_survey.__wrapped__(str(path)).saturation(("g", "z"))


@pytest.mark.parametrize("band", ["NISP_Y", "NISP_J", "NISP_H"])
def test_nisp_reaches_its_published_depth(band):
    # 5 sigma at 24.0 to 24.5 mag, Euclid Wide, here within 2 FWHM
    survey = load_survey("euclid")
    pixels = math.pi * (survey.bands[band].psf_fwhm / survey.pixel_scale) ** 2
    flux = 5 * survey.bands[band].sky_sigma(survey.pixel_scale) * math.sqrt(pixels)
    assert 31.4 - 2.5 * math.log10(flux) == pytest.approx(24.4, abs=0.3)


def test_a_psf_has_one_index_or_one_of_each_band():
    cfhtls, hsc = load_survey("cfhtls"), load_survey("hsc")
    assert cfhtls.psf_betas(("g", "i")) == {"psf_beta": float("inf")}
    assert list(hsc.psf_betas(("r", "i"))) == ["psf_beta", "psf_beta_r", "psf_beta_i"]
    assert hsc.psf_betas(("r", "i"))["psf_beta"] == hsc.bands["r"].psf_beta
    assert hsc.psf_betas(("r",)) == {"psf_beta": hsc.bands["r"].psf_beta}


def test_the_reference_band_is_that_of_detection_where_there_is_one():
    des = load_survey("des")
    assert [des.reference_band(bands) for bands in (("g", "r", "i"), ("i", "z"), ("g", "r"))] == [
        "i",
        "i",
        "r",
    ]


def test_a_band_may_have_noise_of_its_own():
    des = load_survey("des")
    own = des.bands["g"].model_copy(update={"noise_correlation": ((1.0, 0.1), (0.1, 0.1))})
    changed = des.model_copy(update={"bands": {**des.bands, "g": own}})
    assert changed.correlations(("g", "r")) == [((1.0, 0.1), (0.1, 0.1)), des.noise_correlation]


def test_spellings_of_bands():
    hsc = load_survey("hsc")
    assert (hsc.band_named("i"), hsc.band_named("HSC-I2"), hsc.band_named("I")) == ("i", "i", "")
    assert (hsc.band_named("hsc-i2", any_case=True), hsc.band_named("q", any_case=True)) == ("i", "")
    assert load_survey("des").band_named("y", any_case=True) == "Y"
