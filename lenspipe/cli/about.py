"""Commands that answer questions: models, surveys, doctor, config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lenspipe.cli.options import Sets, app


@app.command()
def models() -> int:
    """List the packaged models with their cards."""
    from lenspipe.io.cards import describe_card, packaged_models, read_card

    for name, folder in packaged_models().items():
        print(name, *(f"    {line}" for line in describe_card(read_card(folder))), "", sep="\n")
    print(
        "`lenspipe scan --survey NAME` uses all detectors of its survey together; --detector NAME_OR_DIR chooses.\n"
        "Train your own: lenspipe train --help."
    )
    return 0


@app.command()
def pack(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="model bundle")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="a new folder")],
    description: Annotated[str, typer.Option("--description", help="a line: what it is for")] = "",
    fold: Annotated[list[int] | None, typer.Option("--fold", help="a network to keep; repeatable")] = None,
    test: Annotated[
        Path | None, typer.Option("--test", metavar="DIR", help="of `lenspipe evaluate`, for the card")
    ] = None,
    closure: Annotated[
        Path | None,
        typer.Option(
            "--closure", metavar="DIR", help="of `lenspipe slip --closure --regressor`, for the card"
        ),
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", help="what it cannot do, for the card; repeatable")
    ] = None,
    aside: Annotated[
        bool, typer.Option("--aside", help="once packaged, used only where it is named")
    ] = False,
) -> int:
    """Write a small copy of a model to give away: half-precision weights, and its card."""
    from lenspipe.pipeline.journal import quiet_networks
    from lenspipe.stages.closure import read_response
    from lenspipe.training.pack import pack_bundle, read_figures

    facts = {"limits": limit or []} | ({"test": read_figures(test)} if test else {})
    facts |= {"aside": True} if aside else {}
    facts |= {"slip_response": read_response(closure)} if closure else {}
    with quiet_networks():
        packed = pack_bundle(bundle, out, description, fold or (), facts)
    size = sum(path.stat().st_size for path in packed.path.iterdir())
    print(f"{packed.path}: {len(packed.weights)} network(s), {size / 1e6:.1f} MB")
    return 0


@app.command()
def combine(
    bundles: Annotated[
        list[Path], typer.Argument(metavar="BUNDLE...", help="regressors of the same training set")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="a new folder")],
    description: Annotated[str, typer.Option("--description", help="a line: what it is for")] = "",
) -> int:
    """Join regressors to one whose answer for each target is their best weighted mean."""
    from lenspipe.pipeline.journal import quiet_networks
    from lenspipe.training.combine import combine_bundles

    with quiet_networks():
        joined = combine_bundles(bundles, out, description)
    for target in joined.targets:
        told = joined.calibration["shares"][target]
        print(f"{target:<8} scatter {joined.metrics[target]['scatter68']:.4f}, shares of the networks",
              " ".join(f"{share:.2f}" for share in told))  # fmt: skip
    print(joined.path)
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
