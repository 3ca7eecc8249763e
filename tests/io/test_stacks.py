"""HDF5 stacks of cutouts: every layout gives the same pixels."""

from __future__ import annotations

import time
from collections import Counter

import h5py
import numpy as np
import pytest

from lenspipe.core.errors import Rejected
from lenspipe.core.survey import load_survey
from lenspipe.io.stacks import read_stack

DES = load_survey("des")
BANDS = ("g", "r", "i")
PIXELS = np.random.default_rng(2).normal(size=(7, 12, 15, 3)).astype(np.float32)  # (n, y, x, band)


def read(path, bands=BANDS, at_once=3):
    return list(read_stack(str(path), DES, bands, at_once))


def write(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
        file.attrs["bands"] = list(BANDS)
    return path


def check(objects, bands=BANDS):
    assert len(objects) == 7
    for k, (_, parts, *_) in enumerate(objects):
        for band in bands:
            assert np.array_equal(parts[band].read().data, PIXELS[k, ..., BANDS.index(band)])


def test_bands_last_first_and_a_dataset_each(tmp_path):
    check(read(write(tmp_path / "last.h5", image=PIXELS)))
    check(read(write(tmp_path / "first.h5", flux=np.moveaxis(PIXELS, 3, 1))))
    check(read(write(tmp_path / "each.h5", **{f"image_{b}": PIXELS[..., k] for k, b in enumerate(BANDS)})))
    check(read(write(tmp_path / "bare.h5", **{b: PIXELS[..., k] for k, b in enumerate(BANDS)})))
    check(read(write(tmp_path / "group.h5", **{"cutouts/des/image": PIXELS})))
    check(read(write(tmp_path / "some.h5", image=PIXELS), bands=("i", "g")), bands=("i", "g"))


@pytest.mark.parametrize("given", ["g r i", "g,r,i", np.array([b"g", b"r", b"i"])])
def test_bands_are_named_by_an_attribute(tmp_path, given):
    path = write(tmp_path / "a.h5", image=PIXELS[..., ::-1])
    with h5py.File(path, "a") as file:
        file["image"].attrs["bands"] = given[::-1]
    check(read(path))


def test_noise_masks_names_places_and_units(tmp_path):
    names = ["one", "two", "three", "four", "five", "six", "seven"]
    path = write(
        tmp_path / "a.h5", image=PIXELS, ivar=np.full_like(PIXELS, 4.0), mask=np.zeros(PIXELS.shape, np.uint8),
        object_id=names, ra=np.arange(7.0), dec=np.array([1.0, np.nan] + [2.0] * 5),
        psf_fwhm=np.tile([1.1, 1.0, 0.9], (7, 1)),
    )  # fmt: skip
    with h5py.File(path, "a") as file:
        file.attrs["zero_point"], file.attrs["pixel_scale"] = 30.0, 0.263
        file["image"].attrs["unit"] = "counts"
    objects = read(path)
    check(objects)
    assert [name for name, *_ in objects] == names
    assert [place for _, _, *place in objects][:2] == [[0.0, 1.0], [1.0, None]]
    band = objects[4][1]["i"]
    assert (band.noise_kind, band.read(slice(0, 2)).noise.shape) == ("weight", (2, 15))
    assert {**band.header} == {"MAGZERO": 30.0, "PIXSCALE": 0.263, "BUNIT": "counts", "PSF_FWHM": 0.9}


def test_one_noise_a_stamp_as_in_lenspipe_s_own_shards(tmp_path):
    sigma = np.arange(21.0).reshape(7, 3)
    objects = read(write(tmp_path / "a.h5", image=PIXELS, noise_sigma=sigma))
    assert objects[0][0] == "a-00000"
    assert (objects[5][1]["r"].read().noise == 16.0).all()
    assert objects[5][1]["r"].noise_kind == "rms"
    (first, *_) = read(tmp_path / "a.h5", bands=("i", "g"))  # another order than the file's
    assert [(first[1][band].read().noise == sigma[0, b]).all() for band, b in (("i", 2), ("g", 0))] == [
        True,
        True,
    ]


def refused(path, reason):
    with pytest.raises(Rejected) as fault:
        read(path)
    assert fault.value.reason == reason, fault.value
    assert fault.value.path == str(path)


def test_what_declares_more_than_it_holds_is_refused(tmp_path):
    with h5py.File(tmp_path / "empty.h5", "w") as file:  # a few kilobytes that claim 40 TB
        file.create_dataset("image", (10**9, 64, 64, 3), np.float32, chunks=(1, 64, 64, 3))
        file.attrs["bands"] = "g r i"
    refused(tmp_path / "empty.h5", "too_large")
    with h5py.File(tmp_path / "chunk.h5", "w") as file:
        data = file.create_dataset(
            "image", (10**5, 64, 64, 3), np.float32, chunks=(10**4, 64, 64, 3), compression="gzip"
        )
        data[:1] = 1.0
    refused(tmp_path / "chunk.h5", "too_large")


@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_usual_filters_are_read(tmp_path, compression):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "image", data=PIXELS, chunks=(1, 12, 15, 3), compression=compression, shuffle=True
        )
        file.attrs["bands"] = list(BANDS)
    check(read(tmp_path / "a.h5"))


def test_files_that_are_no_stack_are_named(tmp_path):
    (tmp_path / "html.h5").write_text("<html>not found</html>" * 100)
    refused(tmp_path / "html.h5", "unreadable")
    refused(tmp_path / "gone.h5", "missing_file")
    refused(write(tmp_path / "words.h5", image=np.full((7, 12, 15, 3), b"x")), "bad_header")
    refused(write(tmp_path / "four.h5", image=np.zeros((7, 12, 15, 4), np.float32)), "cube_bands")
    whole = write(tmp_path / "whole.h5", image=PIXELS).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.h5", "unreadable")
    refused(
        write(tmp_path / "mask.h5", image=PIXELS, mask=np.zeros((6, 12, 15, 3), np.uint8)), "shape_mismatch:g"
    )


def test_a_group_that_holds_itself_ends(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = PIXELS
        file.attrs["bands"] = list(BANDS)
        file.create_group("loop")["back"] = file["/"]
    check(read(tmp_path / "a.h5"))


def test_a_stack_without_pixels_is_named(tmp_path):
    for shape in ((5, 0, 0, 3), (0, 12, 15, 3)):
        refused(write(tmp_path / "a.h5", image=np.zeros(shape, np.float32)), "no_pixels")


def test_masks_may_be_true_and_false(tmp_path):
    mask = PIXELS > 1.0
    objects = read(write(tmp_path / "a.h5", image=PIXELS, mask=mask))
    check(objects)
    assert np.array_equal(objects[2][1]["r"].read().mask, mask[2, ..., 1])
    refused(write(tmp_path / "b.h5", image=mask), "bad_header")


@pytest.mark.parametrize(
    "value", [3.0, "x", h5py.Empty("f"), np.zeros((7, 2)), np.zeros((7, 0)), np.zeros(6)], ids=str
)
def test_a_column_that_is_none_is_left_out(tmp_path, value):
    columns = dict.fromkeys(("id", "name", "ra", "dec", "noise_sigma"), value)
    objects = read(write(tmp_path / "a.h5", image=PIXELS, **columns))
    check(objects)
    assert objects[0][0] == "a-00000"
    assert objects[0][2:] == (None, None)


def test_a_column_of_one_number_a_row_is_a_column(tmp_path):
    path = write(tmp_path / "a.h5", image=PIXELS, id=np.arange(7)[:, None], ra=np.arange(7.0)[:, None])
    objects = read(path)
    assert [(name, ra) for name, _, ra, _ in objects] == [(str(k), float(k)) for k in range(7)]


@pytest.mark.timeout(600)
def test_damaged_files_are_read_or_rejected(tmp_path):
    """A few hundred files with one to three faults: no exception but `Rejected`, none over 20 s and the grace."""
    path, counts = tmp_path / "t.h5", Counter()
    write(path, image=PIXELS, ivar=np.ones_like(PIXELS), id=[f"n{k}" for k in range(7)], ra=np.arange(7.0))
    with h5py.File(path, "a") as file:
        file["image"].attrs["unit"], file.attrs["zero_point"] = "counts", 30.0
        file.create_dataset("mask", data=PIXELS > 1, chunks=(1, 12, 15, 3), compression="gzip")
    whole = path.read_bytes()
    headers = np.flatnonzero(np.frombuffer(whole, np.uint8))
    for seed in range(300):
        rng, content = np.random.default_rng((9, seed)), bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            start = int(rng.choice(headers[headers < 6000]))
            length = int(rng.choice([1, 2, 8]))
            content[start : start + length] = rng.bytes(length) if rng.random() < 0.7 else b"\xff" * length
        path.write_bytes(content[: rng.integers(len(content))] if rng.random() < 0.05 else content)
        begin = time.monotonic()
        try:
            counts[f"read {len(read(path))}"] += 1
        except Rejected as fault:
            counts[fault.reason.split(":")[0]] += 1
        assert time.monotonic() - begin < 30, seed
    print(counts)
    assert counts["read 7"] > 20
    assert counts["unreadable"] > 20
