import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from lenspipe.catalog.candidates import merge_detections, rank_candidates
from lenspipe.core.schema import Flag

ARCSEC = 1 / 3600


def detections(*rows):
    names = ["object_id", "tile", "ra", "dec", "edge_distance", "snr_g", "snr_i", "flags"]
    return Table(rows=list(rows), names=names, dtype=["U8", "U8", "f8", "f8", "f8", "f4", "f4", "i4"])


def kept(table):
    return sorted(table["object_id"][(table["flags"] & Flag.DUPLICATE) == 0])


def test_farthest_from_the_edge_wins_then_snr_then_names():
    edge = detections(("a", "A", 10, 0, 5, 99, 9, 1), ("b", "B", 10, 0.5 * ARCSEC, 50, 1, 1, 2))
    merged = merge_detections(edge, 1.0)
    assert list(merged["flags"]) == [1 | Flag.DUPLICATE, 2]
    assert list(edge["flags"]) == [1, 2]
    assert merged["flags"].dtype == np.int32
    snr = detections(("a", "A", 10, 0, np.nan, 3, 7, 0), ("b", "B", 10, 0, np.nan, 9, np.nan, 0))
    assert kept(merge_detections(snr, 1.0)) == ["b"]
    snr.remove_columns(["edge_distance", "snr_g", "snr_i"])
    assert kept(merge_detections(snr, 1.0)) == ["a"]


def test_only_other_tiles_within_the_radius_merge():
    table = detections(
        ("a", "A", 10, 0, 1, 1, 1, 0),
        ("b", "A", 10, 0.2 * ARCSEC, 1, 1, 1, 0),  # one tile: two objects
        ("c", "C", 50, 0, 1, 1, 1, 0),
        ("d", "D", 50, 1.2 * ARCSEC, 1, 1, 1, 0),  # too far
        ("e", "E", np.nan, np.nan, 1, 1, 1, 0),
        ("f", "F", np.nan, np.nan, 1, 1, 1, 0),  # nowhere
    )
    assert kept(merge_detections(table, 1.0)) == list("abcdef")


def test_groups_hold_across_the_meridian_the_pole_and_chains():
    table = detections(
        ("a", "A", 359.99999, 0, 1, 1, 1, 0),
        ("b", "B", 0.00001, 0, 2, 1, 1, 0),
        ("c", "A", 0, 90 - 0.1 * ARCSEC, 2, 1, 1, 0),
        ("d", "B", 180, 90 - 0.1 * ARCSEC, 1, 1, 1, 0),
        ("e", "A", 20, 0, 1, 1, 1, 0),
        ("f", "B", 20, 0.8 * ARCSEC, 1, 1, 1, 0),
        ("g", "C", 20, 1.6 * ARCSEC, 9, 1, 1, 0),
    )
    assert kept(merge_detections(table, 1.0)) == ["b", "c", "g"]


@pytest.mark.parametrize("n_rows", [0, 1])
def test_few_rows(n_rows):
    table = detections(("a", "A", 10, 0, 1, 1, 1, int(Flag.DUPLICATE)))[:n_rows]
    assert list(merge_detections(table, 1.0)["flags"]) == [0] * n_rows


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.integers(0, 6), st.integers(0, 2), st.integers(0, 1)), max_size=9
    ),
    st.randoms(use_true_random=False),
)
def test_row_order_does_not_matter_and_each_object_is_kept_once(cells, random):
    rows = [
        (f"{i}", tile, 10 + step * 0.6 * ARCSEC, 0.0, edge, snr, 1, 0)
        for i, (tile, step, edge, snr) in enumerate(cells)
    ]
    shuffled = random.sample(rows, len(rows))
    if not rows:
        return
    first = merge_detections(detections(*rows), 1.0)
    assert kept(first) == kept(merge_detections(detections(*shuffled), 1.0))
    assert kept(first) == kept(merge_detections(first, 1.0))
    # an independent count of the groups: union by hand, O(n^2)
    group = list(range(len(rows)))
    for _ in rows:
        for i, a in enumerate(rows):
            for j, b in enumerate(rows):
                if a[1] != b[1] and abs(a[2] - b[2]) < 0.9 * ARCSEC:
                    group[i] = group[j] = min(group[i], group[j])
    assert len(kept(first)) == len(set(group))


def scored():
    return Table(
        {
            "object_id": ["a", "b", "c", "d", "e", "f"],
            "tile": ["T", "T", "S", "T", "T", "T"],
            "ra": [52.73721, 52.73721, 10, 11, np.nan, 13],
            "dec": [-52.4703, -52.4703, 0, 0, np.nan, 0],
            "score": np.array([0.9, 0.8, 0.9, np.nan, 0.95, 0.99], "f4"),
            "flags": np.array([0, 0, 0, 0, Flag.NO_WCS, Flag.DUPLICATE], "i4"),
        }
    )


def test_ranking():
    ranked = rank_candidates(scored(), 0.5, 0, "LP")
    assert list(ranked["object_id"]) == ["e", "c", "a", "b"]
    assert list(ranked["name"]) == [
        "",
        "LP J004000.00+000000.0",
        "LP J033056.93-522813.0",
        "LP J033056.93-522813.0a",
    ]
    assert list(rank_candidates(scored()[::-1], 0.5, 2, "LP")["object_id"]) == ["e", "c"]
    assert list(rank_candidates(scored(), 0.9, 0, "LP")["object_id"]) == ["e"]  # float32(0.9) < 0.9


def test_no_candidate_is_a_table_too():
    ranked = rank_candidates(scored(), 1.0, 0, "LP")
    assert len(ranked) == 0
    assert "name" in ranked.colnames
