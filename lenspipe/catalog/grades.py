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
from lenspipe.io.formats import to_strings
from lenspipe.io.tables import read_table, require_columns

#: What a control may be.
CONTROLS = ("lens", "nonlens")


def read_votes(paths: Sequence[str | Path]) -> Table:
    """Return all grades: ``object_id``, ``grader``, ``grade`` (0 to 3) and ``control``.

    Parameters
    ----------
    paths : sequence of path
        Tables with ``object_id`` and ``grade``, and optionally ``grader`` (else the file's stem) and ``control``
        ("lens", "nonlens", or "" for what is not known; what one table says of an object holds for all). Where
        somebody graded an object twice the later row counts.

    Raises
    ------
    InputError
        If a table lacks a column, is empty, has a row without an object, or another grade or control, if two tables
        that name no grader have one stem, or if a control is both; the message names file and object.
    """
    parts = [_read_one(Path(path)) for path in paths]
    stems = [Path(path).stem for path, part in zip(paths, parts, strict=True) if part.meta.pop("nameless")]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise InputError(
            f"two tables name no grader and are both called {twice[0]}; add a column grader, or rename one"
        )
    votes = vstack(parts, metadata_conflicts="silent")
    controls: dict[str, str] = {}
    for name, control in votes[votes["control"] != ""].iterrows("object_id", "control"):
        if controls.setdefault(str(name), str(control)) != control:
            raise InputError(f"{name} is a control of both kinds, lens and nonlens; decide for one")
    votes["control"] = np.array([controls.get(str(name), "") for name in votes["object_id"]])
    last = {
        (str(name), str(grader)): k for k, (name, grader) in enumerate(votes.iterrows("object_id", "grader"))
    }
    return votes[sorted(last.values())]


def _read_one(path: Path) -> Table:
    table = read_table(path, text=("object_id", "grader"))
    require_columns(table, ("object_id", "grade"), path)
    if not len(table):
        raise InputError(f"{path} has no rows; a table of grades needs some")

    def column(name: str) -> np.ndarray:
        return to_strings(table[name]) if name in table.colnames else np.full(len(table), "")

    ids, letters, controls, grader = (column(name) for name in ("object_id", "grade", "control", "grader"))
    letters = np.char.upper(letters)
    if (ids == "").any():
        raise InputError(f"{path}: row {int(np.argmax(ids == '')) + 1} has no object_id")
    for values, allowed, words in (
        (letters, tuple(GRADES), "grades are A (a lens), B (probably), C (probably not) or X (none)"),
        (controls, ("", *CONTROLS), f"a control is {' or '.join(CONTROLS)}, or empty for what is not known"),
    ):
        wrong = ~np.isin(values, allowed)
        if wrong.any():
            first = int(np.argmax(wrong))
            raise InputError(f"{path}: {words}; {ids[first]} has {str(values[first])!r}")
    votes = {
        "object_id": ids,
        "grader": np.where(grader == "", path.stem, grader),
        "grade": np.array([GRADES[letter] for letter in letters], int),
        "control": controls,
    }
    return Table(votes, meta={"nameless": bool((grader == "").any())})


def combine_votes(votes: Table) -> Table:
    """Return a row an object that is no control, best first: ``object_id`` and the columns of a grade.

    ``grade`` (the letter nearest to the mean, the better one of two that are as near), ``grade_mean``, ``grade_std``
    (of the graders, 0 for one) and ``n_grades``. As a table for `lenspipe train --negatives` it will do as it is.
    """
    open_votes = votes[votes["control"] == ""]
    letters = {number: letter for letter, number in GRADES.items()}
    rows = []
    for name, numbers in _by_object(open_votes).items():
        mean = float(np.mean(numbers))
        rows.append((name, letters[int(np.floor(mean + 0.5))], mean, float(np.std(numbers)), len(numbers)))
    names = ("object_id", "grade", "grade_mean", "grade_std", "n_grades")
    table = Table(rows=rows, names=names, dtype=("str", "str", "f4", "f4", "i4"))
    return table[np.lexsort((table["object_id"], -np.asarray(table["grade_mean"], float)))]


def _by_object(votes: Table) -> dict[str, list[int]]:
    grouped: dict[str, list[int]] = {}
    for name, grade in votes.iterrows("object_id", "grade"):
        grouped.setdefault(str(name), []).append(int(grade))
    return grouped


def measure_agreement(votes: Table) -> float:
    """Return Cohen's kappa with linear weights, the mean of all pairs of graders by the objects they share.

    1 is agreement, 0 what chance would give; NaN if no two of them graded at least two objects both, or gave all of
    them one grade.
    """
    graded: dict[str, dict[str, int]] = {}
    for name, grader, grade in votes.iterrows("object_id", "grader", "grade"):
        graded.setdefault(str(grader), {})[str(name)] = int(grade)
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
    ``completeness`` (share of the lenses given A or B), ``rejected`` (share of the others given C or X) and ``purity``
    (share of lenses among the controls given A or B), NaN where there were none.
    """
    least = min(GRADES[letter] for letter in LENS_GRADES)
    rows = []
    for grader in sorted(set(votes["grader"])):
        mine = votes[votes["grader"] == grader]
        said, control = np.asarray(mine["grade"]) >= least, np.asarray(mine["control"], str)
        lenses, others = control == CONTROLS[0], control == CONTROLS[1]
        shares = (_share(said[lenses]), _share(~said[others]), _share(lenses[said & (lenses | others)]))
        rows.append((str(grader), int(np.sum(control == "")), int(lenses.sum()), int(others.sum()), *shares))
    names = ("grader", "graded", "lenses", "nonlenses", "completeness", "rejected", "purity")
    return Table(rows=rows, names=names)


def _share(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def add_grades(table: Table, grades: Table) -> Table:
    """Return a catalog with the columns of `combine_votes`; what nobody graded has "" and NaN.

    Raises
    ------
    InputError
        If `grades` lacks a column, as a table by hand would.
    """
    require_columns(grades, ("object_id", "grade", "grade_mean", "grade_std", "n_grades"), "grades.ecsv")
    where = {str(name): number for number, name in enumerate(grades["object_id"])}
    found = np.array([where.get(str(name), -1) for name in table["object_id"]], int)
    out = table.copy()
    for name, missing in (("grade", ""), ("grade_mean", np.nan), ("grade_std", np.nan), ("n_grades", 0)):
        values = (
            np.asarray(grades[name])[np.maximum(found, 0)] if len(grades) else np.full(len(table), missing)
        )
        out[name] = np.where(found >= 0, values, missing).astype(values.dtype)
    return out
