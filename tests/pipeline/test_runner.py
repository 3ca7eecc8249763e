"""The runner over toy stages: what is done once, what again, what fails and what is said of it."""

from __future__ import annotations

import dataclasses
import json

import pytest
from astropy.table import Table
from rich.console import Console

from lenspipe.config import load_config
from lenspipe.core.errors import ConfigError, InputError, UserError
from lenspipe.core.types import Done, Quarantined, Stage, Unit
from lenspipe.io.files import write_text
from lenspipe.io.store import Store
from lenspipe.pipeline import runner
from lenspipe.pipeline.executor import Serial
from lenspipe.pipeline.journal import Journal


class Calls(list):
    """Names of the units worked on, and what should happen to some of them."""

    def __init__(self):
        super().__init__()
        self.raises: dict[str, list[BaseException]] = {}


@pytest.fixture
def calls(monkeypatch):
    log = Calls()

    def plan_ingest(config, store):
        return [Unit(image, settings={"size": config.ingest.size}) for image in config.ingest.images]

    def work_ingest(unit, config, store):
        log.append(f"ingest/{unit.name}")
        if log.raises.get(unit.name):
            raise log.raises[unit.name].pop(0)
        path = store.path("ingest", unit.name)
        write_text(path, f"{unit.name} {config.ingest.size}")
        rejected = (Quarantined(unit.name, "edge", unit=unit.name),) if unit.name.startswith("bad") else ()
        return Done((path,), {"objects": 2}, rejected)

    def gather_ingest(config, store):
        log.append("ingest/gather")
        path = store.path("ingest", "all.txt")
        write_text(path, "\n".join(sorted(p.read_text() for p in store.folder("ingest").glob("t*"))))
        return Done((path,))

    def plan_find(config, store):
        return [
            Unit(
                "find",
                inputs=(str(store.path("ingest", "all.txt")),),
                settings={"mc": config.find.mc_samples},
            )
        ]

    def work_find(unit, config, store):
        log.append("find/find")
        path = store.path("find", "out.txt")
        write_text(path, store.path("ingest", "all.txt").read_text() + f" {config.find.mc_samples}")
        return Done((path,), {"scored": 800, "found": 1})

    stages = [
        Stage("ingest", (), ("ingest",), plan_ingest, work_ingest, gather_ingest, counts="objects"),
        Stage(
            "find",
            ("ingest",),
            ("find",),
            plan_find,
            work_find,
            counts="scored",
            rates={"yield": ("found", "scored")},
        ),
    ]
    monkeypatch.setattr(runner, "STAGES", {stage.name: stage for stage in stages})
    return log


def go(folder, *overrides, executor=None, stages=(), force=False, images=("t1", "t2", "t3")):
    config = load_config(None, [f"ingest.images={json.dumps(list(images))}", *overrides])
    store = Store(folder)
    store.root.mkdir(exist_ok=True)
    with (store.root / "screen.txt").open("a") as screen:
        journal = Journal(store.root / "log.jsonl", Console(file=screen, width=200))
        return runner.run(config, store, executor or Serial(), journal, stages, force)


def record(folder):
    return json.loads((folder / "run.json").read_text())


def test_the_second_run_does_nothing_and_says_so(tmp_path, calls):
    assert go(tmp_path) == 0
    assert calls == ["ingest/t1", "ingest/t2", "ingest/t3", "ingest/gather", "find/find"]
    calls.clear()
    assert go(tmp_path) == 0
    assert calls == []
    found = record(tmp_path)
    assert found["status"] == "done"
    assert [(s["name"], s["units"], s["cached"]) for s in found["stages"]] == [
        ("ingest", 3, 3),
        ("find", 1, 1),
    ]
    assert found["stages"][0]["counts"] == {"objects": 6}
    assert found["stages"][1]["counts"]["yield_percent"] == 0.125
    assert "800 scored, 1 found, yield 0.125 %" in (tmp_path / "screen.txt").read_text()
    assert (tmp_path / "config.toml").exists()
    assert "(3 done before)" in (tmp_path / "screen.txt").read_text()
    events = [json.loads(line)["event"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert events.count("run_ended") == 2


def test_a_changed_setting_redoes_what_it_touches_and_no_more(tmp_path, calls):
    go(tmp_path)
    calls.clear()
    go(tmp_path, "find.mc_samples=7")
    assert calls == ["find/find"]
    calls.clear()
    go(tmp_path, "find.mc_samples=7", "ingest.size=48")
    assert calls == ["ingest/t1", "ingest/t2", "ingest/t3", "ingest/gather", "find/find"]


def test_new_and_removed_inputs(tmp_path, calls):
    go(tmp_path)
    calls.clear()
    go(tmp_path, images=("t1", "t2", "t3", "t4"))
    assert calls == ["ingest/t4", "ingest/gather", "find/find"]
    go(tmp_path, images=("t1",))
    assert (tmp_path / "ingest/all.txt").read_text() == "t1 0"
    assert not (tmp_path / "ingest/t2").exists()


def test_results_do_not_depend_on_the_order(tmp_path, calls):
    go(tmp_path / "a")
    go(tmp_path / "b", executor=Serial(lambda jobs: jobs[::-1]))
    assert (tmp_path / "a/find/out.txt").read_bytes() == (tmp_path / "b/find/out.txt").read_bytes()
    assert record(tmp_path / "a")["run_id"] == record(tmp_path / "b")["run_id"]


def test_a_unit_that_fails_once_is_tried_again(tmp_path, calls):
    calls.raises["t2"] = [OSError("flaky disk")]
    assert go(tmp_path) == 0
    assert calls.count("ingest/t2") == 2


def test_a_unit_that_fails_for_good_is_named_and_what_needs_it_waits(tmp_path, calls):
    calls.raises["t2"] = [ValueError("odd"), ValueError("odd")]
    assert go(tmp_path) == 3
    found = record(tmp_path)
    assert found["status"] == "partial"
    assert found["failed_units"] == [{"stage": "ingest", "unit": "t2", "error": "ValueError: odd"}]
    assert (tmp_path / "ingest/t3").exists()  # the rest was done
    assert "ingest/gather" not in calls  # but half of a whole is none
    assert not (tmp_path / "find/out.txt").exists()
    rows = Table.read(tmp_path / "quarantine.ecsv")
    assert list(rows["reason"]) == ["unit_failed"]
    screen = (tmp_path / "screen.txt").read_text()
    assert "ingest/t2 failed: ValueError: odd" in screen
    assert "find      not run: it needs what failed before (ingest)" in screen
    assert "Traceback" in (tmp_path / "log.jsonl").read_text()
    assert "Traceback" not in screen
    calls.clear()
    assert go(tmp_path) == 0  # what was finished is kept, what failed is done
    assert calls == ["ingest/t2", "ingest/gather", "find/find"]


def test_without_a_whole_to_make_the_rest_goes_on(tmp_path, calls, monkeypatch):
    alone = {name: dataclasses.replace(stage, gather=None) for name, stage in runner.STAGES.items()}
    alone["find"] = dataclasses.replace(alone["find"], plan=lambda *_: [])
    monkeypatch.setattr(runner, "STAGES", alone)
    calls.raises["t2"] = [ValueError("odd"), ValueError("odd")]
    assert go(tmp_path) == 3
    assert "not run" not in (tmp_path / "screen.txt").read_text()


def test_a_unit_done_again_leaves_nothing_of_before(tmp_path, calls):
    go(tmp_path)
    calls.raises["t2"] = [ValueError("odd"), ValueError("odd")]
    assert go(tmp_path, "ingest.size=48") == 3
    assert not (tmp_path / "ingest/t2").exists()


def test_objects_in_and_out_are_counted(tmp_path, calls):
    go(tmp_path)
    counts = [(stage["objects_in"], stage["objects_out"]) for stage in record(tmp_path)["stages"]]
    assert counts == [(None, 6), (6, 800)]


def test_quarantined_inputs_are_in_the_table_and_do_not_fail_the_run(tmp_path, calls):
    assert go(tmp_path, images=("t1", "bad1")) == 0
    rows = Table.read(tmp_path / "quarantine.ecsv")
    assert list(rows["path"]) == ["bad1"]
    assert record(tmp_path)["quarantined"] == 1
    go(tmp_path, images=("t1", "bad1"))  # also when nothing is done anew
    assert len(Table.read(tmp_path / "quarantine.ecsv")) == 1


def test_the_user_s_mistake_inside_a_unit_ends_the_run(tmp_path, calls):
    calls.raises["t2"] = [InputError("no column ra")]
    with pytest.raises(UserError, match="no column ra"):
        go(tmp_path)
    assert record(tmp_path)["error"] == "no column ra"
    assert record(tmp_path)["status"] == "failed"


def test_an_interrupted_run_is_resumable(tmp_path, calls):
    calls.raises["t2"] = [KeyboardInterrupt()]
    assert go(tmp_path) == 130
    assert record(tmp_path)["status"] == "interrupted"
    calls.clear()
    assert go(tmp_path) == 0
    assert calls == ["ingest/t2", "ingest/t3", "ingest/gather", "find/find"]


def test_other_code_is_refused_unless_forced(tmp_path, calls, monkeypatch):
    go(tmp_path)
    monkeypatch.setattr(runner, "code_version", lambda: "9.9.9+00000000")
    with pytest.raises(UserError, match=r"was made by lenspipe .*, this is 9\.9\.9"):
        go(tmp_path)
    calls.clear()
    assert go(tmp_path, force=True) == 0
    assert len(calls) == 5


def test_stages_by_name(tmp_path, calls):
    assert go(tmp_path, stages=("ingest",)) == 0
    assert not any(call.startswith("find") for call in calls)
    with pytest.raises(ConfigError, match="unknown stage 'ingset'; stages are ingest, find"):
        go(tmp_path, stages=("ingset",))


def test_plan_counts_what_is_missing_and_writes_nothing(tmp_path, calls):
    config = load_config(None, ['ingest.images=["t1","t2"]'])
    store = Store(tmp_path / "run")
    before = runner.plan(config, store)
    assert [(f.stage, f.units, f.done) for f in before] == [("ingest", 2, 0), ("find", 1, 0)]
    assert calls == []
    assert not (tmp_path / "run").exists()
    go(tmp_path / "run", images=("t1", "t2"))
    assert [(f.units, f.done) for f in runner.plan(config, store)] == [(2, 2), (1, 1)]
