import base64

import numpy as np
import pytest

from lenspipe.report import figures
from lenspipe.report.figures import (
    LIGHT,
    draw_history,
    draw_roc,
    draw_scores,
    picture,
)
from lenspipe.report.slip import draw_slip

RNG = np.random.default_rng(5)
FPR = np.linspace(0, 1, 50)


def roc(n_folds=3):
    folds = [(FPR, FPR ** (0.1 + 0.1 * k)) for k in range(n_folds)]
    tpr = np.array([y for _, y in folds])
    return {"fpr": FPR, "tpr_mean": tpr.mean(0), "tpr_std": tpr.std(0), "folds": folds}


def slip(**changes):
    gamma = np.linspace(0.5, 1.5, 200)
    density = np.exp(-0.5 * ((gamma - 1) / 0.05) ** 2)
    return {"posterior": (gamma, density), "gamma_realizations": RNG.normal(1, 0.05, 30), **changes}


@pytest.mark.parametrize(
    ("draw", "data"),
    [
        (draw_roc, (roc(),)),
        (draw_roc, (roc(1),)),
        (draw_scores, (RNG.uniform(size=9), RNG.uniform(size=9))),
        (draw_scores, (np.array([]), np.array([np.nan]))),
        (draw_slip, (slip(),)),
        (draw_slip, (slip(posterior=None),)),
        (draw_slip, (slip(gamma_realizations=[]),)),
        (draw_slip, (slip(gamma_realizations=[1.0]),)),
        (draw_history, ([{"epoch": 1, "loss": 0.5}],)),
        (
            draw_history,
            ([{"epoch": str(e), "loss": 9.0 / e, "val_loss": "", "fold": e % 2} for e in range(1, 30)],),
        ),
    ],
)
def test_figures_draw_in_both_themes(draw, data):
    first = picture(draw, *data, alt="a", caption="c")
    assert first.light != first.dark
    kind, _, content = first.light.partition(";base64,")
    assert kind == "data:image/svg+xml"
    assert b"<svg" in base64.b64decode(content)


def test_same_data_same_bytes():
    assert picture(draw_roc, roc(), alt="a", caption="c") == picture(draw_roc, roc(), alt="a", caption="c")


def test_roc_shows_every_fold_the_mean_and_its_spread():
    ax = draw_roc(roc(4), LIGHT).axes[0]
    assert ax.get_xscale() == "log"
    lines = [line for line in ax.lines if line.get_color() == LIGHT.faint and line.get_linestyle() == "-"]
    assert len(lines) == 4
    (mean,) = [line for line in ax.lines if line.get_label() == "mean"]
    np.testing.assert_allclose(mean.get_ydata(), roc(4)["tpr_mean"][1:])
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() > mean.get_ydata().max() - 1e-9


def test_slip_density_is_normalised_and_general_relativity_in_view():
    scaled = slip(gamma_realizations=[])
    scaled["posterior"] = (scaled["posterior"][0], 7 * scaled["posterior"][1])
    ax = draw_slip(scaled, LIGHT).axes[0]
    (line,) = [line for line in ax.lines if line.get_label() == "posterior"]
    assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(1)
    assert ax.get_xlim()[0] <= 1 <= ax.get_xlim()[1]


def test_no_figure_is_left_in_pyplot():
    picture(draw_scores, np.array([0.5]), np.array([0.1]), alt="", caption="")
    assert not hasattr(figures, "plt")
    import matplotlib._pylab_helpers as helpers

    assert not helpers.Gcf.get_all_fig_managers()
