"""Cuts on table columns, as users write them: ``mag_r < 22 and mag_g - mag_r > 0.8``.

Text is parsed into Python's syntax tree, of which only what a cut needs is let through; the tree is then
walked over numpy columns. Nothing is ever compiled or evaluated by Python itself, so no text can do more
than arithmetic on the columns given.
"""

from __future__ import annotations

import ast
import difflib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lenspipe.core.errors import ConfigError

#: Longest expression [characters] and deepest nesting: what a person writes stays far below.
LONGEST, DEEPEST = 2000, 60

_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "abs": (1, np.abs),
    "log10": (1, np.log10),
    "sqrt": (1, np.sqrt),
    "hypot": (2, np.hypot),
    "isfinite": (1, np.isfinite),
}
_ARITHMETIC: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_HINTS: dict[type[ast.AST], str] = {
    ast.BitAnd: "write 'and' between cuts",
    ast.BitOr: "write 'or' between cuts",
    ast.Invert: "write 'not' before a cut",
    ast.Attribute: "write the column's bare name",
    ast.Subscript: "write the column's bare name",
}
_GRAMMAR = (
    "a cut is made of numbers, column names, + - * / **, < <= > >= == !=, and, or, not, parentheses and "
    + ", ".join(_FUNCTIONS)
)


@dataclass(frozen=True)
class Cut:
    """A parsed expression; made by `parse_cut`."""

    text: str
    setting: str
    tree: ast.expr


def parse_cut(text: str, setting: str) -> Cut:
    """Return a cut, parsed and found harmless; which columns exist is checked by `select_rows`.

    Numbers, names, ``+ - * / **``, comparisons (chained too), ``and``, ``or``, ``not``, parentheses and the
    functions abs, log10, sqrt, hypot, isfinite; line breaks count as blanks. The meaning is Python's, with
    four differences: arithmetic is in float64 (overflow gives inf; what has no real value gives NaN);
    a comparison with NaN is false, ``!=`` too; ``and``, ``or`` and ``not`` stand between cuts, not numbers;
    and both sides of ``and`` and ``or`` are always looked at.

    Parameters
    ----------
    text : str
    setting : str
        Name of the setting, for messages.

    Raises
    ------
    ConfigError
        Quotes the expression and the place at fault.
    """
    plain = " ".join(text.split())
    if len(plain) > LONGEST:
        raise ConfigError(f"{setting}: at most {LONGEST} characters, received {len(plain)}")
    if "#" in plain:  # once the lines are joined, a comment would swallow all that follows it
        raise _fault(plain, setting, plain.index("#"), "no comments inside a cut")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as "invalid decimal literal" for 1or 2
            tree = ast.parse(plain, mode="eval").body
    except SyntaxError as error:
        place = max(0, (error.offset or 1) - 1)
        raise _fault(plain, setting, place, f"{error.msg or 'invalid syntax'}; {_GRAMMAR}") from None
    except (ValueError, MemoryError, RecursionError) as error:  # null bytes; thousands of parentheses
        raise _fault(plain, setting, 0, f"cannot be parsed ({error or type(error).__name__})") from None
    cut = Cut(plain, setting, tree)
    _check_node(cut, tree, 1)
    return cut


def select_rows(cut: Cut, columns: Mapping[str, Any], n_rows: int) -> np.ndarray:
    """Return which rows a cut lets through.

    Parameters
    ----------
    cut : Cut
    columns : mapping of str to array (n_rows,)
        Numbers or booleans; masked elements of numbers count as NaN. With columns of length 0 this is the
        check that a cut fits a table.
    n_rows : int

    Returns
    -------
    ndarray (n_rows,), bool

    Raises
    ------
    ConfigError
        If a name is not a column, a column holds no numbers, or numbers and cuts are mixed up; the message
        quotes the expression, the place and the columns that exist.
    """
    with np.errstate(all="ignore"):
        chosen = _Walk(cut, columns).cut(cut.tree)
    return np.array(np.broadcast_to(chosen, (n_rows,)))


def _fault(text: str, setting: str, place: int, what: str) -> ConfigError:
    return ConfigError(f'{setting} = "{text}": at character {place + 1}: {what}')


def _place(cut: Cut, node: ast.AST) -> int:
    """Return where a node begins [characters]; the parser counts bytes of UTF-8."""
    return len(cut.text.encode()[: getattr(node, "col_offset", 0)].decode(errors="ignore"))


def _check_node(cut: Cut, node: ast.expr, depth: int) -> None:
    """Refuse all that is not on the list; nothing is known by being absent from a list of dangers."""

    def refuse(what: str, culprit: ast.AST | None = None) -> ConfigError:
        hint = _HINTS.get(type(culprit or node))
        return _fault(cut.text, cut.setting, _place(cut, node), f"{what}; {hint or _GRAMMAR}")

    if depth > DEEPEST:
        raise refuse(f"nested deeper than {DEEPEST}")
    inner: list[ast.expr] = []
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as number):
            if not np.isfinite(_to_float(number)):
                raise refuse("the number is too large")
        case ast.Name():
            pass
        case ast.UnaryOp(op=ast.UAdd() | ast.USub() | ast.Not(), operand=operand):
            inner = [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            inner = [left, right]
        case ast.BoolOp(values=values):
            inner = values
        case ast.Compare(left=left, ops=ops, comparators=others) if all(type(o) in _COMPARISONS for o in ops):
            inner = [left, *others]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            wanted = _FUNCTIONS[name][0]
            if len(args) != wanted:
                raise refuse(f"{name} takes {wanted} value(s), received {len(args)}")
            inner = args
        case ast.Call(func=ast.Name(id=name)):
            raise refuse(f"no function {name!r} of this form")
        case ast.UnaryOp(op=op) | ast.BinOp(op=op):
            raise refuse(f"the operator {type(op).__name__} is not known here", op)
        case ast.Compare():
            raise refuse("only < <= > >= == != compare")
        case _:
            raise refuse(f"{type(node).__name__} has no place in a cut")
    for child in inner:
        _check_node(cut, child, depth + 1)


def _to_float(number: int | float) -> float:
    try:
        return float(number)
    except OverflowError:
        return float("inf")


class _Walk:
    """One evaluation of a checked tree over columns."""

    def __init__(self, which: Cut, columns: Mapping[str, Any]):
        self.which, self.columns = which, columns

    def cut(self, node: ast.expr) -> Any:
        """Return the value of a node that must be a cut: booleans."""
        value = self.value(node)
        if np.asarray(value).dtype != bool:
            raise self.fault(node, "expected a cut such as mag_r < 22 here, received a number")
        return value

    def number(self, node: ast.expr) -> Any:
        """Return the value of a node that must be a number, in float64."""
        value = np.asarray(self.value(node))
        if value.dtype == bool:
            raise self.fault(node, "expected a number or a column here, received a cut")
        return value.astype(float)

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() as truth):
                return np.bool_(truth)
            case ast.Constant(value=number):
                # integers stay what they are: identifiers of 18 digits are no float64
                return np.int64(number) if _is_int64(number) else np.float64(number)
            case ast.Name(id=name):
                return self.column(node, name)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return np.logical_not(self.cut(operand))
            case ast.UnaryOp(op=op, operand=operand):
                number = self.number(operand)
                return -number if isinstance(op, ast.USub) else number
            case ast.BinOp(left=left, op=op, right=right):
                return _ARITHMETIC[type(op)](self.number(left), self.number(right))
            case ast.BoolOp(op=op, values=values):
                join = np.logical_and if isinstance(op, ast.And) else np.logical_or
                chosen = self.cut(values[0])
                for other in values[1:]:
                    chosen = join(chosen, self.cut(other))
                return chosen
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self.compare([left, *others], ops)
            case ast.Call(func=ast.Name(id=name), args=args):
                return _FUNCTIONS[name][1](*(self.number(arg) for arg in args))
        raise AssertionError(f"{type(node).__name__} was let through")  # a bug: parse_cut checks the tree

    def compare(self, nodes: list[ast.expr], ops: list[ast.cmpop]) -> Any:
        values = [self.value(node) for node in nodes]
        chosen: Any = np.bool_(True)
        for op, left, right in zip(ops, values, values[1:], strict=False):
            known = (left == left) & (right == right)  # NaN is not what it is
            chosen = chosen & known & _COMPARISONS[type(op)](left, right)
        return chosen

    def column(self, node: ast.Name, name: str) -> np.ndarray:
        if name not in self.columns:
            names = list(self.columns)
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise self.fault(node, f"no column {name!r}{hint}; there are {', '.join(names) or 'none'}")
        values = self.columns[name]
        kind = np.asarray(values).dtype.kind
        if kind not in "biuf" or np.ndim(values) != 1:
            raise self.fault(node, f"the column {name!r} holds no numbers, one a row")
        mask = np.ma.getmaskarray(values)
        if not mask.any():
            return np.asarray(values)
        if kind == "b":
            return np.asarray(values) & ~mask
        return np.where(mask, np.nan, np.asarray(values))

    def fault(self, node: ast.AST, what: str) -> ConfigError:
        return _fault(self.which.text, self.which.setting, _place(self.which, node), what)


def _is_int64(number: int | float) -> bool:
    return isinstance(number, int) and -(2**63) <= number < 2**63
