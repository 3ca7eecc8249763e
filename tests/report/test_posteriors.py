import numpy as np
import pytest

from lenspipe.report.figures import DARK, LIGHT, picture
from lenspipe.report.posteriors import draw_against, draw_one_to_one, draw_pit, regressor_view

RNG = np.random.default_rng(5)


def regression(n):
    true = RNG.uniform(0.5, 2.5, n)
    return {
        "true": true,
        "median": true + RNG.normal(0, 0.1, n),
        "err_lo": np.full(n, 0.1),
        "err_hi": np.full(n, np.nan),
        "unit": "arcsec",
    }


AGAINST = {
    "edges": [5.0, 20.0, 80.0, 300.0],
    "bias": [0.02, 0.0, -0.01],
    "scatter68": [0.2, 0.1, 0.05],
    "error": [0.21, 0.09, 0.05],
}
METRICS = {
    "bias": 0.01,
    "scatter68": 0.05,
    "coverage": {"0.68": 0.69},
    "n_test": 500,
    "pit": [1.2, 0.8, 1.0, 1.0],
    "against": {"snr": AGAINST, "theta_e": AGAINST, "z_src": AGAINST},
    "baselines": {"mean": {"bias": 0.0, "scatter68": 0.33}},
}


@pytest.mark.parametrize(
    ("draw", "data"),
    [
        (draw_one_to_one, ("theta_e", regression(500))),
        (draw_one_to_one, ("odd $name", regression(1))),
        (draw_one_to_one, ("z_src", regression(0))),
        (draw_against, ("snr", AGAINST)),
        (draw_pit, (METRICS,)),
    ],
)
def test_figures_draw_in_both_themes(draw, data):
    drawn = picture(draw, *data, alt="a", caption="c")
    assert drawn.light != drawn.dark
    assert drawn.light.startswith("data:image/svg+xml")


def test_one_to_one_band_follows_the_data():
    values = regression(4000)
    values["median"] = values["true"] + 0.3  # a biased network must look biased
    ax = draw_one_to_one("theta_e", values, DARK).axes[0]
    (running,) = [line for line in ax.lines if line.get_label().startswith("median")]
    x, y = running.get_data()
    np.testing.assert_allclose(y - x, 0.3, atol=0.01)
    assert ax.get_xlim() == ax.get_ylim()


def test_error_bars_told_stand_beside_the_scatter_found():
    ax = draw_against("snr", AGAINST, LIGHT).axes[0]
    assert ax.get_xscale() == "log"
    told = [p for p in ax.patches if p.get_linestyle() in ("--", "dashed")]
    np.testing.assert_allclose(
        [p.get_data().values for p in told], [AGAINST["error"], np.negative(AGAINST["error"])]
    )


def test_the_transform_has_the_scatter_of_chance_about_it():
    ax = draw_pit(METRICS, LIGHT).axes[0]
    (stairs,) = [p for p in ax.patches if hasattr(p, "get_data")]
    np.testing.assert_array_equal(stairs.get_data().values, METRICS["pit"])
    (band,) = [p for p in ax.patches if not hasattr(p, "get_data")]
    np.testing.assert_allclose(band.get_height(), 2 * np.sqrt(4 / 500))


def test_the_page_tells_metrics_baselines_and_what_makes_a_target_hard():
    view = regressor_view({"theta_e": {**regression(500), "metrics": METRICS}})
    assert len(view["pictures"]) == 4  # one to one, against itself and the S/N, the transform
    (row,) = view["rows"]
    assert len(row[2]) == len(view["header"])
    assert row[2][-2:] == ["68%: 0.69", "one value for all 0.330"]
    assert regressor_view(None) is None


def test_what_a_study_reports_stands_beside_the_measured():
    given = {name: {**regression(50), "metrics": METRICS} for name in ("theta_e", "z_src")}
    view = regressor_view({**given, "z_src": {**given["z_src"], "published": "30 % (a study)"}})
    assert view["header"][-1] == "published 68 % scatter"
    assert [row[2][-1] for row in view["rows"]] == ["–", "30 % (a study)"]
    assert all(len(row[2]) == len(view["header"]) for row in view["rows"])


def test_metrics_of_earlier_bundles_are_shown_as_far_as_they_go():
    view = regressor_view({"theta_e": {**regression(50), "metrics": {"bias": 0.1}}})
    assert view["rows"][0][2][-1] == "–"
    assert len(view["pictures"]) == 1
