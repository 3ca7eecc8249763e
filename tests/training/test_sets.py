import shutil
from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table

from lenspipe.config import TrainSection
from lenspipe.core.errors import InputError
from lenspipe.io.shards import Shard, read_shard, write_shard
from lenspipe.io.tables import read_table, write_table
from lenspipe.training.batches import Batches
from lenspipe.training.datasets import load_stamps
from lenspipe.training.folds import assign_folds
from lenspipe.training.sets import load_training


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of 40 objects, of which the first ten are graded: three lenses, seven others."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "ingest").mkdir()
    rng = np.random.default_rng(0)
    image, noise = rng.normal(size=(40, 32, 32, 3)).astype("f4"), np.full((40, 3), 10.0)
    write_shard(folder / "ingest" / "T.h5", Shard(image, noise, ("g", "r", "i"), 0.263, "des", 0))
    names = [f"T-{k}" for k in range(40)]
    place = {"ra": rng.uniform(10, 11, 40), "dec": rng.uniform(-1, 1, 40)}
    objects = Table({"object_id": names, "tile": ["T"] * 40, **place, "stamp": np.arange(40)})
    write_table(objects, folder / "ingest" / "T.parquet")
    write_table(Table({"object_id": names[:10], "grade": list("AAB") + list("CXCXCXC")}), folder / "g.ecsv")
    return folder


def settings(run, **changes):
    return TrainSection(**{"graded": [str(run / "g.ecsv")], "folds": 2, **changes})


def test_one_set_is_that_set(data):
    one = load_training([str(data)], "detector", TrainSection())
    assert one.data_hash == load_stamps(data).data_hash
    assert one.weight is None
    assert one.count_graded() == {}


def test_graded_objects_join_a_simulated_set(data, run):
    stamps = load_training([str(data)], "detector", settings(run, graded_weight=7.0))
    assert len(stamps) == 74
    assert stamps.count_graded() == {"graded_nonlens": 7, "graded_lens": 3}
    graded = np.asarray(stamps.truth["set"]) == 1
    assert stamps.labels()[graded].sum() == 3
    np.testing.assert_array_equal(stamps.weight, np.where(graded, 7.0, 1.0))
    assert np.isnan(np.asarray(stamps.traits()["theta_e"])[graded]).all()
    assert set(stamps.traits().colnames) >= {"weight", "set"}
    np.testing.assert_array_equal(stamps.image[:64], load_stamps(data).image)
    # other grades are other data
    other = load_training([str(data)], "detector", settings(run, graded_weight=2.0))
    assert len({stamps.data_hash, other.data_hash, load_stamps(data).data_hash}) == 3


@pytest.mark.parametrize("channels", [(), ("mask",)])
def test_only_what_the_network_sees_is_kept_in_memory(masked_data, run, channels):
    """Of simulated and graded stamps alike; what the network is given has its size still."""
    given = {"channels": channels, "graded": [] if channels else [str(run / "g.ecsv")]}
    whole, kept = (
        load_training([str(masked_data)], "detector", settings(run, crop=c, **given)) for c in (0, 21)
    )
    assert kept.image.shape == (len(whole), 21, 21, 3)
    assert (kept.size, kept.data_hash) == (whole.size, whole.data_hash)
    rows = np.array([3, len(whole) - 1])
    mine, theirs = kept.inputs(rows), whole.inputs(rows)
    assert set(mine) == set(theirs)
    assert ("mask" in mine) == bool(channels)
    for name in mine:
        assert mine[name].shape == theirs[name].shape
        if name != "noise_sigma":
            assert not mine[name][:, :5].any()
            assert not mine[name][:, :, -6:].any()
            mine[name], theirs[name] = (values[name][:, 5:26, 5:26] for values in (mine, theirs))
        np.testing.assert_array_equal(mine[name], theirs[name])


def test_folds_share_the_graded_ones_and_split_no_cell(data, run):
    stamps = load_training([str(data)], "detector", settings(run))
    group, strata = stamps.groups(), stamps.strata()
    assert set(strata) == {0, 1, 2, 3}
    fold = assign_folds(strata, group, 2, seed=1)
    for k in (0, 1):
        assert 3 <= np.sum(strata[fold == k] == 2) <= 4
        assert 1 <= np.sum(strata[fold == k] == 3) <= 2
    for name in np.unique(group):
        assert len(set(fold[group == name])) == 1


def test_weights_go_to_training_batches_alone(data, run):
    stamps = load_training([str(data)], "detector", settings(run))
    truth, rows = np.arange(len(stamps)), np.arange(len(stamps))
    inputs, numbers, weight = Batches(stamps, truth, rows, 16, weighted=True)[0]
    np.testing.assert_array_equal(weight, stamps.weight[numbers])
    np.testing.assert_array_equal(inputs["image"], stamps.image[numbers])
    assert len(Batches(stamps, truth, rows, 16)[0]) == 2
    plain = load_stamps(data)
    assert len(Batches(plain, truth[:64], rows[:64], 16, weighted=True)[0]) == 2


def test_a_graded_lens_is_no_longer_a_plain_galaxy(tmp_path, data, new_set, run):
    """The run's own stamps, made a training set by injection, hold the lens as a galaxy."""
    folder = new_set(tmp_path / "injected", n=40)
    truth, objects = read_table(folder / "truth.parquet"), read_table(run / "ingest" / "T.parquet")
    truth["ra"], truth["dec"] = objects["ra"], objects["dec"]
    write_table(truth, folder / "truth.parquet")
    stamps = load_training([str(data), str(folder)], "detector", settings(run))
    assert len(stamps) == 64 + 40 - 3 + 10
    kept = set(np.asarray(stamps.truth["sample_id"])[np.asarray(stamps.truth["set"]) == 1])
    assert kept == set(range(3, 40))
    # a graded non-lens and the same galaxy in the set are one group, whatever it was called
    group, ra = stamps.groups(), np.asarray(stamps.truth["ra"])
    for place in np.asarray(objects["ra"])[3:10]:
        assert len(set(group[ra == place])) == 1


def test_weights_of_a_set_s_own_truth_count(tmp_path, new_set):
    folder = new_set(tmp_path / "weighted", n=40)
    truth = read_table(folder / "truth.parquet")
    truth["weight"] = 0.5
    write_table(truth, folder / "truth.parquet")
    np.testing.assert_array_equal(load_stamps(folder).weight, 0.5)
    truth["weight"] = -1.0
    write_table(truth, folder / "truth.parquet")
    with pytest.raises(InputError, match="weights must be finite and above 0"):
        _ = load_stamps(folder).weight


def test_sets_that_differ_are_refused(tmp_path, data, new_set):
    other = new_set(tmp_path / "other", n=40, size=24)
    with pytest.raises(InputError, match=r"stamp are .*24\), but .*32\) in"):
        load_training([str(data), str(other)], "detector", TrainSection())


def test_a_regressor_is_trained_on_simulated_lenses(data):
    stamps = load_training([str(data), str(data)], "regressor", TrainSection())
    assert set(stamps.truth["kind"]) == {"lens"}
    assert len(stamps) == 64
    assert np.isfinite(stamps.targets(("theta_e",))).all()


def test_masks_go_with_the_stamps_of_all_sets(masked_data, run, tmp_path):
    how = settings(run, channels=("mask",))
    with pytest.raises(InputError, match=r"T\.h5 has no pixel_mask"):
        load_training([str(masked_data)], "detector", how)
    other = shutil.copytree(run, tmp_path / "run")
    shard = read_shard(run / "ingest" / "T.h5")
    mask = np.random.default_rng(1).integers(0, 3, shard.image.shape).astype(np.uint8)
    write_shard(other / "ingest" / "T.h5", replace(shard, mask=mask))
    how = settings(other, channels=("mask",))
    stamps = load_training([str(masked_data)], "detector", how)
    assert stamps.mask.shape == stamps.image.shape
    simulated = load_stamps(masked_data, masks=True)
    np.testing.assert_array_equal(stamps.mask[:160], simulated.mask)
    numbers = [int(name.removeprefix("T-")) for name in stamps.truth["object_id"][160:]]
    assert sorted(numbers) == list(range(10))
    np.testing.assert_array_equal(stamps.mask[160:], mask[numbers])
    write_shard(other / "ingest" / "T.h5", replace(shard, mask=mask[::-1]))
    assert load_training([str(masked_data)], "detector", how).data_hash != stamps.data_hash
    assert load_training([str(masked_data)], "detector", settings(other)).mask is None
