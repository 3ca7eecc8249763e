"""Names of objects: IAU-style designations from coordinates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable


def iau_name(ra: float, dec: float, prefix: str = "LP") -> str:
    """Return the IAU-style name of a position, e.g. ``LP J033056.93-522813.0``.

    The IAU's rule is to truncate, never to round: the name is the corner of the cell that holds the
    object. Sexagesimal digits are taken from integers, so that no ``60`` can appear, and a nudge of
    1e-9 of a unit keeps exact decimal positions from falling one digit down through binary rounding.

    Parameters
    ----------
    ra, dec : float
        ICRS position [deg]. NaN gives an empty name (a stamp without WCS has no position).
    prefix : str
        The survey's or program's acronym.
    """
    if not (math.isfinite(ra) and math.isfinite(dec)):
        return ""
    if not -90.0 <= dec <= 90.0:
        raise ValueError(f"dec must lie in -90..90 deg, received {dec}")
    centiseconds = int((ra % 360.0) / 15.0 * 3600.0 * 100.0 + 1e-6) % (24 * 3600 * 100)
    deciarcsec = int(abs(dec) * 3600.0 * 10.0 + 1e-6)
    h, rest = divmod(centiseconds, 360_000)
    m, s = divmod(rest, 6_000)
    d, rest = divmod(deciarcsec, 36_000)
    am, asec = divmod(rest, 600)
    sign = "-" if dec < 0 else "+"
    return (
        f"{prefix} J{h:02d}{m:02d}{s // 100:02d}.{s % 100:02d}"
        f"{sign}{d:02d}{am:02d}{asec // 10:02d}.{asec % 10:d}"
    )


def unique_names(names: Iterable[str]) -> list[str]:
    """Return the names with ``a``, ``b``, ... appended to later ones that collide (IAU practice)."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        count = seen.get(name, 0)
        seen[name] = count + 1
        out.append(name if not name or count == 0 else f"{name}{_letters(count)}")
    return out


def tell_apart(names: Iterable[str]) -> list[str]:
    """Return names that all differ: those that several rows share, or that are empty, get their row (``name#3``)."""
    names = [name.strip() for name in names]
    count, taken = Counter(names), set(names)
    out = []
    for row, name in enumerate(names):
        if not name or count[name] > 1:
            name = f"{name}#{row}"
            while name in taken:
                name += "#"
            taken.add(name)
        out.append(name)
    return out


def _letters(count: int) -> str:
    text = ""
    while count:
        count, digit = divmod(count - 1, 26)
        text = chr(ord("a") + digit) + text
    return text


def mock_tile_name(number: int) -> str:
    """Return the name of a mock tile."""
    return f"mock{number:03d}"
