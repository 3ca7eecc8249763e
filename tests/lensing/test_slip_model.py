"""Power-law galaxies in the slip's likelihood: against direct integration, and injected slips that come out again."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from scipy.stats import norm

from lenspipe.core.errors import InputError
from lenspipe.lensing.cosmology import sis_sigma_v, sis_theta_e
from lenspipe.lensing.kinematics import power_law_factor
from lenspipe.lensing.slip import infer_gamma, predict_sigma_v
from lenspipe.lensing.slip_model import SlipModel, log_likelihood, predict
from lenspipe.lensing.slip_population import fit_population, vary_assumptions
from lenspipe.lensing.slip_table import read_columns

POWER_LAW = SlipModel("powerlaw")


def draw(n: int, gamma: float, seed: int, model: SlipModel = POWER_LAW, sigma_err: float = 0.1) -> Table:
    """A sample of galaxies as the model has them, their dispersions measured with errors."""
    rng = np.random.default_rng(seed)
    z_lens = rng.uniform(0.1, 0.5, n)
    z_src = z_lens + rng.uniform(0.3, 1.0, n)
    theta_e = sis_theta_e(rng.uniform(190, 330, n), z_lens, z_src)
    factor = np.ones(n)
    if model.name == "powerlaw":
        structure = (rng.normal(*getattr(model, name), n) for name in ("alpha", "beta", "delta"))
        factor = power_law_factor(theta_e, *structure, model.aperture_radius, model.seeing_fwhm)
    true = sis_sigma_v(theta_e, z_lens, z_src) * factor * np.sqrt(2 / (1 + gamma))
    table = Table({"z_lens": z_lens, "z_src": z_src, "theta_e": theta_e})
    # were the errors a fraction of the true or measured sigma, they would tell of it, and low ones would weigh more
    table["sigma_v_err"] = sigma_err * sis_sigma_v(theta_e, z_lens, z_src)
    table["sigma_v"] = true + np.asarray(table["sigma_v_err"]) * rng.normal(size=n)
    return table[np.isfinite(true)]


@pytest.mark.parametrize("error", [0.03, 0.1])
def test_structure_is_integrated_out_of_each_lens(error):
    table = draw(3, 1.0, seed=1, sigma_err=error)
    data = read_columns(table)
    got = np.exp(log_likelihood(predict(data, POWER_LAW), [0.7, 1.2]))
    priors = ((2, 0.08), (0.18, 0.13), (2.4, 0.11))
    for row, lens in enumerate(table):
        for k, gamma in enumerate((0.7, 1.2)):
            axes = [np.linspace(m - 5 * s, m + 5 * s, 61) for m, s in priors]
            grid = np.meshgrid(*axes, indexing="ij")
            steps = np.prod([axis[1] - axis[0] for axis in axes])
            factor = power_law_factor(lens["theta_e"], *grid, 1.5, 1.4)
            sigma = predict_sigma_v(lens["theta_e"], lens["z_lens"], lens["z_src"], gamma) * factor
            weight = np.prod([norm.pdf(v, m, s) for v, (m, s) in zip(grid, priors, strict=True)], axis=0)
            wanted = np.nansum(weight * norm.pdf(lens["sigma_v"], sigma, lens["sigma_v_err"])) * steps
            assert got[row, k] == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("model", [SlipModel(), POWER_LAW], ids=lambda model: model.name)
def test_injected_slips_come_out_again(model):
    given = np.array([0.8, 0.9, 1.0, 1.1, 1.2])
    found = [infer_gamma(draw(3000, gamma, 11, model), 1, 1, model=model).gamma for gamma in given]
    slope, level = np.polyfit(given - 1, found, 1)
    assert slope == pytest.approx(1.0, abs=0.02)
    assert level == pytest.approx(1.0, abs=0.025)  # the mean of 3,000 lenses is good to 0.009


@pytest.mark.slow
@pytest.mark.parametrize("model", [SlipModel(), POWER_LAW], ids=lambda model: model.name)
def test_the_intervals_of_two_hundred_samples_cover_the_truth(model):
    inside, medians = [], []
    for seed in range(200):
        result = infer_gamma(draw(100, 1.0, 1000 + seed, model), 1, 1, model=model)
        inside.append(-result.gamma_err_hi <= result.gamma - 1.0 <= result.gamma_err_lo)
        medians.append(result.gamma)
    assert np.mean(inside) == pytest.approx(0.68, abs=3 * np.sqrt(0.68 * 0.32 / 200))
    assert np.mean(medians) == pytest.approx(1.0, abs=4 * np.std(medians) / np.sqrt(200))


def test_measured_structure_is_believed():
    table = draw(200, 1.0, seed=3)
    table["alpha"], table["alpha_err"] = 2.1, 0.02
    steeper = infer_gamma(table, 1, 1, model=POWER_LAW)
    assumed = infer_gamma(
        table[[n for n in table.colnames if not n.startswith("alpha")]], 1, 1, model=POWER_LAW
    )
    assert steeper.gamma - assumed.gamma == pytest.approx(0.234, abs=0.05)
    table["alpha"][::2] = np.nan  # half of them not measured
    assert assumed.gamma < infer_gamma(table, 1, 1, model=POWER_LAW).gamma < steeper.gamma


def test_apertures_of_the_table_stand_before_the_usual_ones():
    table = draw(100, 1.0, seed=4)
    same = table.copy()
    same["aperture_radius"], same["seeing_fwhm"] = 1.5, 1.4
    usual, told = (infer_gamma(one, 1, 1, model=POWER_LAW) for one in (table, same))
    assert told.gamma == pytest.approx(usual.gamma, abs=1e-9)
    assert any("aperture of 100 lenses is not in the table" in text for text in usual.warnings)
    assert not any("is not in the table" in text for text in told.warnings)
    slit = table.copy()
    slit["slit_width"], slit["slit_length"] = 1.0, 2.0
    circle = table.copy()
    circle["aperture_radius"] = 1.025 * np.sqrt(2 / np.pi)
    gammas = [infer_gamma(one, 1, 1, model=POWER_LAW).gamma for one in (slit, circle)]
    assert gammas[0] == pytest.approx(gammas[1], abs=1e-12)


def test_galaxies_that_cannot_be_are_left_out_with_the_reason():
    table = draw(10, 1.0, seed=5)
    table["alpha"] = 2.0
    table["beta"] = np.nan
    table["alpha"][0], table["beta"][1] = 1.2, 0.9
    table["delta"] = 2.4
    table["delta"][0] = 2.05
    table["beta"][0] = 0.7
    table["alpha"][2] = 3.2
    lenses = infer_gamma(table, 1, 1, model=POWER_LAW).lenses
    assert lenses["reason"][0].startswith("unphysical: xi")
    assert lenses["reason"][1] == ""  # xi is 2.4: so radial a galaxy may be
    assert lenses["reason"][2].startswith("unphysical slopes")
    table["alpha"] = 3.2
    with pytest.raises(InputError, match=r"0 of the table's 3 lenses can be used.*unphysical"):
        infer_gamma(table[:3], 1, 1, model=POWER_LAW)


def test_a_floor_and_half_radii_change_the_measured():
    table = draw(50, 1.0, seed=6, sigma_err=0.02)
    narrow, wide = (infer_gamma(table, 1, 1, model=SlipModel(sigma_floor=floor)) for floor in (0.0, 0.1))
    assert wide.gamma_err_hi > 3 * narrow.gamma_err_hi
    table["r_eff"] = 6.0
    inner = infer_gamma(table, 1, 1, model=SlipModel(half_radius=True))
    # sigma falls by 2^-0.066: gamma + 1 grows by its square
    assert (1 + inner.gamma) / (1 + narrow.gamma) == pytest.approx(2**0.132, rel=0.02)


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
    assert len(vary_assumptions(table, SlipModel())) == 5
