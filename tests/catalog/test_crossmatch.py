import numpy as np
import pytest
from astropy.table import Table

from lenspipe.catalog.crossmatch import match_known
from lenspipe.core.errors import InputError

KNOWN = Table(
    {"name": ["Cloverleaf", "Nowhere", "Twin"], "ra": [10.0, np.nan, 10.0], "dec": [60.0, 0.0, 60.001]}
)


def test_nearest_within_the_radius():
    table = Table({"ra": [10.001, 10.0, 10.0, np.nan], "dec": [60.0, 60.0009, 61.0, 60.0]})
    matched = match_known(table, KNOWN, 3.0)
    assert list(matched["known_name"]) == ["Cloverleaf", "Twin", "", ""]
    np.testing.assert_allclose(
        matched["known_sep"], [3.6 * np.cos(np.pi / 3), 0.36, np.nan, np.nan], rtol=1e-3
    )
    assert matched["known_sep"].unit == "arcsec"
    assert table.colnames == ["ra", "dec"]
    assert list(match_known(table, KNOWN, 1.0)["known_name"]) == ["", "Twin", "", ""]


@pytest.mark.parametrize(("n_rows", "n_known"), [(0, 3), (2, 0), (0, 0)])
def test_nothing_to_match(n_rows, n_known):
    table = Table({"ra": [10.0, 11.0], "dec": [60.0, 60.0]})[:n_rows]
    matched = match_known(table, KNOWN[:n_known], 3.0)
    assert list(matched["known_name"]) == [""] * n_rows
    assert np.isnan(matched["known_sep"]).all()


def test_a_table_without_names_is_refused():
    with pytest.raises(InputError, match="name not found"):
        match_known(Table({"ra": [1.0], "dec": [1.0]}), Table({"ra": [1.0], "dec": [1.0]}), 1.0)
