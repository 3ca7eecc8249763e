"""The runner: plans the stages, does what is missing, keeps the run's record.

`run` may be called again and again on the same directory: units whose done-marker still holds are
not done twice, units whose settings, inputs or code changed are, and nothing else.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lenspipe.config import Config, config_from, to_toml
from lenspipe.core.errors import ConfigError, UserError
from lenspipe.core.threads import available_cores, prepare_process
from lenspipe.core.types import Done, Stage, Unit
from lenspipe.core.version import code_version
from lenspipe.io.files import sweep_parts, write_json, write_text
from lenspipe.io.store import STATE, Store
from lenspipe.pipeline.books import balance_run
from lenspipe.pipeline.executor import Executor
from lenspipe.pipeline.journal import Journal, chatter_to
from lenspipe.pipeline.record import close_record, count_objects, open_record
from lenspipe.stages import STAGES

#: Exit statuses of the command line (contract).
OK, BUG, USER, PARTIAL, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True)
class Job:
    """One unit for a worker: names and paths only."""

    stage: str
    unit: Unit
    key: str
    root: str
    folders: Mapping[str, str]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a unit ended: what it handed back, or why it failed."""

    done: Done | None = None
    error: str = ""
    detail: str = ""
    users_fault: bool = False


def execute(job: Job) -> Outcome:
    """Do one unit where we are (this process or a worker's) and write its done-marker last."""
    config = config_from(dict(job.config))
    prepare_process(config.run.threads)
    store = Store(job.root, job.folders)
    stage = STAGES[job.stage]
    try:
        with chatter_to(store.root / STATE / "chatter.log"):
            done = stage.work(job.unit, config, store)
    except UserError as error:
        return Outcome(error=str(error), users_fault=True)
    except Exception as error:
        return Outcome(error=f"{type(error).__name__}: {error}", detail=traceback.format_exc())
    store.write_done(job.stage, job.unit.name, job.key, done)
    return Outcome(done)


def select_stages(config: Config, names: Iterable[str] = ()) -> list[Stage]:
    """Return the stages to run, in pipeline order.

    Raises
    ------
    ConfigError
        If a name is not a stage's.
    """
    wanted = tuple(names) or config.run.stages
    for name in wanted:
        if name not in STAGES:
            raise ConfigError(f"unknown stage {name!r}; stages are {', '.join(STAGES)}")
    return [stage for stage in STAGES.values() if not wanted or stage.name in wanted]


def check_plan(config: Config, store: Store, stages: Iterable[str] = ()) -> None:
    """Plan all stages, so that a mistake in the last one's settings is told before anything is made.

    Raises
    ------
    UserError
        The first mistake.
    """
    for stage in select_stages(config, stages):
        stage.plan(config, store)


def run(
    config: Config,
    store: Store,
    executor: Executor,
    journal: Journal,
    stages: Iterable[str] = (),
    force: bool = False,
) -> int:
    """Run a recipe in a run directory and return the exit status.

    Parameters
    ----------
    config : Config
    store : Store
    executor : Executor
    journal : Journal
    stages : iterable of str
        Names of the stages to run; empty = the recipe's.
    force : bool
        Do everything again, also in a directory that other code made.

    Raises
    ------
    UserError
        For the user's mistakes, found before or during the run; the record says so too.
    """
    chosen = select_stages(config, stages)
    with store.locked():
        _refuse_other_code(store, force)
        sweep_parts(store.root)
        record = open_record(config, store)
        write_text(store.root / "config.toml", to_toml(config))
        journal.write("run_started", run_id=record["run_id"], code=code_version())
        signal.signal(signal.SIGTERM, _interrupt)
        status, failures = "failed", []
        try:
            journal.say(
                f"{store.root}: {executor.workers} worker(s) on {available_cores()} core(s); threads of a network: "
                f"{config.run.threads} at prediction (run.threads), {config.train.detector.threads} in training "
                "(train.*.threads)"
            )
            broken: set[str] = set()
            for stage in chosen:
                if broken & set(stage.reads):
                    journal.say(
                        f"{stage.name:<9} not run: it needs what failed before ({', '.join(sorted(broken))})"
                    )
                    broken |= set(stage.writes)
                    continue
                entry, failed = _run_stage(stage, config, store, executor, journal, force)
                if entry:
                    others = [e for e in record["stages"] if e["name"] != stage.name]
                    entry |= count_objects(stage, entry, others, STAGES)
                    record["stages"] = sorted([*others, entry], key=lambda e: list(STAGES).index(e["name"]))
                    failures += failed
                    record["failed_units"] = failures
                    write_json(store.root / "run.json", record)
                # half a training set or ensemble is none, and of nothing comes nothing
                if failed and entry and (stage.gather is not None or not entry["done"]):
                    broken |= set(stage.writes)
            failures += _check_books(
                config, store, journal, record, [stage.name for stage in chosen], failures
            )
            status = "partial" if failures else "done"
        except KeyboardInterrupt:
            status = "interrupted"
        except UserError as error:
            record["error"] = str(error)
            raise
        except BaseException:
            journal.write("bug", traceback=traceback.format_exc())
            raise
        finally:
            journal.close()
            close_record(record, status, failures, store, STAGES)
            journal.write("run_ended", status=status)
    return {"done": OK, "partial": PARTIAL, "interrupted": INTERRUPTED}[status]


def _check_books(
    config: Config, store: Store, journal: Journal, record: dict, stages: list[str], failures: list[dict]
) -> list[dict]:
    """Say what became of the objects of each tile; return the tiles at fault as failures."""
    balance = balance_run(config, store, stages)
    if balance is None:
        return []
    tiles = {failure["unit"] for failure in failures if failure["stage"] in ("ingest", "find")}
    total = balance.total + (f"; {len(tiles)} tile(s) FAILED, not in these books" if tiles else "")
    record["books"] = total
    for line in balance.lines:
        journal.write("books", line=line)
    shown = balance.lines if len(balance.lines) <= _SHOWN_TILES else ()
    for line in (*shown, total):
        journal.say(line)
    failed = {failure["unit"] for failure in failures}  # their books are open, and they are named already
    faults = {tile: fault for tile, fault in balance.faults.items() if tile not in failed}
    for tile, fault in faults.items():
        journal.say(f"{tile}: {fault}: see {store.root / 'quarantine.ecsv'}")
    return [{"stage": "ingest", "unit": tile, "error": fault} for tile, fault in faults.items()]


#: Books of so many tiles are printed; those of more are in log.jsonl.
_SHOWN_TILES = 20


def _interrupt(*_) -> None:
    raise KeyboardInterrupt


def _refuse_other_code(store: Store, force: bool) -> None:
    made_by = store.read_record().get("code")
    if made_by and made_by != code_version() and not force:
        raise UserError(
            f"{store.root} was made by lenspipe {made_by}, this is {code_version()}; "
            "choose another --out, or --force to do everything again with this code"
        )


def _run_stage(
    stage: Stage, config: Config, store: Store, executor: Executor, journal: Journal, force: bool
) -> tuple[dict[str, Any] | None, list[dict]]:
    units = stage.plan(config, store)
    store.forget(stage.name, {unit.name for unit in units}, outputs=stage.disposable)
    if not units:
        return None, []
    started = time.monotonic()
    data = config.model_dump(mode="json")
    done: dict[str, Done] = {}
    jobs: list[Job] = []
    keys = {unit.name: store.key(stage.name, unit) for unit in units}
    for unit in units:
        key = keys[unit.name]
        finished = None if force else store.read_done(stage.name, unit.name, key)
        if finished is None:
            store.discard(stage.name, unit.name, outputs=stage.disposable or force)
            jobs.append(Job(stage.name, unit, key, str(store.root), store.folders, data))
        else:
            done[unit.name] = finished
    cached = len(done)
    journal.start_stage(stage.name, len(units), cached)
    failures = _work_through(stage, jobs, config.run.retries, executor, journal, done)
    counts: dict[str, int] = {}
    results = list(done.values())
    if stage.gather is not None and not failures:
        results.append(
            _gather(stage, config, store, {name: (keys[name], done[name]) for name in sorted(done)}, force)
        )
    for result in results:
        for name, number in result.counts.items():
            counts[name] = counts.get(name, 0) + number
    percent = {
        name: 100.0 * counts[part] / counts[whole]
        for name, (part, whole) in stage.rates.items()
        if counts.get(whole)
    }
    quarantined = sum(len(result.quarantined) for result in results)
    seconds = round(time.monotonic() - started, 2)
    entry = {
        "name": stage.name,
        "units": len(units),
        "done": len(done),
        "cached": cached,
        "failed": len(failures),
        "quarantined": quarantined,
        "seconds": seconds,
        "counts": counts | {f"{name}_percent": value for name, value in percent.items()},
    }
    facts = [f"{len(done)}/{len(units)} units" + (f" ({cached} done before)" if cached else "")]
    facts += [f"{number:,} {name.replace('_', ' ')}" for name, number in counts.items()]
    facts += [f"{name} {value:.3g} %" for name, value in percent.items()]
    facts += [f"{quarantined} quarantined"] if quarantined else []
    facts += [f"{len(failures)} FAILED"] if failures else []
    journal.end_stage(", ".join(facts) + f", {seconds:.1f} s", **entry)
    return entry, failures


def _work_through(
    stage: Stage,
    jobs: list[Job],
    retries: int,
    executor: Executor,
    journal: Journal,
    done: dict[str, Done],
) -> list[dict]:
    """Run the jobs, the failed ones again; fill `done` and return what failed for good."""
    failures: list[dict] = []
    for attempt in range(retries + 1):
        failures, again = [], []
        for job, answer in executor.map(execute, jobs, stage.resources):
            outcome = answer if isinstance(answer, Outcome) else Outcome(error=repr(answer))
            if outcome.users_fault:
                raise UserError(outcome.error)
            if outcome.done is not None:
                done[job.unit.name] = outcome.done
                journal.advance()
                continue
            again.append(job)
            failures.append({"stage": job.stage, "unit": job.unit.name, "error": outcome.error})
            journal.write("unit_failed", attempt=attempt, **failures[-1], traceback=outcome.detail)
            if attempt == retries:
                journal.advance()
        if not again:
            break
        jobs = again
    for failure in failures:
        journal.say(f"{failure['stage']}/{failure['unit']} failed: {failure['error']}")
    return failures


def _gather(
    stage: Stage, config: Config, store: Store, done: dict[str, tuple[str, Done]], force: bool
) -> Done:
    """Join the units' outputs, unless that was done before from the same units and outputs."""
    assert stage.gather is not None
    outputs = tuple(str(path) for _, result in done.values() for path in result.outputs)
    unit = Unit("gather", inputs=outputs, settings={name: key for name, (key, _) in done.items()})
    name = f"{stage.name}.gather"
    key = store.key(name, unit)
    finished = None if force else store.read_done(name, unit.name, key)
    if finished is None:
        with chatter_to(store.root / STATE / "chatter.log"):
            finished = stage.gather(config, store)
        store.write_done(name, unit.name, key, finished)
    return replace(finished, quarantined=())


@dataclass(frozen=True)
class Forecast:
    """What a stage would do: units in all and units already done."""

    stage: str
    units: int
    done: int


def plan(config: Config, store: Store, stages: Iterable[str] = ()) -> list[Forecast]:
    """Return what `run` would do, stage by stage; nothing is run or written."""
    forecasts = []
    for stage in select_stages(config, stages):
        units = stage.plan(config, store)
        ready = [store.read_done(stage.name, unit.name, store.key(stage.name, unit)) for unit in units]
        forecasts.append(Forecast(stage.name, len(units), sum(r is not None for r in ready)))
    return forecasts


def open_journal(store: Store) -> Journal:
    """Return the journal of a run directory; the directory is made."""
    try:
        Path(store.root).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the run directory {store.root}: {error.strerror}") from None
    return Journal(store.root / "log.jsonl")


def conclude(config: Config, store: Store, journal: Journal) -> None:
    """Say at the end of a run where its results are, and what to know before believing them."""
    from lenspipe.stages.catalog import describe_candidates
    from lenspipe.stages.report import notices, report_path
    from lenspipe.stages.slip import describe_slip

    record = store.read_record()
    if record.get("failed_units"):
        journal.say(f"INCOMPLETE: {len(record['failed_units'])} units failed; exit status {PARTIAL}")
    if record.get("quarantined"):
        journal.say(
            f"{record['quarantined']} inputs left out, with reasons in {store.root / 'quarantine.ecsv'}"
        )
    for promise in (describe_candidates(config, store), describe_slip(store)):
        if promise:
            journal.say(promise)
    for notice in notices(config, store):
        journal.say(f"note: {notice}")
    for path in (store.root / "candidates.ecsv", report_path(store)):
        if path.exists():
            journal.say(f"wrote {path}")
