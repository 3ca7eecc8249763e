from __future__ import annotations

import json
import os
import zipfile

import numpy as np
import pytest

from lenspipe.io.files import digest, escape_text, replacing, sweep_parts, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_json_holds_numpy_and_no_nan(tmp_path):
    data = {"a": np.float32(1.5), "b": np.arange(3), "c": float("nan"), "d": (np.int64(2), np.inf)}
    write_json(tmp_path / "a.json", data)
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "a": 1.5,
        "b": [0, 1, 2],
        "c": None,
        "d": [2, None],
    }


def test_names_that_are_not_utf8_are_written_and_read_back(tmp_path):
    name = os.fsdecode(b"T\xff-\xc3\xbc.fits")
    write_json(tmp_path / "a.json", {"path": name})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"path": name}
    assert escape_text(name) == "T\\udcff-ü.fits"


def test_digest_tells_content(tmp_path):
    write_text(tmp_path / "a", "x")
    write_text(tmp_path / "b", "x")
    write_text(tmp_path / "c", "y")
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_a_network_is_told_by_its_members_and_a_torn_one_by_its_bytes(tmp_path):
    for name, saved in (("a.keras", "Monday"), ("b.keras", "Tuesday")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("model.weights.h5", b"weights")
            archive.writestr("metadata.json", saved)
    assert digest(tmp_path / "a.keras") == digest(tmp_path / "b.keras")
    (tmp_path / "b.keras").write_bytes((tmp_path / "b.keras").read_bytes()[:40])
    assert digest(tmp_path / "a.keras") != digest(tmp_path / "b.keras")


def test_what_killed_writers_left_is_swept(tmp_path):
    write_text(tmp_path / "sub/whole.txt", "x")
    (tmp_path / "sub/.whole.123.part.txt").write_text("ha")
    sweep_parts(tmp_path)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["whole.txt"]
