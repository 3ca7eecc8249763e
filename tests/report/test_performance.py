import base64

import numpy as np
import pytest

from lenspipe.report.figures import LIGHT, picture
from lenspipe.report.performance import draw_completeness, draw_kinds, draw_reliability


def part(rate):
    rate = np.asarray(rate, float)
    return {"n": [20] * len(rate), "rate": rate, "low": rate - 0.05, "high": rate + 0.05}


BINS = {"edges": [10.0, 20.0, 50.0, 200.0], **part([0.1, 0.5, 0.9])}


def reliability():
    p = np.linspace(0.05, 0.95, 10)
    empty = {
        "n": [0],
        "rate": [None],
        "low": [None],
        "high": [None],
        "probability": [None],
    }  # as JSON has NaN
    parts = {name: {"probability": p, **part(p**power)} for name, power in (("before", 2), ("after", 1))}
    parts["before"] = {key: [*values, *empty[key]] for key, values in parts["before"].items()}
    return parts


def kinds(*hits):
    return {
        f"kind_{k}": {
            "n": 100,
            "false_positives": n,
            "rate": n / 100,
            "low": 0.8 * n / 100,
            "high": 0.02 + n / 100,
        }
        for k, n in enumerate(hits)
    }


@pytest.mark.parametrize(
    ("draw", "data"),
    [
        (draw_reliability, (reliability(),)),
        (draw_completeness, ("theta_e", BINS)),
        (draw_completeness, ("snr", BINS)),
        (draw_completeness, ("psf_fwhm", {"edges": [1.0, 1.0], **part([0.5])})),
        (draw_kinds, (kinds(5, 1, 0),)),
        (draw_kinds, (kinds(0),)),
        (draw_kinds, (kinds(*range(30)),)),
    ],
)
def test_figures_draw_in_both_themes(draw, data):
    drawn = picture(draw, *data, alt="a", caption="c")
    assert drawn.light != drawn.dark
    assert b"<svg" in base64.b64decode(drawn.light.partition(",")[2])


def test_reliability_shows_both_curves_without_empty_bins():
    ax = draw_reliability(reliability(), LIGHT).axes[0]
    lines = {box.get_label(): box.lines[0] for box in ax.containers}
    np.testing.assert_allclose(*lines["after calibration"].get_data())
    x, y = lines["before calibration"].get_data()
    np.testing.assert_allclose(y, x**2)


def test_completeness_is_drawn_in_its_bins_with_intervals():
    ax = draw_completeness("snr", BINS, LIGHT).axes[0]
    assert ax.get_xscale() == "log"
    band, line = (patch.get_data() for patch in ax.patches)
    np.testing.assert_allclose(line.values, [0.1, 0.5, 0.9])
    np.testing.assert_allclose(line.edges, BINS["edges"])
    np.testing.assert_allclose(band.values - band.baseline, 0.1)


def test_kinds_without_false_positives_are_upper_limits():
    ax = draw_kinds(kinds(5, 0), LIGHT).axes[0]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["kind 0 (100)", "kind 1 (100)"]
    assert [line.get_marker() for line in ax.lines if line.get_marker() not in ("None", "")] == ["o", "<"]
    assert ax.get_xlim()[0] > 0
