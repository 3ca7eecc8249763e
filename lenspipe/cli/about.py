"""Commands that answer questions: models, surveys, doctor, config."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lenspipe.cli.options import Sets, app


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
