"""The command line: parses, loads the configuration, calls the runner; nothing else.

Everything heavy is imported inside the commands, so that `lenspipe --help` answers at once.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from lenspipe import __version__
from lenspipe.cli.options import app

# in the order of `lenspipe --help`
from lenspipe.cli import search  # isort: skip
from lenspipe.cli import grading  # isort: skip
from lenspipe.cli import figure  # isort: skip
from lenspipe.cli import science  # isort: skip
from lenspipe.cli import about  # isort: skip

__all__ = ["about", "app", "figure", "grading", "main", "science", "search"]

#: What the parser raises: click's own class in older typers, a copy of it in newer ones.
USAGE_ERROR: Any = typer.BadParameter.__base__


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
