from __future__ import annotations

import numpy as np
from astropy.table import Table

from lenspipe.stages.targets import read_targets, unseen_targets


def test_every_target_is_cut_or_named(tmp_path):
    path = str(tmp_path / "targets.csv")
    columns = {
        "id": ["cut", "nan", "south", "far", "edge"],
        "ra": [1, np.nan, 2, 3, 4],
        "dec": [1, 1, -91, 2, 3],
    }
    Table(columns).write(path)
    assert list(read_targets(path)["object_id"]) == ["cut", "far", "edge"]
    rows = [(row.object, row.reason) for row in unseen_targets(path, {"cut", "edge"})]
    assert rows == [("nan", "bad_target"), ("south", "bad_target"), ("far", "not_covered")]
