from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.catalog.accounts import TileAccount, account_tile, balance_tiles, check_rejects
from lenspipe.core.errors import Rejected
from lenspipe.core.types import Done, Quarantined

counts = st.integers(0, 5000)


def row(reason, name=""):
    return Quarantined("t.fits", reason, unit="T1", object=name)


def test_an_account_is_what_the_units_handed_back():
    rows = (row("edge", "a"), row("edge", "b"), row("bad_pixels:r", "c"))
    ingested = Done((), {"found": 10, "objects": 5, "not_selected": 2}, rows)
    account = account_tile("T1", ingested, Done((), {"scored": 5}))
    assert account == TileAccount("T1", 10, 5, 2, {"edge": 2, "bad_pixels:r": 1}, "", 5)
    balance = balance_tiles([account])
    assert balance.lines == (
        "T1: 10 found = 5 scored + 3 quarantined (1 bad_pixels:r, 2 edge) + 2 not selected",
    )
    assert not balance.faults
    refused = account_tile("T2", Done((), {"objects": 0}, (row("missing_band:g"),)), Done((), {"scored": 0}))
    balance = balance_tiles([refused, account])
    assert balance.lines[1] == "T2: refused (missing_band:g)"
    assert balance.total == (
        "1 tile(s): 10 found = 5 scored + 3 quarantined (1 bad_pixels:r, 2 edge) + 2 not selected; "
        "1 tile(s) refused (1 missing_band:g)"
    )
    assert not balance.faults


@given(st.lists(st.tuples(counts, counts, counts, counts, st.booleans()), max_size=5))
def test_what_adds_up_is_no_fault_and_whatever_is_changed_is(numbers):
    accounts = []
    for k, (stored, cut, edge, bad, scored) in enumerate(numbers):
        lost = {"edge": edge, "all_nan:g": bad}
        found = stored + cut + edge + bad
        accounts.append(TileAccount(f"T{k}", found, stored, cut, lost, scored=stored if scored else None))
    assert not balance_tiles(accounts).faults
    for k, account in enumerate(accounts):
        for name in ("found", "stored", "not_selected", "scored"):
            if getattr(account, name) is None:
                continue
            wrong = TileAccount(**{**vars(account), name: getattr(account, name) + 1})
            assert list(balance_tiles([*accounts[:k], wrong, *accounts[k + 1 :]]).faults) == [f"T{k}"]


def test_faults_say_what_does_not_add_up():
    lost = TileAccount("A", 10, 8, 0, {"edge": 1})
    unscored = TileAccount("B", 9, 8, 0, {"edge": 1}, scored=7)
    revived = TileAccount("C", refused="all_nan:g", scored=3)
    heavy = TileAccount("D", refused="too_many_rejects", scored=0)
    balance = balance_tiles([heavy, revived, unscored, lost])
    assert balance.faults == {
        "A": "found 10 objects, but stored 8, quarantined 1 and cut away 0",
        "B": "stored 8 objects, but scored 7",
        "C": "refused (all_nan:g), but has 3 stamps or scores",
        "D": "lost too many of its objects",
    }
    assert balance.total.startswith("2 tile(s): 19 found = 16 stored + 2 quarantined (2 edge)")
    assert balance_tiles([]).total == "0 tile(s): 0 found = 0 scored + 0 quarantined"


def test_a_tile_that_loses_too_many_objects_is_refused_its_edge_apart():
    check_rejects(200, {"edge": 100, "bad_pixels:r": 5}, 0.05)
    check_rejects(4, {"bad_pixels:r": 4}, 0.05)  # so few say nothing
    check_rejects(0, {}, 0.05)
    check_rejects(10, {"bad_pixels:r": 10}, 1.0)
    with pytest.raises(
        Rejected, match=r"6 of 100 objects .* \(2 all_nan:g, 4 bad_pixels:r\), more than 5 %"
    ) as fault:
        check_rejects(200, {"edge": 100, "bad_pixels:r": 4, "all_nan:g": 2}, 0.05)
    assert fault.value.reason == "too_many_rejects"
