"""Power-law galaxies in the slip's likelihood: against direct integration, and injected slips that come out again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from slip_samples import POWER_LAW, draw

from lenspipe.core.errors import InputError
from lenspipe.lensing.kinematics import is_physical, power_law_factor
from lenspipe.lensing.slip import infer_gamma, predict_sigma_v
from lenspipe.lensing.slip_model import SlipModel, log_likelihood, predict
from lenspipe.lensing.slip_table import read_columns


@pytest.mark.parametrize("error", [0.01, 0.03, 0.1])
@pytest.mark.parametrize(
    "model",
    [POWER_LAW, SlipModel("powerlaw", alpha=(2.0, 0.2), beta=(0.18, 0.0), delta=(2.2, 0.0))],
    ids=["usual", "steep_and_flat"],
)
def test_structure_is_integrated_out_of_each_lens(model, error):
    """Against a sum over a dense grid of galaxies; its edges are the limits of what is physical."""
    table = draw(6, 1.0, seed=1, model=model, sigma_err=error)
    priors = [model.alpha, model.beta, model.delta]
    counts = [1201, 31, 31] if model is POWER_LAW else [4001, 1, 1]
    axes = [np.linspace(m - 5 * s, m + 5 * s, count) for (m, s), count in zip(priors, counts, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij")
    weight = np.exp(-0.5 * sum(((v - m) / max(s, 1e-9)) ** 2 for v, (m, s) in zip(grid, priors, strict=True)))
    weight = np.where(is_physical(*grid), weight, 0.0)
    gammas = [0.7, 1.0, 1.3]
    got = log_likelihood(predict(read_columns(table), model), gammas)
    for row, lens in enumerate(table):
        factor = np.nan_to_num(power_law_factor(lens["theta_e"], *grid, 1.5, 1.4))
        for k, gamma in enumerate(gammas):
            sigma = predict_sigma_v(lens["theta_e"], lens["z_lens"], lens["z_src"], gamma) * factor
            density = norm.pdf(lens["sigma_v"], sigma, lens["sigma_v_err"])
            wanted = np.log(np.sum(weight * density) / weight.sum())
            # far out, where few nodes lie, a tenth is good enough
            close = 0.03 if wanted > -8 and error > 0.01 else 0.1
            if wanted > -12:  # beyond four standard deviations there are no nodes
                assert got[row, k] == pytest.approx(wanted, abs=close)


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
    del table["alpha_err"]  # without an error it scatters as others do
    loose = infer_gamma(table, 1, 1, model=POWER_LAW)
    assert loose.gamma == pytest.approx(steeper.gamma, abs=0.1)
    assert loose.gamma_err_hi > 1.1 * steeper.gamma_err_hi
    table["alpha_err"] = 0.02
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
    sharp = table.copy()
    sharp["aperture_radius"], sharp["seeing_fwhm"] = (
        1.5,
        0.2,
    )  # no Gaussian is like an aperture that is so sharp
    edge = table.copy()
    edge["aperture_radius"] = 1.5
    gammas = [infer_gamma(one, 1, 1, model=POWER_LAW).gamma for one in (sharp, edge)]
    assert gammas[0] == pytest.approx(gammas[1], abs=1e-12)
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
