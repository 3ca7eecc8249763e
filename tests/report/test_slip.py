"""The slip's part of the page, and the corner plot of its joint posterior."""

from __future__ import annotations

import numpy as np
import pytest

from lenspipe.report.figures import LIGHT
from lenspipe.report.slip import draw_corner, slip_view


def test_the_page_tells_parts_of_the_sample_and_other_assumptions():
    view = slip_view(
        {
            "gamma": 1.02,
            "splits": {"z_lens < 0.3": {"gamma": 0.9, "gamma_err_lo": 0.1, "gamma_err_hi": 0.2, "n": 12}},
            "systematics": {"as assumed": 1.02, "Omega_m 0.25": 0.99, "nothing left": None},
            "population": {"alpha": (2.01, 0.03)},
        }
    )
    assert view["splits"] == [("z_lens < 0.3", "0.900 +0.200 −0.100", "12")]
    assert view["systematics"] == [
        ("as assumed", "1.020", "+0.000"), ("Omega_m 0.25", "0.990", "−0.030"), ("nothing left", "–", "–"),
    ]  # fmt: skip
    assert view["population"] == [("mean slope of the mass", "2.010 ± 0.030")]
    assert slip_view(None) is None
    assert slip_view({"gamma": None})["systematics"] == []


def test_the_corner_shows_each_parameter_and_pair_at_its_place():
    axes = {
        "gamma": np.linspace(0, 2, 41),
        "alpha": np.linspace(1.8, 2.2, 21),
        "scatter": np.linspace(0, 0.2, 11),
    }
    grid = np.meshgrid(*axes.values(), indexing="ij")
    posterior = np.exp(
        -0.5 * (((grid[0] - 1.2) / 0.2) ** 2 + ((grid[1] - 2.05) / 0.05) ** 2 + (grid[2] / 0.1) ** 2)
    )
    figure = draw_corner(axes, posterior / posterior.sum(), LIGHT)
    panels = np.array(figure.axes).reshape(3, 3)
    (line,) = panels[0, 0].lines
    assert line.get_xdata()[np.argmax(line.get_ydata())] == pytest.approx(1.2)
    assert panels[2, 0].get_xlabel().startswith("slip")
    assert panels[1, 0].get_ylabel().startswith("mean slope")
    assert not panels[0, 2].axison
    inner = panels[1, 0].collections[-1].get_paths()[-1].get_extents()  # of 68 % of both
    assert 0.5 * (inner.x0 + inner.x1) == pytest.approx(1.2, abs=0.05)
    assert inner.width / 2 == pytest.approx(0.2 * np.sqrt(-2 * np.log(0.32)), rel=0.15)
