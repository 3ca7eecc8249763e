"""Tables in and out: one registry of columns, four formats with the same rows, and reading anything."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table

from lenspipe.core.errors import InputError
from lenspipe.core.schema import FLAGS, SCHEMA_VERSION, Column
from lenspipe.io.files import replacing
from lenspipe.io.formats import WRITERS, clean_text, fill_masked, read_any, to_strings

FORMATS = ("fits", "ecsv", "vot", "parquet")

# -- the registry's columns --------------------------------------------------------------------------


def empty_catalog(columns: Sequence[Column]) -> Table:
    """Return a table of no rows with the registry's names, dtypes, units, UCDs and descriptions."""
    return order_columns(Table(), columns)


def order_columns(table: Table, columns: Sequence[Column]) -> Table:
    """Return a table of exactly the registry's columns, in its order and with its dtypes.

    Columns of `table` that are not in the registry are left out. A column that is missing, and masked
    elements, are filled: floats with NaN, strings with ``""``, integers with 0.

    Parameters
    ----------
    table : Table
        Not changed. A column with a unit is converted to the registry's.
    columns : sequence of Column

    Returns
    -------
    Table
        Each column has `unit`, `description` and the UCD in `meta["ucd"]`; `table.meta` is kept.

    Raises
    ------
    InputError
        If a column cannot be converted to the registry's dtype or unit.
    """
    out = Table(meta=dict(table.meta))
    n_rows = len(table)
    for column in columns:
        values = _cast(table, column) if column.name in table.colnames else _fill(column, n_rows)
        out[column.name] = values
        info = out[column.name]
        if column.unit:
            info.unit = column.unit
        info.description = column.description
        info.meta["ucd"] = column.ucd
    return out


def _fill(column: Column, n_rows: int) -> np.ndarray:
    if column.dtype == "str":
        return np.full(n_rows, "", dtype="U1")
    return np.full(n_rows, np.nan if column.dtype.startswith("f") else 0, dtype=column.dtype)


def _cast(table: Table, column: Column) -> np.ndarray:
    values = table[column.name]
    try:
        if column.dtype == "str":
            return to_strings(values)
        fill = np.nan if column.dtype.startswith("f") else 0
        plain = values.astype(column.dtype).filled(fill) if isinstance(values, MaskedColumn) else values
        if column.unit and values.unit is not None:
            return np.asarray(plain * values.unit.to(column.unit), dtype=column.dtype)
        return np.asarray(plain, dtype=column.dtype)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"column {column.name!r}: expected {column.dtype} {column.unit or 'without unit'}, "
            f"received {values.dtype} {values.unit or 'without unit'}: {error}"
        ) from None


def require_columns(table: Table, names: Iterable[str], path: str | Path) -> None:
    """Raise `InputError` naming the columns of `names` that `table`, read from `path`, lacks."""
    missing = [name for name in names if name not in table.colnames]
    if missing:
        raise InputError(
            f"table {str(path)!r}: column(s) {', '.join(missing)} not found; "
            f"it has {', '.join(table.colnames) or 'no columns'}"
        )


# -- writing -----------------------------------------------------------------------------------------


def write_catalog(
    table: Table,
    stem: str | Path,
    columns: Sequence[Column],
    meta: Mapping[str, Any],
    formats: Sequence[str] = FORMATS,
) -> list[Path]:
    """Write a table in several formats with identical rows and columns.

    Each file is written atomically and its bytes depend on nothing but the arguments: no time stamps.
    Metadata are scalars (others become JSON text) and stand in each file: FITS header cards (keys in
    upper case), ECSV and Parquet table metadata, VOTable INFO elements. ``FLAG1``, ``FLAG2``, ... document
    the flag bits.

    Parameters
    ----------
    table : Table
        Brought into the registry's form by `order_columns`.
    stem : path
        Path without suffix; ``run/candidates`` gives ``run/candidates.fits`` and so on.
    columns : sequence of Column
        The registry.
    meta : mapping
        Provenance: run id, package version, seed, ...
    formats : sequence of str
        Any of ``fits``, ``ecsv``, ``vot``, ``parquet``.

    Returns
    -------
    list of Path
        The files, in the order of `formats`.

    Raises
    ------
    ValueError
        If a format is not known.
    """
    unknown = [name for name in formats if name not in WRITERS]
    if unknown:
        raise ValueError(f"formats must be among {', '.join(WRITERS)}, received {', '.join(unknown)}")
    whole = order_columns(table, columns)
    whole.meta = _flat_meta(meta)
    paths = []
    for name in formats:
        path = Path(f"{os.fspath(stem)}.{name}")
        with replacing(path) as temporary:
            WRITERS[name](whole, temporary)
        paths.append(path)
    return paths


def write_table(table: Table, path: str | Path) -> None:
    """Write any table atomically, in the format that the path's suffix names (.parquet or .ecsv)."""
    path = Path(path)
    name = path.suffix.lstrip(".")
    if name not in ("parquet", "ecsv"):
        raise ValueError(f"path must end in .parquet or .ecsv, received {path.name}")
    with replacing(path) as temporary:
        WRITERS[name](table, temporary)


def _flat_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {"schema_version": SCHEMA_VERSION}
    for key, value in meta.items():
        if isinstance(value, (bool, int, float)) and np.isfinite(value):
            flat[key] = value
        elif isinstance(value, (str, Path)):
            flat[key] = clean_text(value)
        else:
            flat[key] = clean_text(json.dumps(value, ensure_ascii=False, sort_keys=True, default=str))
    for flag, text in FLAGS.items():
        flat[f"FLAG{int(flag)}"] = f"{str(flag.name).lower()}: {text}"
    return flat


# -- reading -----------------------------------------------------------------------------------------


def read_table(path: str | Path, text: Sequence[str] = ()) -> Table:
    """Return a table from any file that astropy reads: FITS, ECSV, VOTable, Parquet, CSV, ...

    Masked floats become NaN and masked strings ``""``; masked integers stay masked, for no integer means
    "missing". Byte strings become text. UCDs, where the format has them, are in `column.meta["ucd"]`.

    Parameters
    ----------
    path : path
        A local file; addresses on the network are not followed.
    text : sequence of str
        Columns that are text whatever stands in them: the object 0012 of a CSV is not number 12.

    Raises
    ------
    InputError
        If the file is missing or is not a table.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"table {str(path)!r}: {'is not a file' if path.exists() else 'not found'}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # foreign units and headers; what matters raises
            table = read_any(path, text)
        if not table.colnames:
            raise ValueError("no columns")
    except Exception as error:  # astropy's readers leak more than a dozen exception classes
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise InputError(
            f"cannot read {str(path)!r} as a table ({reason}); expected FITS, ECSV, VOTable, Parquet or CSV"
        ) from None
    return fill_masked(table)
