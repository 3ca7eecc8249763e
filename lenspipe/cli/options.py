"""The application, the options that commands share, and how a command runs its stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lenspipe.config import Config
    from lenspipe.io.store import Store

app = typer.Typer(
    name="lenspipe",
    help="Find and model galaxy-scale strong gravitational lenses in survey images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Recipe = Annotated[Path, typer.Argument(metavar="PIPELINE.toml", help="the recipe")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="run directory")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="change a setting, e.g. run.seed=7; later ones win"),
]
Stages = Annotated[
    list[str] | None, typer.Option("--stage", metavar="NAME", help="only this stage; repeatable")
]
Force = Annotated[bool, typer.Option("--force", help="do everything again")]
Workers = Annotated[int, typer.Option("--workers", min=1, metavar="N", help="local processes")]
Scheduler = Annotated[
    str, typer.Option("--scheduler", metavar="ADDRESS", help="run on a Dask scheduler that is already up")
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="seed of every random stream")]
SurveyName = Annotated[
    str, typer.Option("--survey", metavar="NAME_OR_FILE", help="packaged survey or survey file")
]


def execute(
    config: Config, store: Store, stages: Sequence[str], force: bool, workers: int, scheduler: str
) -> int:
    """Run stages of a configuration in a directory; return the exit status."""
    from lenspipe.config import with_absolute_paths
    from lenspipe.pipeline.executor import open_executor
    from lenspipe.pipeline.runner import check_plan, conclude, open_journal
    from lenspipe.pipeline.runner import run as run_stages

    config = with_absolute_paths(config)
    check_plan(config, store, stages)
    journal = open_journal(store)
    with open_executor(workers, scheduler) as executor:
        status = run_stages(config, store, executor, journal, stages, force)
    conclude(config, store, journal)
    return status
