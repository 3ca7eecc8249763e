from __future__ import annotations

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table

from lenspipe.config import load_config
from lenspipe.core.errors import ConfigError, InputError
from lenspipe.stages.targets import check_targets, read_targets, select_sources, unseen_targets


def write_targets(folder, where="", name="targets.fits", **columns):
    path = folder / name
    columns = {
        "id": ["cut", "nan", "south", "far", "edge", "faint"],
        "ra": [1, np.nan, 2, 3, 4, 5],
        "dec": [1.0, 1, -91, 2, 3, 3],
        "mag_r": [20.0, 20, 20, 20, 20, 25],
        **columns,
    }
    Table(columns).write(path, overwrite=True)
    return load_config(None, [f"targets.table={path}", f'targets.where="{where}"'])


def test_every_target_is_cut_or_named(tmp_path):
    config = write_targets(tmp_path)
    targets = read_targets(config)
    assert list(targets.placed["object_id"]) == ["cut", "far", "edge", "faint"]
    assert (targets.misplaced, targets.not_selected) == (("nan", "south"), 0)
    rows = [(row.object, row.reason) for row in unseen_targets(config, {"cut", "edge", "faint"})]
    assert rows == [("nan", "bad_target"), ("south", "bad_target"), ("far", "not_covered")]


def test_what_the_cut_takes_away_is_no_target_but_counted(tmp_path):
    config = write_targets(tmp_path, "mag_r < 22 and dec > -90 and ra >= 0")
    targets = read_targets(config)
    assert list(targets.placed["object_id"]) == ["cut", "far", "edge"]
    assert (targets.misplaced, targets.not_selected) == ((), 3)
    assert [row.object for row in unseen_targets(config, set())] == ["cut", "far", "edge"]


def test_a_masked_value_passes_no_cut_and_places_no_target(tmp_path):
    mask = [True, False, False, False, False, False]
    config = write_targets(tmp_path, "n < 9", "t.ecsv", n=MaskedColumn([1, 2, 3, 4, 5, 9], mask=mask))
    assert list(read_targets(config).placed["object_id"]) == ["far", "edge"]
    config = write_targets(tmp_path, "", "u.ecsv", ra=MaskedColumn([1, 2, 3, 4, 5, 6], mask=mask))
    assert read_targets(config).misplaced == ("cut", "south")


def test_a_changed_table_is_read_again(tmp_path):
    assert len(read_targets(write_targets(tmp_path)).placed) == 4
    config = write_targets(tmp_path, id=list("abcdef"), dec=[0.0] * 6)
    assert list(read_targets(config).placed["object_id"]) == ["a", "c", "d", "e", "f"]


def test_a_cut_that_fits_no_column_is_told_before_anything_runs(tmp_path):
    config = write_targets(tmp_path, "mag_i < 22")
    with pytest.raises(ConfigError, match=r"no column 'mag_i'; did you mean 'mag_r'.* id, ra, dec, mag_r$"):
        check_targets(config, "gri")
    assert check_targets(write_targets(tmp_path, "mag_r < 22"), "gri") == (str(tmp_path / "targets.fits"),)
    with pytest.raises(InputError, match=r"targets\.table names .*gone\.csv, which is not there"):
        check_targets(load_config(None, [f"targets.table={tmp_path / 'gone.csv'}"]), "gri")
    sources = load_config(
        None, ["targets.where=mag_z < 22 and snr_g > 5 and edge_distance > 30 and flags == 0"]
    )
    assert check_targets(sources, "gz") == ()
    with pytest.raises(ConfigError, match="no column 'mag_z'"):
        check_targets(sources, "gri")


def test_detected_sources_are_cut_by_what_ingest_knows(tmp_path):
    sources = Table({"mag_g": [20.0, 23.0, np.nan], "snr_g": [50.0, 20.0, -1.0], "object_id": list("abc")})
    cut = load_config(None, ["targets.where=mag_g < 22"])
    assert select_sources(cut, sources).tolist() == [True, False, False]
    assert select_sources(load_config(), sources).tolist() == [True] * 3
    table = write_targets(tmp_path, "mag_r < 22")  # the table's cut is not the sources'
    assert select_sources(table, sources).tolist() == [True] * 3


def test_rows_of_one_name_are_targets_of_their_own(tmp_path):
    config = write_targets(tmp_path, id=["twin", "nan", "south", "twin", "", "south"])
    targets = read_targets(config)
    assert list(targets.placed["object_id"]) == ["twin#0", "twin#3", "#4", "south#5"]
    assert targets.misplaced == ("nan", "south#2")
    rows = [(row.object, row.reason) for row in unseen_targets(config, {"twin#0", "#4", "south#5"})]
    assert rows == [("nan", "bad_target"), ("south#2", "bad_target"), ("twin#3", "not_covered")]
    # the number is the table's, whatever the cut leaves
    cut = write_targets(tmp_path, "ra > 2", id=["twin", "nan", "south", "twin", "", "south"])
    assert list(read_targets(cut).placed["object_id"]) == ["twin#3", "#4", "south#5"]
