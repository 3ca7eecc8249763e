from __future__ import annotations

from astropy.io.votable import ucd
from support import ROOT

from lenspipe.core.schema import FLAGS, Flag, catalog_columns, document_columns, flag_names

COLUMNS = catalog_columns(("g", "r", "i", "z", "Y"), 3, ("theta_e", "sigma_v", "z_lens", "z_src", "q", "phi"))


def test_the_contract_s_columns_are_there_once():
    names = [column.name for column in COLUMNS]
    assert len(set(names)) == len(names)
    for name in (
        "name",
        "object_id",
        "tile",
        "ra",
        "dec",
        "x",
        "y",
        "score",
        "score_err",
        "score_fold_2",
        "p_lens",
        "theta_e",
        "theta_e_err_lo",
        "theta_e_err_hi",
        "theta_e_aleatoric",
        "theta_e_epistemic",
        "mag_g",
        "snr_Y",
        "known_name",
        "known_sep",
        "flags",
        "run_id",
    ):
        assert name in names


def test_every_ucd_is_valid_and_every_column_described():
    for column in COLUMNS:
        assert ucd.check_ucd(column.ucd, check_controlled_vocabulary=True), column
        assert column.description


def test_flags_are_single_bits_and_documented():
    assert set(FLAGS) == set(Flag)
    assert all(int(flag).bit_count() == 1 for flag in Flag)
    assert flag_names(Flag.PADDED | Flag.RESAMPLED) == ["padded", "resampled"]
    assert flag_names(0) == []


def test_the_documentation_is_the_registry():
    assert (ROOT / "catalogs" / "README.md").read_text() == document_columns()
