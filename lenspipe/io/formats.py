"""Tables in four formats, one writer and one reader each.

FITS holds only ASCII by its standard, but object names may not: string cells are UTF-8 bytes there
(what astropy, too, decodes on reading) and header cards are escaped. Strings lose surrounding blanks
and control characters before they are written, because FITS, XML and ECSV each drop or forbid some of
them, and four files that differ in a name would be worse than one blank less.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits, votable
from astropy.io import registry as io_registry
from astropy.table import MaskedColumn, Table
from astropy.table import meta as table_meta

# Control characters, lone surrogates (undecodable file names) and the two non-characters: none may
# stand in XML.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def to_strings(values: Iterable[Any]) -> np.ndarray:
    """Return any column as clean text; what is missing is ``""``."""
    texts = [clean_text(value) for value in values]
    return np.array(texts, dtype=f"U{max([1, *map(len, texts)])}")


def clean_text(value: Any) -> str:
    """Return a value as text that all four formats can hold."""
    if value is np.ma.masked or value is None:
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return _UNWRITABLE.sub(" ", text).strip()


def _write_fits(table: Table, path: Path) -> None:
    plain = Table({name: _utf8(table[name]) for name in table.colnames})
    for name in table.colnames:
        plain[name].unit = table[name].unit
    hdu = fits.table_to_hdu(plain)
    hdu.name = "CATALOG"
    for i, name in enumerate(table.colnames, start=1):
        hdu.header[f"TUCD{i}"] = table[name].meta["ucd"]
        hdu.header[f"TCOMM{i}"] = _ascii(table[name].description)
    for key, value in table.meta.items():
        keyword = _ascii(key).upper()
        keyword = keyword if len(keyword) <= 8 else f"HIERARCH {keyword}"
        hdu.header[keyword] = _ascii(value) if isinstance(value, str) else value
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, checksum=False)


def _utf8(values: Any) -> np.ndarray:
    """Return strings as UTF-8 bytes, anything else as it is."""
    array = np.asarray(values)
    return np.char.encode(array, "utf-8") if array.dtype.kind == "U" else array


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _write_ecsv(table: Table, path: Path) -> None:
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    lines = text.getvalue().splitlines()
    names = next(i for i, line in enumerate(lines) if not line.startswith("#"))
    for i, line in enumerate(lines[names + 1 :], start=names + 1):
        if line.startswith("#"):  # a name, not a comment: unquoted, readers would drop the row
            first, blank, rest = line.partition(" ")
            lines[i] = f'"{first}"{blank}{rest}'
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_votable(table: Table, path: Path) -> None:
    document = votable.from_table(table)
    infos = document.resources[0].infos
    for i, (key, value) in enumerate(table.meta.items()):
        infos.append(votable.tree.Info(ID=f"meta{i}", name=key, value=str(value)))
    document.to_xml(os.fspath(path))


def _write_parquet(table: Table, path: Path) -> None:
    table.write(path, format="parquet")


WRITERS: dict[str, Callable[[Table, Path], None]] = {
    "fits": _write_fits,
    "ecsv": _write_ecsv,
    "vot": _write_votable,
    "parquet": _write_parquet,
}


def read_any(path: Path, text: Sequence[str] = ()) -> Table:
    """Return the table of a file, by its suffix; raises whatever the reader raises.

    Columns named in `text` are read as they are written where a format has no types of its own, as CSV.
    """
    suffix = path.suffix.lower()
    if suffix in {".parquet", ".parq"}:
        return _read_parquet(path)
    if suffix in {".vot", ".votable"}:
        return _read_votable(path)
    if suffix in {".fits", ".fit", ".fz"} or path.name.lower().endswith(".fits.gz"):
        return _read_fits(path)
    options = (
        {"converters": dict.fromkeys(text, str)}
        if text and suffix in {".csv", ".txt", ".dat", ".cat"}
        else {}
    )
    try:
        return Table.read(path, **options)
    except io_registry.IORegistryError:  # .txt, .dat, .cat: let astropy guess the dialect
        return Table.read(path, format="ascii", **options)


def _read_fits(path: Path) -> Table:
    table = Table.read(path, format="fits", mask_invalid=False)
    for i, name in enumerate(table.colnames, start=1):
        if f"TUCD{i}" in table.meta:
            table[name].meta["ucd"] = table.meta.pop(f"TUCD{i}")
        if f"TCOMM{i}" in table.meta:
            table[name].description = table.meta.pop(f"TCOMM{i}")
    table.meta.pop("EXTNAME", None)
    return table


def _read_votable(path: Path) -> Table:
    document = votable.parse(path)
    table = document.get_first_table().to_table(use_names_over_ids=True)
    for resource in document.resources:
        table.meta.update({info.name: info.value for info in resource.infos})
    for name in table.colnames:  # the writer wraps long descriptions
        table[name].description = " ".join((table[name].description or "").split()) or None
    return table


def _read_parquet(path: Path) -> Table:
    """Read Parquet with pyarrow alone: astropy's own reader also wants pandas."""
    from pyarrow import parquet

    arrow = parquet.ParquetFile(path).read()
    table = Table({name: _from_arrow(arrow.column(name)) for name in arrow.column_names})
    text = (arrow.schema.metadata or {}).get(b"table_meta_yaml")
    if text is None:
        return table
    header = table_meta.get_header_from_yaml(text.decode("utf-8").split("\n"))
    for entry in header["datatype"]:
        column = table[entry["name"]]
        column.unit = entry.get("unit")
        column.description = entry.get("description")
        column.meta.update(entry.get("meta") or {})
    table.meta.update(header.get("meta") or {})
    table.meta.pop("__serialized_columns__", None)
    for name in [
        name for name in table.colnames if f"{name}.mask" in table.colnames
    ]:  # as astropy writes masks
        table[name] = MaskedColumn(table[name], mask=np.asarray(table[f"{name}.mask"], bool))
        table.remove_column(f"{name}.mask")
    return table


def _from_arrow(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.combine_chunks().dictionary_decode()
    kind = column.type
    if any(is_text(kind) for is_text in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)):
        return to_strings(column.to_pylist())
    if pa.types.is_integer(kind) and column.null_count:
        mask = np.asarray(column.is_null())
        return MaskedColumn(np.asarray(column.fill_null(0)), mask=mask)
    if pa.types.is_nested(kind):
        return np.array(column.to_pylist())
    return column.to_numpy()


def fill_masked(table: Table) -> Table:
    """Return the table with native numbers and text, masked floats as NaN, masked strings as ``""``."""
    table.convert_bytestring_to_unicode()
    for name in table.colnames:
        column = table[name]
        if not column.dtype.isnative:  # FITS is big-endian, which pyarrow and Keras refuse
            column = table[name] = column.astype(column.dtype.newbyteorder("="))
        if isinstance(column, MaskedColumn) and (column.dtype.kind in "fUO" or not np.any(column.mask)):
            fill = {"f": np.nan, "U": ""}.get(column.dtype.kind)
            table.replace_column(name, column.filled(fill) if column.dtype.kind in "fU" else column.filled())
        if table[name].dtype.kind == "O" and all(isinstance(v, (str, type(None))) for v in table[name]):
            kept = table[name]
            table[name] = to_strings(kept)
            table[name].unit, table[name].description, table[name].meta = (
                kept.unit,
                kept.description,
                kept.meta,
            )
    return table
