"""Gamma together with the mean slope, and what gamma becomes under other assumptions."""

from __future__ import annotations

import numpy as np
import pytest
from slip_samples import POWER_LAW, draw

from lenspipe.core.errors import InputError
from lenspipe.lensing.slip import infer_gamma
from lenspipe.lensing.slip_model import SlipModel
from lenspipe.lensing.slip_population import fit_population, measure_sensitivity, vary_assumptions


def test_the_joint_posterior_knows_that_slope_and_slip_are_one():
    table = draw(150, 1.0, seed=7)
    fixed = infer_gamma(table, 1, 1, model=POWER_LAW)
    tight, loose = (fit_population(table, POWER_LAW, (2.0, width)) for width in (0.001, 0.05))
    assert tight.medians["gamma"] == pytest.approx(fixed.gamma, abs=0.05)
    # the lenses' different Einstein radii in one aperture tell something of the slope, too
    assert 0.01 < loose.errors["alpha"] < 0.05
    wanted = np.hypot(tight.errors["gamma"], 2.34 * loose.errors["alpha"])
    assert loose.errors["gamma"] == pytest.approx(wanted, rel=0.15)
    gamma, alpha = (loose.axes[name] for name in ("gamma", "alpha"))
    both = loose.posterior.sum(axis=2)
    slope = [np.average(gamma, weights=both[:, k]) for k in (8, 20)]
    assert (slope[1] - slope[0]) / (alpha[20] - alpha[8]) == pytest.approx(2.34, rel=0.2)
    assert 0.0 < loose.medians["scatter"] < 0.2
    with pytest.raises(InputError, match="needs --model powerlaw"):
        fit_population(table, SlipModel())


@pytest.mark.parametrize("model", [POWER_LAW, SlipModel("powerlaw", delta=(2.4, 0.0), beta=(0.18, 0.0))])
def test_measured_slopes_count_in_the_joint_posterior(model):
    table = draw(100, 1.0, seed=9)
    blind = fit_population(table, model, (2.0, 0.1))
    table["alpha"], table["alpha_err"] = 2.1, 0.03
    told = fit_population(table, model, (2.0, 0.1))
    assert told.medians["alpha"] == pytest.approx(2.1, abs=0.02)
    assert told.errors["alpha"] < 0.5 * blind.errors["alpha"]
    assert told.medians["gamma"] == pytest.approx(infer_gamma(table, 1, model=model).gamma, abs=0.06)


def test_the_axis_of_gamma_follows_the_prior_of_the_slope():
    table = draw(100, 1.0, seed=9)
    for mean in (1.85, 2.2):
        fixed = infer_gamma(table, 1, model=SlipModel("powerlaw", alpha=(mean, 0.08)))
        sure = fit_population(table, POWER_LAW, (mean, 0.0))
        assert sure.medians["alpha"] == mean
        assert sure.medians["gamma"] == pytest.approx(fixed.gamma, abs=0.06)
        marginal = sure.posterior.sum(axis=(1, 2))
        assert max(marginal[0], marginal[-1]) < 1e-3 * marginal.max()


def test_sensitivities_are_those_of_the_usual_lens():
    table = draw(300, 1.0, seed=8)
    told = measure_sensitivity(table, POWER_LAW)
    for name, usual in (("alpha", 2.34), ("beta", 0.66), ("delta", -1.05)):
        assert told[name] == pytest.approx(usual, rel=0.15)  # of other Einstein radii, and scatter
    assert measure_sensitivity(table, SlipModel()) == {}


def test_what_moves_gamma_is_told():
    table = draw(300, 1.0, seed=8)
    rows = {row["assumption"]: row["change"] for row in vary_assumptions(table, POWER_LAW)}
    slope = (rows["mean slope of the mass 2.08"] - rows["mean slope of the mass 1.92"]) / 0.16
    assert slope == pytest.approx(2.34, rel=0.15)
    assert (
        rows["mean slope of the light 2.51"] - rows["mean slope of the light 2.29"]
    ) / 0.22 == pytest.approx(-1.05, rel=0.15)
    assert (rows["mean anisotropy 0.31"] - rows["mean anisotropy 0.05"]) / 0.26 == pytest.approx(
        0.66, rel=0.15
    )
    assert rows["Omega_m 0.25"] * rows["Omega_m 0.35"] < 0
    assert rows["as assumed"] == 0.0
    own = table.copy()
    own["aperture_radius"], own["seeing_fwhm"] = 1.5, 1.4
    told = {row["assumption"]: row["change"] for row in vary_assumptions(own, POWER_LAW)}
    for name in ("apertures with an edge, no seeing", "apertures a tenth wider"):
        assert told[name] == pytest.approx(rows[name], abs=1e-6)
        assert told[name] != 0
    assert len(vary_assumptions(table, SlipModel())) == 5
