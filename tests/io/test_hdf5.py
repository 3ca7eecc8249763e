"""HDF5 files of others: nothing outside the file is touched, and what the child cannot read is not tried again."""

from __future__ import annotations

import resource
import struct
import time

import h5py
import numpy as np
import pytest

from lenspipe.core.errors import Rejected
from lenspipe.io import hdf5
from lenspipe.io.hdf5 import opened

PIXELS = np.random.default_rng(2).normal(size=(7, 12, 15, 3)).astype(np.float32)  # (n, y, x, band)


def write(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, values in datasets.items():
            file[name] = values
        file.attrs["bands"] = "g r i"
    return path


def names_in(path):
    with opened(str(path), {"bands"}) as file:
        return list(file.datasets)


def refused(path, reason):
    with pytest.raises(Rejected) as fault:
        names_in(path)
    assert fault.value.reason == reason, fault.value
    assert fault.value.path == str(path)


def test_datasets_and_the_attributes_asked_for(tmp_path):
    path = write(tmp_path / "a.h5", image=PIXELS, **{"inner/flux": PIXELS})
    with h5py.File(path, "a") as file:
        file.attrs["Other"] = 1.0
        file["image"].attrs["Zero_Point"] = 30.0
        file["inner/flux"].attrs["bands"] = np.array([b"g", b"r"])
    with opened(str(path), {"bands", "zero_point"}) as file:
        assert list(file.datasets) == ["image", "flux"]
        assert np.array_equal(file.datasets["flux"][:], PIXELS)
        assert file.attributes_of() == {"bands": "g r i"}
        assert file.attributes_of(file.datasets["image"]) == {"zero_point": 30.0}
        assert file.attributes_of(file.datasets["flux"]) == {"bands": ["g", "r"]}
        for dataset in (None, *file.datasets.values()):
            file.check(dataset)


def test_a_text_that_declares_gigabytes_is_not_read_here(tmp_path):
    path = write(tmp_path / "a.h5", image=PIXELS)
    content = bytearray(path.read_bytes())
    start = content.index(struct.pack("<IQ", 5, content.index(b"GCOL")))  # length and place of the text
    content[start : start + 4] = struct.pack("<I", 3 * 2**29)
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with opened(str(path), {"bands"}) as file:
        assert not file.attributes_of()
        file.check(file.datasets["image"])
        with pytest.raises(Rejected, match="unreadable"):
            file.check()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**18  # KiB


def test_a_dataset_that_cannot_be_read_is_named_when_it_is_used(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("bad", data=PIXELS, chunks=(1, 12, 15, 3), fletcher32=True)
        file["good"] = PIXELS
        file.create_dataset("huge", (2, 2**28), np.float32, chunks=(1, 2**27))
        place = file["bad"].id.get_chunk_info(2).byte_offset
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with opened(str(path), ()) as file:
        file.check(file.datasets["good"])
        for name in ("bad", "huge"):
            with pytest.raises(Rejected) as fault:
                file.check(file.datasets[name])
            assert (fault.value.reason, fault.value.hdu) == ("unreadable", name)


def test_links_and_external_storage_are_not_followed(tmp_path):
    write(tmp_path / "other.h5", image=PIXELS)
    raw = tmp_path / "raw.bin"
    raw.write_bytes(PIXELS.tobytes())
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["image"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/image")
    assert not names_in(tmp_path / "link.h5")
    with h5py.File(tmp_path / "soft.h5", "w") as file:
        file["hidden"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
        file["image"] = h5py.SoftLink("/hidden/image")
    assert not names_in(tmp_path / "soft.h5")
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        file.create_dataset("image", PIXELS.shape, np.float32, external=[(str(raw), 0, h5py.h5f.UNLIMITED)])
    refused(tmp_path / "raw.h5", "external_data")
    layout = h5py.VirtualLayout(PIXELS.shape, np.float32)
    layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "image", PIXELS.shape)
    with h5py.File(tmp_path / "virtual.h5", "w") as file:
        file.create_virtual_dataset("image", layout)
    refused(tmp_path / "virtual.h5", "external_data")


def test_filters_of_plug_ins_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((1, 12, 15, 3))
        settings.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, ())  # blosc
        space = h5py.h5s.create_simple(PIXELS.shape)
        h5py.h5d.create(file.id, b"image", h5py.h5t.IEEE_F32LE, space, settings)
    refused(tmp_path / "a.h5", "unknown_filter")


def test_a_file_that_holds_up_its_reader_is_given_up(tmp_path, monkeypatch):
    path = write(tmp_path / "a.h5", image=PIXELS)
    guarded = hdf5.run_guarded  # stands for an attribute that the library never comes back from
    monkeypatch.setattr(hdf5, "run_guarded", lambda *_, path: guarded(time.sleep, 60, path=path, seconds=1))
    refused(path, "reader_timeout")
