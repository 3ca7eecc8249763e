"""Commands for one step of the science each: simulate, train, evaluate, predict, slip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lenspipe.cli.options import Force, Out, Scheduler, Seed, Sets, SurveyName, Workers, app, execute


@app.command()
def simulate(
    out: Out,
    survey: SurveyName = "des",
    count: Annotated[int, typer.Option("--count", min=0, help="number of stamps")] = 0,
    tiles: Annotated[int, typer.Option("--tiles", min=0, help="number of overlapping mock tiles")] = 0,
    into: Annotated[
        list[str] | None,
        typer.Option(
            "--into",
            metavar="RUN_DIR|IMAGES",
            help="paint lensed sources into the stamps of a run's ingest, or into image tiles (files, folders, "
            "patterns); repeatable",
        ),
    ] = None,
    lenses: Annotated[
        int | None, typer.Option("--lenses", min=0, metavar="N", help="lenses per tile")
    ] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="lens, nonlens or mixed (default)")] = None,
    scene: Annotated[str | None, typer.Option("--scene", help="full (default) or plain")] = None,
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
    """Simulate stamps or mock survey tiles, or inject lenses into real images."""
    from lenspipe.config import config_from, merge_overrides
    from lenspipe.core.errors import UserError
    from lenspipe.io.store import Store
    from lenspipe.stages.inject import are_images

    given = {
        "--count": count or None, "--tiles": tiles or None, "--kind": kind, "--scene": scene,
        "--noiseless": noiseless or None, "--size": size or None, "--tile-size": tile_size, "--overlap": overlap,
    }  # fmt: skip
    idle = [name for name, value in given.items() if value is not None]
    if into and idle:
        raise UserError(
            f"{', '.join(idle)} cannot go with --into, which paints into images as they are; leave it out"
        )
    if (count > 0) + (tiles > 0) + bool(into) != 1:
        raise UserError(
            "say how many stamps (--count N), how many tiles (--tiles N), or whose images (--into RUN_DIR or IMAGES)"
        )
    makes_tiles = tiles > 0 or are_images(into or ())
    if lenses is not None and not makes_tiles:
        raise UserError(
            "--lenses is a number per tile: it goes with --tiles, or with --into IMAGES; leave it out"
        )
    options = {"count": tiles, "size": tile_size, "overlap": overlap, "lenses": lenses}
    section = {
        "count": count,
        "into": into or (),
        "kind": kind,
        "scene": scene,
        "noiseless": noiseless,
        "size": size,
    }
    settings = {
        "survey": survey,
        "run": {"seed": seed},
        "simulate": _chosen(section) | {"tiles": _chosen(options)},
    }
    config = config_from(merge_overrides(settings, set_ or ()), "lenspipe simulate")
    if (out / "truth.parquet").exists() and makes_tiles != bool(list(out.glob("*_*.fits"))):
        held = "stamps" if makes_tiles else "tiles"
        raise UserError(f"{out} holds {held}; choose another --out")
    store = Store(out, {"simulate": ".", "tiles": "."})
    return execute(config, store, ("simulate",), force, workers, scheduler)


def _chosen(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given; the configuration has the defaults of the others."""
    return {name: value for name, value in options.items() if value is not None}


@app.command()
def train(
    task: Annotated[str, typer.Argument(metavar="detector|regressor")],
    data: Annotated[list[Path], typer.Option("--data", metavar="DIR", help="simulated set; repeatable")],
    out: Out,
    negatives: Annotated[
        list[Path] | None,
        typer.Option(
            "--negatives",
            metavar="TABLE",
            help="graded candidates to learn from: object_id or name, and grade (A, B = lens; C, X or no grades = "
            "none); repeatable",
        ),
    ] = None,
    run_dir: Annotated[
        str, typer.Option("--run", metavar="RUN_DIR", help="run that found them, if not the table's folder")
    ] = "",
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
    section: dict[str, Any] = {"data": [str(folder) for folder in data], "folds": folds}
    section |= {"architecture": architecture, "graded": [str(table) for table in negatives or ()]}
    section |= {"graded_run": run_dir} | ({"epochs": epochs} if epochs else {})
    settings = {"survey": survey_of(data[0], survey), "run": {"seed": seed}, "train": {task: section}}
    config = config_from(merge_overrides(settings, set_ or ()), "lenspipe train")
    return execute(config, Store(out, {task: "."}), ("train",), force, workers, scheduler)


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
    bundle: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUNDLE...", help="detectors (several score as a committee), a regressor, or both"
        ),
    ],
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
    out: Out,
    table: Annotated[
        Path | None, typer.Argument(metavar="TABLE", help="z_lens, z_src, theta_e, sigma_v, sigma_v_err")
    ] = None,
    model: Annotated[str, typer.Option("--model", help="mass model: sis or powerlaw")] = "sis",
    realizations: Annotated[
        int, typer.Option("--realizations", min=1, metavar="R", help="resamplings")
    ] = 100,
    circular: Annotated[
        bool, typer.Option("--circular", help="sigma_v was inferred from images by a network trained on GR")
    ] = False,
    joint: Annotated[
        bool, typer.Option("--joint", help="powerlaw: fit the mean slope and its scatter, too")
    ] = False,
    closure: Annotated[
        bool,
        typer.Option(
            "--closure", help="in place of TABLE: put slips into simulated lenses and find them again"
        ),
    ] = False,
    regressor: Annotated[
        str,
        typer.Option(
            "--regressor",
            metavar="MODEL",
            help="that tells sigma_v from images; none = --closure with spectra only",
        ),
    ] = "",
    count: Annotated[int, typer.Option("--count", min=3, help="--closure: lenses")] = 1000,
    seed: Seed = 1,
    set_: Sets = None,
) -> int:
    """Infer the gravitational slip of a table."""
    from lenspipe.config import config_from, merge_overrides
    from lenspipe.core.errors import InputError
    from lenspipe.pipeline.journal import quiet_networks
    from lenspipe.stages.closure import measure_closure
    from lenspipe.stages.slip import slip_of_table

    if closure == (table is not None):
        raise InputError("lenspipe slip needs either a TABLE or --closure")

    given = {"slip": {"model": model, "realizations": realizations, "joint": joint}}
    section = config_from(merge_overrides(given, set_ or ()), "lenspipe slip").slip
    if table is None:
        with quiet_networks():
            lines = measure_closure(section, out, count, seed, regressor)
    else:
        lines = slip_of_table(table, section, seed, out, circular, regressor)
    print(*lines, sep="\n")
    return 0


@app.command()
def realism(
    images: Annotated[
        list[str], typer.Argument(help="real images, large or small: FITS files, folders or patterns")
    ],
    survey: SurveyName,
    seed: Seed = 1,
    set_: Sets = None,
) -> int:
    """Measure how well simulated galaxies can be told from those of real images."""
    from lenspipe.config import config_from, merge_overrides
    from lenspipe.pipeline.journal import quiet_networks
    from lenspipe.stages.realism import compare_with_sky, describe_realism

    settings = {"survey": survey, "run": {"seed": seed}, "ingest": {"images": images, "kind": "tile"}}
    config = config_from(merge_overrides(settings, set_ or ()), "lenspipe realism")
    with quiet_networks():
        result = compare_with_sky(config)
    print(*describe_realism(result), sep="\n")
    return 0
