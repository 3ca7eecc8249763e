"""Grades into a run's folder."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table

from lenspipe.core.errors import InputError
from lenspipe.io.store import Store
from lenspipe.io.tables import read_table, write_table
from lenspipe.stages.grades import merge_grades
from lenspipe.training.graded import read_grades


@pytest.fixture
def run(tmp_path):
    """A run's folder that scored three objects."""
    folder = tmp_path / "run"
    folder.mkdir()
    write_table(Table({"object_id": ["a", "b", "c"], "tile": ["T", "T", "U"]}), folder / "scores.parquet")
    return Store(folder)


def graded(path, **columns):
    Table(columns).write(path, format="ascii.csv")
    return path


def test_grades_become_a_table_to_train_on(run, tmp_path):
    one = graded(
        tmp_path / "ada.csv",
        object_id=["a", "b", "k", "l"],
        grade=list("AXAC"),
        control=["", "", "lens", "lens"],
    )
    other = graded(tmp_path / "bo.csv", object_id=["a", "b", "z"], grade=list("BXB"))
    told = merge_grades([one, other], run)
    assert told[0] == "ada: 2 graded, 50% of 2 hidden lenses called one, purity 100% on the controls"
    assert told[1] == "bo: 3 graded"
    assert told[2].startswith("3 objects graded by 2, kappa 0.")
    assert told[2].endswith("2 of them are in the run")
    table = read_table(run.root / "grades.ecsv")
    assert dict(zip(table["object_id"], table["grade"], strict=True)) == {"a": "A", "b": "X", "z": "B"}
    assert table.meta["graders"][1]["completeness"] is None  # no controls
    training = read_grades(run.root / "grades.ecsv")
    assert training["lens"][np.argsort(training["key"])].tolist() == [True, False, True]


def test_grades_that_say_nothing_of_a_run_are_refused(run, tmp_path):
    with pytest.raises(
        InputError, match=r"none of the 1 graded objects is in .*, e.g. z; are the grades of another"
    ):
        merge_grades([graded(tmp_path / "z.csv", object_id=["z"], grade=["A"])], run)
    with pytest.raises(InputError, match="nothing is graded but controls"):
        merge_grades([graded(tmp_path / "k.csv", object_id=["k"], grade=["A"], control=["lens"])], run)
    (run.root / "scores.parquet").unlink()
    with pytest.raises(InputError, match="its catalog is not made yet"):
        merge_grades([graded(tmp_path / "a.csv", object_id=["a"], grade=["A"])], run)
    assert not (run.root / "grades.ecsv").exists()


def test_what_others_wrote_is_not_written_over(run, tmp_path):
    one = graded(tmp_path / "ada.csv", object_id=["a"], grade=["A"])
    merge_grades([one], run)
    other = graded(tmp_path / "bo.csv", object_id=["b"], grade=["C"])
    merge_grades([other], run)  # replaces what it wrote itself
    assert read_table(run.root / "grades.ecsv")["object_id"].tolist() == ["b"]
    with pytest.raises(InputError, match="give the graders' own tables"):
        merge_grades([run.root / "grades.ecsv"], run)
    write_table(Table({"object_id": ["a"], "grade": ["A"]}), run.root / "grades.ecsv")
    with pytest.raises(InputError, match="give the graders' own tables"):
        merge_grades([one], run)
