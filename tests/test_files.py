"""Readers of files: what is read, what is left out, and what is refused in one clear sentence."""

import gzip
import sys

import numpy as np
import pyarrow as pa
import pytest
from mixtura.data.table import NoColumn, Table, read_table

WANTED = np.array([[1.5, 2.0], [-3.25, 4.0], [5.0, 1e-3]])


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("comma.csv", "a,b\n1.5,2\n-3.25,4\n5,1e-3\n", "utf-8"),
        ("bom.csv", "a,b\n1.5,2\n-3.25,4\n5,1e-3\n", "utf-8-sig"),
        ("windows.csv", "a,b\r\n1.5,2\r\n-3.25,4\r\n5,1e-3\r\n", "utf-8"),
        ("semicolon.csv", "a;b\n1.5;2\n-3.25;4\n5;1e-3\n", "utf-8"),
        ("decimal_comma.csv", "a;b\n1,5;2\n-3,25;4\n5;0,001\n", "utf-8"),
        ("decimal_comma.tsv", "a\tb\n1,5\t2\n-3,25\t4\n5\t0,001\n", "utf-8"),
        ("tab.tsv", "a\tb\n1.5\t2\n-3.25\t4\n5\t1e-3\n", "utf-8"),
        ("tab.csv", "a\tb\n1.5\t2\n-3.25\t4\n5\t1e-3\n", "utf-8"),
        ("quoted.csv", '"a","b"\n"1.5","2"\n"-3.25","4"\n"5","1e-3"\n', "utf-8"),
        ("no_last_newline.csv", "a,b\n1.5,2\n-3.25,4\n5,1e-3", "utf-8"),
    ],
)
def test_dialects(tmp_path, name, text, encoding):
    table = read_table(write(tmp_path / name, text, encoding))
    assert table.columns == ["a", "b"]
    assert table.left_out == []
    np.testing.assert_array_equal(table.array(), WANTED)


def test_compressed(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1.5,2\n-3.25,4\n5,1e-3\n"))
    np.testing.assert_array_equal(read_table(path).array(), WANTED)


def test_one_column_keeps_its_gaps(tmp_path):
    table = read_table(write(tmp_path / "t.csv", "a\n1\n\n3\n"))
    np.testing.assert_array_equal(table.array(), [[1], [np.nan], [3]])


def test_columns_and_id(tmp_path):
    path = write(tmp_path / "t.csv", "cell,b,kind,a\nx,1,u,2\ny,3,v,4\n")
    table = read_table(path, columns=["a", "b"], id="cell")
    assert (table.columns, table.left_out, table.id_column) == (["a", "b"], ["kind"], "cell")
    assert table.ids.to_pylist() == ["x", "y"]
    np.testing.assert_array_equal(table.array(), [[2, 1], [4, 3]])
    np.testing.assert_array_equal(np.asarray(table.rows(1, 2)), [[4, 3]])


def test_empty_cells_are_missing_and_large_integers_pass(tmp_path):
    table = read_table(write(tmp_path / "t.csv", f"a,b,c\n1,,{2**60 + 1}\n2,3,4\n"))
    np.testing.assert_array_equal(table.array(), [[1, np.nan, 2.0**60], [2, 3, 4]])


def test_an_unnamed_column_can_be_the_identifier(tmp_path):
    table = read_table(write(tmp_path / "t.csv", ",a,b\n7,1,2\n8,3,4\n"), id="")
    assert table.ids.to_pylist() == [7, 8]
    assert table.columns == ["a", "b"]


def test_counted_header_is_a_header(tmp_path):
    assert read_table(write(tmp_path / "t.csv", "0,1\n5,6\n")).columns == ["0", "1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("a,b\n", "no rows"),
        ("a,b,a\n1,2,3\n", "more than one column named 'a'"),
        ("a,name,b\n1,x,2\n", "not numeric: 'name' (row 0 holds 'x')"),
        ("a,b\n1,2\n3,low\n", "not numeric: 'b' (row 1 holds 'low')"),
        ("a,b\n1,true\n", "'b'"),
        ("a,day\n1,2024-01-01\n", "'day'"),
        ("1.5,2.5\n3,4\n", "line of column names"),
        (",a\n1,2\n", "no name for column 1"),
        ("a,b\n1,2\n3,4,5\n", "cannot be read as a table"),
    ],
)
def test_unusable_text(tmp_path, text, said):
    with pytest.raises(ValueError, match=r"t\.csv") as caught:
        read_table(write(tmp_path / "t.csv", text))
    assert said in str(caught.value)


def test_text_columns_suggest_what_to_do(tmp_path):
    path = write(tmp_path / "t.csv", "a,name,b\n1,x,2\n")
    with pytest.raises(ValueError, match=r"--columns.*--id"):
        read_table(path)
    assert read_table(path, id="name").columns == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings(tmp_path, encoding):
    with pytest.raises(ValueError, match="UTF-8"):
        read_table(write(tmp_path / "t.csv", "µm,b\n1,2\n" * 9, encoding))


def test_unknown_and_repeated_columns(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n1,2\n")
    with pytest.raises(NoColumn, match=r"--columns: t\.csv has no column 'z'; it has 'a', 'b'"):
        read_table(path, columns=["a", "z"])
    with pytest.raises(NoColumn, match="--id"):
        read_table(path, id="z")
    with pytest.raises(NoColumn, match="more than once"):
        read_table(path, columns=["a", "a"])


def test_places_that_are_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="directory"):
        read_table(tmp_path)
    with pytest.raises(ValueError, match="known kind"):
        read_table(write(tmp_path / "t.xlsx", "PK"))
    with pytest.raises(ValueError, match="decompressed"):
        read_table(write(tmp_path / "t.csv.gz", "not compressed"))


def test_csv_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "mixtura\[table\]"'):
        read_table(write(tmp_path / "t.csv", "a,b\n1,2\n"))


def test_npy_is_mapped(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, WANTED)
    table = read_table(path)
    assert isinstance(table.x, np.memmap)
    assert table.columns == ["0", "1"]
    chosen = read_table(path, columns=["1"], id="0")
    assert (chosen.columns, chosen.left_out) == (["1"], [])
    np.testing.assert_array_equal(chosen.array(), WANTED[:, 1:])
    np.testing.assert_array_equal(chosen.ids, WANTED[:, 0])


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(5), r"shape \(5,\).*reshape\(-1, 1\)"),
        (np.zeros((2, 2, 2)), "two dimensions"),
        (np.zeros((2, 2), complex), "complex128"),
        (np.zeros((2, 2), bool), "bool"),
        (np.array([["a"]]), "<U1"),
        (np.array([[None, 1]], dtype=object), "Python objects"),
    ],
)
def test_unusable_arrays(tmp_path, array, said):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=said):
        read_table(tmp_path / "x.npy")


@pytest.mark.parametrize("length", [3, 60, 200])
def test_truncated_array(tmp_path, length):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((100, 3)))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"not a complete \.npy file"):
        read_table(path)


def test_table_of_arrow_slices_without_a_copy():
    table = Table(pa.table({"a": np.arange(4.0)}), ["a"], [])
    assert len(table) == 4
    assert table.rows(1, 3)["a"].to_pylist() == [1, 2]
