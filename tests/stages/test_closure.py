"""The slip that is put into simulated lenses, and what comes out."""

from __future__ import annotations

import pytest
from astropy.table import Table

from lenspipe.config import SlipSection
from lenspipe.stages.closure import GAMMAS, measure_closure


def test_with_spectra_the_response_is_one(tmp_path):
    lines = measure_closure(SlipSection(), tmp_path, count=400, seed=3)
    table = Table.read(tmp_path / "closure.ecsv")
    assert list(table["gamma_in"]) == list(GAMMAS)
    assert table.meta["response"]["spectra"] == pytest.approx(1.0, abs=0.02)
    for row in table:
        assert abs(row["gamma"] - row["gamma_in"]) < 4 * row["gamma_err_hi"]
    assert lines[-1].startswith("response d gamma_out / d gamma_in, spectroscopic sigma_v: ")
    assert (tmp_path / "closure.svg").read_text().lstrip().startswith("<?xml")


def test_images_tell_what_a_regressor_makes_of_them(tmp_path, monkeypatch):
    """A network that believes in isothermal spheres and general relativity sees gamma = 1 whatever went in."""
    import numpy as np

    from lenspipe.lensing.cosmology import sis_sigma_v
    from lenspipe.stages import closure

    def believer(truth, survey, seed, regressor):
        theta_e = np.asarray(truth["theta_e"], float)
        sigma_v = sis_sigma_v(theta_e, truth["z_lens"], truth["z_src"])
        given = {name: np.asarray(truth[name], float) for name in ("z_lens", "z_src")}
        errors = {"theta_e_err": 0.05 * theta_e, "sigma_v_err": 0.1 * sigma_v}
        return Table({**given, "theta_e": theta_e, "sigma_v": sigma_v, **errors})

    monkeypatch.setattr(closure, "_images", believer)
    monkeypatch.setattr(closure, "_bands", lambda survey, regressor: ["g", "r", "i"])
    measure_closure(SlipSection(), tmp_path, count=60, seed=3, regressor="believer")
    response = Table.read(tmp_path / "closure.ecsv").meta["response"]
    assert response["spectra"] == pytest.approx(1.0, abs=0.02)
    assert response["images"] == pytest.approx(0.0, abs=0.01)
