"""The shortcut classifier finds colours where there are any, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.config import SimulateSection
from lenspipe.core.errors import InputError
from lenspipe.core.survey import load_survey
from lenspipe.simulate.scene import simulate_stamps
from lenspipe.training.shortcut import shortcut_auroc, shortcut_features

NOISE = np.full((200, 3), 2.0)
LABEL = np.arange(200) % 2 == 0


def stamps(flux):
    """Return Gaussian blobs of the given fluxes (n, b) in noise."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:40, :40] - 19.5
    shape = np.exp(-0.5 * (x**2 + y**2) / 9.0)
    return flux[:, None, None, :] * shape[None, :, :, None] / shape.sum() + rng.normal(0, 2, (200, 40, 40, 3))


def test_a_colour_gives_lenses_away_and_no_difference_does_not():
    flux = np.full((200, 3), 3000.0) * np.random.default_rng(2).lognormal(0, 0.3, (200, 1))
    auroc, error = shortcut_auroc(stamps(flux), NOISE, LABEL, 0.263, 1)
    assert auroc == pytest.approx(0.5, abs=0.12)
    assert 0.02 < error < 0.08
    flux[LABEL, 0] *= 1.5
    auroc, _ = shortcut_auroc(stamps(flux), NOISE, LABEL, 0.263, 1)
    assert auroc > 0.95
    assert shortcut_auroc(stamps(flux), NOISE, LABEL, 0.263, 1)[0] == auroc


def test_features_are_colours_magnitudes_and_concentration():
    bright = stamps(np.full((200, 3), 1e5)) * np.array([1.0, 2.0, 4.0])
    features = shortcut_features(bright, NOISE, 0.263)
    assert features.shape == (200, 8)
    assert features[:, :2].mean(axis=0) == pytest.approx([2.5 * np.log10(2)] * 2, abs=0.01)
    assert features[:, 2].mean() == pytest.approx(-2.5 * np.log10(1e5), abs=0.02)
    assert np.all(features[:, 5:] > 0)


def test_one_class_is_an_error():
    with pytest.raises(InputError, match="give it a mixed set"):
        shortcut_auroc(stamps(np.ones((200, 3))), NOISE, np.ones(200, bool), 0.263, 1)


def test_the_default_mixture_is_hard():
    survey = load_survey("des")
    image, noise, truth = simulate_stamps(survey, 4, range(800), SimulateSection(), survey.model_bands, 76)
    auroc, error = shortcut_auroc(image, noise, truth["kind"] == "lens", survey.pixel_scale, 1)
    assert auroc + 2 * error < 0.80
