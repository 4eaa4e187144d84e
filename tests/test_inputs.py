"""What users hand in: every kind of rows that works, and every one that must be refused with a sentence that helps."""

import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from comparison.sets import load
from pretend import There
from sklearn.exceptions import NotFittedError

from mixtura import DegenerateWarning, GaussianMixture
from mixtura.covariance import STRUCTURES

METHODS = ["predict", "predict_proba", "score_samples", "score", "uncertainty", "bic", "aic", "icl"]


def quick(k: int = 2, **params: Any) -> GaussianMixture:
    return GaussianMixture(k, **{"random_state": 0, "n_init": 1, **params})


def rows(n: int = 60) -> np.ndarray:
    """Two clear clusters in three columns, float64, interleaved."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3)) * [1.0, 2.0, 0.5]
    x[::2] += 8
    return x


@pytest.fixture(scope="module")
def fitted() -> GaussianMixture:
    return quick().fit(rows())


def changed(row: int, column: int, value: float) -> np.ndarray:
    x = rows()
    x[row, column] = value
    return x


# ---- refused

BAD = {
    "NaN": (lambda: changed(7, 2, math.nan), r"(?s)contains NaN.*1 of 60 rows.*rows 7.*columns 2"),
    "inf": (lambda: changed(9, 1, math.inf), r"(?s)contains infinity.*rows 9.*columns 1"),
    "minus inf": (lambda: changed(9, 1, -math.inf), r"(?s)contains infinity.*rows 9.*columns 1"),
    "no rows": (lambda: np.empty((0, 3)), r"0 sample\(s\).*check how the data were read"),
    "no columns": (lambda: np.empty((60, 0)), r"0 feature\(s\).*check how the data were read"),
    "one dimension": (lambda: rows()[0], r"(?s)Expected 2D array.*[Rr]eshape"),
    "three dimensions": (lambda: rows()[None], r"dim 3|3D"),
    "a number": (lambda: np.array(3.0), r"Expected 2D array"),
    "complex": (lambda: rows() + 1j, r"(?s)Complex data not supported.*real and imaginary"),
}
BAD_TENSORS = {name: (lambda make=make: torch.tensor(make()), message) for name, (make, message) in BAD.items()}
ONLY_ARRAYS = {
    "strings": (lambda: [["a", "b", "c"]] * 60, r"could not convert string to float.*encode them as numbers"),
    "a column of text": (
        lambda: pd.DataFrame({"a": range(60), "b": range(60), "c": ["x"] * 60}),
        r"could not convert string to float.*leave them out",
    ),
    "ragged": (lambda: [[1.0, 2.0, 3.0], [1.0]] * 30, r"inhomogeneous|setting an array element"),
    "None": (lambda: None, r"Expected 2D array"),
}
ALL_BAD = {
    **BAD,
    **ONLY_ARRAYS,
    **{f"tensor: {name}": case for name, case in BAD_TENSORS.items()},
}


@pytest.mark.parametrize("case", ALL_BAD)
def test_fit_refuses(case: str) -> None:
    make, message = ALL_BAD[case]
    with pytest.raises(ValueError, match=message):
        quick().fit(make())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", ALL_BAD)
def test_a_fitted_model_refuses(fitted: GaussianMixture, case: str, method: str) -> None:
    make, message = ALL_BAD[case]
    with pytest.raises(ValueError, match=rf"{message}|expecting 3 features"):
        getattr(fitted, method)(make())


SPARSE: dict[str, tuple[Callable[[], Any], str]] = {
    "csr matrix": (lambda: scipy.sparse.csr_matrix(rows()), r"toarray\(\)"),
    "coo array": (lambda: scipy.sparse.coo_array(rows()), r"toarray\(\)"),
    "sparse tensor": (lambda: torch.tensor(rows()).to_sparse(), r"to_dense\(\).*toarray\(\)"),
}


@pytest.mark.parametrize("method", ["fit", "predict", "score"])
@pytest.mark.parametrize("case", SPARSE)
def test_sparse_rows_are_refused(case: str, method: str) -> None:
    make, message = SPARSE[case]
    model = quick().fit(rows())
    with pytest.raises(TypeError, match=message):
        getattr(model, method)(make())


def test_an_object_of_no_kind_is_refused() -> None:
    with pytest.raises((TypeError, ValueError)):
        quick().fit(object())


def test_many_bad_values_are_summed_up() -> None:
    x = pd.DataFrame(rows(), columns=["CD4", "CD8", "size"])
    x.loc[10:40, "CD8"] = np.nan
    x.loc[3, "CD4"] = np.nan
    with pytest.raises(ValueError, match=r"(?s)32 of 60 rows.*rows 3, 10, 11, 12, 13, \.\.\..*'CD4', 'CD8'"):
        quick().fit(x)
    with pytest.raises(ValueError, match="SimpleImputer"):
        quick().fit(x)


def test_values_too_large_for_their_sum_are_fine() -> None:
    x = rows() * 1e150
    assert quick(1).fit(x).means_[0] == pytest.approx(x.mean(0), rel=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_more_components_than_rows(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"n_components = 5, n_samples = 4.*fewer components"):
        quick(5).fit(kind(rows(4)))


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_a_single_row(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"1 sample\(s\).*minimum of 2.*single row"):
        quick(1).fit(kind(rows(1)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_another_number_of_columns(fitted: GaussianMixture, kind: Any, method: str) -> None:
    with pytest.raises(ValueError, match=r"X has 2 features.*expecting 3 features.*same order"):
        getattr(fitted, method)(kind(rows()[:, :2]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_unfitted(kind: Any, method: str) -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(quick(), method)(kind(rows()))
    with pytest.raises(NotFittedError, match="not fitted yet"):
        quick().sample()


WEIGHTS = {
    "negative": (lambda: np.r_[-1.0, np.ones(59)], "[Nn]egative"),
    "NaN": (lambda: np.r_[np.nan, np.ones(59)], "(?s)sample_weight.*NaN"),
    "infinite": (lambda: np.r_[np.inf, np.ones(59)], "(?s)sample_weight.*infinity"),
    "all zero": (lambda: np.zeros(60), "zero for every row"),
    "too short": (lambda: np.ones(59), r"sample_weight.shape == \(59,\), expected \(60,\)"),
    "too long": (lambda: np.ones(61), r"sample_weight.shape == \(61,\), expected \(60,\)"),
    "a column": (lambda: np.ones((60, 1)), r"sample_weight.shape == \(60, 1\)|1D"),
}


@pytest.mark.parametrize("method", ["fit", "fit_predict", "score", "bic", "aic", "icl"])
@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, list])
@pytest.mark.parametrize("case", WEIGHTS)
def test_bad_weights_are_refused(case: str, kind: Any, method: str) -> None:
    make, message = WEIGHTS[case]
    model = quick().fit(rows())
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(rows(), sample_weight=kind(make()))


@pytest.mark.parametrize("bad", [*ALL_BAD, *SPARSE])
@pytest.mark.parametrize("first", [np.asarray, torch.tensor])
def test_bad_input_leaves_a_fitted_model_as_it_was(bad: str, first: Any) -> None:
    good = first(rows())
    model = quick().fit(good)
    before, public = np.asarray(model.predict_proba(good)), dict(vars(model))
    make = {**ALL_BAD, **SPARSE}[bad][0]
    for method in ("fit", "fit_predict", "predict", "score"):
        with pytest.raises((ValueError, TypeError)):
            getattr(model, method)(make())
        np.testing.assert_array_equal(np.asarray(model.predict_proba(good)), before)
        assert vars(model).keys() == public.keys()


FAILING_FITS: dict[str, Callable[[GaussianMixture], Any]] = {
    "bad weights": lambda m: m.fit(rows()[:, :2], sample_weight=-np.ones(60)),
    "too few rows": lambda m: m.set_params(n_components=7).fit(rows(6)),
    "too few rows of other columns": lambda m: m.set_params(n_components=7).fit(rows(6)[:, :2]),
    "NaN in fewer columns": lambda m: m.fit(np.full((60, 2), np.nan)),
    "NaN in a tensor of fewer columns": lambda m: m.fit(torch.full((60, 2), torch.nan)),
    "NaN in a table": lambda m: m.fit(pd.DataFrame(np.full((60, 2), np.nan), columns=["a", "b"])),
    "bad start": lambda m: m.set_params(means_init=np.zeros((9, 9))).fit(rows()[:, :2]),
    "bad structure": lambda m: m.set_params(covariance_type="square").fit(rows()[:, :2]),
    "bad device": lambda m: m.set_params(device="nowhere").fit(rows()[:, :2]),
    "bad seed": lambda m: m.set_params(random_state=-1).fit(rows()[:, :2]),
    "collapse without a floor": lambda m: m.set_params(n_components=3, reg_covar=0.0, reproduce="sklearn").fit(
        np.repeat([[0.0, 0.0], [1.0, 1.0]], 30, axis=0)
    ),
}


@pytest.mark.parametrize("name", FAILING_FITS)
def test_a_failed_fit_leaves_a_fitted_model_as_it_was(name: str) -> None:
    model = quick().fit(rows())
    before, kept = model.predict_proba(rows()), model.get_params()
    with pytest.raises((ValueError, TypeError)):
        FAILING_FITS[name](model)
    model.set_params(**kept)
    np.testing.assert_array_equal(model.predict_proba(rows()), before)
    assert model.n_features_in_ == 3
    assert not hasattr(model, "feature_names_in_")


def test_a_failed_first_fit_leaves_nothing_fitted() -> None:
    for bad in (changed(0, 0, math.nan), torch.tensor(changed(0, 0, math.nan)), rows(2)):
        model = quick(3)
        with pytest.raises(ValueError, match=r"NaN|n_components"):
            model.fit(bad)
        with pytest.raises(NotFittedError):
            model.predict(rows())


# ---- accepted

ARRAYS = {
    "list": lambda x: x.tolist(),
    "tuple": lambda x: tuple(map(tuple, x)),
    "Fortran order": np.asfortranarray,
    "reversed twice": lambda x: x[::-1].copy()[::-1],
    "reversed columns": lambda x: np.ascontiguousarray(x[:, ::-1])[:, ::-1],
    "every other row of a larger array": lambda x: np.repeat(x, 2, axis=0)[::2],
    "other byte order": lambda x: x.astype(">f8"),
    "object": lambda x: x.astype(object),
    "pandas": lambda x: pd.DataFrame(x, columns=["a", "b", "c"]),
    "pandas, nullable": lambda x: pd.DataFrame(x, columns=["a", "b", "c"]).convert_dtypes(convert_integer=False),
    "polars": lambda x: pl.DataFrame(x, schema=["a", "b", "c"]),
}


def read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


ARRAYS["read-only"] = read_only


@pytest.mark.parametrize("name", ARRAYS)
def test_kinds_of_arrays(fitted: GaussianMixture, name: str) -> None:
    x = ARRAYS[name](rows())
    model = quick().fit(x)
    for attribute in ("weights_", "means_", "covariances_"):
        got = getattr(model, attribute)
        assert isinstance(got, np.ndarray)
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got, getattr(fitted, attribute))
    for method in METHODS:
        np.testing.assert_array_equal(getattr(model, method)(x), getattr(fitted, method)(rows()))


def test_memory_maps(fitted: GaussianMixture, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", rows())
    for mode in ("r", "r+", "c"):
        x = np.load(tmp_path / "rows.npy", mmap_mode=mode)
        model = quick().fit(x)
        np.testing.assert_array_equal(model.means_, fitted.means_)
        np.testing.assert_array_equal(model.predict(x), fitted.predict(rows()))
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), rows())


class OnlyDlpack:
    """Rows of a library that speaks DLPack and nothing else."""

    def __init__(self, x: torch.Tensor) -> None:
        self.x = x

    def __dlpack__(self, **how: Any) -> Any:
        return self.x.__dlpack__(**how)

    def __dlpack_device__(self) -> Any:
        return self.x.__dlpack_device__()


@pytest.mark.parametrize(
    "make",
    [
        torch.tensor,
        lambda x: torch.tensor(x.T.copy()).T,
        lambda x: torch.tensor(np.repeat(x, 2, axis=0))[::2],
        lambda x: OnlyDlpack(torch.tensor(x)),
        lambda x: torch.tensor(x, requires_grad=True),
        lambda x: torch.nn.Parameter(torch.tensor(x)),
    ],
    ids=["plain", "transposed", "every other row", "dlpack", "requires grad", "parameter"],
)
def test_kinds_of_tensors(fitted: GaussianMixture, make: Any, device: torch.device) -> None:
    x = make(rows())
    if isinstance(x, torch.Tensor):
        x = x.to(device)
    model = quick().fit(x)
    for attribute in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        got = getattr(model, attribute)
        assert type(got) in (torch.Tensor, There)
        assert got.dtype == torch.float64
        assert not got.requires_grad
    # The same sums in another order on another device; the same bits here.
    np.testing.assert_allclose(model.means_.cpu(), fitted.means_, rtol=1e-9)
    for method in ("predict", "predict_proba", "score_samples", "uncertainty"):
        got = getattr(model, method)(x)
        assert type(got) in (torch.Tensor, There)
        assert not got.requires_grad
        np.testing.assert_allclose(got.cpu(), getattr(fitted, method)(rows()), rtol=1e-7, atol=1e-9)
    assert isinstance(model.score(x), float)
    drawn, labels = model.sample(5)
    assert (drawn.dtype, labels.dtype, drawn.shape) == (torch.float64, torch.int64, (5, 3))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.int64, torch.float64),
        (torch.int32, torch.float64),
        (torch.uint8, torch.float64),
        (torch.bool, torch.float64),
    ],
)
def test_dtypes_of_tensors(given: torch.dtype, kept: torch.dtype) -> None:
    x = torch.tensor(rows()).abs().to(given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateWarning)
        model = quick(1).fit(x)
    assert model.means_.dtype == kept
    assert model.score_samples(x).dtype == kept
    assert model.predict(x).dtype == torch.int64
    np.testing.assert_allclose(model.means_[0], x.to(torch.float64).mean(0), rtol=4 * torch.finfo(kept).eps)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.float64, np.float64),
        (np.float32, np.float32),
        (np.float16, np.float64),
        (np.int64, np.float64),
        (np.int32, np.float64),
        (np.uint8, np.float64),
        (bool, np.float64),
    ],
)
def test_dtypes_of_arrays(given: Any, kept: Any) -> None:
    x = np.abs(rows()).astype(given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateWarning)
        model = quick(1).fit(x)
    assert model.means_.dtype == kept
    assert model.covariances_.dtype == kept
    assert model.score_samples(x).dtype == kept
    assert model.predict(x).dtype == np.int64
    np.testing.assert_allclose(model.means_[0], x.astype(np.float64).mean(0), rtol=4 * np.finfo(kept).eps)


def test_float32_is_close_to_float64(fitted: GaussianMixture) -> None:
    model = quick().fit(rows().astype(np.float32))
    # 24 bits, over sums of 60 rows of size 10.
    np.testing.assert_allclose(model.means_, fitted.means_, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.score_samples(rows().astype(np.float32)), fitted.score_samples(rows()), atol=1e-3)


def test_integers_are_numbers_everywhere() -> None:
    # scikit-learn casts parameters to the dtype of integer rows in score and predict: they lose their fractions.
    x = np.random.default_rng(3).poisson(4, size=(200, 2)) + np.repeat([[0, 0], [9, 5]], 100, axis=0)
    for whole in (x, x.astype(np.int32), x.tolist(), pd.DataFrame(x).to_numpy()):
        by_integers, by_floats = quick().fit(whole), quick().fit(x.astype(float))
        np.testing.assert_array_equal(by_integers.means_, by_floats.means_)
        for method in METHODS:
            np.testing.assert_array_equal(
                getattr(by_floats, method)(whole), getattr(by_floats, method)(x.astype(float))
            )


def test_rows_are_not_changed() -> None:
    for make in (rows, lambda: torch.tensor(rows()), lambda: rows().astype(np.float32)):
        x = make()
        quick().fit(x).predict(x)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(make()))


def test_gradients_are_cut_with_a_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="mixtura"):
        quick().fit(torch.tensor(rows(), requires_grad=True))
    assert len([r for r in caplog.records if "requires grad" in r.message]) == 1


def test_kinds_do_not_mix_up() -> None:
    # Rows decide how results go back, not the rows of the fit.
    model = quick().fit(rows())
    assert isinstance(model.predict_proba(torch.tensor(rows())), torch.Tensor)
    model = quick().fit(torch.tensor(rows(), dtype=torch.float32))
    assert isinstance(model.predict_proba(rows()), np.ndarray)
    assert model.score_samples(rows()).dtype == np.float64
    assert model.means_.dtype == torch.float32


def test_names_of_polars_columns() -> None:
    table = pl.DataFrame(rows(), schema=["a", "b", "c"])
    model = quick().fit(table)
    np.testing.assert_array_equal(model.feature_names_in_, ["a", "b", "c"])
    with pytest.raises(ValueError, match="same order"):
        model.predict(table[["b", "a", "c"]])


ATTRIBUTES = ["weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"]


@pytest.mark.parametrize("name", STRUCTURES)
def test_attributes_are_read_only_copies(name: str) -> None:
    x = rows()
    model = quick(covariance_type=name).fit(x)
    before = model.predict_proba(x)
    for attribute in ATTRIBUTES:
        value = getattr(model, attribute)
        assert not value.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            value[...] = 0
    on_tensors = quick(covariance_type=name).fit(torch.tensor(x))
    for attribute in ATTRIBUTES:
        getattr(on_tensors, attribute).zero_()
    np.testing.assert_array_equal(on_tensors.predict_proba(x), before)


def test_attributes_of_an_array_given_as_a_start_are_copies() -> None:
    means = rows()[:2].copy()
    model = quick(means_init=means, max_iter=0).fit(rows())
    means[:] = 0
    assert np.abs(model.means_).min() > 0


@pytest.mark.parametrize("kind", [list, np.asarray, torch.tensor, pd.Series])
def test_weights_of_every_kind(kind: Any) -> None:
    weight = np.arange(60) % 3 + 0.5
    want = quick().fit(rows(), sample_weight=weight)
    got = quick().fit(rows(), sample_weight=kind(weight))
    np.testing.assert_array_equal(got.means_, want.means_)
    assert got.score(rows(), sample_weight=kind(weight)) == want.score(rows(), sample_weight=weight)


def test_one_weight_for_all() -> None:
    a, b = quick().fit(rows(), sample_weight=2.0), quick().fit(rows(), sample_weight=np.full(60, 2.0))
    np.testing.assert_array_equal(a.means_, b.means_)
    assert a.loglik_ == b.loglik_


def test_rows_of_no_weight_may_be_anything_finite() -> None:
    x, weight = rows(), np.ones(60)
    x[5], weight[5] = 1e8, 0
    a = quick().fit(x, sample_weight=weight)
    b = quick().fit(np.delete(x, 5, axis=0))
    # The same rows, added up in another order.
    np.testing.assert_allclose(a.means_, b.means_, rtol=1e-9)
    assert a.loglik_ == pytest.approx(b.loglik_, rel=1e-12)


# ---- data that cannot carry the model


def findings(model: GaussianMixture) -> list[str]:
    return [f.kind for f in model.diagnose()]


def test_a_sound_fit_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = quick().fit(rows())
    assert model.status_ == "converged"
    assert model.diagnose() == []


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_constant_column(name: str) -> None:
    x = pd.DataFrame(rows(), columns=["a", "b", "c"]).assign(c=3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateWarning)
        model = quick(covariance_type=name).fit(x)
    assert "Column 'c' is constant (3); leave it out." in map(str, model.diagnose())
    assert np.isfinite(model.predict_proba(x)).all()
    if "spherical" not in name:
        # A variance that is nothing but the floor is no likelihood to compare.
        assert model.status_ == "degenerate"
        with pytest.warns(DegenerateWarning, match="must not be compared"):
            quick(covariance_type=name).fit(x)


@pytest.mark.parametrize("name", STRUCTURES)
def test_all_rows_equal(name: str) -> None:
    x = np.tile([[1.0, -2.0, 3.0]], (40, 1))
    with pytest.warns(DegenerateWarning):
        model = quick(covariance_type=name).fit(x)
    assert model.status_ == "degenerate"
    assert "few_distinct_rows" in findings(model)
    assert any("1 distinct rows, fewer than 2 components" in str(f) for f in model.diagnose())
    assert np.isfinite(model.means_).all()
    assert np.isfinite(model.predict_proba(x)).all()


@pytest.mark.parametrize("name", STRUCTURES)
def test_more_components_than_distinct_rows(name: str) -> None:
    x = np.repeat([[0.0, 0.0], [4.0, 1.0], [9.0, 7.0]], 20, axis=0)
    with pytest.warns(DegenerateWarning):
        model = quick(5, covariance_type=name).fit(x)
    assert model.status_ == "degenerate"
    assert "few_distinct_rows" in findings(model)
    assert model.weights_.sum() == pytest.approx(1, abs=1e-12)
    assert np.isfinite(model.predict_proba(x)).all()


def test_fewer_rows_than_columns() -> None:
    x = np.random.default_rng(0).normal(size=(12, 30))
    with pytest.warns(DegenerateWarning, match=r"12 distinct rows for 30 columns|floor"):
        model = quick(1).fit(x)
    assert model.status_ == "degenerate"
    assert any("use a diagonal structure or fewer columns" in str(f) for f in model.diagnose())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert quick(1, covariance_type="diag").fit(x).status_ == "converged"


@pytest.mark.parametrize("name", STRUCTURES)
@pytest.mark.parametrize("scale", [1e-5, 1e-3, 1e5])
def test_units_change_nothing(name: str, scale: float) -> None:
    x = rows()
    a, b = quick(covariance_type=name).fit(x), quick(covariance_type=name).fit(x * scale)
    # fit(c·X) = fit(X) − n d log c: rounding only.
    assert b.loglik_ == pytest.approx(a.loglik_ - x.size * math.log(scale), abs=1e-7)
    np.testing.assert_allclose(b.means_, a.means_ * scale, rtol=1e-7)
    np.testing.assert_allclose(b.covariances_, a.covariances_ * scale**2, rtol=1e-6, atol=1e-9 * scale**2)
    assert b.diagnose() == []


def test_a_far_outlier_is_named() -> None:
    x = np.vstack([rows(), [[1e6, 1e6, 1e6]]])
    with pytest.warns(DegenerateWarning):
        model = quick(3).fit(x)
    assert model.status_ == "degenerate"
    alone = int(model.predict(x)[-1])
    assert (model.predict(x) == alone).sum() == 1
    assert any(f.component == alone and f.kind in ("few_rows", "floored") for f in model.diagnose())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", STRUCTURES)
def test_far_points(name: str, dtype: Any) -> None:
    model = quick(covariance_type=name).fit(rows().astype(dtype))
    sizes = [1e3, 1e6, 1e15, 1e30] + ([1e150, 1e300] if dtype is np.float64 else [])
    far = np.array([[s, -s, s] for s in sizes] + [[-s, 0, 0] for s in sizes], dtype=dtype)
    p = model.predict_proba(far)
    assert np.isfinite(p).all()
    # Sums of two float numbers that were divided by their sum.
    np.testing.assert_allclose(p.sum(1), 1, atol=4 * np.finfo(dtype).eps)
    assert not np.isnan(model.score_samples(far)).any()
    assert (model.score_samples(far) < -100).all()
    np.testing.assert_array_equal(model.predict(far), p.argmax(1))
    # A row's result depends on that row alone.
    np.testing.assert_array_equal(model.predict_proba(np.vstack([rows().astype(dtype), far]))[60:], p)
    tensors = quick(covariance_type=name).fit(torch.tensor(rows().astype(dtype))).predict_proba(torch.tensor(far))
    assert bool(tensors.isfinite().all())


def test_duplicated_rows_are_mentioned_and_counted() -> None:
    x = np.repeat(rows(), 4, axis=0)
    model = quick().fit(x)
    assert model.status_ == "converged"
    assert findings(model) == ["duplicated_rows"]
    assert "Only 60 of 240 rows are distinct" in str(model.diagnose()[0])
    single = quick().fit(rows())
    np.testing.assert_allclose(model.means_, single.means_, rtol=1e-6)
    assert model.loglik_ == pytest.approx(4 * single.loglik_, rel=1e-9)


def test_a_grid_is_noticed() -> None:
    # Values in steps of 1 with a component far narrower than a step.
    rng = np.random.default_rng(0)
    x = np.vstack([rng.normal(0, 30, (200, 1)).round(), np.full((40, 1), 5.0)])
    with pytest.warns(DegenerateWarning):
        model = quick(2, weights_init=[0.8, 0.2], means_init=[[0.0], [5.0]], precisions_init=[[[1e-3]], [[100.0]]]).fit(
            x
        )
    assert model.status_ == "degenerate"
    assert {"grid", "narrow", "floored"} & set(findings(model))


def test_pixels() -> None:
    picture = torch.tensor(np.random.default_rng(0).integers(0, 256, (300, 3)), dtype=torch.uint8)
    model = quick().fit(picture)
    assert model.means_.dtype == torch.float64
    assert model.predict(picture).shape == (300,)


@pytest.mark.parametrize("offset", [1e3, 1e4])
@pytest.mark.parametrize("name", STRUCTURES)
def test_float32_far_from_the_origin(name: str, offset: float) -> None:
    single = (load("faithful") + offset).astype(np.float32)
    model = quick(covariance_type=name, init_params="kmeans").fit(single)
    exact = quick(covariance_type=name, init_params="kmeans").fit(single.astype(np.float64))
    # The rows are the same numbers; float32 sums over 272 centred rows lose about 1e-3 nats.
    assert model.loglik_ == pytest.approx(exact.loglik_, abs=1e-2)


@pytest.mark.parametrize("name", STRUCTURES)
def test_float64_far_from_the_origin(name: str) -> None:
    x = load("faithful")
    far = x + 1e8
    model = quick(covariance_type=name).fit(far)
    exact = quick(covariance_type=name).fit(far - 1e8)
    # far − 1e8 is exact: the same rows, moved back, with a mean that is rounded to 1e-8.
    assert model.loglik_ == pytest.approx(exact.loglik_, abs=1e-3)
