"""Whatever is in a file, the reader says one of two things: pixels, or `Rejected`.

The same damage as `benchmarks.fuzz` does to a million inputs by hand; here for LENSPIPE_FUZZ_SECONDS (60).
"""

from __future__ import annotations

import os
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.damage import FAULTS, damage, file_suffix
from benchmarks.fuzz import FILES, PIXELS, read_everything
from lenspipe.core.errors import Rejected

SECONDS = float(os.environ.get("LENSPIPE_FUZZ_SECONDS", "60"))
KINDS = sorted(FILES)
LONGEST = max(map(len, FILES.values()))


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Write a file's content, read it as a run does, and return what became of it."""
    folder = tmp_path_factory.mktemp("fuzz")

    def write_and_read(kind: str, content: bytes) -> str:
        path = folder / f"t{file_suffix(kind)}"
        path.write_bytes(content)
        try:
            return "read" if read_everything(str(path)) == PIXELS[kind] else "changed"
        except Rejected as fault:  # nothing else is caught
            assert fault.reason
            assert fault.path == str(path)
            return fault.reason

    return write_and_read


@pytest.mark.parametrize("kind", KINDS)
def test_whole_files_are_read(read, kind):
    assert read(kind, FILES[kind]) == "read"


@settings(max_examples=150)
@given(
    kind=st.sampled_from(KINDS),
    places=st.lists(
        st.tuples(st.integers(0, LONGEST), st.binary(min_size=1, max_size=8)), min_size=1, max_size=3
    ),
)
def test_bytes_anywhere(read, kind, places):
    content = bytearray(FILES[kind])
    for place, some in places:
        start = place % len(content)
        content[start : start + len(some)] = some
    read(kind, bytes(content))


@settings(max_examples=30)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32))
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_one_fault(read, fault, kind, seed):
    content = bytearray(FILES[kind])
    fault(content, np.random.default_rng(seed))
    read(kind, bytes(content))


@pytest.mark.slow
@pytest.mark.timeout(120 + 2 * SECONDS)
def test_several_faults_for_a_while(read):
    end, counts = time.monotonic() + SECONDS, Counter()
    while time.monotonic() < end:
        rng = np.random.default_rng((8, counts.total()))
        kind = KINDS[rng.integers(len(KINDS))]
        start = time.monotonic()
        counts[read(kind, damage(FILES[kind], rng)).split(":")[0]] += 1
        assert time.monotonic() < start + 60, "a hang"
    print(counts)
    assert {"read", "bad_header", "checksum", "fits_truncated", "unreadable"} <= set(counts)
