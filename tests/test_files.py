"""Readers of files: what is read, what is left out, and what is refused in one clear sentence."""

import gzip
import sys
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mixtura import GaussianMixture
from mixtura.data.columns import NoColumn
from mixtura.data.scan import scan


def rows(source):
    return torch.cat([block.x for block in source.blocks(100)]).numpy()


def ids(source):
    return [i for block in source.blocks(100, ids=True) for i in block.ids.to_pylist()]


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
    source = scan(write(tmp_path / name, text, encoding))
    assert source.about.names == ("a", "b")
    assert source.about.left_out == ()
    np.testing.assert_array_equal(rows(source), WANTED)


def test_compressed(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n1.5,2\n-3.25,4\n5,1e-3\n"))
    np.testing.assert_array_equal(rows(scan(path)), WANTED)


def test_one_column_keeps_its_gaps(tmp_path):
    source = scan(write(tmp_path / "t.csv", "a\n1\n\n3\n"))
    np.testing.assert_array_equal(rows(source), [[1], [np.nan], [3]])


def test_columns_and_id(tmp_path):
    path = write(tmp_path / "t.csv", "cell,b,kind,a\nx,1,u,2\ny,3,v,4\n")
    source = scan(path, columns=["a", "b"], id="cell")
    assert (source.about.names, source.about.left_out, source.about.id) == (("a", "b"), ("kind",), "cell")
    assert ids(source) == ["x", "y"]
    np.testing.assert_array_equal(rows(source), [[2, 1], [4, 3]])


def test_empty_cells_are_missing_and_large_integers_pass(tmp_path):
    source = scan(write(tmp_path / "t.csv", f"a,b,c\n1,,{2**60 + 1}\n2,3,4\n"))
    np.testing.assert_array_equal(rows(source), [[1, np.nan, 2.0**60], [2, 3, 4]])


def test_an_unnamed_column_can_be_the_identifier(tmp_path):
    source = scan(write(tmp_path / "t.csv", ",a,b\n7,1,2\n8,3,4\n"), id="")
    assert ids(source) == [7, 8]
    assert source.about.names == ("a", "b")


def test_counted_header_is_a_header(tmp_path):
    assert scan(write(tmp_path / "t.csv", "0,1\n5,6\n")).about.names == ("0", "1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("a,b\n", "no rows"),
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
        scan(write(tmp_path / "t.csv", text))
    assert said in str(caught.value)


def test_text_columns_suggest_what_to_do(tmp_path):
    path = write(tmp_path / "t.csv", "a,name,b\n1,x,2\n")
    with pytest.raises(ValueError, match=r"columns=, or name the rows with id="):
        scan(path)
    assert scan(path, id="name").about.names == ("a", "b")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_other_encodings(tmp_path, encoding):
    with pytest.raises(ValueError, match="UTF-8"):
        scan(write(tmp_path / "t.csv", "µm,b\n1,2\n" * 9, encoding))


def test_unknown_and_repeated_columns(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n1,2\n")
    with pytest.raises(NoColumn, match=r"columns: t\.csv has no column 'z'; it has 'a', 'b'"):
        scan(path, columns=["a", "z"])
    with pytest.raises(NoColumn, match="id: "):
        scan(path, id="z")
    with pytest.raises(NoColumn, match="more than once"):
        scan(path, columns=["a", "a"])


def test_places_that_are_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        scan(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="directory"):
        scan(tmp_path)
    with pytest.raises(ValueError, match="known kind"):
        scan(write(tmp_path / "t.xlsx", "PK"))
    with pytest.raises(ValueError, match="decompressed"):
        scan(write(tmp_path / "t.csv.gz", "not compressed"))


def test_csv_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "mixtura\[table\]"'):
        scan(write(tmp_path / "t.csv", "a,b\n1,2\n"))


def test_columns_of_an_array(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, WANTED)
    source = scan(path)
    assert (source.about.names, source.about.named) == (("0", "1"), False)
    chosen = scan(path, columns=["1"], id="0")
    assert (chosen.about.names, chosen.about.left_out) == (("1",), ())
    np.testing.assert_array_equal(rows(chosen), WANTED[:, 1:])
    (block,) = chosen.blocks(100, ids=True)
    np.testing.assert_array_equal(block.ids, WANTED[:, 0])


def test_arrays_of_an_archive(tmp_path):
    np.savez(tmp_path / "two.npz", left=WANTED, right=-WANTED)
    np.testing.assert_array_equal(rows(scan(tmp_path / "two.npz", array="right")), -WANTED)
    with pytest.raises(ValueError, match=r"several arrays: choose with array= one of 'left', 'right'"):
        scan(tmp_path / "two.npz")
    with pytest.raises(ValueError, match="without an array 'middle'"):
        scan(tmp_path / "two.npz", array="middle")
    np.save(tmp_path / "x.npy", WANTED)
    with pytest.raises(ValueError, match="holds one array without a name"):
        scan(tmp_path / "x.npy", array="left")


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
        scan(tmp_path / "x.npy")


@pytest.mark.parametrize("length", [3, 60, 200])
def test_truncated_array(tmp_path, length):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((100, 3)))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"not a complete \.npy file"):
        scan(path)


# ---- what is handled and said


def test_repeated_names_get_numbers(tmp_path):
    source = scan(write(tmp_path / "t.csv", "a,b,a,a.1\n1,2,3,4\n5,6,7,8\n"))
    assert source.about.names == ("a", "b", "a.1", "a.1.1")
    assert "'a.1'" in source.about.told[0]
    np.testing.assert_array_equal(rows(source), [[1, 2, 3, 4], [5, 6, 7, 8]])


def test_an_unusual_decimal_point_is_said(tmp_path):
    source = scan(write(tmp_path / "t.csv", "a;b\n1,5;2\n"))
    assert "decimal point is ','" in source.about.told[0]


def test_separator_and_decimal_can_be_given(tmp_path):
    path = write(tmp_path / "t.txt", "a|b\n1,5|2\n-3,25|4\n5|0,001\n")
    np.testing.assert_array_equal(rows(scan(path, separator="|", decimal=",")), WANTED)
    with pytest.raises(ValueError, match="decimal is ';' beside the separator"):
        scan(path, separator="|", decimal=";")


def test_a_stray_mark_after_the_first_rows_is_found(tmp_path):
    """Beyond what is looked at when the file is opened."""
    lines = [f"{i},{i}" for i in range(200_000)]
    lines[199_990] = "5,low"
    source = scan(write(tmp_path / "t.csv", "\n".join(["a,b", *lines])))
    with pytest.raises(ValueError, match=r"t\.csv has columns that are not numeric: 'b' holds 'low' in line 1999\d\d"):
        for _ in source.blocks(1000):
            pass


def test_identifiers_that_would_change_as_numbers_are_text(tmp_path):
    path = write(tmp_path / "t.csv", "cell,x\n007,1\n0010,2\n10,3\n")
    assert ids(scan(path, id="cell")) == ["007", "0010", "10"]
    assert ids(scan(write(tmp_path / "u.csv", "cell,x\n0,1\n-5,2\n10,3\n"), id="cell")) == [0, -5, 10]


def test_line_breaks_in_cells(tmp_path):
    lines = [f'"two\nlines",{i},1' for i in range(60_000)]
    source = scan(write(tmp_path / "t.csv", "\n".join(["note,a,b", *lines])), columns=["a", "b"])
    np.testing.assert_array_equal(rows(source)[:, 0], np.arange(60_000))


def test_more_columns_than_the_first_bytes_hold(tmp_path):
    names = [f"column_{j:06}_with_a_long_name" for j in range(50_000)]
    body = "\n".join(",".join(["1.25"] * len(names)) for _ in range(3))
    source = scan(write(tmp_path / "t.csv", ",".join(names) + "\n" + body), columns=names[-2:])
    np.testing.assert_array_equal(rows(source), np.full((3, 2), 1.25))


@pytest.mark.parametrize("first", ["PAR1,PAR2", "FCS file,CD3", "ARROW1,b", "PK,b"])
def test_texts_that_begin_like_other_files(tmp_path, first):
    np.testing.assert_array_equal(rows(scan(write(tmp_path / "t.csv", f"{first}\n1,2\n"))), [[1, 2]])


def test_identifiers_that_become_text_late_are_text(tmp_path):
    lines = [f"{i},{i}" for i in range(200_000)]
    path = write(tmp_path / "t.csv", "\n".join(["cell,x", *lines, "b7,1"]))
    found = [i for block in scan(path, id="cell").blocks(70_000, ids=True) for i in block.ids.to_pylist()]
    assert found[:2] == ["0", "1"]
    assert found[-1] == "b7"


def test_weights_of_a_table(tmp_path):
    path = write(tmp_path / "t.csv", "a,w\n1,2\n3,0\n")
    (block,) = scan(path, weight="w").blocks(10)
    assert block.weight.tolist() == [2, 0]
    with pytest.raises(NoColumn, match="weight: 'w' is one of columns"):
        scan(path, columns=["a", "w"], weight="w")


# ---- Parquet


def parquet(tmp_path, **columns):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_kinds_of_numbers(tmp_path):
    path = parquet(
        tmp_path,
        i=pa.array([1, None], pa.int16()),
        f=pa.array([0.5, 2], pa.float32()),
        d=pa.array([1, 2], pa.decimal128(5, 2)),
        u=pa.array([2**40, 7], pa.uint64()),
    )
    np.testing.assert_array_equal(rows(scan(path)), [[1, 0.5, 1, 2**40], [np.nan, 2, 2, 7]])
    assert rows(scan(path, columns=["f"])).dtype == np.float32


def test_times_and_truth_are_numbers_for_those_who_name_them(tmp_path):
    path = parquet(
        tmp_path,
        x=[1.0, 2.0],
        day=pa.array([1, 2], pa.date32()),
        at=pa.array([1_500, 2_000], pa.timestamp("ms")),
        long=pa.array([3, None], pa.duration("s")),
        yes=[True, False],
    )
    with pytest.raises(ValueError, match="not numeric: 'day', 'at', 'long', 'yes'"):
        scan(path)
    source = scan(path, columns=["x", "day", "at", "long", "yes"])
    np.testing.assert_array_equal(rows(source), [[1, 86400, 1.5, 3, 1], [2, 172800, 2, np.nan, 0]])
    assert "in seconds" in source.about.told[0]


def test_names_with_dots_and_the_index_of_a_data_frame(tmp_path):
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a.b": [1.0, 2.0], "c": [3, 4]}, index=["x", "y"]).to_parquet(path)
    source = scan(path)
    assert source.about.names == ("a.b", "c")
    assert source.about.left_out == ("__index_level_0__",)
    np.testing.assert_array_equal(rows(source), [[1, 3], [2, 4]])
    assert ids(scan(path, id="__index_level_0__")) == ["x", "y"]


@pytest.mark.parametrize("keep", [4, 100, -10, -100])
def test_truncated_parquet(tmp_path, keep):
    path = parquet(tmp_path, a=np.arange(1000.0))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"t\.parquet cannot be read as Parquet"):
        rows(scan(path))


def test_damaged_pages(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": np.random.default_rng(0).normal(size=100_000)}), path, compression="gzip")
    raw = bytearray(path.read_bytes())
    raw[1000:2000] = bytes(1000)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"t\.parquet cannot be read as Parquet"):
        rows(scan(path))


def test_files_under_a_wrong_name(tmp_path):
    path = parquet(tmp_path, a=[1.0])
    wrong = path.rename(tmp_path / "t.csv")
    with pytest.raises(ValueError, match=r"t\.csv is not a \.csv file.*its bytes are those of \.parquet"):
        scan(wrong)
    with pytest.raises(ValueError, match=r"u\.parquet is not a \.parquet file"):
        scan(write(tmp_path / "u.parquet", "a,b\n1,2\n"))
    assert scan(wrong.rename(tmp_path / "noending")).about.names == ("a",)


def test_options_without_a_meaning(tmp_path):
    with pytest.raises(ValueError, match="compensate=True has no meaning"):
        scan(write(tmp_path / "t.csv", "a\n1\n"), compensate=True)
    with pytest.raises(ValueError, match="transform is 'log', expected 'asinh'"):
        scan(write(tmp_path / "t.csv", "a\n1\n"), transform="log")
    with pytest.raises(ValueError, match="cofactor is 0, expected a number above 0"):
        scan(write(tmp_path / "t.csv", "a\n1\n"), transform="asinh", cofactor=0)
    with pytest.raises(NoColumn, match="transform_columns: 'z' is not a feature"):
        scan(write(tmp_path / "t.csv", "a\n1\n"), transform="asinh", transform_columns=["z"])


def test_objects_that_hold_no_rows():
    with pytest.raises(TypeError, match="rows cannot be read from a int"):
        scan(5)
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(N, D\)"):
        scan(np.arange(3.0))
    with pytest.raises(ValueError, match="dtype <U1"):
        scan([["a", "b"]])


def test_row_names_of_a_data_frame_are_no_feature(tmp_path):
    frame = pd.DataFrame({"cell": [7, 9, 20], "a": [1.0, 2.0, 3.0]}).set_index("cell")
    frame.to_parquet(tmp_path / "t.parquet")
    for data in (tmp_path / "t.parquet", frame):
        assert scan(data).about.names == ("a",)
        assert ids(scan(data, id="cell")) == [7, 9, 20]


@pytest.mark.parametrize("dtype", [torch.int64, torch.float16, torch.bfloat16, torch.bool])
def test_tensors_of_other_dtypes(dtype):
    x = torch.arange(12).reshape(6, 2).remainder(5).to(dtype)
    found = GaussianMixture(1, init_params="kmeans").fit(scan(x)).means_
    np.testing.assert_allclose(np.asarray(found), x.double().mean(0)[None], rtol=1e-3)


def test_tensors_that_need_a_gradient_or_hold_no_reals():
    x = torch.ones(4, 3, requires_grad=True)
    assert not next(iter(scan(x, id="0", weight="1").blocks(2))).x.requires_grad
    with pytest.raises(ValueError, match="complex"):
        scan(torch.ones(2, 2, dtype=torch.complex64))
    with pytest.raises(TypeError, match="sparse"):
        scan(torch.eye(2).to_sparse())


def test_identifiers_of_a_foreign_byte_order(tmp_path):
    np.save(tmp_path / "x.npy", WANTED.astype(">f8"))
    (block,) = scan(tmp_path / "x.npy", id="0", columns=["1"]).blocks(10, ids=True)
    assert pa.array(block.ids).to_pylist() == WANTED[:, 0].tolist()


@pytest.mark.parametrize("seed", range(12))
def test_damaged_archives(tmp_path, seed):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.random.default_rng(0).normal(size=(500, 3)).round(1))
    raw, draw = bytearray(path.read_bytes()), np.random.default_rng(seed)
    for at in draw.integers(100, len(raw) - 100, 20):
        raw[at] = draw.integers(256)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"x\.npz"):
        rows(scan(path))


def test_archives_that_cannot_be_read_row_by_row(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", x=np.asfortranarray(np.ones((50, 3))))
    with pytest.raises(ValueError, match="ascontiguousarray"):
        scan(tmp_path / "x.npz")


# ---- models and sources


def test_a_model_asks_for_the_columns_and_steps_of_its_fit(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,c\n" + "\n".join(f"{i % 7},{i % 5},{i % 3}" for i in range(60)))
    kept = {"covariance_type": "spherical", "init_params": "kmeans", "random_state": 0}
    gm = GaussianMixture(1, **kept).fit(scan(path, columns=["a", "b"], transform="asinh", cofactor=5))
    assert list(gm.feature_names_in_) == ["a", "b"]
    with pytest.raises(ValueError, match="expected 'a', 'b', on which the model was fitted"):
        gm.predict(scan(path, columns=["b", "a"], transform="asinh", cofactor=5))
    with pytest.raises(ValueError, match=r"no transform, but the model was fitted to rows read with asinh\(x / 5\)"):
        gm.predict(scan(path, columns=["a", "b"]))
    with pytest.raises(ValueError, match="X has 3 features"):
        gm.predict(scan(path))
    plain = GaussianMixture(1, **kept).fit(scan(path, columns=["a", "b"]))
    with pytest.raises(ValueError, match=r"read with asinh.* rows read with no transform"):
        plain.predict(scan(path, columns=["a", "b"], transform="asinh", cofactor=5))
    gm.fit(np.zeros((5, 1)) + np.arange(5)[:, None])
    assert not hasattr(gm, "source_")


def test_a_source_with_gaps_names_them(tmp_path):
    path = write(tmp_path / "t.csv", "a,b\n1,2\n,3\n4,5\n6,\n")
    given = GaussianMixture.from_parameters([1], [[0, 0]], 1.0, "tied_spherical")
    said = r"2 of (the first )?4 rows are affected \(rows 1, 3; columns 'a', 'b'\)"
    for call in (GaussianMixture(1).fit, given.predict):
        with pytest.raises(ValueError, match=said) as caught:
            call(scan(path))
        assert "contains NaN" in str(caught.value)


def test_rows_that_do_not_count_are_labelled_like_others():
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.normal(0, 1, (100, 2)), draw.normal(8, 1, (100, 2))])
    weight = np.ones(200)
    weight[::7] = 0
    gm = GaussianMixture(2, init_params="kmeans", random_state=0)
    np.testing.assert_array_equal(gm.fit_predict(x, sample_weight=weight), gm.predict(x))
    source = scan(np.column_stack([x, weight]), weight="2")
    np.testing.assert_array_equal(gm.predict(source), gm.predict(x))
    np.testing.assert_array_equal(gm.score_samples(source), gm.score_samples(x))


def test_going_on_with_a_source(tmp_path):
    path = write(tmp_path / "t.csv", "a,w\n" + "\n".join(f"{i % 7},1" for i in range(60)))
    gm = GaussianMixture(2, warm_start=True, init_params="kmeans", max_iter=2, tol=1e-9, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = gm.fit(scan(path, columns=["a"], weight="w")).loglik_
        assert gm.fit(scan(path, columns=["a"], weight="w")).loglik_ >= first
    path.write_text("a,w\n1,-1\n2,1\n")
    with pytest.raises(ValueError, match="Negative values"):
        gm.fit(scan(path, columns=["a"], weight="w"))


def test_weights_come_from_the_source(tmp_path):
    source = scan(write(tmp_path / "t.csv", "a,w\n1,2\n3,1\n4,1\n"), weight="w")
    with pytest.raises(ValueError, match="sample_weight is given beside a Source"):
        GaussianMixture(1).fit(source, sample_weight=np.ones(3))
    assert GaussianMixture(1, init_params="kmeans").fit(source).means_[0, 0] == pytest.approx(9 / 4)
    with pytest.raises(ValueError, match="Negative values"):
        GaussianMixture(1).fit(scan(write(tmp_path / "n.csv", "a,w\n1,-2\n3,1\n"), weight="w"))
