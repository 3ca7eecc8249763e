from __future__ import annotations

import pytest

from lenspipe.config import config_from
from lenspipe.core.types import Done, Quarantined
from lenspipe.io.store import Store
from lenspipe.pipeline.books import balance_run


def lost(name, reason="bad_pixels:g"):
    return Quarantined("t.fits", reason, object=name)


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    store.write_done("ingest", "a", "k", Done((), {"found": 5, "objects": 4}, (lost("x"),)))
    store.write_done("ingest", "b", "k", Done((), {"found": 2, "objects": 2}))
    store.write_done("find", "a", "k", Done((), {"scored": 4}))
    store.write_done("find", "b", "k", Done((), {"scored": 2}))
    return store


def test_the_books_of_a_run_balance(store):
    balance = balance_run(config_from({}, "test"), store, ["ingest", "find"])
    assert not balance.faults
    assert balance.lines[0].startswith("a: 5 found = 4 scored + 1 quarantined")
    assert "7 found = 6 scored + 1 quarantined" in balance.total


def test_an_object_that_disappears_is_a_fault_of_its_tile(store):
    store.write_done("find", "b", "k", Done((), {"scored": 1}))
    assert list(balance_run(config_from({}, "test"), store, ["ingest", "find"]).faults) == ["b"]
    # scores of another time are not looked at
    assert not balance_run(config_from({}, "test"), store, ["ingest"]).faults
    store.write_done("ingest", "b", "k", Done((), {"found": 3, "objects": 2}))
    assert (
        "found 3 objects, but stored 2" in balance_run(config_from({}, "test"), store, ["ingest"]).faults["b"]
    )


def test_a_tile_is_shown_by_its_own_name(tmp_path):
    store, name = Store(tmp_path), "COSMOS field 2/north"
    store.write_done("ingest", name, "k", Done((), {"found": 5, "objects": 5}))
    store.write_done("find", name, "k", Done((), {"scored": 4}))
    balance = balance_run(config_from({}, "test"), store, ["ingest", "find"])
    assert balance.lines == (f"{name}: 5 found = 4 scored + 0 quarantined",)
    assert list(balance.faults) == [name]


def test_stamps_that_are_not_kept_are_in_the_books_of_find(tmp_path):
    config, store = config_from({"ingest": {"keep": False}}, "test"), Store(tmp_path)
    assert balance_run(config, store, ["find"]) is None
    assert balance_run(config, store, ["ingest"]) is None
    store.write_done("find", "a", "k", Done((), {"found": 3, "objects": 2, "scored": 2}, (lost("x"),)))
    store.write_done(
        "find", "b", "k", Done((), {"found": 0, "objects": 0}, (Quarantined("b.fits", "empty_file"),))
    )
    balance = balance_run(config, store, ["find"])
    assert not balance.faults
    assert "1 tile(s) refused (1 empty_file)" in balance.total
