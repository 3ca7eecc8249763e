"""Figures of a finished run, for papers."""

from __future__ import annotations

from pathlib import Path

from lenspipe.config import load_run
from lenspipe.core.errors import InputError
from lenspipe.core.survey import load_survey
from lenspipe.io.files import replacing
from lenspipe.io.store import Store
from lenspipe.stages import catalog, report

#: Formats that a figure may have, by the path's suffix.
SUFFIXES = (".pdf", ".png", ".svg")


def make_mosaic(run_dir: str | Path, path: str | Path, top: int, columns: int, rings: bool) -> int:
    """Write a mosaic of a run's best `top` candidates and return how many there are.

    Raises
    ------
    InputError, ConfigError
        If the folder is no run with candidates, or the suffix names no format.
    """
    from lenspipe.io.tables import read_table
    from lenspipe.report.mosaic import draw_mosaic, write_mosaic
    from lenspipe.report.stamps import choose_rgb

    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"a figure must end in {', '.join(SUFFIXES)}, received {path.name}")
    config, store = load_run(run_dir), Store(run_dir)
    if not catalog.candidates_path(store).is_file():
        raise InputError(f"{run_dir} has no candidates.parquet: its catalog is not made yet; run it first")
    shown = read_table(catalog.candidates_path(store))[:top]
    if not len(shown):
        raise InputError(f"{run_dir} has no candidates to show")
    seen, survey = report.read_stamps(shown, config, store), load_survey(config.survey)
    figure = draw_mosaic(
        shown, seen["stamps"], seen["noise_sigma"], choose_rgb(seen["bands"], survey.rgb), seen["pixel_scale"],
        columns, rings, config.report.stretch, config.report.softening,
    )  # fmt: skip
    with replacing(path) as temporary:
        write_mosaic(figure, temporary)
    return len(shown)
