"""Grades of several people: joined, compared, and judged by controls."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from lenspipe.catalog.grades import add_grades, combine_votes, judge_graders, measure_agreement, read_votes
from lenspipe.core.errors import InputError
from lenspipe.core.schema import GRADES


def write(path, rows, names=("object_id", "grade")):
    Table(rows=rows, names=names, dtype=["str"] * len(names)).write(path, format="ascii.ecsv")
    return path


def votes(**graders):
    """Return votes of graders, each a text of letters for objects 0, 1, ..."""
    rows = [
        (str(number), name, GRADES[letter], "")
        for name, letters in graders.items()
        for number, letter in enumerate(letters)
        if letter != " "
    ]
    return Table(rows=rows, names=("object_id", "grader", "grade", "control"))


def test_files_of_several_people_become_one_table(tmp_path):
    one = write(tmp_path / "ada.ecsv", [("a", "A"), ("007", "x"), ("a", "B")])  # a again: the later counts
    other = tmp_path / "all.csv"
    other.write_text("object_id,tile,grade,grader,control\n007,1,C,bo,\n12e4,,A,bo,lens\n007,,X,,\n")
    table = read_votes([one, other])
    found = {tuple(map(str, row)) for row in table.iterrows("object_id", "grader", "grade", "control")}
    assert found == {
        ("a", "ada", "2", ""), ("007", "ada", "0", ""), ("007", "bo", "1", ""), ("12e4", "bo", "3", "lens"),
        ("007", "all", "0", ""),
    }  # fmt: skip


def test_two_people_are_not_taken_for_one(tmp_path):
    for name in ("ada", "bo"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "grades.ecsv", [("a", "A")])
    with pytest.raises(InputError, match="name no grader and are both called grades; add a column grader"):
        read_votes([tmp_path / "ada" / "grades.ecsv", tmp_path / "bo" / "grades.ecsv"])


def test_what_one_knows_to_be_a_control_is_one_for_all(tmp_path):
    names = ("object_id", "grade", "control")
    one = write(tmp_path / "ada.ecsv", [("k", "A", "lens"), ("a", "B", "")], names)
    other = write(tmp_path / "bo.ecsv", [("k", "X"), ("a", "B")])
    table = read_votes([one, other])
    assert table["control"][table["object_id"] == "k"].tolist() == ["lens", "lens"]
    assert combine_votes(table)["object_id"].tolist() == ["a"]
    third = write(tmp_path / "cy.ecsv", [("k", "A", "nonlens")], names)
    with pytest.raises(InputError, match="k is a control of both kinds"):
        read_votes([one, third])


@pytest.mark.parametrize(
    ("names", "row", "message"),
    [
        (("object_id", "grade"), ("a", "D"), r"a has 'D'"),
        (("object_id", "grade"), ("a", ""), r"grades are A \(a lens\)"),
        (
            ("object_id", "grade", "control"),
            ("a", "A", "maybe"),
            r"a control is lens or nonlens.*a has 'maybe'",
        ),
        (("object_id", "score"), ("a", "1"), "grade not found"),
        (("object_id", "grade"), ("", "A"), "row 1 has no object_id"),
    ],
)
def test_what_is_no_grade_is_named(tmp_path, names, row, message):
    with pytest.raises(InputError, match=message):
        read_votes([write(tmp_path / "ada.ecsv", [row], names)])


def test_a_mean_has_the_nearest_letter_and_the_best_come_first():
    table = combine_votes(votes(ada="AXBC", bo="ABCX", cy="B   "))
    assert table["object_id"].tolist() == ["0", "2", "1", "3"]
    assert table["grade"].tolist() == ["A", "B", "C", "C"]  # of two as near the better one
    assert table["grade_mean"] == pytest.approx([8 / 3, 1.5, 1.0, 0.5])
    assert table["grade_std"] == pytest.approx([np.std([3, 3, 2]), 0.5, 1.0, 0.5])
    assert table["n_grades"].tolist() == [3, 2, 2, 2]


@given(st.lists(st.sampled_from("ABCX"), min_size=1, max_size=6))
def test_a_mean_lies_between_its_grades(letters):
    table = combine_votes(votes(**{f"g{number}": letter for number, letter in enumerate(letters)}))
    numbers = [GRADES[letter] for letter in letters]
    assert min(numbers) <= table["grade_mean"][0] <= max(numbers)
    assert min(numbers) <= GRADES[table["grade"][0]] <= max(numbers)


def test_agreement_is_that_of_pairs_by_what_they_share():
    ada, bo, cy = "AABCXX", "ABBCXC", "AX"
    pairs = [(ada, bo, 6), (ada[:2], cy, 2), (bo[:2], cy, 2)]
    kappas = [
        cohen_kappa_score(
            [GRADES[a] for a in x], [GRADES[b] for b in y], labels=[0, 1, 2, 3], weights="linear"
        )
        for x, y, _ in pairs
    ]
    expected = np.average(kappas, weights=[share for *_, share in pairs])
    assert measure_agreement(votes(ada=ada, bo=bo, cy=cy)) == pytest.approx(expected)
    assert measure_agreement(votes(ada=ada, bo=ada)) == 1.0


@pytest.mark.parametrize("graders", [{"ada": "ABC"}, {"ada": "A  ", "bo": " BB"}, {"ada": "AA", "bo": "AA"}])
def test_agreement_of_no_one_with_no_one_is_not_known(graders):
    assert np.isnan(measure_agreement(votes(**graders)))


def test_controls_judge_the_graders_and_are_no_result():
    table = votes(ada="AABX", bo="XXXX")
    table["control"] = np.array(["lens", "lens", "nonlens", ""] * 2)
    judged = {row["grader"]: row for row in judge_graders(table)}
    assert (judged["ada"]["graded"], judged["ada"]["lenses"], judged["ada"]["nonlenses"]) == (1, 2, 1)
    assert judged["ada"]["completeness"] == 1.0
    assert judged["ada"]["purity"] == pytest.approx(2 / 3)
    assert (judged["ada"]["rejected"], judged["bo"]["rejected"]) == (0.0, 1.0)
    assert judged["bo"]["completeness"] == 0.0
    assert np.isnan(judged["bo"]["purity"])
    assert combine_votes(table)["object_id"].tolist() == ["3"]


def test_a_catalog_gets_the_grades_of_its_objects():
    grades = combine_votes(votes(ada="AX"))
    catalog = Table({"object_id": ["0", "1", "1", "9"], "tile": ["T1", "T1", "T2", "T1"]})
    graded = add_grades(catalog, grades)
    assert graded["grade"].tolist() == ["A", "X", "X", ""]  # an object of two tiles is one
    assert graded["n_grades"].tolist() == [1, 1, 1, 0]
    assert np.isnan(graded["grade_mean"][3])
    assert add_grades(catalog, grades[:0])["grade"].tolist() == [""] * 4
    with pytest.raises(InputError, match=r"grades\.ecsv.*n_grades not found"):
        add_grades(catalog, grades["object_id", "grade"])
