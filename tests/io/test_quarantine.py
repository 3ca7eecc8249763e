from __future__ import annotations

import os

from astropy.table import Table

from lenspipe.core.types import Quarantined
from lenspipe.io.quarantine import write_quarantine


def test_the_table_is_ordered_and_complete_and_exists_when_empty(tmp_path):
    rows = [
        Quarantined("b.fits", "fits_truncated", 'ends, "early"\tat <b>ü</b>', "1:SCI", "b"),
        Quarantined("a.fits", "edge", "", unit="a", object="a-00001"),
    ]
    path = tmp_path / "quarantine.ecsv"
    write_quarantine(rows, path)
    table = Table.read(path)
    assert table.colnames == ["path", "hdu", "unit", "object", "reason", "detail"]
    assert list(table["path"]) == ["a.fits", "b.fits"]
    assert table["detail"][1] == rows[0].detail
    write_quarantine([Quarantined(os.fsdecode(b"T\xff.fits"), "edge")], path)
    assert list(Table.read(path)["path"]) == ["T\\udcff.fits"]
    write_quarantine([], path)
    assert len(Table.read(path)) == 0
