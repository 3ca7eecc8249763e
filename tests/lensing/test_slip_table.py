"""Tables of lenses: which rows can be used, units, masks, what is missing."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn
from slip_samples import make_sample

from lenspipe.core.errors import InputError
from lenspipe.io.tables import read_table, write_table
from lenspipe.lensing.slip import infer_gamma
from lenspipe.lensing.slip_table import usable_rows


def test_rows_that_cannot_be_used_are_named():
    table = make_sample(8, 1.0, seed=1)
    table["sigma_v"][1] = np.nan
    table["z_src"][2] = table["z_lens"][2]
    table["sigma_v"][3] = -5.0
    table["sigma_v_err"][4] = 0.0
    table["theta_e"][5] = 0.0
    mask, reasons = usable_rows(table)
    assert mask.tolist() == [True, False, False, False, False, False, True, True]
    expected = ["", "sigma_v is not a finite number", "z_src <= z_lens", "sigma_v <= 0", "sigma_v_err <= 0"]
    assert reasons.tolist() == [*expected, "theta_e <= 0", "", ""]
    result = infer_gamma(table, 10, 1)
    assert (result.n_lenses, result.n_used) == (8, 3)
    assert result.lenses["reason"].tolist() == reasons.tolist()
    assert np.isfinite(result.lenses["chi2"][0])
    assert any("only 3 lenses" in text for text in result.warnings)


def test_missing_columns_and_empty_samples_are_the_users_mistake():
    table = make_sample(3, 1.0, seed=1)
    with pytest.raises(InputError, match="2 of the table's 2 lenses can be used, 3 are needed"):
        infer_gamma(table[:2])
    with pytest.raises(InputError, match="no column sigma_v"):
        infer_gamma(table[[name for name in table.colnames if name != "sigma_v"]])
    table["sigma_v"] = np.nan
    with pytest.raises(InputError, match="sigma_v is not a finite number"):
        infer_gamma(table)
    with pytest.raises(InputError, match="empty"):
        infer_gamma(table[:0])
    table["sigma_v"] = ["fast", "slow", "?"]
    with pytest.raises(InputError, match="column sigma_v must hold numbers in km"):
        infer_gamma(table)


def test_units_and_masks_are_understood():
    table = make_sample(50, 1.0, seed=1)
    other = table.copy()
    other["sigma_v"] = (np.asarray(table["sigma_v"]) * u.km / u.s).to(u.m / u.s)
    other["theta_e"] = (np.asarray(table["theta_e"]) * u.arcsec).to(u.mas)
    other["z_lens"] = MaskedColumn(table["z_lens"], mask=np.arange(50) == 7)
    assert infer_gamma(other, 1, 1).gamma == pytest.approx(infer_gamma(table[np.arange(50) != 7], 1, 1).gamma)
    assert infer_gamma(other, 1, 1).n_used == 49


def test_errors_of_two_sides_are_told_by_their_mean():
    table = make_sample(20, 1.0, seed=1)
    wanted = infer_gamma(table, 1, 1).gamma
    error = np.asarray(table["sigma_v_err"])
    table["sigma_v_err_lo"], table["sigma_v_err_hi"] = 0.8 * error, 1.2 * error
    del table["sigma_v_err"]
    assert infer_gamma(table, 1, 1).gamma == pytest.approx(wanted, abs=1e-9)


def test_infinite_apertures_are_no_apertures():
    table = make_sample(6, 1.0, seed=1)
    table["aperture_radius"] = [1.5, np.nan, np.inf, 0.0, 1.0, 1.0]
    reasons = usable_rows(table)[1].tolist()
    assert reasons == ["", "", "aperture_radius is infinite", "aperture_radius <= 0", "", ""]


def test_a_masked_parquet_table_has_its_masks(tmp_path):
    table = make_sample(12, 1.0, seed=1)
    plain = table.copy()
    plain["sigma_v.mask"] = np.arange(12) == 5  # as astropy writes a masked column
    write_table(plain, tmp_path / "lenses.parquet")
    found = read_table(tmp_path / "lenses.parquet")
    assert "sigma_v.mask" not in found.colnames
    assert usable_rows(found)[1].tolist() == [
        "sigma_v is not a finite number" if k == 5 else "" for k in range(12)
    ]


def test_a_word_among_numbers_leaves_out_its_row_only():
    table = make_sample(6, 1.0, seed=1)
    table["z_src"] = [f"{z:.4f}" if k != 2 else "abc" for k, z in enumerate(table["z_src"])]
    assert usable_rows(table)[1].tolist() == [
        "z_src is not a finite number" if k == 2 else "" for k in range(6)
    ]
