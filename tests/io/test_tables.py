import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits, votable
from astropy.io.votable.ucd import check_ucd
from astropy.table import MaskedColumn, Table
from hypothesis import given, settings
from hypothesis import strategies as st

from lenspipe.core.errors import InputError
from lenspipe.core.schema import FLAGS, Column, catalog_columns
from lenspipe.io import tables
from lenspipe.io.tables import (
    FORMATS,
    empty_catalog,
    order_columns,
    read_table,
    require_columns,
    write_catalog,
)

COLUMNS = catalog_columns(
    ["g", "r", "i", "z", "Y", "u"], 2, ["theta_e", "sigma_v", "z_lens", "z_src", "q", "phi"]
)
FEW = [
    Column("object_id", "str", "", "meta.id", "identifier"),
    Column("ra", "f8", "deg", "pos.eq.ra;meta.main", "right ascension"),
    Column("theta_e", "f4", "arcsec", "phys.angSize", "Einstein radius " + "of a long story " * 8 + "told"),
    Column("flags", "i4", "", "meta.code.qual", "flag bits"),
]


def same(a: Table, b: Table) -> None:
    assert a.colnames == b.colnames
    assert len(a) == len(b)
    for name in a.colnames:
        assert a[name].dtype.kind == b[name].dtype.kind
        np.testing.assert_array_equal(np.asarray(a[name]), np.asarray(b[name]), err_msg=name)


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_registry_speaks_the_virtual_observatory(column):
    assert check_ucd(column.ucd, check_controlled_vocabulary=True), column.ucd
    u.Unit(column.unit).to_string("vounit")
    u.Unit(column.unit).to_string("fits")


@pytest.mark.parametrize("n_rows", [0, 3])
def test_all_formats_hold_the_same(tmp_path, n_rows):
    table = Table(
        {
            "object_id": ["é日本", "<script>\n", ' a "b", c'],
            "ra": [10.1, np.nan, 359.9],
            "theta_e": np.array([0.1, np.nan, 3], "f4"),
            "flags": [0, 1024, -1],
        }
    )[:n_rows]
    meta = {
        "run_id": "f00d",
        "config_hash_of_the_run": "x" * 200,
        "author": "Müller",
        "seeds": [1, 2],
        "seed": 7,
    }
    paths = write_catalog(table, tmp_path / "candidates.v1", FEW, meta)
    assert [p.name for p in paths] == [f"candidates.v1.{f}" for f in FORMATS]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in paths)
    want = order_columns(table, FEW)
    assert list(want["object_id"]) == ["é日本", "<script>", 'a "b", c'][:n_rows]
    for path in paths:
        got = read_table(path)
        same(got, want)
        for column in FEW:
            assert got[column.name].unit == (u.Unit(column.unit) if column.unit else None)
            assert got[column.name].description == column.description
            assert got[column.name].meta["ucd"] == column.ucd
            assert not isinstance(got[column.name], MaskedColumn)
        found = {key.lower(): value for key, value in got.meta.items()}
        assert found["run_id"] == "f00d"
        assert str(found["seed"]) == "7"
        assert found["seeds"] == "[1, 2]"
        assert found["config_hash_of_the_run"] == "x" * 200
        for flag, text in FLAGS.items():
            assert found[f"flag{int(flag)}"] == f"{flag.name.lower()}: {text}"


def test_whole_catalog_round_trips(tmp_path):
    rng = np.random.default_rng(1)
    table = Table({c.name: rng.normal(size=5) for c in COLUMNS if c.dtype.startswith("f")})
    paths = write_catalog(table, tmp_path / "c", COLUMNS, {})
    want = order_columns(table, COLUMNS)
    for path in paths:
        same(read_table(path), want)


def test_fits_and_votable_carry_ucds(tmp_path):
    fits_path, vot_path = write_catalog(Table({"ra": [1.0]}), tmp_path / "c", FEW, {}, ("fits", "vot"))
    header = fits.getheader(fits_path, 1)
    assert [header[f"TUCD{i}"] for i in (1, 2, 3, 4)] == [c.ucd for c in FEW]
    assert header["TUNIT3"] == "arcsec"
    fields = votable.parse_single_table(vot_path).fields
    assert [f.ucd for f in fields] == [c.ucd for c in FEW]


def test_bytes_depend_on_the_arguments_only(tmp_path, monkeypatch):
    table = Table({"ra": [1.0, 2.0]})
    first = [p.read_bytes() for p in write_catalog(table, tmp_path / "c", FEW, {"run_id": "a"})]
    monkeypatch.setattr("time.time", lambda: 2e9)
    again = [p.read_bytes() for p in write_catalog(table, tmp_path / "other" / "c", FEW, {"run_id": "a"})]
    assert first == again


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=12),
            st.floats(allow_nan=True),
            st.floats(width=32),
            st.integers(-(2**31), 2**31 - 1),
        ),
        max_size=4,
    )
)
def test_round_trip_of_anything(tmp_path_factory, rows):
    names = [column.name for column in FEW]
    table = Table(rows=rows, names=names, dtype=["U12", "f8", "f4", "i4"]) if rows else Table()
    want = order_columns(table, FEW)
    for path in write_catalog(table, tmp_path_factory.mktemp("t") / "c", FEW, {}):
        same(read_table(path), want)


def test_a_name_like_a_comment_keeps_its_row(tmp_path):
    table = order_columns(Table({"object_id": ["#1", "# 2 #", "#", '#"x"']}), FEW)
    for path in write_catalog(table, tmp_path / "c", FEW, {}):
        same(read_table(path), table)


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    (path,) = write_catalog(Table({"ra": [1.0]}), tmp_path / "c", FEW, {}, ("ecsv",))
    before = path.read_bytes()

    def fail(table, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(tables.WRITERS, "ecsv", fail)
    with pytest.raises(OSError, match="No space"):
        write_catalog(Table({"ra": [2.0]}), tmp_path / "c", FEW, {}, ("ecsv",))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_format_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="xlsx"):
        write_catalog(Table(), tmp_path / "c", FEW, {}, ("fits", "xlsx"))
    assert not list(tmp_path.iterdir())


def test_order_columns_fills_casts_converts_and_drops():
    table = Table({"theta_e": [60.0, 120.0] * u.arcmin, "mine": [1, 2]})
    table["object_id"] = MaskedColumn(["a", "b"], mask=[False, True])
    got = order_columns(table, FEW)
    assert got.colnames == ["object_id", "ra", "theta_e", "flags"]
    np.testing.assert_allclose(got["theta_e"], [3600, 7200])
    assert got["theta_e"].dtype == np.float32
    assert np.isnan(got["ra"]).all()
    assert list(got["flags"]) == [0, 0]
    assert list(got["object_id"]) == ["a", ""]
    assert table["theta_e"].unit == u.arcmin
    with pytest.raises(InputError, match=r"column 'ra'.*expected f8 deg"):
        order_columns(Table({"ra": ["12:30:00"]}), FEW)
    with pytest.raises(InputError, match="'ra'"):
        order_columns(Table({"ra": [1.0] * u.kg}), FEW)


def test_empty_catalog_has_all_columns():
    empty = empty_catalog(COLUMNS)
    assert empty.colnames == [c.name for c in COLUMNS]
    assert len(empty) == 0
    assert empty["sigma_v"].unit == u.km / u.s


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "ra,dec\n1,2\n"),
        ("a.txt", "ra dec\n1 2\n"),
        ("a.dat", "# ra dec\n1 2\n"),
        ("a.tsv", "ra\tdec\n1\t2\n"),
    ],
)
def test_reads_plain_text(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    table = read_table(tmp_path / name)
    assert table.colnames == ["ra", "dec"]
    assert (table["ra"][0], table["dec"][0]) == (1, 2)


def test_reads_foreign_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    data = pa.table(
        {
            "id": pa.array(["a", None]).dictionary_encode(),
            "n": pa.array([1, None]),
            "x": pa.array([1.5, None]),
        }
    )
    parquet.write_table(data, tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert list(table["id"]) == ["a", ""]
    assert table["n"].mask.tolist() == [False, True]
    assert np.isnan(table["x"][1])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.fits", b"SIMPLE  = nonsense"),
        ("a.parquet", b"PAR1"),
        ("a.vot", b"<xml"),
        ("a.ecsv", b"\x00\x01"),
        ("a.png", b"\x89PNG\r\n\x1a\n\xff"),
        ("a.csv", b""),
    ],
)
def test_what_is_not_a_table_gives_one_clear_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name) as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_files_and_columns_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.fits.*not found"):
        read_table(tmp_path / "nothing.fits")
    with pytest.raises(InputError, match="is not a file"):
        read_table(tmp_path)
    with pytest.raises(InputError, match=r"t\.csv.*dec not found; it has ra"):
        require_columns(Table({"ra": [1]}), ["ra", "dec"], "t.csv")
