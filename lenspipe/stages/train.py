"""Stage *train*: each fold of the detector and the regressor in a process of its own, then the bundles."""

from __future__ import annotations

from pathlib import Path

from lenspipe.config import Config, TrainSection, settings_of
from lenspipe.core.errors import ConfigError, InputError
from lenspipe.core.survey import load_survey, survey_names
from lenspipe.core.types import Done, Quarantined, Stage, Unit
from lenspipe.io.cards import read_card, weights_of
from lenspipe.io.store import Store
from lenspipe.training.graded import find_graded

TASKS = ("detector", "regressor")


def plan(config: Config, store: Store) -> list[Unit]:
    """One unit a fold of each network; of an odd number of folds the last is trained in two halves.

    The first half comes first and the second last, so that two workers share the folds evenly: 5 folds take them
    2.5 times as long as one, not 3. Where it gains nothing it costs the start of a process.
    """
    units = []
    for task in TASKS:
        section = section_of(config, task)
        if not section.folds:
            continue
        if section.folds < 2:
            raise ConfigError(f"train.{task}.folds: k-fold needs at least 2 folds, received {section.folds}")
        if not section.data and not config.simulate.count:
            raise ConfigError(
                f"train.{task}.folds = {section.folds} but there is nothing to train on: "
                f"set simulate.count, or train.{task}.data to a simulated set"
            )
        inputs = tuple(
            str(path)
            for data in data_folders(config, store, task)
            for path in (data / "truth.parquet", *sorted(data.glob("shard-*.h5")))
        )
        if task == "regressor" and section.graded:
            raise ConfigError(
                "train.regressor.graded: grades tell lenses from others, and train the detector only"
            )
        for table in section.graded:
            find_graded(table, section.graded_run)  # a mistake in it is told before anything runs
        inputs += section.graded
        if section.start:
            read_card(section.start, task)
            inputs += tuple(str(path) for path in weights_of(section.start))
        settings = settings_of(config, f"train.{task}")
        last = section.trained - 1
        if last and last % 2 == 0 and section.epochs > 1:
            half = {"task": task, "fold": last, "until": (section.epochs + 1) // 2}
            units.append(Unit(f"{task}-fold-{last}-begun", half, inputs, settings))
        for fold in range(section.trained):
            units.append(Unit(f"{task}-fold-{fold}", {"task": task, "fold": fold}, inputs, settings))
    return units


def section_of(config: Config, task: str) -> TrainSection:
    """Return the settings of a network."""
    return getattr(config.train, task)


def data_folders(config: Config, store: Store, task: str) -> list[Path]:
    """Return the simulated sets that a network is trained on."""
    given = section_of(config, task).data
    return [Path(folder).absolute() for folder in given] or [store.folder("simulate")]


def work(unit: Unit, config: Config, store: Store) -> Done:
    """Train one fold, or its first half; its process returns all of its memory when it ends."""
    from lenspipe.training.worker import run_fold

    task, fold = unit.payload["task"], unit.payload["fold"]
    folder = store.folder(task)
    folder.mkdir(parents=True, exist_ok=True)
    if "until" in unit.payload:
        run_fold(make_job(config, store, task, fold) | {"until": unit.payload["until"]})
        return Done()
    run_fold(make_job(config, store, task, fold))
    outputs = (folder / f"fold-{fold}.keras", folder / f"fold-{fold}.oof.parquet")
    lost = _lost_grades(section_of(config, task), unit.name) if fold == 0 else ()
    return Done(outputs, {f"{task}_folds": 1}, lost)


def _lost_grades(section: TrainSection, unit: str) -> tuple[Quarantined, ...]:
    """Return the graded objects that could not be learnt from: their stamps are gone."""
    return tuple(
        Quarantined(
            str(table), "stamp_gone", "the run holds no stamp of this graded object", unit=unit, object=name
        )
        for table in section.graded
        for name in find_graded(table, section.graded_run).lost
    )


def make_job(config: Config, store: Store, task: str, fold: int) -> dict:
    """Return all that the process of a fold needs to know."""
    return {
        "task": task,
        "fold": fold,
        "data": [str(folder) for folder in data_folders(config, store, task)],
        "folder": str(store.folder(task)),
        "seed": config.run.seed,
        "settings": section_of(config, task).model_dump(mode="json"),
    }


def survey_of(data: str | Path, given: str = "") -> str:
    """Return the survey that a simulated set was made for: a packaged one's name, or the file given.

    Raises
    ------
    InputError
        If it was made for a survey that is neither packaged nor given.
    """
    from lenspipe.io.shards import list_shards, read_shard

    name = read_shard(list_shards(data)[0], slice(0)).survey
    if given and load_survey(given).name != name:
        raise InputError(f"{data} was made for the survey {name!r}, not for {given}")
    if not given and name not in survey_names():
        raise InputError(
            f"{data} was made for the survey {name!r}, which is not packaged: give its file, --survey FILE"
        )
    return given or name


def gather(config: Config, store: Store) -> Done:
    """Join the folds of each network into a bundle: metrics, calibration, out-of-fold scores."""
    from lenspipe.training.ensemble import write_bundle

    prior = load_survey(config.survey).lens_prior
    outputs: list[Path] = []
    for task in TASKS:
        if section_of(config, task).folds:
            method = section_of(config, task).calibration
            trained = section_of(config, task).trained
            folder = write_bundle(store.folder(task), prior, "", method, trained).path
            outputs += [
                folder / name for name in ("bundle.json", "metrics.json", "oof.parquet", "history.csv")
            ]
    return Done(tuple(outputs))


STAGE = Stage(
    name="train",
    reads=("simulate",),
    writes=TASKS,
    plan=plan,
    work=work,
    gather=gather,
    disposable=False,
    resources={"GPU": 1},
)
