"""What a run would do and need: units, time, memory, disk, threads. Nothing is run or written."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from lenspipe.config import Config
from lenspipe.core.survey import load_survey
from lenspipe.core.threads import available_cores
from lenspipe.io.store import Store
from lenspipe.pipeline.runner import plan
from lenspipe.stages.train import TASKS, section_of

#: Stamps a second on one core (AMD EPYC, measured in the quickstart) at 64 px and three bands.
STAMPS_PER_SECOND = {"simulate": 15.0, "detector": 33.0, "regressor": 88.0}
#: Memory of one process with TensorFlow and ResNet50 at work [GiB], and what a strip of a tile adds, whatever its size.
NETWORK_GIB, STRIP_GIB = 2.5, 1.0


def print_plan(config: Config, store: Store, stages: Iterable[str], workers: int) -> None:
    """Print what `run` would do, stage by stage, and what it would need."""
    table = Table(box=None, pad_edge=False)
    for heading in ("stage", "units", "done", "to do", "time", "disk"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for forecast in plan(config, store, stages):
        share = 1 - forecast.done / forecast.units if forecast.units else 0.0
        seconds, megabytes = estimate(forecast.stage, config, min(workers, available_cores()))
        table.add_row(
            forecast.stage,
            str(forecast.units),
            str(forecast.done),
            str(forecast.units - forecast.done),
            _duration(share * seconds) if seconds else "-",
            f"{share * megabytes:.0f} MB" if megabytes else "-",
        )
    console = Console(soft_wrap=True)
    console.print(table)
    cores = available_cores()
    gibibytes = workers * (NETWORK_GIB + STRIP_GIB)
    console.print(
        f"\nworkers {workers} on {cores} cores; threads per network: {config.run.threads} at prediction, "
        f"{config.train.detector.threads} in training"
    )
    console.print(f"memory about {gibibytes:.0f} GiB; run directory {store.root}")
    console.print("times are rough (one core, no GPU); scoring depends on how many sources the tiles hold")


def estimate(stage: str, config: Config, workers: int) -> tuple[float, float]:
    """Return rough seconds and megabytes of a whole stage; zero where it depends on the data."""
    survey = load_survey(config.survey)
    size = config.simulate.size or survey.stamp_size
    area = (size / 64) ** 2
    if stage == "simulate":
        tiles = config.simulate.tiles
        pixels = config.simulate.count * size**2 * len(survey.model_bands)
        sky = tiles.count * tiles.size**2 * len(survey.model_bands)
        stamps = config.simulate.count * area / STAMPS_PER_SECOND["simulate"]
        return (stamps + sky / 1e5) / workers, (4 * pixels + 10 * sky) / 1e6
    if stage == "train":
        seconds = megabytes = 0.0
        for task in TASKS:
            section = section_of(config, task)
            if section.folds:
                images = config.simulate.count * section.epochs * section.trained * (1 - 1 / section.folds)
                images *= 0.5 if task == "regressor" else 1.0  # only lenses have targets
                seconds += images * area / STAMPS_PER_SECOND[task] / min(workers, section.trained)
                megabytes += section.trained * (95 if task == "detector" else 40)
        return seconds, megabytes
    return 0.0, 0.0


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
