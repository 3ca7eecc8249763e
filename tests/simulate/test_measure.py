"""What the truth foretells of arcs against what is measured on their images."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.config import PLAIN, RealismSection, SimulateSection
from lenspipe.core.survey import load_survey
from lenspipe.simulate.measure import expect_arcs, magnify, measure_arcs
from lenspipe.simulate.render import render
from lenspipe.simulate.scene import build_scene, draw_truth, source_light

DES = load_survey("des")
BANDS = ("g", "r", "i")
LENSES = SimulateSection(kind="lens", scene="plain")
SIZE = 100  # all arcs are inside


def brightest_pixels(arcs, variance):
    """Return the signal-to-noise of one image over its best number of pixels: as Collett's text has it."""
    order = np.argsort(arcs.ravel())[::-1]
    signal, noise2 = arcs.ravel()[order].astype(float), variance.ravel()[order].astype(float)
    return np.max(np.cumsum(signal) / np.sqrt(np.cumsum(noise2)))


def compare(survey, truth, bands, effects, size=SIZE):
    """Return mu and snr_<band> of the truth over those of rendered images."""
    light, _ = render(build_scene(survey, 1, truth, bands, size, PLAIN), size, survey.pixel_scale)
    _, arcs = render(build_scene(survey, 1, truth, bands, size, effects), size, survey.pixel_scale)
    snr = np.empty((len(truth), len(bands)))
    for b, band in enumerate(bands):
        gain = survey.bands[band].electrons_per_njy()
        for k in range(len(truth)):
            variance = light[k, ..., b] / gain + truth[f"sky_sigma_{band}"][k] ** 2
            snr[k, b] = truth[f"snr_{band}"][k] / brightest_pixels(arcs[k, ..., b], variance)
    reference = bands.index(survey.detection_band)
    unlensed = 10 ** (0.4 * (31.4 - np.asarray(truth[f"mag_src_{bands[reference]}"])))
    return np.asarray(truth["mu"]) * unlensed / arcs[..., reference].sum(axis=(1, 2)), snr


@pytest.fixture(scope="module")
def plain():
    return draw_truth(DES, 1, range(200), LENSES, BANDS)


def test_magnification_and_signal_to_noise_are_those_of_rendered_arcs(plain):
    mu, snr = compare(DES, plain, BANDS, PLAIN)
    assert np.median(mu) == pytest.approx(1.0, abs=0.008)
    assert np.mean(np.abs(mu - 1.0) < 0.015) > 0.96
    assert np.median(snr, axis=0) == pytest.approx(1.0, abs=0.018)  # of PSFs with wings 1.3 % too much
    assert np.all(np.std(snr, axis=0) < 0.015)
    assert np.percentile(np.abs(snr - 1.0), 99) < 0.08
    assert np.abs(snr - 1.0).max() < 0.15


def test_clumps_and_misaligned_light_count(plain):
    section = SimulateSection(kind="lens")
    truth = draw_truth(DES, 1, range(60), section, BANDS)
    mu, snr = compare(DES, truth, BANDS, RealismSection())
    assert np.mean(np.abs(mu - 1.0) < 0.03) > 0.95
    assert np.median(snr, axis=0) == pytest.approx(1.0, abs=0.018)
    assert np.mean(np.abs(snr - 1.0) < 0.03) > 0.9
    # a smooth disc in place of the clumps would be another source
    smooth = expect_arcs(DES, truth, BANDS, source_light(1, truth, BANDS, clumpy=False))
    assert np.std(np.asarray(truth["snr_g"]) / smooth["snr_g"]) > 0.1


@pytest.mark.parametrize(("name", "bands"), [("euclid", ("VIS",)), ("hst", ("F814W",))])
def test_it_is_as_good_where_the_pixels_are_small(name, bands):
    survey = load_survey(name)
    truth = draw_truth(survey, 1, range(30), LENSES, bands)
    _, snr = compare(survey, truth, bands, PLAIN, size=200)
    assert np.median(snr) == pytest.approx(1.0, abs=0.02)
    assert np.std(snr) < 0.03


@pytest.mark.parametrize("beta", [2.5, np.inf])
def test_the_wings_of_a_psf_count(plain, beta):
    truth = plain[:40].copy()
    for name in ("psf_beta", *(f"psf_beta_{band}" for band in BANDS)):
        truth[name] = beta
    for name, values in expect_arcs(DES, truth, BANDS, source_light(1, truth, BANDS, clumpy=False)).items():
        truth[name] = values
    _, snr = compare(DES, truth, BANDS, PLAIN)
    assert np.median(snr, axis=0) == pytest.approx(1.0, abs=0.015)
    gained = np.asarray(truth["snr_i"]) / np.asarray(plain["snr_i"][:40])
    if np.isinf(beta):
        assert np.all(gained > 1.02)  # what wings lose
    else:  # and those of broader wings than these gain
        assert np.corrcoef(gained, plain["psf_beta_i"][:40])[0, 1] < -0.9


def test_it_is_the_same_bits_in_any_batch(plain):
    some = [150, 3, 77]
    source = source_light(1, plain[some], BANDS, clumpy=False)
    for name, values in expect_arcs(DES, plain[some], BANDS, source).items():
        assert np.array_equal(values, plain[name][some]), name


def test_magnification_knows_that_the_shear_is_about_the_stamp(plain):
    assert magnify(plain) == pytest.approx(np.asarray(plain["mu"]), rel=1e-12)
    moved, turn = plain.copy(), 2.0 * np.radians(plain["phi_ext"])
    moved["x_lens"] += 1.0
    moved["x_src"] += 1.0
    assert np.max(np.abs(magnify(moved) / magnify(plain) - 1.0)) > 0.1  # the shear bends the source's place
    moved["x_src"] += plain["gamma_ext"] * np.cos(turn)
    moved["y_src"] += plain["gamma_ext"] * np.sin(turn)
    assert magnify(moved) == pytest.approx(magnify(plain), rel=1e-4)


def test_signal_to_noise_is_the_best_number_of_pixels(plain):
    truth = plain[:1].copy()
    for band in BANDS:
        truth[f"sky_sigma_{band}"] = 1.0
    arcs = np.zeros((1, 8, 8, 3), np.float32)
    arcs[0, 0, 0], arcs[0, 0, 1], arcs[0, 0, 2] = 10.0, 10.0, 0.1
    snr = measure_arcs(DES, truth, BANDS, np.zeros_like(arcs), arcs, np.ones(3))["snr"]
    assert snr[0] == pytest.approx(20 / np.sqrt(2))  # the third pixel would add more noise than light
