import numpy as np
import pytest
from astropy.table import Table

from lenspipe.catalog.candidates import describe_purity, expect_purity, rank_candidates
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


def test_a_list_promises_the_sum_of_its_probabilities():
    table = Table({"p_lens": [0.9, 0.1, 0.2]})
    got = expect_purity(table, area=0.5)
    assert got["expected_purity"] == pytest.approx(0.4)
    assert got["expected_lenses"] == pytest.approx(1.2)
    assert got["false_positives_per_deg2"] == pytest.approx(3.6)
    words = describe_purity(got, 3, 5e-4)
    assert (
        "expected purity of the 3 candidates: 0.4, that is 1.2 lenses, if one object in 2,000 is one" in words
    )
    assert "3.6 false positives per deg^2 in 0.5 deg^2" in words


def test_without_an_area_or_candidates_nothing_is_promised_of_them():
    got = expect_purity(Table({"p_lens": [0.9, 0.1]}))
    assert set(got) == {"expected_purity", "expected_lenses"}
    assert "deg^2" not in describe_purity(got, 2, 0.001)
    assert expect_purity(Table({"p_lens": np.zeros(0)}), 1.0) == {}


def test_probabilities_at_the_prior_promise_the_purity_that_comes_true():
    """Candidates of known odds: the list's purity is what it said."""
    rng = np.random.default_rng(0)
    p = rng.beta(0.3, 3.0, 50_000)
    lens = rng.uniform(size=len(p)) < p
    best = p > 0.3
    assert expect_purity(Table({"p_lens": p[best]}))["expected_purity"] == pytest.approx(
        lens[best].mean(), abs=0.02
    )
