"""Can a damaged or hostile FITS file hang, kill or mislead the reader?

    python -m benchmarks.fuzz [--inputs 100000] [--workers 2] [--seed 1] [--first 0]

Small valid files of every kind are damaged in one to three places: bytes, bits, cuts, header cards. Each is read
as the pipeline reads it: preflight, headers and world coordinates, planes, pixels, calibration. Input k is the same in
every run of one seed: `--first k --inputs 1` reads it again. What the guarded child would do is done by the worker
itself, so that a crash is counted and told apart: in the child's part (by design ``reader_crashed``, a
`Rejected`) or in the parent's (a failure). A worker that takes 20 s over an input is killed: a hang. An
exception other than `Rejected` is a leak. A file that is accepted with other pixels than its whole one is a
silent change.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import logging
import mmap
import os
import re
import resource
import shutil
import signal
import struct
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from astropy.io import fits

from lenspipe.core.errors import Rejected
from lenspipe.core.survey import load_survey
from lenspipe.core.types import ImageFile, ImageSet
from lenspipe.imaging.calibrate import read_calibration
from lenspipe.io.bands import open_bands
from lenspipe.io.guard import MEMORY, SECONDS
from lenspipe.io.planes import list_planes

SURVEY = load_survey("des")
BATCH = 100
_WCS = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 52.7, "CRVAL2": -52.5, "CRPIX1": 8.0, "CRPIX2": 8.0,
        "CD1_1": -7.3e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 7.3e-5}  # fmt: skip
_SIP = _WCS | {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "A_2_0": 1e-6, "A_0_2": 2e-6,
               "B_ORDER": 2, "B_2_0": 1e-6, "B_1_1": 1e-6}  # fmt: skip
_TPV = _WCS | {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_0": 0.0, "PV1_1": 1.0, "PV1_4": 1e-3,
               "PV2_0": 0.0, "PV2_1": 1.0, "PV2_4": 1e-3}  # fmt: skip


def read_everything(path: str, role: str = "image") -> int:
    """Read a file as a run does and return a checksum of all its pixels.

    Raises
    ------
    Rejected
        If the file cannot be used; nothing else, whatever the file.
    """
    total = 0
    planes = list_planes(ImageSet("t", (ImageFile(path, "", role),)), SURVEY)
    found = sorted({plane.band for plane in planes if plane.role == "image"})
    if not found:
        raise Rejected("missing_band", "no image", path)
    for band in found:
        with open_bands(planes, [band]) as bands:
            one = bands[band]
            rows, columns = (slice(0, min(8, length)) for length in one.shape)
            one.read(rows, columns)
            raw = one.read()
            if band in SURVEY.bands:
                read_calibration(band, one.header, SURVEY, path, one.noise_kind, one.mask_header, one.psf)
        for part in (raw.data, raw.noise, raw.mask):
            total = zlib.crc32(b"" if part is None else part.tobytes(), total)
    return total


# -- valid files, and damage ----------------------------------------------------------------------------


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
            fits.HDUList(hdus).writeto(file, checksum=sums)
            files[name + ("+sums" if sums else "")] = file.getvalue()
    files["zipped"] = gzip.compress(files["simple"], mtime=0)
    return files


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
    data = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        fault = _USUAL[rng.integers(len(_USUAL))]
        fault(data, rng)
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
    return [m.start() for m in re.finditer(rb"[A-Z0-9_-]{1,8} *= ", data) if m.start() % 80 == 0]


def _set_number(data: bytearray, rng) -> None:
    """Put an odd number of two, four or eight bytes anywhere: descriptors and streams begin with such."""
    kind = ">hiq"[int(rng.integers(1, 4))]
    limit = {"h": 2**15, "i": 2**31, "q": 2**63}[kind] - 1
    number = int(rng.choice([0, 1, -1, 255, 1000, 32767])) if rng.random() < 0.7 else limit
    start = int(rng.integers(len(data) + 1))
    data[start : start + struct.calcsize(kind)] = struct.pack(">" + kind, number)


FAULTS = (_flip_bit, _set_bytes, _cut, _blank_out, _set_card, _move_card, _move_block, _set_number)
_USUAL = (*FAULTS, _flip_bit, _set_card, _set_card)


# -- the harness ---------------------------------------------------------------------------------------


@contextmanager
def unguarded(stage: Any = None) -> Iterator[None]:
    """Let this process, or a fork of it, do what the guarded child would; `stage[0]` is 1 meanwhile."""

    def run_here(function, *arguments, path, seconds=SECONDS, apart=False):
        if stage is not None:
            stage[0] = 1
        try:
            return _run_apart(function, *arguments) if apart else json.loads(json.dumps(function(*arguments)))
        finally:
            if stage is not None:
                stage[0] = 0

    with mock.patch("lenspipe.io.fits.run_guarded", run_here):
        yield


def _run_apart(function, *arguments) -> None:
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            function(*arguments)
            code = 0
        except Rejected:
            code = 1
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        timeout = os.WTERMSIG(status) == signal.SIGALRM
        raise Rejected("reader_timeout" if timeout else "reader_crashed", signal.Signals(status & 127).name)
    if status:
        raise Rejected("unreadable") if status >> 8 == 1 else RuntimeError("a leak while unpacking")


def read_one(path: Path, content: bytes, expected: int) -> str:
    """Return what became of one input: a reason, ``read``, ``silent change``, or ``LEAK`` and a class."""
    path.write_bytes(content)
    try:
        return "read" if read_everything(str(path)) == expected else "silent change"
    except Rejected as fault:
        return fault.reason.split(":")[0]
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)
        mine = [frame for frame in place if "lenspipe/" in frame.filename][-1]
        return f"LEAK {type(error).__name__} {Path(mine.filename).name}:{mine.lineno}"


def run_batch(numbers: range, skip: set[int], seed: int, folder: Path, spot: mmap.mmap, place: int) -> None:
    """Read inputs one after the other and leave the counts in a file; runs in a process of its own."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    kinds, counts = list(FILES), Counter()
    stage = memoryview(spot)[16 * place + 8 : 16 * place + 9]
    with unguarded(stage):
        for number in numbers:
            if number in skip:
                continue
            spot[16 * place : 16 * place + 8] = struct.pack("q", number)
            stage[0] = 0
            rng = np.random.default_rng((seed, number))
            kind = kinds[rng.integers(len(kinds))]
            path = folder / f"{place}.fits{'.gz' if kind == 'zipped' else ''}"
            content = damage(FILES[kind], rng)
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            outcome = read_one(path, content, PIXELS[kind])
            signal.setitimer(signal.ITIMER_REAL, 0)
            counts[f"{kind}|{outcome}"] += 1
            if outcome.startswith("LEAK"):
                counts[f"example|{outcome}|{number}"] += 1
    (folder / f"{place}.json").write_text(json.dumps(counts))


def main() -> None:
    """Run the batches in processes of their own and print what became of the inputs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    folder = Path(
        tempfile.mkdtemp(prefix="lenspipe-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    )
    tempfile.tempdir = str(folder)
    try:
        _run(options, folder)
    finally:
        shutil.rmtree(folder)


def _run(options, folder: Path) -> None:
    start, peak = time.monotonic(), 0
    shown = start
    spot, total = mmap.mmap(-1, 16 * options.workers), Counter()
    last = options.first + options.inputs
    waiting = [(range(k, min(k + BATCH, last)), set()) for k in range(options.first, last, BATCH)][::-1]
    running: dict[int, tuple[range, set[int], int]] = {}
    free = list(range(options.workers))
    while waiting or running:
        while waiting and free:
            numbers, skip = waiting.pop()
            place = free.pop()
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    run_batch(numbers, skip, options.seed, folder, spot, place)
                    code = 0
                finally:
                    os._exit(code)
            running[pid] = (numbers, skip, place)
        pid, status, usage = os.wait4(-1, 0)
        numbers, skip, place = running.pop(pid)
        free.append(place)
        peak = max(peak, usage.ru_maxrss)
        if status == 0:
            total.update(json.loads((folder / f"{place}.json").read_text()))
        else:
            number, stage = struct.unpack_from("q?", spot, 16 * place)
            end = (
                signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status >> 8}"
            )
            word = "HANG" if end == "SIGALRM" else "DEATH"
            part = "the child's part" if stage else "the PARENT's"
            total[f"any|{word} {end} in {part}"] += 1
            total[f"example|{word} {end} in {part}|{number}"] += 1
            waiting.append((numbers, skip | {number}))
        now = time.monotonic()
        if now > shown + 60 or not (waiting or running):
            shown = now
            _report(total, now - start, peak, options)


def _report(total: Counter, seconds: float, peak: int, options) -> None:
    inputs, sums, silent, outcomes = Counter(), Counter(), Counter(), Counter()
    for key, count in total.items():
        kind, outcome = key.split("|")[:2]
        if kind == "example":
            continue
        outcomes[outcome] += count
        inputs["sums" if kind.endswith("+sums") else "none"] += count
        silent["sums" if kind.endswith("+sums") else "none"] += count * (outcome == "silent change")
        sums[kind] += count * (outcome == "silent change")
    done = sum(outcomes.values())
    print(f"\n{done} inputs (seed {options.seed}, from {options.first}) in {seconds:.0f} s: "
          f"{done / seconds:.0f}/s with {options.workers} workers; peak RSS {peak / 1024:.0f} MiB")  # fmt: skip
    for outcome, count in outcomes.most_common():
        examples = [k.split("|")[2] for k in total if k.startswith(f"example|{outcome}|")][:5]
        print(f"  {count:9d}  {outcome}" + (f"   inputs {', '.join(examples)}" if examples else ""))
    for name, label in (("none", "without checksums"), ("sums", "with checksums")):
        print(f"  silent changes {label}: {silent[name]} of {inputs[name]}")
    print(
        "  by kind: " + ", ".join(f"{kind} {count}" for kind, count in sums.most_common() if count),
        flush=True,
    )


def _read_whole() -> dict[str, int]:
    """Return the pixels' checksum of every whole file."""
    pixels = {}
    with tempfile.TemporaryDirectory() as folder, unguarded():
        for kind, content in FILES.items():
            path = Path(folder) / ("t.fits.gz" if kind == "zipped" else "t.fits")
            path.write_bytes(content)
            pixels[kind] = read_everything(str(path))
    return pixels


warnings.simplefilter("ignore")
logging.getLogger("astropy").setLevel(logging.ERROR)
FILES = whole_files()
PIXELS = _read_whole()

if __name__ == "__main__":
    main()
