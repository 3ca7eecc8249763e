import h5py
import numpy as np
import pytest

from lenspipe.core.errors import InputError
from lenspipe.io.shards import read_shard
from lenspipe.training.datasets import check_stamps, load_stamps


def test_stamps_and_truth_are_in_step(data):
    stamps = load_stamps(data)
    assert (len(stamps), stamps.size, stamps.bands, stamps.pixel_scale) == (64, 32, ("g", "r", "i"), 0.263)
    for sample in (0, 19, 20, 63):
        shard = read_shard(data / f"shard-{sample // 20:05d}.h5")
        np.testing.assert_array_equal(stamps.image[sample], shard.image[sample % 20])
    assert stamps.labels().sum() == 32


def test_lenses_only_leaves_the_right_stamps(data):
    whole, lenses = load_stamps(data), load_stamps(data, lenses_only=True)
    np.testing.assert_array_equal(lenses.image, whole.image[whole.labels() == 1])
    np.testing.assert_array_equal(
        lenses.targets(["theta_e"])[:, 0], whole.truth["theta_e"][whole.labels() == 1]
    )


def test_a_nan_pixel_is_refused_with_the_sample_named(tmp_path, new_set):
    folder = new_set(tmp_path / "bad", n=40)
    with h5py.File(folder / "shard-00001.h5", "a") as file:
        file["image"][3, 5, 5, 1] = np.nan
    with pytest.raises(InputError, match=r"shard-00001\.h5: sample 23 has pixels that are not finite"):
        load_stamps(folder)


@pytest.mark.parametrize("value", [0.0, np.nan, -1.0])
def test_noise_that_is_not_above_zero_is_refused(value):
    noise = np.ones((2, 3))
    noise[1, 2] = value
    with pytest.raises(InputError, match="sample 1 has a noise_sigma"):
        check_stamps(np.zeros((2, 4, 4, 3)), noise)


@pytest.mark.parametrize(("attribute", "value"), [("pixel_scale", 0.2), ("bands", ["r", "g", "i"])])
def test_shards_that_differ_are_refused(tmp_path, new_set, attribute, value):
    folder = new_set(tmp_path / "bad", n=40)
    with h5py.File(folder / "shard-00001.h5", "a") as file:
        file.attrs[attribute] = value
    with pytest.raises(InputError, match=r"shard-00001.*shard-00000"):
        load_stamps(folder)


def test_missing_truth_and_shard_are_named(tmp_path, new_set):
    folder = new_set(tmp_path / "bad", n=40)
    (folder / "shard-00001.h5").unlink()
    with pytest.raises(InputError, match=r"names shard-00001\.h5"):
        load_stamps(folder)
    (folder / "truth.parquet").unlink()
    with pytest.raises(InputError, match=r"no truth\.parquet"):
        load_stamps(folder)


def test_an_unusable_target_names_its_sample(data):
    stamps = load_stamps(data)
    with pytest.raises(InputError, match="targets must be finite"):
        stamps.targets(["theta_e"])  # non-lenses have none


def test_masks_are_read_where_a_network_looks_at_them(masked_data, data):
    assert load_stamps(masked_data).mask is None
    stamps = load_stamps(masked_data, masks=True)
    assert stamps.mask.dtype == np.uint8
    for sample in (0, 19, 20, 63):
        shard = read_shard(masked_data / f"shard-{sample // 20:05d}.h5", masks=True)
        np.testing.assert_array_equal(stamps.mask[sample], shard.mask[sample % 20])
    lenses = load_stamps(masked_data, lenses_only=True, masks=True)
    np.testing.assert_array_equal(lenses.mask, stamps.mask[stamps.labels() == 1])
    with pytest.raises(InputError, match=r"shard-00000\.h5 has no pixel_mask"):
        load_stamps(data, masks=True)
