"""Join the grades of several people into a run's folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lenspipe.core.errors import InputError
from lenspipe.io.store import Store
from lenspipe.stages import catalog


def merge_grades(tables: Sequence[str | Path], store: Store) -> list[str]:
    """Write ``grades.ecsv`` of a run and return what is to be told of the graders, a line each.

    The table is `catalog.grades.combine_votes`' (its meta: kappa and the graders); the next catalog has its columns.

    Raises
    ------
    InputError
        As `catalog.grades.read_votes`, if nothing was graded but controls or nothing that is in the run, or if
        ``grades.ecsv`` is one of the tables or no table of this function.
    """
    from lenspipe.catalog.grades import combine_votes, judge_graders, measure_agreement, read_votes
    from lenspipe.io.tables import read_table, write_table

    path = catalog.grades_path(store)
    if path.is_file():
        mine = any(Path(table).resolve() == path.resolve() for table in tables)
        if mine or "n_grades" not in read_table(path).colnames:
            raise InputError(
                f"{path} is where the joined grades are written, over those of before: give the graders' own tables, "
                "and move that one if it is one of them"
            )
    votes = read_votes(tables)
    table = combine_votes(votes)
    if not len(table):
        raise InputError(f"{', '.join(map(str, tables))}: nothing is graded but controls")
    objects = store.root / "scores.parquet"
    if not objects.is_file():
        raise InputError(f"{store.root} has no scores.parquet: its catalog is not made yet; run it first")
    found = len(set(table["object_id"]) & set(read_table(objects)["object_id"].astype(str)))
    if not found:
        raise InputError(
            f"none of the {len(table)} graded objects is in {objects}, e.g. {table['object_id'][0]}; are the grades "
            "of another run?"
        )
    graders, kappa = judge_graders(votes), measure_agreement(votes)
    # a row as a mapping: metadata must be plain
    table.meta = {"graders": [dict(zip(row.colnames, map(_plain, row), strict=True)) for row in graders]}
    if math.isfinite(kappa):
        table.meta["kappa"] = kappa
    write_table(table, path)
    lines = [_describe(row) for row in graders]
    shared = f", kappa {kappa:.2f}" if math.isfinite(kappa) else ""
    return [*lines, f"{len(table)} objects graded by {len(graders)}{shared}; {found} of them are in the run"]


def _plain(value):
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _describe(row) -> str:
    text = f"{row['grader']}: {row['graded']} graded"
    if row["lenses"]:
        text += f", {row['completeness']:.0%} of {row['lenses']} hidden lenses called one"
    if row["nonlenses"]:
        text += f", {row['rejected']:.0%} of {row['nonlenses']} hidden others called none"
    if math.isfinite(row["purity"]):
        text += f", purity {row['purity']:.0%} on the controls"
    return text
