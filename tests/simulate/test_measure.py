"""What the truth foretells of arcs against what is measured on their images."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.config import SimulateSection
from lenspipe.core.survey import load_survey
from lenspipe.simulate.measure import measure_arcs
from lenspipe.simulate.render import render
from lenspipe.simulate.scene import build_scene, draw_truth

DES = load_survey("des")
BANDS = ("g", "r", "i")
PLAIN = SimulateSection(kind="lens", scene="plain")


def test_magnification_and_signal_to_noise_are_those_of_rendered_arcs():
    truth = draw_truth(DES, 1, range(150), PLAIN, BANDS)
    light, arcs = render(build_scene(DES, 1, truth, BANDS, 100), 100, DES.pixel_scale)
    gain = np.array([DES.bands[band].electrons_per_njy() for band in BANDS])
    measured = measure_arcs(DES, truth, BANDS, light, arcs, gain)
    mu = np.asarray(truth["mu"]) / measured["mu"]
    assert np.median(mu) == pytest.approx(1.0, abs=0.01)
    assert np.mean(np.abs(mu - 1.0) < 0.04) > 0.95
    for name in ("snr", *(f"snr_{band}" for band in BANDS)):
        ratio = np.asarray(truth[name]) / measured[name]
        assert np.median(ratio) == pytest.approx(1.0, abs=0.06), name
        assert np.std(ratio) < 0.15, name


def test_signal_to_noise_is_the_best_number_of_pixels():
    truth = draw_truth(DES, 1, [0], PLAIN, BANDS)
    for band in BANDS:
        truth[f"sky_sigma_{band}"] = 1.0
    arcs = np.zeros((1, 8, 8, 3), np.float32)
    arcs[0, 0, 0], arcs[0, 0, 1], arcs[0, 0, 2] = 10.0, 10.0, 0.1
    snr = measure_arcs(DES, truth, BANDS, np.zeros_like(arcs), arcs, np.ones(3))["snr"]
    assert snr[0] == pytest.approx(20 / np.sqrt(2))  # the third pixel would add more noise than light
