"""AnnData files: read by blocks, fitted and labelled by the command, in a copy that anndata reads."""

import json
import os
import tracemalloc
from importlib.resources import files
from pathlib import Path

import anndata
import h5py
import jsonschema
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from annotated import annotated
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import mixtura
import mixtura.scanpy as mx
from mixtura.apps import cli
from mixtura.apps import h5ad as copies
from mixtura.data.columns import NoColumn
from mixtura.data.scan import scan

draw = np.random.default_rng(0)
X = np.concatenate([draw.normal(0, 1, (80, 3)), draw.normal(8, 1, (40, 3))])
NAMES = [f"c{i}" for i in range(120)]
SCHEMA = json.loads(files("mixtura.apps").joinpath("summary.schema.json").read_text(encoding="utf-8"))


def write(path, change=lambda a: None, x=X, **options):
    group = pd.Categorical(["u", "v"] * (len(x) // 2))
    adata = annotated(x, NAMES[: len(x)], w=np.arange(1.0, len(x) + 1), group=group)
    adata.obsm["X_pca"] = np.hstack([x, x[:, :1]]).astype(np.float32)
    adata.layers["counts"] = sparse.csr_matrix(np.round(np.abs(x)))
    change(adata)
    adata.write_h5ad(path, **options)
    return path


def read(path):
    return anndata.read_h5ad(path)


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A file and what ``fit`` wrote for it."""
    place = tmp_path_factory.mktemp("cells")
    write(place / "cells.h5ad")
    options = ["--use-rep", "X_pca", "--n-dims", 3, "--key", "domain", "-k", 2, "--effort", "quick", "--quiet"]
    assert run("fit", place / "cells.h5ad", "-o", place / "out", *options) == 0
    return place


# ---- the source


def rows(source, size=50):
    return np.concatenate([block.x.numpy() for block in source.blocks(size)])


def test_names_dtypes_and_what_is_told(tmp_path):
    path = write(tmp_path / "a.h5ad")
    usual = scan(path)
    assert usual.about.names == ("X_pca-0", "X_pca-1", "X_pca-2", "X_pca-3")
    assert (usual.about.matrix, usual.about.id, usual.about.named) == ("obsm/X_pca", "obs_names", False)
    assert next(usual.blocks(5)).x.numpy().dtype == np.float32
    assert scan(path, n_dims=2).about.left_out == ("X_pca-2", "X_pca-3")
    genes = scan(path, layer="counts", columns=["c", "a"])
    np.testing.assert_array_equal(rows(genes), np.round(np.abs(X))[:, [2, 0]])
    assert genes.about.named
    block = next(scan(path, id="group").blocks(3, ids=True))
    assert list(block.ids) == ["u", "v", "u"]
    assert list(next(scan(path).blocks(2, ids=True)).ids) == ["c0", "c1"]


@pytest.mark.parametrize("kind", [np.float16, np.int32, np.uint8, bool])
def test_numbers_of_any_kind(kind, tmp_path):
    def change(adata):
        adata.obsm["other"] = (X > 0).astype(kind)

    source = scan(write(tmp_path / "a.h5ad", change), use_rep="other")
    np.testing.assert_array_equal(rows(source), X > 0)
    assert next(source.blocks(5)).x.numpy().dtype == (np.float32 if kind is np.float16 else np.float64)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.floats(0, 1), st.integers(0, 2**31))
def test_sparse_rows_are_what_scipy_says(tmp_path_factory, n, d, density, seed):
    x = sparse.random(n, d, density, format="csr", rng=np.random.default_rng(seed))
    path = tmp_path_factory.mktemp("s") / "a.h5ad"
    annotated(np.zeros((n, d)), [str(i) for i in range(n)]).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        del file["X"]
        anndata.io.write_elem(file, "X", x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mixtura.data.h5ad.READ", 8 * d * 7)
        np.testing.assert_array_equal(rows(scan(path, use_rep="X"), 5), x.toarray())


def test_memory_does_not_grow_with_the_rows(tmp_path):
    """A pass over four times the rows takes no more: blocks are dense, the file is not."""
    peaks = []
    for n in (20_000, 80_000):
        path = tmp_path / f"{n}.h5ad"
        annotated(np.zeros((n, 2)), [str(i) for i in range(n)]).write_h5ad(path)
        with h5py.File(path, "r+") as file:
            wide = sparse.random(n, 200, 0.01, format="csr", rng=np.random.default_rng(0))
            anndata.io.write_elem(file["layers"], "wide", wide)
        source = wide_layer(path)
        tracemalloc.start()
        total = sum(len(block.x) for block in source.blocks(1000))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert total == n
    assert peaks[1] < peaks[0] + 2**20


def wide_layer(path):
    """The wide layer, whose columns var does not name."""
    from mixtura.data.annotated import Where, columns
    from mixtura.data.columns import Wanted
    from mixtura.data.h5ad import H5ad

    names = [f"g{j}" for j in range(200)]
    at = Where("layers", "wide")
    about, positions = columns(Wanted(), names, True, path.name, at)
    with h5py.File(path) as file:
        length = int(file["layers/wide"].attrs["shape"][0])
    return H5ad(path, at, positions, 200, length, None, about)


def old_obs(path):
    with h5py.File(path, "r+") as file:
        del file["obs"]
        file["obs"] = np.zeros(120, dtype=[("index", "S5")])


def cut(path):
    path.write_bytes(path.read_bytes()[:3000])


def no_group(path):
    with h5py.File(path, "w") as file:
        file["x"] = 1


def lost_data(path):
    with h5py.File(path, "r+") as file:
        del file["layers/counts/indptr"]


BROKEN = {
    "no such matrix": (lambda p: None, {"use_rep": "X_scvi"}, NoColumn, r"use_rep: .*'X_scvi'.*'X_pca', 'X'"),
    "no such layer": (lambda p: None, {"layer": "raw"}, NoColumn, r"layer: .*'raw'.*'counts'"),
    "two matrices": (lambda p: None, {"layer": "counts", "use_rep": "X_pca"}, ValueError, "two matrices"),
    "no such column": (lambda p: None, {"columns": ["X_pca-9"]}, NoColumn, r"columns: .*'X_pca-9'.*'X_pca-0'"),
    "no such weight": (lambda p: None, {"weight": "n"}, NoColumn, r"weight: obs .*'n'.*'w'"),
    "a weight of texts": (lambda p: None, {"weight": "group"}, ValueError, "weight: 'group'"),
    "no such id": (lambda p: None, {"id": "name"}, NoColumn, "id: obs "),
    "too many dims": (lambda p: None, {"n_dims": 9}, ValueError, r"n_dims=9.*4"),
    "an old file": (old_obs, {}, ValueError, "write it again"),
    "cut short": (cut, {}, ValueError, "cannot be read as h5ad"),
    "another file": (no_group, {}, ValueError, "no AnnData file"),
    "a part is lost": (lost_data, {"layer": "counts"}, ValueError, "cannot be read as h5ad"),
    "no meaning": (lambda p: None, {"separator": ";"}, ValueError, "separator"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_one_clear_error(name, tmp_path):
    change, options, kind, words = BROKEN[name]
    path = write(tmp_path / "a.h5ad")
    change(path)
    with pytest.raises(kind, match=words) as caught:
        rows(scan(path, **options))
    assert len(str(caught.value).splitlines()) == 1


def test_matrices_by_columns_and_of_texts_are_refused(tmp_path):
    def change(adata):
        adata.obsm["csc"] = sparse.csc_matrix(X)
        adata.obsm["text"] = pd.DataFrame({"a": ["x"] * 120}, index=adata.obs_names)

    path = write(tmp_path / "a.h5ad", change)
    with pytest.raises(ValueError, match=r"csc.*tocsr"):
        scan(path, use_rep="csc")
    with pytest.raises(ValueError, match="not numeric: 'a'"):
        scan(path, use_rep="text")


def test_other_tables_have_no_matrices():
    with pytest.raises(ValueError, match="use_rep='X' has no meaning"):
        scan(X, use_rep="X")


# ---- the command


def test_fit_writes_a_copy_that_anndata_reads(done):
    assert sorted(path.name for path in (done / "out").iterdir()) == [
        "cells.h5ad",
        "labels.parquet",
        "model.safetensors",
        "report.html",
        "summary.json",
    ]
    before, after = read(done / "cells.h5ad"), read(done / "out" / "cells.h5ad")
    told = json.loads((done / "out" / "summary.json").read_text())
    jsonschema.validate(told, SCHEMA)
    assert told["annotated"] == "cells.h5ad"
    labels = pq.read_table(done / "out" / "labels.parquet").to_pandas()
    assert list(labels["obs_names"]) == NAMES
    np.testing.assert_array_equal(after.obs["domain"].astype(int), labels["label"])
    assert list(after.obs["domain"].cat.categories) == ["0", "1"]
    np.testing.assert_allclose(after.obs["domain_uncertainty"], labels["uncertainty"])
    np.testing.assert_allclose(after.obsm["domain_posterior"][:, 1], labels["posterior_1"])
    assert after.obsm["domain_posterior"].dtype == np.float32
    assert list(after.obs.columns) == [*before.obs.columns, "domain", "domain_uncertainty"]
    np.testing.assert_array_equal(after.X, before.X)
    assert [c[0] for c in after.uns["domain_colors"]] == ["#", "#"]
    assert after.uns["domain"]["matrix"] == "obsm/X_pca"
    for name in ("bic", "icl", "loglik"):
        assert after.uns["domain"]["criteria"][name] == pytest.approx(told[name])
    model = mx.model(after, "domain")
    np.testing.assert_array_equal(model.predict(after.obsm["X_pca"][:, :3]), labels["label"])


def test_the_command_and_the_function_agree(done):
    cells = read(done / "cells.h5ad")
    mx.tl.gaussian_mixture(cells, 2, n_dims=3, effort="quick", key_added="domain")
    after = read(done / "out" / "cells.h5ad")
    assert list(cells.obs["domain"]) == list(after.obs["domain"])
    np.testing.assert_allclose(cells.obsm["domain_posterior"], after.obsm["domain_posterior"], atol=1e-6)


def test_clusters_that_components_were_merged_into_are_kept(done, tmp_path):
    """By fit and by predict, beside the components: the same as in labels.parquet, and drawn by pl.merging."""
    out = tmp_path / "out"
    options = ("-k", 4, "--merge", 2, "--key", "domain", "--effort", "quick", "--no-report", "-o", out)
    assert run("fit", done / "cells.h5ad", *options) == 0
    assert run("predict", out / "model.safetensors", done / "cells.h5ad", "--key", "domain", "-o", out / "p.h5ad") == 0
    labels = pq.read_table(out / "labels.parquet").to_pandas()
    assert labels["cluster"].nunique() == 2
    for name in ("cells.h5ad", "p.h5ad"):
        after = read(out / name)
        np.testing.assert_array_equal(after.obs["domain_merged"].astype(int), labels["cluster"])
        of = after.uns["domain_merged"]["components"]
        np.testing.assert_array_equal(np.unique(of), [0, 1])
        painted = after.uns["domain_colors"]
        assert list(after.uns["domain_merged_colors"]) == [painted[list(of).index(c)] for c in (0, 1)]
        ax = mx.pl.merging(after, "domain_merged")
        assert ax.lines


def test_a_copy_can_be_fitted_again(done, tmp_path):
    again = tmp_path / "again"
    assert (
        run(
            "fit",
            done / "out" / "cells.h5ad",
            "--key",
            "domain",
            "-k",
            3,
            "--effort",
            "quick",
            "--no-report",
            "-o",
            again,
        )
        == 0
    )
    found = read(again / "cells.h5ad")
    assert list(found.obs["domain"].cat.categories) == ["0", "1", "2"]
    assert found.obsm["domain_posterior"].shape == (120, 3)
    assert list(found.obs.columns).count("domain") == 1
    assert len(found.uns["domain_colors"]) == 3


def test_predict_finds_the_matrix_of_the_fit(done, tmp_path, capsys):
    model = done / "out" / "model.safetensors"
    new = write(tmp_path / "new.h5ad", x=X[::2])
    assert run("predict", model, new, "-o", tmp_path / "labels.csv") == 0
    assert run("predict", model, new, "-o", tmp_path / "labelled.h5ad", "--key", "domain") == 0
    labels = pd.read_csv(tmp_path / "labels.csv")
    found = read(tmp_path / "labelled.h5ad")
    np.testing.assert_array_equal(found.obs["domain"].astype(int), labels["label"])
    assert list(labels["obs_names"]) == NAMES[:60]
    mx.tl.predict(cells := read(new), read(tmp_path / "labelled.h5ad"), key="domain")
    assert list(cells.obs["gmm"]) == list(found.obs["domain"])
    # Another embedding, as many columns; and the report of new cells.
    assert run("predict", model, new, "--use-rep", "X", "-o", tmp_path / "x.csv") == 0
    assert run("report", model, new, "-o", tmp_path / "r.html") == 0
    capsys.readouterr()


def test_a_search_by_the_command_keeps_its_table(done, tmp_path):
    out = tmp_path / "out"
    options = ["--use-rep", "X", "-k", "1:3", "--covariance", "tied,diag", "--effort", "quick", "--weight", "w"]
    assert run("fit", done / "cells.h5ad", "-o", out, *options, "--no-report") == 0
    found = read(out / "cells.h5ad")
    assert len(found.uns["gmm"]["selection"]["table"]["bic"]) == 6
    assert found.uns["gmm"]["criteria"]["n"] == pytest.approx(120 * 121 / 2)
    assert "mixtura fit cells.h5ad" in found.uns["gmm"]["params"]["call"]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--use-rep", "X_scvi"], 2, "--use-rep: cells.h5ad has no 'X_scvi'"),
        (["--layer", "raw"], 2, "--layer: cells.h5ad has no layer"),
        (["--key", "NK1/1"], 1, "--key 'NK1/1' cannot be a key"),
        (["--n-dims", "9"], 1, "n_dims=9"),
        (["-k", "200"], 1, "fewer components"),
    ],
)
def test_what_cannot_be_done_leaves_nothing(options, code, words, done, tmp_path, capsys):
    before = (done / "cells.h5ad").read_bytes()
    given = ["-k", "2", "--effort", "quick", *options]
    assert run("fit", done / "cells.h5ad", *given, "-o", tmp_path / "out") == code
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert (done / "cells.h5ad").read_bytes() == before


def test_the_input_is_never_written_over(done, tmp_path, capsys):
    path = write(tmp_path / "cells.h5ad")
    path.chmod(0o444)
    before = path.read_bytes()
    assert run("fit", path, "-k", 2, "--effort", "quick", "-o", tmp_path) == 1
    assert "cells.h5ad is read and would be written over" in capsys.readouterr().err
    assert run("predict", done / "out" / "model.safetensors", path, "-o", path) == 1
    assert path.read_bytes() == before
    assert run("fit", path, "-k", 2, "--effort", "quick", "-o", tmp_path / "out", "--no-report") == 0
    assert os.access(tmp_path / "out" / "cells.h5ad", os.W_OK)


def test_usage_of_the_key(done, tmp_path, capsys):
    table = tmp_path / "t.csv"
    table.write_text("a\n1\n2\n3\n")
    assert run("fit", table, "--key", "x", "-o", tmp_path / "o") == 2
    assert run("fit", done / "cells.h5ad", "--key", "x") == 2
    model = done / "out" / "model.safetensors"
    assert run("predict", model, done / "cells.h5ad", "--key", "x", "-o", tmp_path / "l.csv") == 2
    assert run("predict", model, table, "-o", tmp_path / "l.h5ad") == 1
    assert "which is no .h5ad" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_an_interrupt_while_cells_are_written_leaves_nothing(done, tmp_path, monkeypatch):
    def interrupted(self, told, *, noise=False):
        raise KeyboardInterrupt

    monkeypatch.setattr(copies.Annotated, "finish", interrupted)
    assert run("fit", done / "cells.h5ad", "-k", 2, "--effort", "quick", "-o", tmp_path / "out") == 1
    assert list(tmp_path.iterdir()) == []


def test_large_posteriors_are_not_kept_and_noise_is_a_category(done, tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "POSTERIOR_BYTES", 10)
    with copies.annotated(done / "cells.h5ad", tmp_path / "copy.h5ad", "gmm") as copy:
        label = np.repeat([-1, 0, 1], 40)
        copy.append(
            {"label": label, "posterior_0": np.zeros(120), "posterior_1": np.zeros(120), "uncertainty": X[:, 0]}
        )
        copy.finish({"a": 1}, noise=True)
    found = read(tmp_path / "copy.h5ad")
    assert list(found.obs["gmm"].unique()) == ["noise", "0", "1"]
    assert "gmm_posterior" not in found.obsm
    assert copy.told == [copies.LOGGED]


def test_a_model_of_a_table_labels_genes_by_name(tmp_path):
    pd.DataFrame(X, columns=["a", "b", "c"]).to_csv(tmp_path / "t.csv", index=False)
    model = mixtura.GaussianMixture(2, effort="quick", random_state=0).fit(scan(tmp_path / "t.csv"))
    model.save(tmp_path / "m.safetensors")
    path = write(tmp_path / "cells.h5ad")
    assert run("predict", tmp_path / "m.safetensors", path, "--use-rep", "X", "-o", tmp_path / "l.csv") == 0
    np.testing.assert_array_equal(
        pd.read_csv(tmp_path / "l.csv")["label"], model.predict(pd.DataFrame(X, columns=list("abc")))
    )
    assert Path(tmp_path / "l.csv").exists()
