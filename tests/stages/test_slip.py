from __future__ import annotations

import json

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from support import ROOT

from lenspipe.config import SlipSection
from lenspipe.core.errors import InputError
from lenspipe.io.store import Store
from lenspipe.lensing.cosmology import sis_sigma_v
from lenspipe.stages.slip import describe_slip, match_spectra, slip_of_table, write_slip

CATALOGS = ROOT / "catalogs"


def candidates(ra, theta_e):
    n = len(ra)
    columns = {"name": [f"c{i}" for i in range(n)], "ra": ra, "dec": np.zeros(n), "theta_e": theta_e}
    return Table({**columns, "theta_e_err_lo": np.full(n, 0.1), "theta_e_err_hi": np.full(n, 0.3)})


def spectra(ra):
    n = len(ra)
    return Table(
        {"ra": ra, "dec": np.zeros(n), "z_lens": np.full(n, 0.4), "z_src": np.full(n, 1.5),
         "sigma_v": 200.0 + np.arange(n), "sigma_v_err": np.full(n, 10.0)}
    )  # fmt: skip


def test_one_spectrum_is_one_lens():
    arcsec = 1 / 3600
    pieces = candidates([10.0, 10.0 + 0.9 * arcsec, 20.0, 30.0], [1.0, 1.1, 1.2, np.nan])
    found = match_spectra(pieces, spectra([10.0 + 0.1 * arcsec, 20.0, 30.0, np.nan, 50.0]), 2.0)
    assert list(found["name"]) == ["c0", "c2"]
    assert list(found["sigma_v"]) == [200.0, 201.0]
    assert np.allclose(found["theta_e_err"], 0.2)
    two_on_one = match_spectra(candidates([10.0], [1.0]), spectra([10.0 + arcsec, 10.0]), 2.0)
    assert list(two_on_one["sigma_v"]) == [201.0]


def test_spectra_keep_their_units_masks_and_apertures():
    table = spectra([10.0, 20.0])
    table["sigma_v"] = MaskedColumn([210_000, 220_000], unit="m / s", mask=[False, True])
    table["sigma_v_err"] = MaskedColumn([10_000.0, 10_000.0], unit="m / s")
    table["aperture_radius"], table["z_src_err"], table["survey"] = 1.0, 0.2, ["A", "B"]
    found = match_spectra(candidates([10.0, 20.0], [1.0, 1.1]), table, 2.0)
    np.testing.assert_allclose(found["sigma_v"], [210.0, np.nan])
    np.testing.assert_allclose(found["sigma_v_err"], 10.0)
    assert list(found["aperture_radius"]) == [1.0, 1.0]
    assert list(found["z_src_err"]) == [0.2, 0.2]
    assert sorted(found["survey"]) == ["A", "B"]


def test_nothing_to_match_gives_no_lens():
    assert len(match_spectra(candidates([], []), spectra([1.0]), 2.0)) == 0
    assert len(match_spectra(candidates([10.0], [1.0]), spectra([11.0]), 2.0)) == 0
    with pytest.raises(InputError, match="sigma_v_err"):
        match_spectra(candidates([10.0], [1.0]), Table({"ra": [1.0], "dec": [1.0]}), 2.0)


@pytest.mark.parametrize(("column", "flag", "circular"), [("note", False, False), ("sigma_v_aleatoric", False, True),
                                                          ("note", True, True)])  # fmt: skip
def test_sigma_v_from_our_own_network_is_marked_circular(tmp_path, column, flag, circular):
    n = 12
    z_lens, z_src, theta_e = np.full(n, 0.4), np.full(n, 1.5), np.linspace(0.8, 1.6, n)
    sigma_v = sis_sigma_v(theta_e, z_lens, z_src)
    table = Table({"z_lens": z_lens, "z_src": z_src, "theta_e": theta_e, "sigma_v": sigma_v,
                   "sigma_v_err": 0.05 * sigma_v, column: np.ones(n)})  # fmt: skip
    table.write(tmp_path / "lenses.ecsv", format="ascii.ecsv")
    slip_of_table(tmp_path / "lenses.ecsv", SlipSection(), 1, tmp_path / "out", flag)
    assert json.loads((tmp_path / "out/slip.json").read_text())["circular"] is circular
    if not flag:  # nor does a run forget it
        write_slip(table, SlipSection(), 1, Store(tmp_path / "run"))
        assert json.loads((tmp_path / "run/slip/slip.json").read_text())["circular"] is circular
    assert (tmp_path / "out/slip.svg").read_text().lstrip().startswith("<?xml")


def test_a_sample_too_small_tells_of_each_lens_why(tmp_path):
    n = 4
    values = {"z_lens": 0.4, "z_src": 1.5, "theta_e": 1.0, "sigma_v": 250.0, "sigma_v_err": 10.0}
    table = Table({"name": [f"l{k}" for k in range(n)]} | {name: np.full(n, v) for name, v in values.items()})
    store, folder = Store(tmp_path), tmp_path / "slip"
    assert describe_slip(store) == ""
    write_slip(table, SlipSection(model="powerlaw", joint=True), 1, store)
    assert (folder / "population.svg").exists()
    assert describe_slip(store).startswith("gamma = ")
    table["z_src"][:2], table["sigma_v"][3] = 0.3, np.nan
    done = write_slip(table, SlipSection(), 1, store)
    assert done.counts == {"lenses": 4, "lenses_used": 0}
    assert {path.name for path in done.outputs} == {path.name for path in folder.iterdir()}
    assert describe_slip(store).startswith("no gamma: slip: 1 of the table's 4 lenses")
    assert json.loads((folder / "slip.json").read_text())["n_used"] == 1
    lenses = Table.read(folder / "lenses.ecsv")
    assert list(lenses["name"]) == ["l0", "l1", "l2", "l3"]
    assert list(lenses["used"]) == [False, False, True, False]
    assert "z_src" in lenses["reason"][0]
    assert lenses["reason"].mask[2]
    del table["sigma_v"]
    assert [path.name for path in write_slip(table, SlipSection(), 1, store).outputs] == ["slip.json"]
    assert [path.name for path in folder.iterdir()] == ["slip.json"]


@pytest.mark.parametrize("table", ["slacs", "lenses"])
def test_the_catalogs_are_what_the_sources_say(table):
    lenses = Table.read(CATALOGS / f"{table}.ecsv")
    assert all(lenses["source"])
    assert set(np.asarray(lenses["survey"][np.isfinite(lenses["aperture_radius"])])) <= {
        "SLACS", "S4TM", "BELLS", "BELLS GALLERY",
    }  # fmt: skip
    mended = lenses[np.ma.filled(lenses["note"], "") != ""]
    assert sorted(mended["name"]) == ["SDSSJ1153+4612", "SDSSJ1313+4615", "SDSSJ1436-0000"]
    assert sorted(mended["sigma_v"]) == [224, 226, 263]


def test_slacs_agrees_with_the_published_slip(tmp_path):
    """0.98 +- 0.07 (Bolton et al. 2006), 1.01 +- 0.05 (Schwab et al. 2010), their priors."""
    section = SlipSection(model="powerlaw", joint=True)
    lines = slip_of_table(CATALOGS / "slacs.ecsv", section, 1, tmp_path)
    told = json.loads((tmp_path / "slip.json").read_text())
    error = 0.5 * (told["gamma_err_lo"] + told["gamma_err_hi"])
    assert abs(told["gamma"] - 0.98) < np.hypot(0.07, error)
    assert abs(told["gamma"] - 1.01) < np.hypot(0.05, error)
    assert told["chi2_per_n"] == pytest.approx(1.0, abs=0.3)
    assert told["n_used"] == 67
    assert told["population"]["gamma"][1] > 2 * error  # the mean slope's own error
    assert told["systematics"]["mean slope of the mass 2.08"] > told["gamma"] + 0.1
    assert (tmp_path / "population.svg").exists()
    assert any(line.startswith("with the population's slope") for line in lines)
    assert any(line.startswith("100 realizations (bootstrap): ") for line in lines)
