"""Commands for people who look at candidates: grades."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lenspipe.cli.options import Force, Scheduler, Workers, app, execute

grades = typer.Typer(
    name="grades", help="Join what people think of a run's candidates.", no_args_is_help=True
)
app.add_typer(grades)


@grades.callback()
def choose() -> None:
    """Join what people think of a run's candidates."""


@grades.command()
def merge(
    tables: Annotated[
        list[Path], typer.Argument(metavar="GRADES...", help="a table for each grader, or several")
    ],
    into: Annotated[Path, typer.Option("--into", metavar="RUN_DIR", help="the run's directory")],
    force: Force = False,
    workers: Workers = 1,
    scheduler: Scheduler = "",
) -> int:
    """Join grades to one table, RUN_DIR/grades.ecsv, fit for `train --negatives`; then catalog and report again.

    Give all tables each time: what was joined before is replaced.
    """
    from lenspipe.config import load_run
    from lenspipe.io.store import Store
    from lenspipe.stages.grades import merge_grades

    config, store = load_run(into), Store(into)
    for line in merge_grades(tables, store):
        print(line)
    return execute(config, store, ("catalog", "slip", "report"), force, workers, scheduler)
