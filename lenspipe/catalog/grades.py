"""What several people think of the candidates, joined: their mean, how far they agree, how well each of them sees.

Grades are A (a lens), B (probably one), C (probably none) and X (none), in numbers 3 to 0. Controls are objects whose
nature is known and hidden from the graders: they tell how far a grader is to be believed (Rojas et al. 2023), and
are no part of the result.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table, vstack
from sklearn.metrics import cohen_kappa_score

from lenspipe.core.errors import InputError
from lenspipe.core.schema import GRADES, LENS_GRADES
from lenspipe.io.tables import read_table, require_columns

#: What a control may be.
CONTROLS = ("lens", "nonlens")


def read_votes(paths: Sequence[str | Path]) -> Table:
    """Return all grades: ``object_id``, ``tile``, ``grader``, ``grade`` (0 to 3) and ``control``.

    Parameters
    ----------
    paths : sequence of path
        Tables with ``object_id`` and ``grade``, and optionally ``tile`` ("" = any), ``grader`` (else the file's
        stem) and ``control`` ("lens", "nonlens", or "" for what is not known). Where somebody graded an object twice
        the later row counts.

    Raises
    ------
    InputError
        If a table lacks a column, is empty, or has another grade or control; the message names file and object.
    """
    parts = [_read_one(Path(path)) for path in paths]
    votes = vstack(parts, metadata_conflicts="silent")
    last = {(v["object_id"], v["tile"], v["grader"]): number for number, v in enumerate(votes)}
    return votes[sorted(last.values())]


def _read_one(path: Path) -> Table:
    table = read_table(path)
    require_columns(table, ("object_id", "grade"), path)
    if not len(table):
        raise InputError(f"{path} has no rows; a table of grades needs some")

    def column(name: str, default: str) -> np.ndarray:
        if name not in table.colnames:
            return np.full(len(table), default)
        return np.array(["" if value is np.ma.masked else str(value).strip() for value in table[name]])

    ids, letters, controls = (
        column("object_id", ""),
        np.char.upper(column("grade", "")),
        column("control", ""),
    )
    for values, allowed, words in (
        (letters, tuple(GRADES), "grades are A (a lens), B (probably), C (probably not) or X (none)"),
        (controls, ("", *CONTROLS), f"a control is {' or '.join(CONTROLS)}, or empty for what is not known"),
    ):
        wrong = ~np.isin(values, allowed)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise InputError(f"{path}: {words}; {ids[first]} has {str(values[first])!r}")
    grader = column("grader", path.stem)
    return Table(
        {
            "object_id": ids,
            "tile": column("tile", ""),
            "grader": np.where(grader == "", path.stem, grader),
            "grade": np.array([GRADES[letter] for letter in letters], int),
            "control": controls,
        }
    )


def combine_votes(votes: Table) -> Table:
    """Return a row an object that is no control, best first: ``object_id``, ``tile``, and the columns of a grade.

    ``grade`` (the letter nearest to the mean, the better one of two that are as near), ``grade_mean``, ``grade_std``
    (of the graders, 0 for one) and ``n_grades``. As a table for `lenspipe train --negatives` it will do as it is.
    """
    open_votes = votes[votes["control"] == ""]
    letters = {number: letter for letter, number in GRADES.items()}
    rows = []
    for (name, tile), numbers in _by_object(open_votes).items():
        mean = float(np.mean(numbers))
        rows.append(
            (name, tile, letters[int(np.floor(mean + 0.5))], mean, float(np.std(numbers)), len(numbers))
        )
    names = ("object_id", "tile", "grade", "grade_mean", "grade_std", "n_grades")
    table = Table(rows=rows, names=names, dtype=("str", "str", "str", "f4", "f4", "i4"))
    return table[np.lexsort((table["object_id"], -np.asarray(table["grade_mean"], float)))]


def _by_object(votes: Table) -> dict[tuple[str, str], list[int]]:
    grouped: dict[tuple[str, str], list[int]] = {}
    for vote in votes:
        grouped.setdefault((str(vote["object_id"]), str(vote["tile"])), []).append(int(vote["grade"]))
    return grouped


def measure_agreement(votes: Table) -> float:
    """Return Cohen's kappa with linear weights, the mean of all pairs of graders by the objects they share.

    1 is agreement, 0 what chance would give; NaN if no two of them graded at least two objects both, or gave all of
    them one grade.
    """
    graded: dict[str, dict[tuple[str, str], int]] = {}
    for vote in votes:
        graded.setdefault(str(vote["grader"]), {})[str(vote["object_id"]), str(vote["tile"])] = int(
            vote["grade"]
        )
    kappas, shares = [], []
    for one, other in itertools.combinations(graded.values(), 2):
        common = sorted(one.keys() & other.keys())
        pair = [[grades[name] for name in common] for grades in (one, other)]
        if len(common) >= 2 and len({*pair[0], *pair[1]}) > 1:
            kappas.append(cohen_kappa_score(*pair, labels=sorted(GRADES.values()), weights="linear"))
            shares.append(len(common))
    return float(np.average(kappas, weights=shares)) if kappas else float("nan")


def judge_graders(votes: Table) -> Table:
    """Return a row a grader: how many objects, and what became of the controls.

    ``grader``, ``graded`` (objects that are no controls), ``lenses`` and ``nonlenses`` (controls seen),
    ``completeness`` (share of the lenses given A or B) and ``purity`` (share of lenses among the controls given A or
    B), NaN where there were none.
    """
    least = min(GRADES[letter] for letter in LENS_GRADES)
    rows = []
    for grader in sorted(set(votes["grader"])):
        mine = votes[votes["grader"] == grader]
        said, control = np.asarray(mine["grade"]) >= least, np.asarray(mine["control"], str)
        lenses, others = control == CONTROLS[0], control == CONTROLS[1]
        named = said & (lenses | others)
        rows.append(
            (
                str(grader), int(np.sum(control == "")), int(lenses.sum()), int(others.sum()),
                float(np.mean(said[lenses])) if lenses.any() else np.nan,
                float(np.mean(lenses[named])) if named.any() else np.nan,
            )
        )  # fmt: skip
    names = ("grader", "graded", "lenses", "nonlenses", "completeness", "purity")
    return Table(rows=rows, names=names)


def add_grades(table: Table, grades: Table) -> Table:
    """Return a catalog with the columns of `combine_votes`; what nobody graded has "" and NaN.

    A grade without a tile is for the object of that name in any.
    """
    where: dict[tuple[str, str], int] = {}
    for number, row in enumerate(grades):
        where[str(row["object_id"]), str(row["tile"])] = number
    found = [
        where.get((str(row["object_id"]), str(row["tile"])), where.get((str(row["object_id"]), ""), -1))
        for row in table[["object_id", "tile"]]
    ]
    known, index = np.array(found, int) >= 0, np.maximum(found, 0).astype(int)
    out = table.copy()
    for name, missing in (("grade", ""), ("grade_mean", np.nan), ("grade_std", np.nan), ("n_grades", 0)):
        values = np.asarray(grades[name])[index] if len(grades) else np.full(len(table), missing)
        out[name] = np.where(known, values, missing).astype(values.dtype)
    return out
