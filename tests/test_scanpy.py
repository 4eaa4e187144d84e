"""Mixtures of the cells of an AnnData: what is written, that all of it survives a file, and what cannot be used."""

import ast
import logging
import warnings
from importlib.util import find_spec
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from test_global_state import state

import mixtura
import mixtura.scanpy as mx
from mixtura import GaussianMixture
from mixtura.apps.annotate import category_names, colours, plain
from mixtura.data.columns import NoColumn
from mixtura.scanpy import cells as cells_module
from mixtura.scanpy import results

TRUTH = np.repeat([0, 1, 2], (30, 60, 10))
CENTRES = np.array([[0.0, 0, 0], [7, 0, 0], [0, 7, 7]])


def made(seed=0, dtype=np.float64):
    """100 cells in three clusters, in an embedding, a layer, a sparse matrix and a data frame."""
    draw = np.random.default_rng(seed)
    x = (CENTRES[TRUTH] + draw.normal(size=(100, 3))).astype(dtype)
    names = pd.Index([f"cell {i}" for i in range(100)], dtype=object)
    obs = pd.DataFrame({"truth": pd.Categorical.from_codes(TRUTH, pd.Index(list("abc"), dtype=object))}, index=names)
    obs["batch"] = pd.Categorical.from_codes((np.arange(100) % 10 == 0) * 1, pd.Index(["big", "small"], dtype=object))
    found = anndata.AnnData(sparse.csr_matrix(x), obs, pd.DataFrame(index=pd.Index(["g1", "g2", "g3"], dtype=object)))
    found.obsm["X_pca"] = x
    found.obsm["emb_pca"] = np.hstack([x, draw.normal(size=(100, 2))])
    found.obsm["X_umap"] = x[:, :2].copy()
    found.layers["dense"] = x.copy()
    return found


@pytest.fixture
def cells():
    return made()


QUICK = {"covariance_type": "tied", "effort": "quick"}


def fit(adata, k=3, **options):
    return mx.tl.gaussian_mixture(adata, k, **{**QUICK, **options})


def round_trip(adata, path):
    adata.write_h5ad(path)
    return anndata.read_h5ad(path)


def same(a, b):
    """Two plain values are the same, whatever kind of array or number a file makes of them."""
    if isinstance(a, dict):
        assert set(a) == set(b)
        for key in a:
            same(a[key], b[key])
    elif isinstance(a, np.ndarray) and a.dtype.kind in "fiub":
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, np.ndarray | list):
        assert list(map(str, a)) == list(map(str, b))
    else:
        assert a == b


def plain_types(value):
    if isinstance(value, dict):
        return all(isinstance(k, str) and "/" not in k and plain_types(v) for k, v in value.items())
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf" or all(isinstance(v, str) for v in value.ravel())
    return type(value) in (str, int, float, bool)


# ---- what is written


def test_what_a_fit_writes(cells):
    assert fit(cells) is None
    labels = cells.obs["gmm"]
    assert list(labels.cat.categories) == ["0", "1", "2"]
    assert list(labels.value_counts().sort_index()) == [60, 30, 10], "the largest comes first"
    assert adjusted_rand_score(TRUTH, labels) == 1
    posterior = cells.obsm["gmm_posterior"]
    assert posterior.shape == (100, 3)
    assert posterior.dtype == np.float32
    np.testing.assert_allclose(posterior.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(posterior.argmax(1), labels.astype(int))
    np.testing.assert_allclose(cells.obs["gmm_uncertainty"], 1 - posterior.max(1), atol=1e-6)
    assert list(cells.uns["gmm_colors"]) == colours(["0", "1", "2"])
    told = cells.uns["gmm"]
    assert plain_types(told)
    assert told["params"] == {"n_components": 3, "use_rep": "X_pca", "random_state": 0, "missing": "error", **QUICK}
    assert (told["matrix"], list(told["columns"])) == ("obsm/X_pca", ["X_pca-0", "X_pca-1", "X_pca-2"])
    direct = GaussianMixture(3, random_state=0, **QUICK).fit(cells.obsm["X_pca"])
    assert told["criteria"]["loglik"] == pytest.approx(direct.loglik_, rel=1e-12)
    for name in ("bic", "aic", "icl"):
        assert told["criteria"][name] == pytest.approx(getattr(direct, name)(cells.obsm["X_pca"]), rel=1e-9)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical", "tied_diag", "tied_spherical", "VEV", "EVE"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_everything_survives_a_file_and_the_model_is_there_again(kind, dtype, tmp_path):
    cells = made(dtype=dtype)
    fit(cells, covariance_type=kind)
    again = round_trip(cells, tmp_path / "cells.h5ad")
    assert list(again.obs["gmm"]) == list(cells.obs["gmm"])
    assert list(again.obs["gmm"].cat.categories) == ["0", "1", "2"]
    np.testing.assert_array_equal(again.obs["gmm_uncertainty"], cells.obs["gmm_uncertainty"])
    np.testing.assert_array_equal(again.obsm["gmm_posterior"], cells.obsm["gmm_posterior"])
    same(cells.uns["gmm"], again.uns["gmm"])
    same(cells.uns["gmm_colors"], again.uns["gmm_colors"])
    model = mx.model(again)
    x = cells.obsm["X_pca"]
    np.testing.assert_array_equal(model.predict(x), cells.obs["gmm"].astype(int))
    np.testing.assert_allclose(model.predict_proba(x), cells.obsm["gmm_posterior"], atol=1e-5)
    assert model.covariance_type == kind
    assert model.n_parameters_ == cells.uns["gmm"]["criteria"]["n_parameters"]


def test_numbers_follow_the_cells_and_everything_follows_the_numbers():
    """The largest component by weight need not have most cells: labels, posteriors and parameters turn together."""
    draw = np.random.default_rng(3)
    x = np.concatenate([draw.normal(0, 3, (150, 1)), draw.normal(1, 0.3, (140, 1)), draw.normal(30, 1, (20, 1))])
    cells = anndata.AnnData(obsm={"X_pca": x})
    fit(cells, covariance_type="full")
    counts = cells.obs["gmm"].value_counts().sort_index().to_numpy()
    assert (np.diff(counts) <= 0).all()
    model = mx.model(cells)
    np.testing.assert_array_equal(model.predict(x), cells.obs["gmm"].astype(int))
    # One column: the estimator itself would have begun with the smallest mean.
    assert (np.diff(model.means_[:, 0]) < 0).any()


def test_given_means_keep_their_order(cells):
    fit(cells, means_init=CENTRES)
    np.testing.assert_array_equal(cells.obs["gmm"].astype(int), TRUTH)
    assert cells.uns["gmm"]["params"]["means_init"].shape == (3, 3)


@pytest.mark.parametrize("seed", [0, 5])
def test_the_same_seed_gives_the_same_labels(seed):
    one, two = made(), made()
    for adata in (one, two):
        fit(adata, random_state=seed, effort="standard")
    assert list(one.obs["gmm"]) == list(two.obs["gmm"])
    np.testing.assert_array_equal(one.obsm["gmm_posterior"], two.obsm["gmm_posterior"])
    same(one.uns["gmm"], two.uns["gmm"])


def test_no_seed_writes_the_one_that_was_drawn(cells):
    fit(cells, random_state=None)
    other = made()
    fit(other, random_state=cells.uns["gmm"]["seed"])
    assert list(other.obs["gmm"]) == list(cells.obs["gmm"])


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([np.float32, np.float64]))
def test_labels_follow_their_cells(seed, dtype):
    """Cells in another order have the same labels, whatever the order."""
    cells = made(dtype=dtype)
    turned = cells[np.random.default_rng(seed).permutation(100)].copy()
    fit(cells)
    fit(turned)
    assert list(turned.obs["gmm"][cells.obs_names]) == labels_of(cells)


def test_a_copy_leaves_the_original(cells):
    found = fit(cells, copy=True)
    assert "gmm" in found.obs
    assert not [key for part in (cells.obs, cells.obsm, cells.uns) for key in part if key.startswith("gmm")]


def test_an_earlier_result_goes(cells, monkeypatch, caplog):
    fit(cells)
    monkeypatch.setattr(results, "POSTERIOR_BYTES", 100)
    with caplog.at_level(logging.WARNING, "mixtura"):
        fit(cells, 2)
    assert "not kept in obsm" in caplog.text
    assert "gmm_posterior" not in cells.obsm, "posteriors of another fit would be wrong"
    assert len(cells.uns["gmm_colors"]) == 2
    mx.tl.merge(cells, 1)
    assert list(cells.obs["gmm_merged"].unique()) == ["0"]
    assert "gmm_merged_posterior" not in cells.obsm


def test_noise_is_a_category_of_its_own(cells):
    chosen = cells_module.select(cells, "X_pca")
    label = TRUTH.astype(np.int32).copy()
    label[:4] = -1
    found = results.Labels(label, np.zeros(100), None, 0.0, None)
    results.put(cells, results.entries("gmm", chosen, found, 3, {}), copy=False)
    assert list(cells.obs["gmm"].cat.categories) == ["0", "1", "2", "noise"]
    assert list(cells.obs["gmm"][:5]) == ["noise"] * 4 + ["0"]
    assert cells.uns["gmm_colors"][-1] == colours(["noise"])[0]
    assert category_names(2, noise=True) == ["0", "1", "noise"]


def test_colours_follow_the_name_and_are_all_different():
    many = colours(category_names(60, noise=True))
    assert len(set(many)) == 61
    assert all(len(c) == 7 and c[0] == "#" and int(c[1:], 16) >= 0 for c in many)
    assert colours(["2"]) == many[2:3]
    assert many[:7] == list(mixtura.plot.COLOURS)


# ---- which rows


def labels_of(adata, key="gmm"):
    return list(adata.obs[key])


@pytest.mark.parametrize(
    "where",
    [
        {"use_rep": "X"},
        {"layer": "dense"},
        {"layer": "sparse"},
        {"layer": "csc"},
        {"use_rep": "frame"},
        {"use_rep": "ints"},
    ],
)
def test_rows_of_every_kind_are_the_same(where, cells, monkeypatch):
    monkeypatch.setattr("mixtura.data.annotated.READ", 400)
    cells.layers["sparse"], cells.layers["csc"] = cells.X.copy(), sparse.csc_matrix(cells.X)
    cells.obsm["frame"] = pd.DataFrame(cells.obsm["X_pca"], columns=["g1", "g2", "g3"], index=cells.obs_names)
    cells.obsm["ints"] = (1000 * cells.obsm["X_pca"]).astype(int)
    fit(cells)
    want = labels_of(cells)
    fit(cells, key_added="other", **where)
    assert labels_of(cells, "other") == want
    told = cells.uns["other"]
    if "ints" not in where.values():
        assert told["criteria"]["loglik"] == pytest.approx(cells.uns["gmm"]["criteria"]["loglik"], rel=1e-12)
        assert list(told["columns"]) == ["g1", "g2", "g3"]


@pytest.mark.parametrize("use_rep", ["X", "X_pca"])
def test_backed_cells_are_fitted_and_the_file_is_left_alone(use_rep, cells, tmp_path):
    round_trip(cells, tmp_path / "cells.h5ad")
    (tmp_path / "cells.h5ad").chmod(0o444)
    before = (tmp_path / "cells.h5ad").read_bytes()
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    fit(backed, use_rep=use_rep)
    fit(cells)
    assert labels_of(backed) == labels_of(cells)
    backed.file.close()
    assert (tmp_path / "cells.h5ad").read_bytes() == before


def test_backed_cells_cannot_be_copied_and_their_views_not_written(cells, tmp_path):
    round_trip(cells, tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    with pytest.raises(ValueError, match="to_memory"):
        fit(backed, copy=True)
    with pytest.raises(ValueError, match="view of an AnnData in a file"):
        fit(backed[:50])


@pytest.mark.parametrize("n_dims", [1, 2, 5])
def test_the_first_columns(n_dims, cells):
    fit(cells, use_rep="emb_pca", n_dims=n_dims)
    direct = GaussianMixture(3, random_state=0, **QUICK).fit(cells.obsm["emb_pca"][:, :n_dims])
    assert cells.uns["gmm"]["criteria"]["loglik"] == pytest.approx(direct.loglik_, rel=1e-12)
    assert len(cells.uns["gmm"]["columns"]) == n_dims


@pytest.mark.parametrize("use_rep", ["X", "X_pca"])
def test_masked_cells_are_neither_fitted_nor_labelled(use_rep, cells, tmp_path):
    cells.obs["kept"] = TRUTH < 2
    cells.obsm["X_pca"][TRUTH == 2] = np.nan
    fit(cells, 2, mask_obs="kept", use_rep=use_rep)
    part = made()[TRUTH < 2].copy()
    fit(part, 2, use_rep=use_rep)
    assert labels_of(part) == [label for label in cells.obs["gmm"] if isinstance(label, str)]
    out = TRUTH == 2
    assert cells.obs["gmm"][out].isna().all()
    assert cells.obs["gmm_uncertainty"][out].isna().all()
    assert np.isnan(cells.obsm["gmm_posterior"][out]).all()
    assert cells.uns["gmm"]["params"]["mask_obs"] == "kept"
    mx.tl.merge(cells, 1)
    assert cells.obs["gmm_merged"].isna().sum() == 10
    again = round_trip(cells, tmp_path / "cells.h5ad")
    assert again.obs["gmm"].isna().sum() == 10


def test_weights_count_cells(cells):
    twice = anndata.concat([made(), made()[TRUTH == 2]], index_unique="-")
    cells.obs["w"] = 1.0 + (TRUTH == 2)
    options = {"init_params": "kmeans", "means_init": CENTRES}
    fit(cells, sample_weight="w", **options)
    fit(twice, **options)
    np.testing.assert_allclose(cells.uns["gmm"]["model"]["means"], twice.uns["gmm"]["model"]["means"], rtol=1e-6)
    fit(cells, sample_weight=cells.obs["w"], key_added="array", **options)
    same(cells.uns["array"]["criteria"], cells.uns["gmm"]["criteria"])
    assert cells.uns["array"]["params"]["sample_weight"] == "an array"
    mx.tl.merge(cells, 2)
    with pytest.raises(ValueError, match="sample_weight is needed"):
        mx.tl.merge(cells, 2, key="array")
    mx.tl.merge(cells, 2, key="array", sample_weight="w")
    same(cells.uns["gmm_merged"]["entropy"], cells.uns["array_merged"]["entropy"])


def test_every_batch_counts_as_much(cells):
    """90 and 10 cells: a batch's cells weigh 50 in all, whatever their number, and all together 100."""
    fit(cells, batch_key="batch")
    assert cells.uns["gmm"]["criteria"]["n"] == pytest.approx(100)
    batches = cells.uns["gmm"]["batches"]
    assert list(batches["names"]) == ["big", "small"]
    np.testing.assert_allclose(batches["shares"].sum(1), 1)
    weights = cells.uns["gmm"]["model"]["weights"]
    np.testing.assert_allclose(batches["shares"].mean(0), weights, atol=1e-4)
    ten = anndata.concat([made()] + [made()[made().obs["batch"] == "small"]] * 8, index_unique="-")
    fit(ten, means_init=cells.uns["gmm"]["model"]["means"])
    np.testing.assert_allclose(ten.uns["gmm"]["model"]["means"], cells.uns["gmm"]["model"]["means"], atol=1e-4)


def test_missing_values_are_gaps_where_that_is_asked(cells):
    cells.obsm["X_pca"][::7, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN|missing"):
        fit(cells)
    fit(cells, missing="em")
    assert adjusted_rand_score(TRUTH, cells.obs["gmm"]) > 0.9
    mx.tl.predict(cells, "gmm", key_added="again")
    assert labels_of(cells, "again") == labels_of(cells)


# ---- search, predict, merge


def test_a_search_writes_its_table(cells, tmp_path):
    mx.tl.search(cells, range(1, 5), covariance_types=("tied", "diag"), effort="quick")
    chosen = cells.uns["gmm"]["selection"]
    assert chosen["criterion"] == "bic"
    assert len(chosen["table"]["bic"]) == 8
    assert np.nanargmin(chosen["table"]["bic"]) == chosen["best"]
    assert cells.obs["gmm"].nunique() == 3
    assert plain_types(cells.uns["gmm"])
    again = round_trip(cells, tmp_path / "cells.h5ad")
    same(cells.uns["gmm"], again.uns["gmm"])
    assert pd.DataFrame(again.uns["gmm"]["selection"]["table"]).shape[0] == 8


def test_the_criterion_is_handed_on(cells):
    mx.tl.search(cells, (2, 3), covariance_types="tied", criterion="icl", effort="quick", key_added="icl")
    assert cells.uns["icl"]["selection"]["criterion"] == "icl"
    with pytest.raises(ValueError, match="criterion"):
        mx.tl.search(cells, (2, 3), criterion="no such")


def test_predict_takes_a_model_of_every_kind(cells, tmp_path):
    fit(cells)
    model = mx.model(cells)
    model.save(tmp_path / "m.safetensors")
    stored = round_trip(cells, tmp_path / "cells.h5ad")
    want = None
    for kind in (model, tmp_path / "m.safetensors", str(tmp_path / "m.safetensors"), cells, stored, cells.uns["gmm"]):
        new = made(1)
        mx.tl.predict(new, kind)
        want = labels_of(new) if want is None else want
        assert labels_of(new) == want
        assert list(new.obs["gmm"].cat.categories) == ["0", "1", "2"]
        assert new.obsm["gmm_posterior"].shape == (100, 3)
    assert adjusted_rand_score(TRUTH, want) == 1
    mx.tl.predict(cells, "gmm", key_added="again")
    assert labels_of(cells, "again") == labels_of(cells)
    assert list(cells.uns["again_colors"]) == list(cells.uns["gmm_colors"])
    assert "icl" not in cells.uns["again"]["criteria"]
    direct = GaussianMixture(3, random_state=0, **QUICK).fit(cells.obsm["X_pca"])
    mx.tl.predict(cells, direct, key_added="direct")
    assert adjusted_rand_score(labels_of(cells, "direct"), TRUTH) == 1


@pytest.mark.parametrize("again", [False, True])
def test_predict_finds_genes_by_name(again, cells):
    fit(cells, use_rep="X")
    model = (
        mx.model(cells) if again else GaussianMixture(3, random_state=0, **QUICK).fit(mixtura.scan(cells, use_rep="X"))
    )
    turned = made()[:, ["g3", "g1", "g2"]].copy()
    mx.tl.predict(turned, cells if again else model, use_rep="X")
    assert adjusted_rand_score(labels_of(turned), TRUTH) == 1
    assert list(turned.uns["gmm"]["columns"]) == ["g1", "g2", "g3"]
    with pytest.raises(NoColumn, match="'g2'"):
        mx.tl.predict(made()[:, ["g1", "g3"]].copy(), model, use_rep="X")


def test_predict_keeps_colours_and_columns(cells):
    fit(cells, use_rep="emb_pca", n_dims=2)
    cells.uns["gmm_colors"] = ["#111111", "#222222", "#333333"]
    new = made(1)
    mx.tl.predict(new, cells)
    assert list(new.uns["gmm_colors"]) == ["#111111", "#222222", "#333333"]
    assert list(new.uns["gmm"]["columns"]) == ["emb_pca-0", "emb_pca-1"]


def test_predict_refuses_what_does_not_fit(cells):
    fit(cells, use_rep="emb_pca")
    model = GaussianMixture(2).fit(cells.obsm["X_pca"])
    with pytest.raises(ValueError, match="n_dims=3 takes the first"):
        mx.tl.predict(cells, model, use_rep="emb_pca")
    with pytest.raises(ValueError, match="has 2 columns, the model was fitted to 3"):
        mx.tl.predict(cells, model, use_rep="X_umap")
    with pytest.raises(ValueError, match="neither in uns nor a file"):
        mx.tl.predict(cells, "no such")
    with pytest.raises(ValueError, match="holds no mixture"):
        mx.tl.predict(cells, {"model": 3})
    with pytest.raises(TypeError, match="expected a fitted estimator"):
        mx.tl.predict(cells, 3)
    with pytest.raises(NotFittedError):
        mx.tl.predict(cells, GaussianMixture(2))
    with pytest.raises(ValueError, match="not in uns"):
        mx.tl.predict(made(), cells, key="other")


def test_merged_clusters_have_the_colour_of_their_largest_component(cells):
    fit(cells, 5, covariance_type="spherical", effort="standard")
    mx.tl.merge(cells, 3)
    told = cells.uns["gmm_merged"]
    model = mx.model(cells)
    direct = mixtura.merge(model, cells.obsm["X_pca"])
    np.testing.assert_array_equal(told["components"], direct.components(3))
    np.testing.assert_allclose(told["entropy"], direct.entropy_)
    np.testing.assert_array_equal(cells.obs["gmm_merged"].astype(int), direct.predict(cells.obsm["X_pca"], 3))
    np.testing.assert_array_equal(told["levels"][2], told["components"])
    np.testing.assert_allclose(cells.obsm["gmm_merged_posterior"].sum(1), 1, atol=1e-6)
    for c, colour in enumerate(cells.uns["gmm_merged_colors"]):
        members = np.flatnonzero(told["components"] == c)
        assert colour == cells.uns["gmm_colors"][members[model.weights_[members].argmax()]]
    with pytest.raises(ValueError, match="n_clusters"):
        mx.tl.merge(cells, 9)


# ---- mclust_R


def test_mclust_takes_the_place_of_the_copied_function(cells, tmp_path):
    found = mx.mclust_R(cells, 3, "EEE", "emb_pca", 2020)
    assert found is cells
    labels = cells.obs["mclust"]
    assert list(labels.cat.categories) == [1, 2, 3]
    assert labels.cat.categories.dtype.kind == "i"
    assert adjusted_rand_score(TRUTH, labels) == 1
    assert list(labels.value_counts().sort_index()) == [60, 30, 10]
    np.testing.assert_array_equal(cells.obsm["mclust_posterior"].argmax(1) + 1, labels.astype(int))
    again = round_trip(cells, tmp_path / "cells.h5ad")
    assert list(again.obs["mclust"]) == list(labels)
    same(cells.uns["mclust"], again.uns["mclust"])
    other = made()
    mx.mclust_R(other, num_cluster=3, use_rep="emb_pca", key_added="domain", random_seed=2020, effort="standard")
    assert list(other.obs["domain"]) == list(labels)
    assert "mclust" not in other.obs


@pytest.mark.parametrize(
    "name", ["EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV", "EVV", "VVV"]
)
def test_mclust_knows_the_fourteen_models(name, cells):
    mx.mclust_R(cells, 3, name, "X_pca", effort="quick")
    assert adjusted_rand_score(TRUTH, cells.obs["mclust"]) == 1
    assert cells.uns["mclust"]["params"]["modelNames"] == name


def test_mclust_searches_models_and_sizes(cells):
    mx.mclust_R(cells, 3, None, "X_pca", effort="quick")
    assert len(cells.uns["mclust"]["selection"]["table"]["bic"]) == 14
    mx.mclust_R(cells, range(1, 5), ["EEE", "EII"], "X_pca", effort="quick")
    assert len(cells.uns["mclust"]["selection"]["table"]["bic"]) == 8
    assert list(cells.obs["mclust"].cat.categories) == [1, 2, 3]
    copied = mx.mclust_R(cells, 2, used_obsm="X_pca", key_added="two", copy=True)
    assert "two" in copied.obs
    assert "two" not in cells.obs


@pytest.mark.parametrize("wrong", ["EEX", [], ["EEE", "full"], 3])
def test_mclust_lists_its_models(wrong, cells):
    with pytest.raises(ValueError, match=r"modelNames=.*VVV.*EVV"):
        mx.mclust_R(cells, 3, wrong, "X_pca")


# ---- what cannot be used; nothing is half written


def keys(adata):
    return sorted(adata.obs), sorted(adata.obsm), sorted(adata.uns)


BAD = {
    "no such matrix": (lambda a: fit(a, use_rep="X_scvi"), NoColumn, r"X_scvi.*'X_pca'"),
    "no such layer": (lambda a: fit(a, layer="counts"), NoColumn, r"counts.*'dense'"),
    "two matrices": (lambda a: fit(a, use_rep="emb_pca", layer="dense"), ValueError, "two matrices"),
    "no such column": (lambda a: fit(a, batch_key="sample"), NoColumn, r"batch_key='sample'.*'batch'"),
    "too many dims": (lambda a: fit(a, n_dims=4), ValueError, r"n_dims=4.*3"),
    "no dims": (lambda a: fit(a, n_dims=0), ValueError, "n_dims=0"),
    "a slash": (lambda a: fit(a, key_added="NK1/1"), ValueError, r"key_added='NK1/1'.*without '/'"),
    "no key": (lambda a: fit(a, key_added=""), ValueError, "key_added"),
    "no text": (lambda a: fit(a, key_added=3), ValueError, "key_added=3"),
    "an empty mask": (lambda a: fit(a, mask_obs=np.zeros(100, bool)), ValueError, "leaves no cell"),
    "a short mask": (lambda a: fit(a, mask_obs=np.ones(3, bool)), ValueError, r"mask_obs.*\(3,\)"),
    "a mask of texts": (lambda a: fit(a, mask_obs="truth"), ValueError, "mask_obs"),
    "short weights": (lambda a: fit(a, sample_weight=np.ones(3)), ValueError, r"sample_weight.*\(3,\)"),
    "weights of text": (lambda a: fit(a, sample_weight="truth"), ValueError, "sample_weight"),
    "negative weights": (lambda a: fit(a, sample_weight=-np.ones(100)), ValueError, "weight"),
    "one cell": (lambda a: fit(a[:1].copy()), ValueError, "single row"),
    "more components": (lambda a: fit(a, 101), ValueError, "fewer components"),
    "no structure": (lambda a: fit(a, covariance_type="EEX"), ValueError, "covariance_type"),
    "no parameter": (lambda a: fit(a, no_such=1), TypeError, "no_such"),
    "no AnnData": (lambda a: fit(a.obsm["X_pca"]), TypeError, "ndarray, expected an AnnData"),
    "nothing to merge": (lambda a: mx.tl.merge(a), ValueError, "not in uns"),
    "no model": (lambda a: mx.model(a), ValueError, "not in uns"),
    "an unused embedding": (lambda a: mx.mclust_R(a, 3, used_obsm="STAGATE"), NoColumn, "STAGATE"),
    "no cells": (lambda a: fit(a[:0].copy()), ValueError, "at least one"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_error_and_nothing_is_written(name, cells):
    call, kind, words = BAD[name]
    before = keys(cells)
    with pytest.raises(kind, match=words) as caught:
        call(cells)
    assert keys(cells) == before
    assert len(str(caught.value).splitlines()) == 1


def test_cells_with_nan_are_an_error_that_names_column_and_cell(cells):
    cells.obsm["X_pca"][7, 2] = np.nan
    with pytest.raises(ValueError, match=r"X_pca-2.*"):
        fit(cells)
    assert "gmm" not in cells.obs


def test_what_is_wrong_names_the_column(cells):
    cells.obsm["X_pca"][:, 1] = 2.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(cells, 2)
    assert "Column 'X_pca-1' is constant" in cells.uns["gmm"]["findings"][0]


def test_cells_without_a_batch(cells):
    cells.obs["batch"] = cells.obs["batch"].where(np.arange(100) > 3)
    with pytest.raises(ValueError, match=r"batch_key='batch' has no value for 4 cells"):
        fit(cells, batch_key="batch")


def test_a_view_becomes_its_own_and_its_parent_stays(cells):
    view = cells[TRUTH < 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(view, 2)
    assert not view.is_view
    assert list(view.obs["gmm"].cat.categories) == ["0", "1"]
    assert "gmm" not in cells.obs


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("failing", range(5))
def test_an_interrupt_while_writing_leaves_what_was_there(error, failing, cells, monkeypatch):
    fit(cells, 2)
    kept = {part: {k: getattr(cells, part)[k] for k in getattr(cells, part)} for part in ("obs", "obsm", "uns")}
    write, calls = results.write, []

    def failed(adata, entry):
        calls.append(entry)
        if len(calls) == failing + 1:
            raise error
        write(adata, entry)

    monkeypatch.setattr(results, "write", failed)
    with pytest.raises(error):
        fit(cells, 3)
    for part, before in kept.items():
        now = getattr(cells, part)
        assert set(now) == set(before)
        for key, value in before.items():
            same(np.asarray(now[key]) if part != "uns" else now[key], np.asarray(value) if part != "uns" else value)


def test_an_interrupted_fit_writes_nothing(cells, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mixtura.scanpy.tl.labelled", interrupted)
    before = keys(cells)
    with pytest.raises(KeyboardInterrupt):
        fit(cells)
    assert keys(cells) == before


# ---- nothing global, no R, no scanpy


@pytest.mark.parametrize(
    "call",
    [
        fit,
        lambda a: mx.mclust_R(a, 3, used_obsm="X_pca"),
        lambda a: mx.tl.search(a, (2, 3), covariance_types="diag", effort="quick"),
    ],
)
def test_global_random_states_stay(call):
    call(made())
    before = state()
    call(made())
    assert state() == before


def test_global_random_states_have_no_say():
    one, two = made(), made()
    np.random.seed(1)  # noqa: NPY002
    mx.mclust_R(one, 3, used_obsm="X_pca", effort="quick")
    np.random.seed(2)  # noqa: NPY002
    mx.mclust_R(two, 3, used_obsm="X_pca", effort="quick")
    assert list(one.obs["mclust"]) == list(two.obs["mclust"])
    np.testing.assert_array_equal(one.obsm["mclust_posterior"], two.obsm["mclust_posterior"])


def test_r_is_imported_nowhere():
    for path in Path(mixtura.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "rpy2" not in text, path
        for node in ast.walk(ast.parse(text)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("rpy2", "scanpy", "anndata") for name in names), path


def test_plain_values_are_those_that_h5ad_holds():
    given = {"n": None, "t": (1, 2), "s": ["a", None], "big": 2**70, "f": print, "nan": [1.5, None], "i": np.int32(3)}
    found = plain(given)
    assert set(found) == {"t", "s", "big", "nan", "i"}
    assert (found["big"], found["i"]) == (str(2**70), 3)
    assert np.isnan(found["nan"][1])
    assert plain_types(found)


# ---- pictures


def test_pictures(cells, tmp_path):
    mx.tl.search(cells, (2, 3), covariance_types="tied", effort="quick", mask_obs=np.arange(100) > 4)
    mx.tl.merge(cells, 2)
    left, right = mx.pl.embedding(cells, "umap", save=tmp_path / "e.png")
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["0", "1", "2"]
    shown = {tuple(np.round(c[:3], 3)) for points in left.collections for c in points.get_facecolors()}
    assert len(shown) == 4, "three clusters and the cells without one"
    assert (tmp_path / "e.png").stat().st_size > 5000
    alone = mixtura.plot.new_axes()
    assert mx.pl.embedding(cells, "X_umap", "gmm_merged", ax=alone, title="merged", most=50) is alone
    assert alone.get_title() == "merged"
    assert mx.pl.criteria(cells, save=tmp_path / "c.png").get_ylabel() == "BIC (lower is better)"
    squares = mx.pl.posteriors(cells, save=tmp_path / "p.png")
    assert squares.images[0].get_array().shape == (3, 3)
    assert mx.pl.merging(cells, save=tmp_path / "m.pdf").get_xlabel() == "number of clusters"
    assert {path.name for path in tmp_path.iterdir()} == {"e.png", "c.png", "p.png", "m.pdf"}
    assert right.get_title() == "uncertainty"


def test_pictures_are_shown_by_pyplot_only_where_that_is_asked(cells, monkeypatch):
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    fit(cells)
    seen = []
    monkeypatch.setattr(pyplot, "show", lambda: seen.append(len(pyplot.get_fignums())))
    mx.pl.embedding(cells, "umap", show=False)
    assert (seen, pyplot.get_fignums()) == ([], [])
    assert mx.pl.embedding(cells, "umap", show=True) is None
    assert seen == [1]
    pyplot.close("all")


def test_pictures_say_what_is_missing(cells):
    with pytest.raises(ValueError, match="key='gmm' is no categorical"):
        mx.pl.embedding(cells)
    fit(cells)
    for call, words in (
        (lambda: mx.pl.embedding(cells, "tsne"), r"basis='tsne'.*'X_umap'"),
        (lambda: mx.pl.embedding(cells, dimensions=(0, 9)), "dimensions"),
        (lambda: mx.pl.embedding(cells, ax=[1, 2, 3]), "one or two"),
        (lambda: mx.pl.criteria(cells), "not of a search"),
        (lambda: mx.pl.merging(cells, "gmm"), "no merging"),
        (lambda: mx.pl.merging(cells), "not in uns"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    del cells.obsm["gmm_posterior"]
    with pytest.raises(ValueError, match="gmm_posterior"):
        mx.pl.posteriors(cells)


@pytest.mark.skipif(find_spec("scanpy") is None, reason="SKIPPED: scanpy is not installed")
def test_scanpy_draws_what_is_written(cells):
    import matplotlib

    matplotlib.use("agg")
    import scanpy as sc

    fit(cells)
    mx.mclust_R(cells, 3, used_obsm="X_pca")
    before = list(cells.uns["gmm_colors"])
    axes = sc.pl.embedding(cells, "X_umap", color=["gmm", "gmm_uncertainty", "mclust"], show=False)
    assert len(axes) == 3
    assert list(cells.uns["gmm_colors"]) == before
