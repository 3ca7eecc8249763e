from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from lenspipe.core.errors import ConfigError
from lenspipe.core.expressions import DEEPEST, LONGEST, parse_cut, select_rows

TABLE = {
    "id": np.array(["a", "b", "c", "d"]),
    "mag_g": np.array([22.5, 21.5, np.nan, 24.0], ">f4"),
    "mag_r": np.array([21.0, 21.0, 21.0, 23.0]),
    "star": np.array([False, False, False, True]),
    "number": np.array([10**17, 10**17 + 1, 3, 4]),
    "image": np.zeros((4, 2)),
}


def chosen(text, table=TABLE, n_rows=4):
    return select_rows(parse_cut(text, "targets.where"), table, n_rows).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("mag_r < 22 and mag_g - mag_r > 0.8", [1, 0, 0, 0]),
        ("20 < mag_r <= 21 and not star", [1, 1, 1, 0]),
        ("isfinite(mag_g) and (star or mag_g < 22)", [0, 1, 0, 1]),
        ("star == True", [0, 0, 0, 1]),
        ("number == 100000000000000001", [0, 1, 0, 0]),  # beyond float64's integers
        ("-2 ** 2 == -4 and 2 ** 3 ** 0 == 2", [1, 1, 1, 1]),
        ("hypot(mag_r - 18, 4) == 5", [1, 1, 1, 0]),
        ("10 ** (-0.4 * mag_r) < 1e-8 and log10(sqrt(abs(-100))) == 1", [1, 1, 1, 1]),
        ("  mag_r\n  < 22\n", [1, 1, 1, 0]),
        ("9 ** 9 ** 9 ** 9 > 1e300", [1, 1, 1, 1]),
    ],
)
def test_cuts_read_as_in_python(text, rows):
    assert chosen(text) == [bool(row) for row in rows]


@pytest.mark.parametrize("text", [f"mag_g {op} 22" for op in ("<", "<=", ">", ">=", "==", "!=")])
def test_nan_compares_false_and_so_does_what_is_masked(text):
    assert chosen(text)[2] is False
    masked = np.ma.MaskedArray([22, 22, 23], mask=[True, False, False])
    assert chosen(text, {"mag_g": masked}, 3)[0] is False
    assert chosen("not m", {"m": np.ma.MaskedArray([True, True], mask=[False, True])}, 2) == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mag_r < 22 and mag_i < 21", r'^targets.where = "mag_r < 22 and mag_i < 21": at character 16: no column '
         r"'mag_i'; did you mean 'mag_r'\?; there are id, mag_g, mag_r, star, number, image$"),
        ("mag_r", "character 1: expected a cut such as mag_r < 22 here, received a number"),
        ("not mag_r", "character 5: expected a cut"),
        ("mag_r and star", "character 1: expected a cut"),
        ("(mag_r < 2) + 1 < 3", "expected a number or a column here, received a cut"),
        ("abs(star) < 3", "expected a number or a column here, received a cut"),
        ("id == 3", "column 'id' holds no numbers"),
        ("image < 3", "column 'image' holds no numbers, one a row"),
        ("(mag_r < 2) & star", "write 'and' between cuts"),
        ("star | star", "write 'or' between cuts"),
        ("~star", "write 'not' before a cut"),
        ("mag_r < ", "invalid syntax; a cut is made of numbers"),
        ("", "invalid syntax"),
        ("mag_r < 22 # and more\nand star", "character 12: no comments"),
        ("mag_r < 1e999", "character 9: the number is too large"),
        ("mag_r < " + "9" * 400, "the number is too large"),
        ("abs(mag_r, 2) < 1", r"abs takes 1 value\(s\), received 2"),
        ("mag_r is 3", "only < <= > >= == != compare"),
        ("é < 3 or ñ < 3", "character 1: no column 'é'"),
        ("star or ééé < ñ", "character 9: no column 'ééé'"),
        ("1 < 2 " * LONGEST, f"at most {LONGEST} characters"),
        ("not " * (DEEPEST + 1) + "star", f"nested deeper than {DEEPEST}"),
        ("-" * 1999 + "1", "nested deeper|cannot be parsed"),
        ("(" * 999 + "1" + ")" * 999, "too many nested|cannot be parsed"),
        ("mag_r < 2\0", "null byte|cannot be parsed|invalid"),
    ],
)  # fmt: skip
def test_a_mistake_is_quoted_with_its_place(text, message):
    with pytest.raises(ConfigError, match=message):
        chosen(text)


#: What must never get through, whatever surrounds it.
ATTACKS = [
    *("mag_r.__class__", "().__class__.__bases__[0]", "mag_r.real", "(1).real", "mag_r[0]", "mag_r[:]"),
    *("__import__('os')", "open('x')", "eval('1')", "exec('1')", "print(mag_r)", "max(mag_r, 1)", "abs(mag_r)(1)"),
    *("abs(x=1)", "abs(*[1])", "abs(**{})", "hypot(*mag_r)", "abs", "sqrt.__call__(1)", "(lambda: 1)()", "lambda: 1"),
    *("[m for m in (1,)]", "{1}", "{1: 2}", "(m for m in (1,))", "{m: 1 for m in (1,)}", "[1]", "(1, 2)", "(m := 1)"),
    *("'text'", "b'text'", "f'{mag_r}'", "f'{mag_r.x}'", "'a' 'b'", "'%s' % 1", "...", "None", "1j"),
    *("1 if star else 2", "star and (yield)", "not (await star)"),
    *("mag_r @ mag_r", "mag_r // 1", "mag_r % 2", "mag_r << 2", "mag_r >> 1", "mag_r | 1", "mag_r & 1", "mag_r ^ 1"),
    *("~mag_r", "mag_r in (1,)", "mag_r not in (1,)", "mag_r is 1", "mag_r is not 1", "await mag_r", "yield mag_r"),
    *("yield from mag_r", "*mag_r", "mag_r; mag_r", "mag_r = 1", "import os", "del mag_r", "mag_r\\\n", "`mag_r`"),
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(
    "frame", ["{}", "({}) < 1", "star and ({}) > 0", "abs(1 + ({})) < 2", "not star or ({}) == 0"]
)
def test_nothing_but_arithmetic_gets_through(attack, frame):
    with pytest.raises(ConfigError, match=r"targets\.where"):
        chosen(frame.format(attack))


@settings(max_examples=400, deadline=None)
@given(
    st.text(alphabet=st.sampled_from("mag_r<>=!.+-*/()[]{}0123456789 andorts'\"\\@:,;#\n\0é"), max_size=60)
)
@example("1 if star else star")
def test_any_text_is_a_cut_or_a_config_error(text):
    try:
        rows = chosen(text)
    except ConfigError:
        return
    assert len(rows) == 4


def numbers():
    leaf = st.sampled_from(["x", "y", "z", "0.5", "1", "2", "7", "0.125"])
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds("({} {} {})".format, inner, st.sampled_from("+-*/"), inner),
            st.builds("{} {} {}".format, leaf, st.sampled_from("+-*"), inner),  # precedence, no parentheses
            st.builds("(-{})".format, inner),
            st.builds("-{} ** {}".format, leaf, st.sampled_from("0123")),
            st.builds("abs({})".format, inner),
            st.builds("sqrt(abs({}))".format, inner),
            st.builds("log10(1 + abs({}))".format, inner),
            st.builds("hypot({}, {})".format, inner, inner),
        ),
        max_leaves=6,
    )


def cuts():
    ops = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
    leaf = st.one_of(
        st.builds("{} {} {}".format, numbers(), ops, numbers()),
        st.builds("{} {} {} {} {}".format, numbers(), ops, numbers(), ops, numbers()),
        st.builds("isfinite({})".format, numbers()),
        st.sampled_from(["flag", "True", "False"]),
    )
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds("{} and {}".format, inner, inner),
            st.builds("{} or {}".format, inner, inner),
            st.builds("not {}".format, inner),
            st.builds("({})".format, inner),
            st.builds("({}) == ({})".format, inner, inner),
        ),
        max_leaves=6,
    )


@settings(max_examples=600, deadline=None)
@given(cuts(), st.lists(st.tuples(*[st.integers(-32, 32)] * 3, st.booleans()), min_size=1, max_size=4))
def test_a_cut_is_what_python_makes_of_it(text, rows):
    table = {name: np.array([row[i] / 4 for row in rows]) for i, name in enumerate("xyz")}
    table["flag"] = np.array([row[3] for row in rows])
    try:
        got = chosen(text, table, len(rows))
    except ConfigError as error:
        assert "nested" in str(error) or "characters" in str(error)
        assume(False)
    functions = {  # numpy's own where the last bit is a matter of taste
        "abs": abs,
        "sqrt": math.sqrt,
        "isfinite": math.isfinite,
        "log10": lambda value: float(np.log10(value)),
        "hypot": lambda a, b: float(np.hypot(a, b)),
    }
    for i, row in enumerate(rows):
        names = dict(zip("xyz", (value / 4 for value in row), strict=False), flag=row[3])
        try:
            assert got[i] is bool(eval(text, {"__builtins__": {}, **functions}, names)), (text, names)
        except ZeroDivisionError:  # numpy says inf or NaN, and goes on
            continue
