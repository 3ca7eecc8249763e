"""Injection from end to end: the stamps that a run cut from its tiles, with lensed sources painted in."""

from __future__ import annotations

import numpy as np
import pytest
import support

from lenspipe.core.errors import InputError
from lenspipe.imaging.astrometry import sky_cells
from lenspipe.io.shards import read_shard
from lenspipe.io.tables import read_table
from lenspipe.stages.inject import hosts_of


@pytest.mark.slow
def test_a_run_s_galaxies_become_a_training_set(chain, tmp_path):
    out = tmp_path / "set"
    answer = support.lenspipe("simulate", "--into", chain, "--survey", "des", "--out", out, "--seed", "5")
    assert answer.returncode == 0, answer.stderr
    truth = read_table(out / "truth.parquet")
    kinds = np.asarray(truth["kind"], str)
    painted = kinds == "lens"
    assert painted.sum() >= 3
    assert set(kinds) == {"lens", "companion", "galaxy"}
    # every object is there as it is, and a cell of the sky is one group for k-fold
    objects = sum(len(read_table(path.with_suffix(".parquet"))) for path in hosts_of(chain))
    assert (kinds == "galaxy").sum() == objects
    assert len(np.unique(truth["sample_id"])) == len(truth)
    assert set(truth["group"][painted]) <= set(truth["group"][kinds == "galaxy"])
    np.testing.assert_array_equal(truth["group"], -1 - sky_cells(truth["ra"], truth["dec"]))
    assert np.all(truth["snr"][painted] >= 20.0)
    assert np.all(np.isnan(truth["theta_e"][~painted]))
    # the arcs are what a stamp has that its galaxy has not
    shards = {number: read_shard(out / f"shard-{number:05d}.h5") for number in set(truth["shard"])}
    for row in truth[painted]:
        same = truth[(truth["object_id"] == row["object_id"]) & (kinds == "galaxy")]
        with_arcs, without = (shards[r["shard"]].image[r["row"]] for r in (row, same[0]))
        added = with_arcs - without
        unlensed = 10 ** (0.4 * (31.4 - row["mag_src_i"]))
        noise = float(np.sqrt(np.sum(np.maximum(added[..., 2], 0.0))))
        assert added[..., 2].sum() == pytest.approx(row["mu"] * unlensed, rel=0.1, abs=5 * noise)


def test_a_folder_without_stamps_is_named(tmp_path):
    with pytest.raises(InputError, match="no stamps cut from images"):
        hosts_of(tmp_path)
