from __future__ import annotations

import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.core.names import iau_name, tell_apart, unique_names


def test_name_of_a_published_lens():
    # DESJ0330-5228: the file of the real cutout carries 033056.9318-522813.0188
    assert iau_name(52.737216, -52.470283, "DES") == "DES J033056.93-522813.0"


@pytest.mark.parametrize(
    ("ra", "dec", "expected"),
    [
        (359.99999999, 0.0, "LP J235959.99+000000.0"),  # rounding would give 24:00:00
        (0.0, -0.0000001, "LP J000000.00-000000.0"),
        (15.0, 90.0, "LP J010000.00+900000.0"),
        (29.99999, 59.99999, "LP J015959.99+595959.9"),
        (360.0, -90.0, "LP J000000.00-900000.0"),
    ],
)
def test_truncates_and_never_shows_sixty(ra, dec, expected):
    assert iau_name(ra, dec) == expected


@given(st.floats(0, 360, exclude_max=True), st.floats(-90, 90))
def test_name_is_the_corner_of_the_cell_that_holds_the_object(ra, dec):
    name = iau_name(ra, dec).removeprefix("LP J")
    sign = max(name.find("+"), name.find("-"))
    h, m, s = name[:2], name[2:4], name[4:sign]
    d, am, asec = name[sign : sign + 3], name[sign + 3 : sign + 5], name[sign + 5 :]
    corner = SkyCoord(f"{h}h{m}m{s}s", f"{d}d{am}m{asec}s")
    assert -1e-6 <= (ra - corner.ra.deg) * 240 < 0.01 + 1e-6  # seconds of time
    assert -1e-5 <= (abs(dec) - abs(corner.dec.deg)) * 3600 < 0.1 + 1e-5


def test_no_position_no_name_and_bad_declination():
    assert iau_name(float("nan"), 1.0) == ""
    with pytest.raises(ValueError, match="dec must lie"):
        iau_name(1.0, 91.0)


def test_colliding_names_get_letters():
    assert unique_names(["A", "B", "A", "A", "", ""]) == ["A", "B", "Aa", "Ab", "", ""]
    assert len(set(unique_names(["A"] * 1000))) == 1000


@given(st.lists(st.sampled_from(["a", "a ", "b", "", "a#0", "a#1", "#2", "a#0#"]), max_size=8))
def test_names_told_apart_all_differ_and_those_that_do_are_kept(names):
    out = tell_apart(names)
    assert len(set(out)) == len(names)
    assert all(out)
    plain = [name.strip() for name in names]
    assert all(new == old for new, old in zip(out, plain, strict=True) if old and plain.count(old) == 1)
    assert tell_apart(["a", "b", "a", ""]) == ["a#0", "b", "a#2", "#3"]
