from __future__ import annotations

import multiprocessing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lenspipe.core.errors import InputError, RunLocked
from lenspipe.core.types import Done, Quarantined, Unit
from lenspipe.io.store import Store, safe_name


def finish(store: Store, unit: Unit, text="result") -> Done:
    path = store.path("find", f"{unit.name}.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    done = Done((path,), {"objects": 3}, (Quarantined("a.fits", "edge", unit=unit.name),))
    store.write_done("find", unit.name, store.key("find", unit), done)
    return done


def test_a_marker_holds_while_settings_inputs_and_outputs_do(tmp_path):
    source = tmp_path / "tile.fits"
    source.write_text("pixels")
    store = Store(tmp_path / "run")
    unit = Unit("t1", {"n": 1}, (str(source),), {"threshold": 0.5})
    done = finish(store, unit)
    key = store.key("find", unit)
    assert store.read_done("find", "t1", key) == done
    for other in (
        Unit("t1", {"n": 2}, (str(source),), {"threshold": 0.5}),
        Unit("t1", {"n": 1}, (str(source),), {"threshold": 0.6}),
        Unit("t1", {"n": 1}, (), {"threshold": 0.5}),
    ):
        assert store.read_done("find", "t1", store.key("find", other)) is None
    source.write_text("other pixels")
    assert store.key("find", unit) != key
    done.outputs[0].unlink()
    assert store.read_done("find", "t1", key) is None


def test_inputs_of_the_run_are_told_by_content(tmp_path):
    store = Store(tmp_path)
    path = store.path("ingest", "a.bin")
    path.parent.mkdir()
    path.write_text("same")
    unit = Unit("t", inputs=(str(path),))
    key = store.key("find", unit)
    path.unlink()
    assert store.key("find", unit) != key
    path.write_text("same")  # made again: another time, the same content
    assert store.key("find", unit) == key


def test_a_torn_marker_counts_as_none(tmp_path):
    store = Store(tmp_path)
    unit = Unit("t")
    finish(store, unit)
    store.marker("find", "t").write_text('{"key": "')
    assert store.read_done("find", "t", store.key("find", unit)) is None


def test_units_no_longer_planned_are_forgotten_with_their_outputs_if_they_are_disposable(tmp_path):
    store = Store(tmp_path)
    kept, gone = (finish(store, Unit(name)) for name in ("kept", "gone"))
    store.forget("find", {"kept"}, outputs=True)
    assert kept.outputs[0].exists()
    assert not gone.outputs[0].exists()
    assert [name for name, _ in store.finished("find")] == ["kept"]
    store.forget("find", set(), outputs=False)
    assert kept.outputs[0].exists()  # hours of training are not removed because a plan changed
    assert store.finished("find") == []
    odd = finish(store, Unit("field 2/north"))  # its files have another name than it has
    assert [name for name, _ in store.finished("find")] == ["field 2/north"]
    store.forget("find", {"field 2/north"}, outputs=True)
    assert odd.outputs[0].exists()
    store.forget("find", {"field_2_north"}, outputs=True)
    assert not odd.outputs[0].exists()
    assert store.stages() == ["find"]


def test_a_torn_record_counts_as_none(tmp_path):
    store = Store(tmp_path)
    assert store.read_record() == {}
    (tmp_path / "run.json").write_text('{"status": "do')
    assert store.read_record() == {}
    (tmp_path / "run.json").write_text('{"status": "done"}')
    assert store.read_record() == {"status": "done"}


def test_asking_for_paths_makes_nothing(tmp_path):
    Store(tmp_path / "run").path("ingest", "a/b.h5")
    assert not (tmp_path / "run").exists()


def _try_lock(root, answer):
    try:
        with Store(root).locked():
            answer.put("locked")
    except RunLocked as error:
        answer.put(str(error))


def _hold_and_die(root, ready):
    lock = Store(root).locked()
    lock.__enter__()
    ready.put("held")
    import os
    import time

    time.sleep(60)
    os._exit(0)


def test_one_run_at_a_time_and_a_dead_holder_holds_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    with Store(tmp_path).locked():
        process = context.Process(target=_try_lock, args=(tmp_path, answer))
        process.start()
        message = answer.get(timeout=60)
        process.join()
    assert "is in use by process" in message
    holder = context.Process(target=_hold_and_die, args=(tmp_path, answer))
    holder.start()
    assert answer.get(timeout=60) == "held"
    with pytest.raises(RunLocked, match=f"process {holder.pid}"), Store(tmp_path).locked():
        pass
    holder.kill()
    holder.join()
    with Store(tmp_path).locked():
        pass


def test_a_run_directory_that_cannot_be_made_is_the_user_s_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="cannot write to the run directory"),
        Store(tmp_path / "file" / "run").locked(),
    ):
        pass


_ANY = st.characters()  # surrogates too: names of files need not be UTF-8


@given(st.lists(st.text(_ANY, min_size=1, max_size=300), min_size=2, max_size=8, unique=True))
def test_file_names_are_safe_and_unique(names):
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    for name in safe:
        assert len(name.encode()) <= 160
        assert "/" not in name
        assert not name.startswith(".")
