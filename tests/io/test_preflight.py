from __future__ import annotations

import io
import os
import re
import warnings

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.core.errors import Rejected
from lenspipe.io.preflight import check_structure, check_sums

PIXELS = np.random.default_rng(3).normal(size=(20, 30)).astype(np.float32)


def content_of(*hdus, checksum: bool = False) -> bytes:
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(file, checksum=checksum)
    return file.getvalue()


PLAIN = content_of(fits.ImageHDU(PIXELS, name="SCI"), fits.ImageHDU(PIXELS, name="WGT"))
PACKED = content_of(fits.CompImageHDU(PIXELS, name="SCI", compression_type="RICE_1"))
SUMMED = content_of(fits.ImageHDU(PIXELS, name="SCI"), checksum=True)


def with_card(content: bytes, key: str, value, hdu: int = 1) -> bytes:
    """Return a file with another value of a card of an extension."""
    start = [match.start() for match in re.finditer(rb"XTENSION=", content)][hdu - 1]
    card = next(
        k for k in range(start, len(content), 80) if content[k : k + 8].rstrip() in (key.encode(), b"END")
    )
    if content[card : card + 3] == b"END":  # the cards there have room for one more
        assert not content[card + 80 : card + 160].strip()
        content = content[: card + 80] + b"END".ljust(80) + content[card + 160 :]
    return content[:card] + f"{key:<8}= {value:>20}".encode().ljust(80) + content[card + 80 :]


def reason_of(path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(Rejected) as fault:
        check_structure(path)
    assert fault.value.path == str(path)
    return fault.value.reason


def test_it_tells_where_the_hdus_are(tmp_path):
    path = tmp_path / "t.fits"
    path.write_bytes(PLAIN)
    extents = check_structure(path)
    assert [(e.start, e.data, e.end) for e in extents] == [
        (0, 2880, 2880),
        (2880, 5760, 8640),
        (8640, 11520, 14400),
    ]
    assert PLAIN[extents[1].data : extents[1].data + PIXELS.nbytes] == PIXELS.astype(">f4").tobytes()
    assert {e.codec for e in extents} == {""}
    path.write_bytes(PACKED)
    assert [e.codec for e in check_structure(path)] == ["", "RICE_1"]


def test_every_real_file_passes(realdata):
    paths = [path for path in realdata.rglob("*") if re.search(r"\.fits(\.fz)?$", path.name)]
    assert len(paths) > 50
    for path in paths:
        extents = check_structure(path)
        check_sums(path, extents)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old keywords
            with fits.open(path) as hdus:
                assert len(extents) == len(hdus)


@pytest.mark.parametrize("count", [64, 190 * 3])
def test_a_file_of_many_hdus_passes(tmp_path, count):
    path = tmp_path / "t.fits"
    path.write_bytes(PLAIN[:2880] + PLAIN[2880:8640] * count)
    assert len(check_structure(path)) == count + 1


def test_a_large_tile_passes_and_one_beyond_all_surveys_does_not(tmp_path):
    header = fits.Header({"SIMPLE": True, "BITPIX": -32, "NAXIS": 2, "NAXIS1": 20_000, "NAXIS2": 20_000})
    path = tmp_path / "t.fits"
    path.write_bytes(header.tostring().encode())
    os.truncate(path, 2880 + -(-(4 * 20_000**2) // 2880) * 2880)  # sparse: no bytes on the disk
    assert len(check_structure(path)) == 1
    header["NAXIS1"] = 200_000
    header["NAXIS2"] = 200_000
    path.write_bytes(header.tostring().encode())
    os.truncate(path, 2880 + 4 * 200_000**2)
    with pytest.raises(Rejected, match=r"bad_header: axes \[200000, 200000\] of 32 bits"):
        check_structure(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("NAXIS", 10**9), ("NAXIS", 5), ("NAXIS", -1), ("NAXIS", "'2'"), ("NAXIS", 1.0), ("NAXIS", 3),
        ("NAXIS1", -5), ("NAXIS1", 10**9), ("NAXIS1", 2**63), ("NAXIS1", 10**30), ("NAXIS1", ""),
        ("BITPIX", 7), ("BITPIX", 0), ("BITPIX", "T"),
        ("PCOUNT", -1), ("PCOUNT", 8), ("GCOUNT", 2), ("GCOUNT", 0), ("GROUPS", "T"),
        ("HIERARCH NAXIS1", 30), ("naxis1", 30), ("WCSAXES", 76764), ("WCSAXES", -1), ("WCSAXESA", 1000),
        ("A_ORDER", 10**9), ("BP_ORDER", 10),
        ("DATASUM", "'x'"),
    ],
)  # fmt: skip
def test_hostile_headers_are_refused(tmp_path, key, value):
    assert reason_of(tmp_path / "t.fits", with_card(PLAIN, key, value)) in ("bad_header", "fits_truncated")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ZNAXIS", 0), ("ZNAXIS", 10**9), ("ZNAXIS1", 10**9), ("ZNAXIS2", 10**9), ("ZNAXIS1", -5), ("ZNAXIS2", 21),
        ("ZBITPIX", 7), ("ZTILE1", 0), ("ZTILE1", -1), ("ZTILE2", 2), ("ZCMPTYPE", "'LZW'"), ("ZCMPTYPE", 3),
        ("ZVAL1", 0), ("ZVAL2", 10**9), ("ZVAL2", 2.5), ("TFIELDS", 1000), ("TFIELDS", 0), ("TFIELDS", -1),
        ("TFORM1", "'1J'"), ("TFORM1", "'9999D'"), ("THEAP", 1), ("THEAP", 10**6), ("ZIMAGE", 1),
        ("NAXIS2", 19), ("XTENSION", "'IMAGE'"),
    ],
)  # fmt: skip
def test_hostile_compressed_images_are_refused(tmp_path, key, value):
    assert reason_of(tmp_path / "t.fits", with_card(PACKED, key, value)) == "bad_header"


def test_a_tile_larger_than_memory_is_refused(tmp_path):
    content = with_card(PACKED, "ZNAXIS1", 100_000)
    content = with_card(with_card(content, "ZTILE1", 100_000), "ZTILE2", 20)
    rows = with_card(with_card(content, "NAXIS2", 1), "THEAP", 0)
    assert reason_of(tmp_path / "t.fits", rows) == "bad_header"
    whole = with_card(with_card(PACKED, "ZNAXIS1", 20_000), "ZNAXIS2", 20_000)
    assert reason_of(tmp_path / "t.fits", with_card(whole, "ZTILE2", 1000)) == "bad_header"


def test_a_keyword_that_stands_twice_is_refused(tmp_path):
    twice = PLAIN[:3120] + PLAIN[3040:3120] + PLAIN[3200:]
    assert reason_of(tmp_path / "t.fits", twice) == "bad_header"


def test_control_characters_are_refused_and_a_name_with_an_accent_is_not(tmp_path):
    card = "OBSERVER= 'Müller'".ljust(80).encode("latin-1")
    end = PLAIN.index(b"END".ljust(80), 2880)
    content = PLAIN[:end] + card + b"END".ljust(80) + PLAIN[end + 160 :]
    path = tmp_path / "t.fits"
    path.write_bytes(content)
    assert len(check_structure(path)) == 3
    assert reason_of(path, content.replace(b"ller", b"\x00ler")) == "bad_header"
    assert reason_of(path, content.replace(b"NAXIS1  =", b"NAXIS\xb1  =")) == "bad_header"


@pytest.mark.parametrize("content", [b"hello", b"<!DOCTYPE html><html>404</html>", b"\0" * 5000, PLAIN[80:]])
def test_what_is_no_fits_file_is_named_so(tmp_path, content):
    assert reason_of(tmp_path / "t.fits", content) == "not_fits"


def test_no_file_an_empty_one_and_a_folder(tmp_path):
    assert reason_of(tmp_path / "t.fits", b"") == "empty_file"
    with pytest.raises(Rejected, match="missing_file"):
        check_structure(tmp_path / "gone.fits")
    with pytest.raises(Rejected, match="unreadable: IsADirectoryError"):
        check_structure(tmp_path)


@pytest.mark.parametrize("content", [PLAIN, PACKED], ids=["plain", "packed"])
def test_cut_anywhere_but_between_two_hdus_it_is_refused(tmp_path, content):
    path = tmp_path / "t.fits"
    path.write_bytes(content)
    ends = {extent.end for extent in check_structure(path)}
    cuts = sorted({*range(0, len(content), 80), *range(1, len(content), 997)} - ends)
    for length in cuts:
        expected = ("fits_truncated", "fits_damaged") if length > 9 else ("empty_file", "not_fits")
        assert reason_of(path, content[:length]) in expected


def test_an_extension_that_is_none_is_not_passed_over(tmp_path):
    path = tmp_path / "t.fits"
    assert reason_of(path, PLAIN.replace(b"XTENSION", b"XTENSIOM")) == "fits_damaged"
    assert reason_of(path, PLAIN + b"junk") == "fits_damaged"
    path.write_bytes(PLAIN + b"\0" * 5000)  # tapes were padded so
    assert len(check_structure(path)) == 3


def test_a_header_without_end_is_refused(tmp_path):
    end = b"END".ljust(80)
    assert reason_of(tmp_path / "t.fits", PLAIN.replace(end, b" " * 80, 1)) == "bad_header"
    endless = PLAIN[: PLAIN.index(end)].ljust(2880) + b" " * 2880 * 600
    assert reason_of(tmp_path / "t.fits", endless) == "bad_header"


def test_sums_are_astropy_s(tmp_path):
    path = tmp_path / "t.fits"
    path.write_bytes(SUMMED)
    extents = check_structure(path)
    check_sums(path, extents)
    assert [e.checksum for e in extents] == [True, True]
    assert extents[1].datasum == int(fits.getheader(path, 1)["DATASUM"])
    path.write_bytes(PLAIN)
    check_sums(path, check_structure(path))  # none to verify


@given(st.integers(0, len(SUMMED) - 1), st.integers(1, 255))
def test_a_wrong_byte_anywhere_is_found_by_the_sums(tmp_path_factory, position, change):
    path = tmp_path_factory.getbasetemp() / f"sum{position}.fits"
    content = bytearray(SUMMED)
    content[position] ^= change
    path.write_bytes(content)
    try:
        check_sums(path, check_structure(path))
    except Rejected as fault:
        assert fault.reason in ("checksum", "bad_header", "fits_damaged", "fits_truncated", "not_fits")
    else:  # only a card that says no sum was taken, and no more than one
        card = SUMMED[position // 80 * 80 :][:8]
        assert card in (b"CHECKSUM", b"DATASUM ")
    path.unlink()
