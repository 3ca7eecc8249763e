"""Made samples of lenses with Einstein radii and velocity dispersions, for the tests of the slip."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from lenspipe.lensing.cosmology import sis_sigma_v, sis_theta_e
from lenspipe.lensing.kinematics import power_law_factor
from lenspipe.lensing.slip_model import SlipModel

POWER_LAW = SlipModel("powerlaw")


def make_sample(n: int, gamma: float, seed: int, sigma_err: float = 0.1, theta_err: float = 0.0) -> Table:
    rng = np.random.default_rng(seed)
    z_lens = rng.uniform(0.1, 0.9, n)
    z_src = z_lens + rng.uniform(0.4, 2.0, n)
    sigma = rng.uniform(180, 340, n)
    theta = sis_theta_e(sigma, z_lens, z_src) * (1 + gamma) / 2
    table = Table({"z_lens": z_lens, "z_src": z_src, "theta_e": theta * (1 + theta_err * rng.normal(size=n))})
    table["sigma_v"] = sigma * (1 + sigma_err * rng.normal(size=n))
    table["sigma_v_err"] = sigma * sigma_err
    table["theta_e_err"] = theta * theta_err
    return table


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
