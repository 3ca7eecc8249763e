"""Commands that search images for lenses: run, plan, scan, report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lenspipe.cli.options import (
    Force,
    Out,
    Recipe,
    Scheduler,
    Seed,
    Sets,
    Stages,
    SurveyName,
    Workers,
    app,
    execute,
)


@app.command()
def run(
    pipeline: Recipe,
    out: Out = Path("run"),
    stage: Stages = None,
    set_: Sets = None,
    force: Force = False,
    workers: Workers = 1,
    scheduler: Scheduler = "",
) -> int:
    """Run a recipe; what is done is not done again."""
    from lenspipe.config import load_config
    from lenspipe.io.store import Store

    return execute(load_config(pipeline, set_ or ()), Store(out), stage or (), force, workers, scheduler)


@app.command()
def plan(
    pipeline: Recipe,
    out: Out = Path("run"),
    stage: Stages = None,
    set_: Sets = None,
    workers: Workers = 1,
) -> int:
    """Show what `run` would do; run nothing."""
    from lenspipe.config import load_config
    from lenspipe.io.store import Store
    from lenspipe.pipeline.forecast import print_plan

    print_plan(load_config(pipeline, set_ or ()), Store(out), stage or (), workers)
    return 0


@app.command()
def scan(
    images: Annotated[list[str], typer.Argument(help="FITS tiles and cutouts: files, folders or patterns")],
    survey: SurveyName,
    out: Out,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            "--detector",
            metavar="NAME|DIR",
            help="packaged detector or a bundle; several score as a committee; none: all packaged for the survey",
        ),
    ] = None,
    regressor: Annotated[str, typer.Option("--regressor", metavar="NAME|DIR", help="regressor bundle")] = "",
    targets: Annotated[str, typer.Option("--targets", metavar="TABLE", help="table with ra, dec [deg]")] = "",
    threshold: Annotated[float | None, typer.Option("--threshold", metavar="P", help="least score")] = None,
    as_: Annotated[str, typer.Option("--as", metavar="tile|cutout", help="what the images are")] = "auto",
    keep: Annotated[
        bool, typer.Option("--keep/--no-keep", help="store all stamps, or only the candidates'")
    ] = True,
    resample: Annotated[bool, typer.Option("--resample", help="resample to the model's pixel scale")] = False,
    seed: Seed = 1,
    set_: Sets = None,
    force: Force = False,
    workers: Workers = 1,
    scheduler: Scheduler = "",
) -> int:
    """Search tiles and cutouts for lenses."""
    from lenspipe.config import config_from, merge_overrides
    from lenspipe.core.errors import UserError
    from lenspipe.core.survey import load_survey
    from lenspipe.io.cards import packaged_for, regressor_beside
    from lenspipe.io.store import Store

    name = load_survey(survey).name
    detector = detector or packaged_for("detector", name)
    if not detector:
        raise UserError(
            f"no packaged detector was made for the survey {name!r} (`lenspipe models` lists them); give --detector "
            "NAME_OR_DIR, or train one: lenspipe train --help"
        )
    settings: dict[str, Any] = {
        "survey": survey,
        "run": {"seed": seed},
        "targets": {"table": targets},
        "ingest": {"images": images, "kind": as_, "keep": keep, "resample": resample},
        "find": {"detector": detector},
        "model": {"regressor": regressor or regressor_beside(detector[0], name)},
        "catalog": {} if threshold is None else {"threshold": threshold},
    }
    config = config_from(merge_overrides(settings, set_ or ()), "lenspipe scan")
    stages = ("ingest", "find", "model", "catalog", "slip", "report")
    return execute(config, Store(out), stages, force, workers, scheduler)


@app.command()
def model(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="a run's directory")],
    refine: Annotated[
        bool,
        typer.Option("--refine/--no-refine", help="fit an SIE and Sersic light to the candidates' pixels"),
    ] = True,
    set_: Sets = None,
    force: Force = False,
    workers: Workers = 1,
    scheduler: Scheduler = "",
) -> int:
    """Model the candidates of a run: posteriors, and a fit to the pixels; then its catalog and report again."""
    from lenspipe.config import load_run
    from lenspipe.io.store import Store

    config = load_run(run_dir, [f"model.refine={str(refine).lower()}", *(set_ or ())])
    stages = ("model", "catalog", "slip", "report")
    return execute(config, Store(run_dir), stages, force, workers, scheduler)


@app.command()
def report(run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="a run's directory")]) -> int:
    """Write the report of a run again."""
    from lenspipe.stages.report import rewrite_report

    print(rewrite_report(run_dir))
    return 0
