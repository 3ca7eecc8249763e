"""Commands that draw a finished run for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lenspipe.cli.options import app

figure = typer.Typer(name="figure", help="Draw a run for a paper.", no_args_is_help=True)
app.add_typer(figure)


@figure.callback()
def choose() -> None:
    """Draw a run for a paper."""


@figure.command()
def mosaic(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="a run's directory")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="figure: .pdf, .svg or .png")] = Path(
        "mosaic.pdf"
    ),
    top: Annotated[int, typer.Option("--top", min=1, metavar="N", help="the best N candidates")] = 60,
    columns: Annotated[int, typer.Option("--columns", min=1, metavar="N", help="stamps in a row")] = 6,
    rings: Annotated[bool, typer.Option("--rings", help="circles of the Einstein radii")] = False,
) -> int:
    """Draw the best candidates in colour, with name, score and Einstein radius."""
    from lenspipe.stages.figures import make_mosaic

    count = make_mosaic(run_dir, out, top, columns, rings)
    print(f"{out}: {count} candidates")
    return 0
