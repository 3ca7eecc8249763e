"""A zipped file costs what its headers declare, whatever it holds."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lenspipe.core.errors import Rejected
from lenspipe.io import zipped
from lenspipe.io.fits import describe_file
from lenspipe.io.zipped import unzipped

PIXELS = np.random.default_rng(3).normal(size=(20, 30)).astype(np.float32)
BOMB = 2**26
_TRAILER = 2**20  # of padding, which plain files may have, too


@pytest.fixture
def content(tmp_path) -> bytes:
    path = tmp_path / "plain.fits"
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(PIXELS, name="SCI"), fits.ImageHDU(PIXELS, name="WGT")]
    fits.HDUList(hdus).writeto(path)
    return path.read_bytes()


@pytest.fixture
def written(monkeypatch) -> list[int]:
    """Return the sizes of the pieces that are unzipped and written."""
    sizes = []

    class Watched(zipped._Tee):
        def read(self, size):
            sizes.append(len(piece := super().read(size)))
            return piece

    monkeypatch.setattr(zipped, "_Tee", Watched)
    return sizes


def zip_up(path, content: bytes) -> str:
    path.write_bytes(gzip.compress(content, 1))
    return str(path)


def test_what_is_unzipped_is_the_file(tmp_path, content):
    for padding in (b"", b"\0" * 5000):
        path = zip_up(tmp_path / "t.fits.gz", content + padding)
        with unzipped(path) as plain:
            assert plain != path
            assert Path(plain).read_bytes() == content + padding
        assert not Path(plain).exists()
        assert [hdu.name for hdu in describe_file(path)] == ["PRIMARY", "SCI", "WGT"]


def test_a_file_that_is_not_zipped_is_read_where_it_is(tmp_path, content):
    with unzipped(str(tmp_path / "plain.fits")) as plain:
        assert plain == str(tmp_path / "plain.fits")


@pytest.mark.parametrize("tail", [b"\0", b" ", b"x"])
def test_what_follows_the_declared_end_is_not_unzipped(tmp_path, content, written, tail):
    path = zip_up(tmp_path / "t.fits.gz", content + tail * BOMB)
    with pytest.raises(Rejected, match="fits_damaged: what follows HDU 2") as fault:
        describe_file(path)
    assert fault.value.path == path
    assert len(content) <= sum(written) <= len(content) + _TRAILER + 2880 + 1


def test_a_bomb_without_a_header_is_not_unzipped(tmp_path, written):
    with pytest.raises(Rejected, match="not_fits"):
        describe_file(zip_up(tmp_path / "t.fits.gz", b"\0" * BOMB))
    assert sum(written) <= 2880


def test_what_declares_too_much_is_refused_before_it_is_unzipped(tmp_path, written, monkeypatch):
    monkeypatch.setattr(zipped, "_MAX_UNZIPPED", 2**20)
    header = fits.PrimaryHDU(np.zeros((2**10, 2**11), np.float32)).header.tostring().encode()
    with pytest.raises(Rejected, match="too_large: declares 8392320 bytes, more than 1048576"):
        describe_file(zip_up(tmp_path / "t.fits.gz", header + b"\0" * 2**23))
    assert sum(written) == len(header)


def test_what_ends_too_early_is_named_like_a_plain_file(tmp_path, content):
    with pytest.raises(Rejected, match="fits_truncated: HDU 2 declares"):
        describe_file(zip_up(tmp_path / "t.fits.gz", content[:-2880]))


@pytest.mark.parametrize("cut", [-1, -9, 100, 20])
def test_a_damaged_zip_is_rejected(tmp_path, content, cut):
    path = tmp_path / "t.fits.gz"
    path.write_bytes(gzip.compress(content)[:cut])
    with pytest.raises(Rejected, match="unreadable"):
        describe_file(str(path))
