"""Tables of lenses: which rows can be used, units, masks, what is missing."""

from __future__ import annotations

import astropy.units as u
import numpy as np
import pytest
from astropy.table import MaskedColumn
from slip_samples import make_sample

from lenspipe.core.errors import InputError
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
    with pytest.raises(InputError, match="column sigma_v must hold numbers"):
        infer_gamma(table)


def test_units_and_masks_are_understood():
    table = make_sample(50, 1.0, seed=1)
    other = table.copy()
    other["sigma_v"] = (np.asarray(table["sigma_v"]) * u.km / u.s).to(u.m / u.s)
    other["theta_e"] = (np.asarray(table["theta_e"]) * u.arcsec).to(u.mas)
    other["z_lens"] = MaskedColumn(table["z_lens"], mask=np.arange(50) == 7)
    assert infer_gamma(other, 1, 1).gamma == pytest.approx(infer_gamma(table[np.arange(50) != 7], 1, 1).gamma)
    assert infer_gamma(other, 1, 1).n_used == 49
