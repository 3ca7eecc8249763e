"""One unit a tile, the same for cutting stamps and for painting lenses; what it depends on is in its key."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from lenspipe.config import config_from
from lenspipe.core.errors import InputError, Rejected
from lenspipe.core.types import ImageFile
from lenspipe.io.store import Store
from lenspipe.stages import ingest, simulate
from lenspipe.stages.units import make_units, reject_tile, tile_of


@pytest.fixture
def folder(tmp_path):
    for name in ("A_g", "A_r", "B_r"):
        fits.PrimaryHDU(np.ones((8, 8), np.float32)).writeto(tmp_path / f"{name}.fits")
    (tmp_path / "A_r.fits.gz").write_bytes(b"")
    return tmp_path


def settings_of(units):
    return [(unit.name, unit.inputs, unit.settings) for unit in units]


def test_a_unit_is_a_tile_with_all_that_it_depends_on(folder):
    paths = sorted(map(str, folder.glob("*")))
    Table({"ra": [1.0], "dec": [2.0]}).write(folder / "targets.csv")
    config = config_from({"ingest": {"images": paths}, "targets": {"table": str(folder / "targets.csv")}})
    a, b = make_units(paths, config, {"kind": "paint"}, lenses=3)
    assert (a.name, b.name) == ("A", "B")
    assert a.inputs == (str(folder / "A_g.fits"), str(folder / "A_r.fits"), str(folder / "targets.csv"))
    assert a.payload["kind"] == "paint"
    assert a.settings["lenses"] == 3
    assert "images" not in a.settings["ingest"]
    tile = tile_of(a)
    assert tile.files == tuple(ImageFile(str(folder / f"A_{band}.fits"), band) for band in "gr")
    assert tile.duplicates == (str(folder / "A_r.fits.gz"),)
    missing = config_from({"targets": {"table": str(folder / "none.csv")}})
    with pytest.raises(InputError, match=r"none\.csv"):
        make_units(paths, missing)


def test_another_cut_makes_other_units_of_both_stages(folder, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("out"))
    images = {"ingest": {"images": [str(folder)]}}, {"simulate": {"into": [str(folder)]}}
    for stage, own in zip((ingest, simulate), images, strict=True):
        cuts = [own | {"targets": {"where": where}} for where in ("mag_r < 22", "mag_r < 21")]
        before, after = (settings_of(stage.plan(config_from(cut), store)) for cut in cuts)
        assert len(before) == len(after) == 2
        assert before != after


def test_a_tile_that_cannot_be_used_is_named_with_its_copies(folder):
    (unit, _) = make_units(sorted(map(str, folder.glob("*"))), config_from({}))
    done = reject_tile(unit, Rejected("bad_header", "why", hdu="1"), {"tiles": 0})
    assert (done.outputs, done.counts) == ((), {"tiles": 0})
    first, second = (asdict(row) for row in done.quarantined)
    assert (first["path"], first["reason"], first["hdu"], first["unit"]) == (
        str(folder / "A_g.fits"), "bad_header", "1", "A",
    )  # fmt: skip
    assert second["reason"] == "duplicate_file"
