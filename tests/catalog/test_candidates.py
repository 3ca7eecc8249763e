import numpy as np
from astropy.table import Table

from lenspipe.catalog.candidates import rank_candidates
from lenspipe.core.schema import Flag


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
