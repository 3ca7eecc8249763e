"""The quarantine table: every input that was left out, with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from astropy.table import Table

from lenspipe.core.types import Quarantined
from lenspipe.io.files import escape_text, replacing

_DESCRIPTIONS = {
    "path": "the file at fault",
    "hdu": "the extension, if one is at fault",
    "unit": "the tile or other unit of work",
    "object": "the object, if only one is left out",
    "reason": "a short code",
    "detail": "what was expected and what came",
}


def make_quarantine_table(rows: Iterable[Quarantined]) -> Table:
    """Return the rows as a table, ordered by unit, object and path."""
    ordered = sorted(rows, key=lambda row: (row.unit, row.object, row.path, row.reason))
    columns = {name: [escape_text(getattr(row, name)) for row in ordered] for name in _DESCRIPTIONS}
    table = (
        Table(columns, dtype=[str] * len(columns))
        if ordered
        else Table(names=list(columns), dtype=[str] * len(columns))
    )
    for name, description in _DESCRIPTIONS.items():
        table[name].info.description = description
    return table


def write_quarantine(rows: Iterable[Quarantined], path: str | Path) -> None:
    """Write the table as ECSV, atomically; with no rows it is written too, and empty."""
    with replacing(path) as temporary:
        make_quarantine_table(rows).write(temporary, format="ascii.ecsv", overwrite=True)
