"""The slip that is put into simulated lenses, and what comes out."""

from __future__ import annotations

import pytest
from astropy.table import Table

from lenspipe.config import SlipSection
from lenspipe.stages.closure import GAMMAS, measure_closure


def test_with_spectra_the_response_is_one(tmp_path):
    lines = measure_closure(SlipSection(), tmp_path, count=400, seed=3, regressor="none")
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


def test_a_card_tells_the_response_and_a_circular_slip_quotes_it(tmp_path, monkeypatch):
    import json

    import numpy as np

    from lenspipe.core.errors import InputError
    from lenspipe.io import cards
    from lenspipe.stages.closure import read_response
    from lenspipe.stages.slip import slip_of_table

    with pytest.raises(InputError, match="holds no `lenspipe slip --closure"):
        read_response(tmp_path)
    table = Table({"way": ["images"], "gamma_in": [1.0], "gamma": [1.0]})
    table.meta = {"response": {"spectra": 1.0, "images": 0.13}, "lenses": 200, "seed": 4}
    table.write(tmp_path / "closure.ecsv", format="ascii.ecsv")
    assert read_response(tmp_path) == {"response": 0.13, "lenses": 200, "seed": 4}

    monkeypatch.setattr(cards, "read_card", lambda name, task="": {"slip_response": read_response(tmp_path)})
    n = 12
    lenses = Table({"z_lens": np.full(n, 0.4), "z_src": np.full(n, 1.5), "theta_e": np.linspace(1, 2, n),
                    "sigma_v": np.linspace(250, 350, n), "sigma_v_err": np.full(n, 20.0)})  # fmt: skip
    lenses.write(tmp_path / "lenses.ecsv", format="ascii.ecsv")
    lines = slip_of_table(tmp_path / "lenses.ecsv", SlipSection(), 1, tmp_path / "out", True, "mine")
    assert (
        "note: of a slip put into 200 simulated lenses, sigma_v of mine gives back 0.13 (1 = all of it)"
        in lines
    )
    told = json.loads((tmp_path / "out/slip.json").read_text())
    assert told["response"] == {"response": 0.13, "lenses": 200, "seed": 4, "regressor": "mine"}


def test_the_packaged_regressor_finds_general_relativity(tmp_path):
    """Images of lenses under another slip, seen by a network that learnt general relativity."""
    measure_closure(SlipSection(), tmp_path, count=24, seed=5)
    table = Table.read(tmp_path / "closure.ecsv")
    assert table.meta["regressor"] == "des-regressor"
    assert table.meta["response"]["spectra"] == pytest.approx(1.0, abs=0.25)  # 24 lenses
    assert abs(table.meta["response"]["images"]) < 0.4  # 0.08 of 400 lenses
    assert set(table["way"]) == {"spectra", "images"}
