from __future__ import annotations

import numpy as np
from slip_samples import POWER_LAW, draw, make_sample

from lenspipe.lensing.slip import infer_gamma, judge_lenses
from lenspipe.lensing.slip_model import SlipModel, predict
from lenspipe.lensing.slip_result import lens_table
from lenspipe.lensing.slip_table import read_columns


def test_every_lens_has_its_row_and_pulls_that_are_normal():
    table = draw(3000, 1.0, seed=2)
    table["name"], table["sigma_v"][5] = [f"l{k}" for k in range(len(table))], -1.0
    lenses = infer_gamma(table, 1, 1, model=POWER_LAW).lenses
    assert list(lenses["name"]) == list(table["name"])
    assert not lenses["used"][5]
    assert lenses["reason"][5]
    assert np.isnan(lenses["pull"][5])
    pulls = np.asarray(lenses["pull"])[lenses["used"]]
    np.testing.assert_allclose(lenses["chi2"][lenses["used"]], pulls**2)
    assert abs(np.mean(pulls)) < 4 / np.sqrt(len(pulls))
    assert 0.9 < np.std(pulls) < 1.1
    assert str(lenses["sigma_gr"].unit) == "km / s"


def test_pulls_against_general_relativity_do_not_ask_for_gamma():
    table = make_sample(20, 1.2, seed=1)
    used, reasons = judge_lenses(table, SlipModel())
    predictions = predict(read_columns(table), SlipModel())
    one, other = (lens_table(table, used, reasons, predictions, gamma) for gamma in (0.9, 1.4))
    np.testing.assert_array_equal(one["pull_gr"], other["pull_gr"])
    assert np.all(one["pull"] < other["pull"])
    assert np.all(np.isnan(lens_table(table, used, reasons)["pull_gr"]))


def test_warnings_say_what_is_wrong():
    result = infer_gamma(make_sample(100, 1.0, seed=1), 5, 1, circular=True)
    assert result.circular
    assert any("circular" in text for text in result.warnings)
    table = make_sample(100, 1.0, seed=1)
    table["sigma_v_err"] /= 3
    assert any("underestimated" in text for text in infer_gamma(table, 5, 1).warnings)
    table = make_sample(3, 3.8, seed=1)
    assert any("edge of the prior" in text for text in infer_gamma(table, 5, 1).warnings)
