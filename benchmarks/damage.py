"""Small valid files of every kind that lenspipe reads, and what may happen to them: what `benchmarks.fuzz` reads."""

from __future__ import annotations

import gzip
import io
import re
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
from astropy.io import fits

_WCS = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 52.7, "CRVAL2": -52.5, "CRPIX1": 8.0, "CRPIX2": 8.0,
        "CD1_1": -7.3e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 7.3e-5}  # fmt: skip
_SIP = _WCS | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "A_2_0": 1e-6, "A_0_2": 2e-6,
               "B_ORDER": 2, "B_2_0": 1e-6, "B_1_1": 1e-6}  # fmt: skip
_TPV = _WCS | {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_0": 0.0, "PV1_1": 1.0, "PV1_4": 1e-3,
               "PV2_0": 0.0, "PV2_1": 1.0, "PV2_4": 1e-3}  # fmt: skip


def whole_files() -> dict[str, bytes]:
    """Return small valid files by kind; those whose name ends in ``+sums`` carry checksums."""
    rng = np.random.default_rng(5)
    real = rng.normal(100, 5, (16, 16)).astype(np.float32)
    whole = rng.integers(0, 500, (16, 16)).astype(np.int32)
    unsigned = whole.astype(np.uint16)
    tan, sip, tpv = (
        fits.Header(cards | {"BAND": "g", "MAGZERO": 30.0, "GAIN": 4.0}) for cards in (_WCS, _SIP, _TPV)
    )
    files = {}
    for sums in (False, True):
        kinds = {
            "simple": [fits.PrimaryHDU(real, tan)],
            "mef": [
                fits.PrimaryHDU(),
                fits.ImageHDU(real, sip, name="SCI"),
                fits.ImageHDU(whole, tan, name="MSK"),
                fits.ImageHDU(real, tan, name="WGT"),
            ],
            "unsigned": [fits.PrimaryHDU(unsigned, tpv)],
            "cube": [fits.PrimaryHDU(np.stack([real] * 3), fits.Header(_TPV | {"BANDS": "g r i"}))],
        }
        for codec, pixels in (
            ("RICE_1", real), ("RICE_1", whole), ("GZIP_1", real), ("GZIP_2", whole), ("GZIP_1", unsigned),
            ("HCOMPRESS_1", real), ("HCOMPRESS_1", whole), ("PLIO_1", whole),
        ):  # fmt: skip
            hdu = fits.CompImageHDU(pixels, tpv, name="SCI", compression_type=codec)
            kinds[f"{codec} {pixels.dtype}"] = [fits.PrimaryHDU(), hdu]
        for name, hdus in kinds.items():
            file = io.BytesIO()
            with _without_clock():
                fits.HDUList(hdus).writeto(file, checksum=sums)
            files[name + ("+sums" if sums else "")] = file.getvalue()
    files["zipped"] = gzip.compress(files["simple"], mtime=0)
    return files | _whole_stacks()


@contextmanager
def _without_clock() -> Iterator[None]:
    """Make FITS files the same bytes whenever they are written."""
    stamp = mock.patch.object(fits.hdu.base._ValidHDU, "_get_timestamp", return_value="today")
    with stamp, mock.patch("time.time", return_value=0.0):
        yield


def _whole_stacks() -> dict[str, bytes]:
    """Return small HDF5 stacks of cutouts: in the formats of the library's versions, plain and filtered."""
    rng = np.random.default_rng(6)
    pixels = rng.normal(100, 5, (4, 8, 8, 3)).astype(np.float32)
    files = {}
    for name, version in (("hdf5", h5py.h5f.LIBVER_EARLIEST), ("hdf5 latest", h5py.h5f.LIBVER_LATEST)):
        with _making_stack(version) as (file, contents):
            file["image"], file["ivar"], file["mask"] = pixels, np.ones_like(pixels), pixels > 105
            file["object_id"] = ["one", "two", "three", "four"]
            file["ra"], file["dec"] = np.arange(4.0), np.ones(4)
            file["image"].attrs["bands"], file.attrs["zero_point"] = "g r i", 30.0
        files[name] = contents.pop()
        with _making_stack(version) as (file, contents):
            for k, band in enumerate("gri"):
                folder = "cutouts/" if name == "hdf5" else ""  # a new group holds the time of day
                file.create_dataset(f"{folder}image_{band}", data=pixels[..., k], chunks=(2, 8, 8), shuffle=True,
                                    compression="lzf" if k else "gzip", fletcher32=k > 1)  # fmt: skip
            file["psf_fwhm"], file["noise_sigma"], file["id"] = np.ones((4, 3)), np.ones((4, 3)), np.arange(4)
            file.attrs.update({"pixel_scale": 0.263, "unit": "counts", "bands": ["g", "r", "i"]})
        files[f"{name} filtered"] = contents.pop()
    return files


@contextmanager
def _making_stack(version: int) -> Iterator[tuple[h5py.File, list[bytes]]]:
    """Yield an empty HDF5 file that notes no time of day, and a list for its content once it is closed."""
    made, opened = h5py.h5p.create(h5py.h5p.FILE_CREATE), h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    made.set_obj_track_times(False)
    opened.set_libver_bounds(version, h5py.h5f.LIBVER_LATEST)
    contents: list[bytes] = []
    with tempfile.NamedTemporaryFile() as place:
        with h5py.File(h5py.h5f.create(place.name.encode(), fcpl=made, fapl=opened)) as file:
            yield file, contents
        contents.append(Path(place.name).read_bytes())


def file_suffix(kind: str) -> str:
    """Return the suffix by which the reader knows a kind of file."""
    return ".h5" if kind.startswith("hdf5") else ".fits.gz" if kind == "zipped" else ".fits"


_HOSTILE = ("0", "1", "2", "3", "-1", "-5", "7", "17", "999", "65536", "1000000000", "2147483648",
            "9223372036854775807", "-9223372036854775808", "1E308", "-1E-320", "NaN", "INF", "T", "F", "'", "''",
            "'TAN'", "'RA---TPV'", "'DEC--SIP'", "'DEC--TNX'", "'CUBEFACE'", "'-TAB'", "(1,2)", "")  # fmt: skip
_KEYS = ("NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "BITPIX", "PCOUNT", "GCOUNT", "BSCALE", "BZERO", "BLANK", "TFIELDS",
         "TFORM1", "TTYPE1", "THEAP", "ZIMAGE", "ZBITPIX", "ZNAXIS", "ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2",
         "ZCMPTYPE", "ZNAME1", "ZVAL1", "ZSCALE", "ZBLANK", "ZQUANTIZ", "ZDITHER0", "XTENSION", "EXTNAME", "EXTEND",
         "GROUPS", "CTYPE1", "CTYPE2", "CRPIX1", "CRVAL1", "CD1_1", "CD2_2", "CDELT1", "PC1_1", "PV1_1", "PV2_1",
         "A_ORDER", "B_ORDER", "A_2_0", "LONPOLE", "WCSAXES", "CUNIT1", "RADESYS", "EQUINOX", "CPDIS1", "DP1",
         "D2IMDIS1", "PS1_0", "MAGZERO", "GAIN", "FILTER", "BANDS", "BUNIT", "DATE-OBS", "MJD-OBS", "END")  # fmt: skip


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Return the content with one to three faults."""
    if content[:2] == b"\x1f\x8b" and rng.random() < 0.7:  # inside of the zip
        return gzip.compress(damage(gzip.decompress(content), rng), 1, mtime=0)
    faults = _IN_HDF5 if content[:4] == b"\x89HDF" else _IN_FITS
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        faults[rng.integers(len(faults))](data, rng)
    return bytes(data)


def _flip_bit(data: bytearray, rng) -> None:
    if data:
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))


def _set_bytes(data: bytearray, rng) -> None:
    start, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 9))
    data[start : start + length] = rng.bytes(length)


def _cut(data: bytearray, rng) -> None:
    step = int(rng.choice([1, 80, 2880]))
    del data[int(rng.integers(len(data) // step + 1)) * step :]


def _blank_out(data: bytearray, rng) -> None:
    start, length = int(rng.integers(len(data) + 1)), int(rng.choice([4, 80, 512, 2880]))
    length = min(length, len(data) - start)
    data[start : start + length] = bytes([int(rng.choice([0, 32, 255]))]) * length


def _set_card(data: bytearray, rng) -> None:
    """Give a card of a header another value, or put one there."""
    cards = _find_cards(data)
    if not cards:
        return
    start = cards[rng.integers(len(cards))]
    key = data[start : start + 8] if rng.random() < 0.7 else _KEYS[rng.integers(len(_KEYS))].ljust(8).encode()
    value = _HOSTILE[rng.integers(len(_HOSTILE))] if rng.random() < 0.8 else str(rng.integers(-100, 100000))
    data[start : start + 80] = bytes(key) + f"= {value:>20}".encode().ljust(72)


def _move_card(data: bytearray, rng) -> None:
    """Copy a card over another, or swap the two."""
    cards = _find_cards(data)
    if len(cards) < 2:
        return
    a, b = (int(cards[k]) for k in rng.integers(len(cards), size=2))
    first, second = bytes(data[a : a + 80]), bytes(data[b : b + 80])
    data[b : b + 80] = first
    if rng.random() < 0.5:
        data[a : a + 80] = second


def _move_block(data: bytearray, rng) -> None:
    """Repeat, drop or move a block of 2880 bytes."""
    blocks = len(data) // 2880
    if blocks:
        start, to = (int(k) * 2880 for k in rng.integers(blocks, size=2))
        block = bytes(data[start : start + 2880])
        if rng.random() < 0.5:
            del data[start : start + 2880]
        if rng.random() < 0.7:
            data[to:to] = block


def _find_cards(data: bytearray) -> list[int]:
    return [
        80 * k
        for k, sign in enumerate(data[8::80])
        if sign == ord("=") and data[80 * k + 9 : 80 * k + 10] == b" "
    ]


def _set_number(data: bytearray, rng) -> None:
    """Put an odd number of two, four or eight bytes anywhere: descriptors and streams begin with such."""
    kind = ">hiq"[int(rng.integers(1, 4))]
    limit = {"h": 2**15, "i": 2**31, "q": 2**63}[kind] - 1
    number = int(rng.choice([0, 1, -1, 255, 1000, 32767])) if rng.random() < 0.7 else limit
    start = int(rng.integers(len(data) + 1))
    data[start : start + struct.calcsize(kind)] = struct.pack(">" + kind, number)


def _set_structure(data: bytearray, rng) -> None:
    """Put odd bytes among those that tell what is where in an HDF5 file."""
    places = [m.start() for m in re.finditer(_STRUCTURE, data)]
    if places:
        start = places[rng.integers(len(places))] + int(rng.integers(4, 64))
        length = int(rng.choice([1, 2, 4, 8]))
        choices = (
            rng.bytes(length),
            b"\xff" * length,
            bytes(length),
            int(rng.integers(len(data))).to_bytes(8, "little"),
        )
        data[start : start + length] = choices[rng.integers(4)][:length]


def _copy_address(data: bytearray, rng) -> None:
    """Let something of an HDF5 file point to where something else is: into itself, backwards, at another kind."""
    places = [m.start() for m in re.finditer(_STRUCTURE, data)]
    if places:
        target = places[rng.integers(len(places))].to_bytes(8, "little")
        pointers = [
            m.start() for place in places for m in re.finditer(re.escape(place.to_bytes(8, "little")), data)
        ]
        start = (
            pointers[rng.integers(len(pointers))] if pointers else 8 * int(rng.integers(len(data) // 8 + 1))
        )
        data[start : start + 8] = target


#: Signatures of the parts of an HDF5 file, and its object headers of version 1, which have none.
_STRUCTURE = (
    rb"\x89HDF|TREE|HEAP|SNOD|GCOL|OHDR|OCHK|FRHP|FHDB|FHIB|BTHD|BTIN|BTLF|FADB|FAHD|EAHD|\x01\0[\x01-\x20]\0"
)
_ANYWHERE = (_flip_bit, _set_bytes, _cut, _blank_out, _set_number)
FAULTS = (*_ANYWHERE, _set_card, _move_card, _move_block, _set_structure, _copy_address)
_IN_FITS = (*_ANYWHERE, _move_card, _move_block, _flip_bit, _set_card, _set_card, _set_card)
_IN_HDF5 = (*_ANYWHERE, _set_structure, _set_structure, _set_structure, _set_structure, _copy_address)
