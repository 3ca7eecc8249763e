from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from support import SIZE, write_detector

from lenspipe.core.errors import ModelMismatch
from lenspipe.io.shards import Shard, shard_name, write_shard
from lenspipe.io.tables import read_table
from lenspipe.stages.predict import predict_table


def write_stamps(folder, bands=("g", "r", "i"), spoil=False):
    folder.mkdir()
    rng = np.random.default_rng(1)
    image = rng.normal(0, 10, (6, SIZE, SIZE, len(bands))).astype(np.float32)
    noise = np.full((6, len(bands)), 10, np.float32)
    if spoil:
        image[2, 3, 4, 0], noise[4, 1] = np.nan, 0.0
    write_shard(folder / shard_name(0), Shard(image, noise, bands, 0.263, "des", 0))
    return folder


def test_stamps_that_cannot_be_scored_are_named_and_the_others_scored(tmp_path):
    detector = write_detector(tmp_path / "model", 1)
    sets = [str(write_stamps(tmp_path / "bad", spoil=True)), str(write_stamps(tmp_path / "good"))]
    out = tmp_path / "scores.ecsv"
    assert predict_table([detector], sets, out, 2, 1) == (10, 2)
    assert len(read_table(out)) == 10
    left_out = Table.read(f"{out}.quarantine.ecsv")
    assert list(left_out["object"]) == ["shard-00000-00002", "shard-00000-00004"]
    assert set(left_out["reason"]) == {"bad_stamp"}
    assert "noise_sigma" in left_out["detail"][1]


def test_a_shard_of_other_bands_is_named(tmp_path):
    detector = write_detector(tmp_path / "model", 1)
    folder = write_stamps(tmp_path / "set", bands=("r", "i", "z"))
    with pytest.raises(ModelMismatch, match=r"expects bands g,r,i, received r,i,z of .*set/shard-00000\.h5"):
        predict_table([detector], [str(folder)], tmp_path / "scores.ecsv", 2, 1)
