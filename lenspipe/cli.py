"""The command line: parses, loads the configuration, calls the runner; nothing else.

Everything heavy is imported inside the commands, so that `lenspipe --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lenspipe import __version__

#: What the parser raises: click's own class in older typers, a copy of it in newer ones.
USAGE_ERROR: Any = typer.BadParameter.__base__

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


def main() -> None:
    """Run the command line and leave with the contract's exit status."""
    from lenspipe.core.errors import LenspipeError

    try:
        status = app(standalone_mode=False)
    except USAGE_ERROR as error:
        error.show()
        status = 2
    except LenspipeError as error:
        print(f"lenspipe: {error}", file=sys.stderr)
        status = 2
    except (KeyboardInterrupt, typer.Abort):
        print("lenspipe: interrupted; the same command again resumes", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        sys.stderr.close()
        status = 0
    except Exception as error:
        status = _report_bug(error)
    sys.exit(status if isinstance(status, int) else 0)


def _report_bug(error: Exception) -> int:
    import traceback

    traceback.print_exc()
    print(
        f"lenspipe: this is a bug in lenspipe, please report it: {type(error).__name__}: {error}",
        file=sys.stderr,
    )
    return 1


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

    return _run(load_config(pipeline, set_ or ()), Store(out), stage or (), force, workers, scheduler)


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
    detector: Annotated[str, typer.Option("--detector", metavar="DIR", help="detector bundle")] = "",
    regressor: Annotated[str, typer.Option("--regressor", metavar="DIR", help="regressor bundle")] = "",
    targets: Annotated[str, typer.Option("--targets", metavar="TABLE", help="table with ra, dec [deg]")] = "",
    threshold: Annotated[float | None, typer.Option("--threshold", metavar="P", help="least score")] = None,
    as_: Annotated[str, typer.Option("--as", metavar="tile|cutout", help="what the images are")] = "auto",
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
    from lenspipe.io.store import Store

    if not detector:
        raise UserError(
            "this release has no packaged models (`lenspipe models`); give --detector DIR and --regressor DIR, "
            "e.g. models/detector of a run of pipelines/quickstart.toml"
        )
    settings: dict[str, Any] = {
        "survey": survey,
        "run": {"seed": seed},
        "ingest": {"images": images, "targets": targets, "kind": as_, "resample": resample},
        "find": {"detector": detector},
        "model": {"regressor": regressor},
        "catalog": {} if threshold is None else {"threshold": threshold},
    }
    config = config_from(merge_overrides(settings, set_ or ()), "lenspipe scan")
    stages = ("ingest", "find", "model", "catalog", "slip", "report")
    return _run(config, Store(out), stages, force, workers, scheduler)


@app.command()
def simulate(
    out: Out,
    survey: SurveyName = "des",
    count: Annotated[int, typer.Option("--count", min=0, help="number of stamps")] = 0,
    tiles: Annotated[int, typer.Option("--tiles", min=0, help="number of overlapping mock tiles")] = 0,
    kind: Annotated[str, typer.Option("--kind", help="lens, nonlens or mixed")] = "mixed",
    scene: Annotated[str, typer.Option("--scene", help="full or plain")] = "full",
    noiseless: Annotated[bool, typer.Option("--noiseless", help="no sky and no Poisson noise")] = False,
    size: Annotated[int, typer.Option("--size", min=0, metavar="PX", help="side of a stamp")] = 0,
    tile_size: Annotated[int | None, typer.Option("--tile-size", metavar="PX", help="side of a tile")] = None,
    overlap: Annotated[
        float | None, typer.Option("--overlap", metavar="ARCSEC", help="overlap of tiles")
    ] = None,
    seed: Seed = 1,
    set_: Sets = None,
    force: Force = False,
    workers: Workers = 1,
    scheduler: Scheduler = "",
) -> int:
    """Simulate stamps, or mock survey tiles."""
    from lenspipe.config import config_from, merge_overrides
    from lenspipe.core.errors import UserError
    from lenspipe.io.store import Store

    if bool(count) == bool(tiles):
        raise UserError("say how many stamps (--count N) or how many tiles (--tiles N), not both")
    sky: dict[str, Any] = {"count": tiles}
    sky |= {"size": tile_size} if tile_size is not None else {}
    sky |= {"overlap": overlap} if overlap is not None else {}
    settings = {
        "survey": survey,
        "run": {"seed": seed},
        "simulate": {
            "count": count,
            "kind": kind,
            "scene": scene,
            "noiseless": noiseless,
            "size": size,
            "tiles": sky,
        },
    }
    config = config_from(merge_overrides(settings, set_ or ()), "lenspipe simulate")
    if (out / "truth.parquet").exists() and bool(count) == bool(list(out.glob("*_*.fits"))):
        held = "mock tiles" if count else "stamps"
        raise UserError(f"{out} holds {held}; choose another --out")
    store = Store(out, {"simulate": ".", "tiles": "."})
    return _run(config, store, ("simulate",), force, workers, scheduler)


@app.command()
def train(
    task: Annotated[str, typer.Argument(metavar="detector|regressor")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="simulated set")],
    out: Out,
    folds: Annotated[int, typer.Option("--folds", min=2, metavar="K", help="number of folds")] = 5,
    architecture: Annotated[str, typer.Option("--architecture", metavar="NAME", help="network")] = "",
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="passes over the data")] = None,
    survey: Annotated[
        str, typer.Option("--survey", metavar="NAME_OR_FILE", help="of the data, if it is not a packaged one")
    ] = "",
    seed: Seed = 1,
    resume: Annotated[bool, typer.Option("--resume", help="go on where it stopped (always done)")] = False,
    set_: Sets = None,
    force: Force = False,
    workers: Workers = 1,
    scheduler: Scheduler = "",
) -> int:
    """Train a network with k-fold cross-validation."""
    from lenspipe.config import config_from, merge_overrides
    from lenspipe.core.errors import UserError
    from lenspipe.io.cards import read_card
    from lenspipe.io.store import Store
    from lenspipe.stages.train import TASKS, survey_of

    if task not in TASKS:
        raise UserError(f"what to train must be one of {', '.join(TASKS)}, received {task!r}")
    if (out / "bundle.json").exists():
        read_card(out, task)
    section: dict[str, Any] = {"data": str(data), "folds": folds, "architecture": architecture}
    section |= {"epochs": epochs} if epochs else {}
    settings = {"survey": survey_of(data, survey), "run": {"seed": seed}, "train": {task: section}}
    config = config_from(merge_overrides(settings, set_ or ()), "lenspipe train")
    return _run(config, Store(out, {task: "."}), ("train",), force, workers, scheduler)


@app.command()
def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="model bundle")],
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="labelled simulated set")],
    out: Out,
    mc_samples: Annotated[int, typer.Option("--mc-samples", min=1, metavar="T", help="dropout passes")] = 50,
    seed: Seed = 1,
) -> int:
    """Measure a model on data it has not seen."""
    from lenspipe.pipeline.journal import quiet_networks
    from lenspipe.stages.evaluate import evaluate_bundle

    with quiet_networks():
        lines = evaluate_bundle(bundle, data, out, mc_samples, seed)
    print(*lines, sep="\n")
    return 0


@app.command()
def predict(
    bundle: Annotated[list[Path], typer.Argument(metavar="BUNDLE...", help="model bundles")],
    data: Annotated[
        list[str], typer.Option("--data", metavar="DIR_OR_FITS", help="shards or cutouts; repeatable")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="TABLE", help=".parquet or .ecsv")],
    mc_samples: Annotated[int, typer.Option("--mc-samples", min=1, metavar="T", help="dropout passes")] = 50,
    survey: SurveyName = "",
    resample: Annotated[bool, typer.Option("--resample", help="resample to the model's pixel scale")] = False,
    seed: Seed = 1,
) -> int:
    """Write scores and posteriors of stamps."""
    from lenspipe.pipeline.journal import quiet_networks
    from lenspipe.stages.predict import predict_table

    with quiet_networks():
        rows, left_out = predict_table(bundle, data, out, mc_samples, seed, survey, resample)
    print(
        f"{rows} objects in {out}" + (f", {left_out} left out: see {out}.quarantine.ecsv" if left_out else "")
    )
    return 0


@app.command()
def slip(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="z_lens, z_src, theta_e, sigma_v, sigma_v_err")
    ],
    out: Out,
    model: Annotated[str, typer.Option("--model", help="mass model: sis")] = "sis",
    realizations: Annotated[
        int, typer.Option("--realizations", min=1, metavar="R", help="resamplings")
    ] = 100,
    circular: Annotated[
        bool, typer.Option("--circular", help="sigma_v was inferred from images by a network trained on GR")
    ] = False,
    seed: Seed = 1,
) -> int:
    """Infer the gravitational slip of a table."""
    from lenspipe.config import config_from
    from lenspipe.stages.slip import slip_of_table

    section = config_from({"slip": {"model": model, "realizations": realizations}}, "lenspipe slip").slip
    for line in slip_of_table(table, section, seed, out, circular):
        print(line)
    return 0


@app.command()
def report(run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="a run's directory")]) -> int:
    """Write the report of a run again."""
    from lenspipe.stages.report import rewrite_report

    print(rewrite_report(run_dir))
    return 0


@app.command()
def models() -> int:
    """List the packaged models."""
    print(
        "No models are packaged with this release.\n"
        "Train your own: lenspipe run pipelines/quickstart.toml (for show), or lenspipe train --help."
    )
    return 0


@app.command()
def surveys() -> int:
    """List the packaged surveys."""
    from lenspipe.core.survey import load_survey, survey_names

    for name in survey_names():
        survey = load_survey(name)
        print(
            f"{name:<8} {survey.pixel_scale:.3f} arcsec/px  bands {' '.join(survey.bands):<14} {survey.description}"
        )
    return 0


@app.command()
def doctor() -> int:
    """Examine this machine; say what to mend."""
    from lenspipe.pipeline.doctor import examine

    findings = examine()
    for finding in findings:
        print(f"{'ok  ' if finding.good else 'MEND'} {finding.subject:<12} {finding.text}")
    return 0 if all(finding.good for finding in findings) else 2


@app.command("config")
def show_config(
    defaults: Annotated[
        bool, typer.Option("--defaults", help="every key with default, unit and meaning")
    ] = False,
    pipeline: Annotated[
        Path | None, typer.Argument(metavar="PIPELINE.toml", help="a recipe to resolve")
    ] = None,
    set_: Sets = None,
) -> int:
    """Print every setting with its meaning."""
    from lenspipe.config import load_config, to_toml
    from lenspipe.core.errors import UserError

    if not defaults and pipeline is None and not set_:
        raise UserError("say what to print: --defaults, or a recipe")
    print(to_toml(load_config(pipeline, set_ or ()), comments=True), end="")
    return 0


def _show_version(value: bool) -> None:
    if value:
        print(f"lenspipe {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="print it")
    ] = False,
) -> None:
    """Options of lenspipe itself."""


def _run(config, store, stages, force: bool, workers: int, scheduler: str) -> int:
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
