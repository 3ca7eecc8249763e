"""The search for detectable lenses: scaling relations, what is drawn by construction, impossible surveys."""

from __future__ import annotations

import time

import numpy as np
import pytest

from lenspipe.core.errors import LenspipeError
from lenspipe.core.rng import stream_keys
from lenspipe.core.survey import load_survey
from lenspipe.simulate.candidates import first_detectable
from lenspipe.simulate.polar import image_reach
from lenspipe.simulate.population import draw_conditions, draw_lenses

DES = load_survey("des")
BANDS = ("g", "r", "i")


def test_the_first_detectable_is_the_same_alone_and_among_others():
    def search(ids):
        conditions = draw_conditions(DES, 1, ids, BANDS)
        return first_detectable(
            DES, BANDS, stream_keys(1, "lens/0", ids), conditions, 20.0, np.ones(len(ids))
        )

    together, tried = search(np.arange(40))
    assert 40 / 0.02 < tried.sum() < 40 / 5e-4
    for k in (0, 17, 39):
        alone, alone_tried = search(np.array([k]))
        assert alone_tried[0] == tried[k]
        for name, values in alone.items():
            assert values[0] == together[name][k], name


def test_images_stay_within_the_surveys_stamps():
    usual, small = load_survey("hst"), load_survey("hst").model_copy(update={"stamp_size": 96})
    widest, tried = [], []
    for survey in (usual, small):
        truth = draw_lenses(survey, 1, np.arange(400), ("F814W",))
        off = np.hypot(truth["x_src"] - truth["x_lens"], truth["y_src"] - truth["y_lens"])
        shape = (np.asarray(truth[name], float) for name in ("r_src", "q_src"))
        widest.append(
            image_reach(np.asarray(truth["theta_e"]), np.asarray(truth["q"]), np.asarray(off), *shape).max()
        )
        tried.append(truth.meta["candidates"]["lens"])
        assert widest[-1] < 0.5 * survey.stamp_size * survey.pixel_scale
    assert widest[0] > 0.5 * small.stamp_size * small.pixel_scale
    assert tried[1] > tried[0]  # what is cut counts as tried


def blurred():
    bands = {name: band.model_copy(update={"psf_fwhm": 5.0}) for name, band in DES.bands.items()}
    return DES.model_copy(update={"bands": bands})


def narrow():
    return DES.model_copy(update={"stamp_size": 3})


@pytest.mark.parametrize(
    ("survey", "min_snr", "blame"),
    [
        (DES, 1e6, "too faint"),
        (blurred(), 20.0, "blurred by the seeing"),
        (narrow(), 20.0, "wider than the survey's stamps"),
    ],
)
@pytest.mark.parametrize("count", [1, 500])
def test_impossible_cuts_end_soon_with_a_reason(survey, min_snr, blame, count):
    start = time.monotonic()
    with pytest.raises(LenspipeError, match=rf"0 in 30\d{{5}} trials: most are {blame}"):
        draw_lenses(survey, 1, np.arange(count), BANDS, min_snr)
    assert time.monotonic() - start < 20.0
