from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest

from lenspipe.core.errors import InputError
from lenspipe.core.types import StampFormat
from lenspipe.io.shards import (
    Shard,
    has_masks,
    iterate_shard,
    list_shards,
    read_shard,
    shard_name,
    write_shard,
    writing_shard,
)

RNG = np.random.default_rng(1)


def make_shard(n=5) -> Shard:
    image = RNG.normal(size=(n, 8, 8, 3)).astype(np.float32)
    return Shard(image, np.ones((n, 3), np.float32), ("g", "r", "i"), 0.263, "des", 7)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_round_trip_is_exact(tmp_path, n):
    shard = make_shard(n)
    write_shard(tmp_path / shard_name(3), shard)
    back = read_shard(tmp_path / "shard-00003.h5")
    assert np.array_equal(back.image, shard.image)
    assert np.array_equal(back.noise_sigma, shard.noise_sigma)
    assert (back.bands, back.pixel_scale, back.survey, back.seed) == (("g", "r", "i"), 0.263, "des", 7)


def test_rows_alone_and_the_contract_s_attributes(tmp_path):
    shard = make_shard()
    write_shard(tmp_path / "shard-00000.h5", shard)
    assert np.array_equal(
        read_shard(tmp_path / "shard-00000.h5", np.array([1, 4])).image, shard.image[[1, 4]]
    )
    with h5py.File(tmp_path / "shard-00000.h5") as file:
        assert {"bands", "pixel_scale", "zero_point", "survey", "seed", "schema_version"} <= set(file.attrs)
        assert file.attrs["zero_point"] == 31.4
    assert list_shards(tmp_path) == [tmp_path / "shard-00000.h5"]


def test_local_psf_and_gain_go_with_the_stamps(tmp_path):
    shard = replace(
        make_shard(), psf_fwhm=np.full((5, 3), 0.9), electrons_per_njy=np.arange(15.0).reshape(5, 3)
    )
    write_shard(tmp_path / "a.h5", shard)
    back = read_shard(tmp_path / "a.h5", np.array([1, 4]))
    assert np.array_equal(back.electrons_per_njy, shard.electrons_per_njy[[1, 4]])
    assert back.psf_fwhm == pytest.approx(np.full((2, 3), 0.9))
    write_shard(tmp_path / "b.h5", make_shard())
    assert read_shard(tmp_path / "b.h5").psf_fwhm is None


def test_each_psf_image_is_stored_once_and_goes_with_its_stamps(tmp_path):
    stars = RNG.normal(size=(2, 3, 7, 7)).astype(np.float32)
    stars[1, 2] = np.nan
    shard = replace(make_shard(), psf_image=stars, psf_index=np.array([0, 0, 1, 0, 1]))
    write_shard(tmp_path / "a.h5", shard)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["psf_image"].shape == (2, 3, 7, 7)
    back = read_shard(tmp_path / "a.h5", np.array([1, 4]))
    assert np.array_equal(back.psf_image[back.psf_index], stars[[0, 1]], equal_nan=True)
    some = shard.take(np.array([1, 4]))
    assert np.array_equal(some.image, shard.image[[1, 4]])
    assert np.array_equal(some.psf_index, back.psf_index)
    assert some.psf_fwhm is None
    assert read_shard(tmp_path / "a.h5").psf_index.dtype == np.int32


@pytest.mark.parametrize("piecewise", [False, True])
def test_masks_go_with_their_stamps_and_are_read_when_asked_for(tmp_path, piecewise):
    mask = RNG.integers(0, 3, (5, 8, 8, 3)).astype(np.uint8)
    shard = replace(make_shard(), mask=mask)
    if piecewise:
        form, other = StampFormat(shard.bands, 8, 0.263), np.ones((5, 3), np.float32)
        with writing_shard(tmp_path / "a.h5", form, "des", 7) as writer:
            for rows in (slice(0, 2), slice(2, 5)):
                writer.append(*(values[rows] for values in (shard.image, mask, other, other, other)))
    else:
        write_shard(tmp_path / "a.h5", shard)
    assert read_shard(tmp_path / "a.h5").mask is None
    assert np.array_equal(read_shard(tmp_path / "a.h5", masks=True).mask, mask)
    parts = list(iterate_shard(tmp_path / "a.h5", np.array([0, 2, 4]), at_once=2, masks=True))
    assert np.array_equal(np.concatenate([part.mask for part in parts]), mask[[0, 2, 4]])
    assert np.array_equal(shard.take(np.array([1])).mask, mask[[1]])
    write_shard(tmp_path / "b.h5", make_shard())
    with pytest.raises(InputError, match=r"b\.h5 has no pixel_mask, .*; an earlier version wrote it"):
        read_shard(tmp_path / "b.h5", masks=True)
    assert [has_masks(tmp_path / name) for name in ("a.h5", "b.h5")] == [True, False]


def test_same_content_same_bytes(tmp_path):
    shard = make_shard()
    for name in ("a.h5", "b.h5"):
        write_shard(tmp_path / name, shard)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_faults_are_named(tmp_path):
    with pytest.raises(InputError, match="no shards"):
        list_shards(tmp_path)
    (tmp_path / "bad.h5").write_bytes(b"not hdf5")
    with pytest.raises(InputError, match=r"bad\.h5 is not a readable shard"):
        read_shard(tmp_path / "bad.h5")
    with pytest.raises(InputError, match=r"bad\.h5 is not a readable shard"):
        read_shard(tmp_path / "bad.h5", masks=True)
    with pytest.raises(ValueError, match="do not fit"):
        write_shard(
            tmp_path / "c.h5", Shard(np.zeros((2, 8, 8, 3)), np.ones((1, 3)), ("g", "r", "i"), 1.0, "des", 1)
        )
    assert not list(tmp_path.glob(".*part*"))
