"""Fits to rows with gaps: what is missing at random does no harm, and is filled in; what is wrong is refused."""

import warnings

import numpy as np
import oracle
import pandas as pd
import pytest
import torch
from cases import NAMES, clusters, punched, to_parameters
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.utils import get_tags

import mixtura
from mixtura import GaussianMixture, MixtureSearch
from mixtura.data import Array
from mixtura.start import STARTS

EVERY = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def recovered():
    """Two clusters of 1,000 rows, a fifth of all values missing completely at random."""
    rng = np.random.default_rng(14)
    truth = oracle.Parameters(
        np.array([0.6, 0.4]),
        np.array([[0.0, 0.0, 0.0], [4.0, 4.0, -4.0]]),
        np.stack([[[1, 0.8, 0], [0.8, 1, 0], [0, 0, 1]], [[1, -0.5, 0.5], [-0.5, 1, 0], [0.5, 0, 2]]]).astype(float),
    )
    labels = (np.arange(1000) >= 600).astype(int)
    factor = np.linalg.cholesky(truth.covariances)
    X = truth.means[labels] + np.einsum("nij,nj->ni", factor[labels], rng.normal(size=(1000, 3)))
    holed = punched(X, 0.2, 14)
    return truth, X, holed, labels, GaussianMixture(2, missing="em", random_state=0).fit(holed)


def test_clusters_are_found_again(recovered):
    truth, _, holed, labels, model = recovered
    assert model.status_ == "converged"
    # Standard errors are about sqrt(2 / 320) = 0.08 for the means and 0.12 for the covariances: within three.
    np.testing.assert_allclose(model.weights_, truth.weights, atol=0.03)
    np.testing.assert_allclose(model.means_, truth.means, atol=0.3)
    np.testing.assert_allclose(model.covariances_, truth.covariances, atol=0.5)
    assert model.loglik_ > oracle.log_density_observed(holed, truth).sum()
    assert (model.predict(holed) == labels).mean() > 0.97
    assert model.loglik_ == pytest.approx(model.score(holed) * 1000, rel=1e-12)


def test_the_likelihood_is_at_a_maximum(recovered):
    _, _, holed, _, model = recovered
    at = to_parameters(model.mixture_)
    best = oracle.log_density_observed(holed, at).sum()
    assert model.loglik_ == pytest.approx(best, rel=1e-12)
    rng = np.random.default_rng(15)
    for _ in range(2):
        aside = at._replace(means=at.means + 0.05 * rng.normal(size=at.means.shape))
        assert oracle.log_density_observed(holed, aside).sum() < best


def test_what_is_imputed_is_nearer_than_the_mean_of_the_column(recovered):
    _, X, holed, _, model = recovered
    gap = np.isnan(holed)
    ours, mean = model.impute(holed), np.where(gap, np.nanmean(holed, axis=0), holed)
    assert not np.isnan(ours).any()
    np.testing.assert_array_equal(ours[~gap], X[~gap])
    np.testing.assert_allclose(ours[:40], oracle.impute(holed[:40], to_parameters(model.mixture_)), atol=1e-9)
    # The clusters are 4 apart and the mean lies between them: 2 from each.
    assert np.sqrt(((ours - X)[gap] ** 2).mean()) < 0.6 * np.sqrt(((mean - X)[gap] ** 2).mean())


def test_deleting_rows_at_random_in_one_column_only_is_seen_through():
    """Missing at random, not completely: a second column is observed where the first is low; the mean is not biased."""
    rng = np.random.default_rng(16)
    first = rng.normal(size=4000)
    second = first + 0.5 * rng.normal(size=4000)
    X = np.stack([first, np.where(first < 0, second, np.nan)], 1)
    model = GaussianMixture(1, missing="em").fit(X)
    assert np.nanmean(X[:, 1]) < -0.6
    # The regression on half of the rows has a standard error of about 0.02 at the mean.
    assert abs(model.means_[0, 1]) < 0.08
    assert model.covariances_[0, 1, 1] == pytest.approx(1.25, abs=0.2)


# ---- the face


@EVERY
@pytest.mark.parametrize("init", ["auto", "kmeans"])
def test_without_gaps_nothing_changes(name, init):
    X = load_iris().data
    given = {"covariance_type": name, "random_state": 0, "effort": "quick", "init_params": init}
    one, other = (GaussianMixture(3, missing=missing, **given).fit(X) for missing in ("error", "em"))
    for attribute in ("weights_", "means_", "covariances_", "lower_bounds_", "loglik_", "n_iter_", "seed_"):
        np.testing.assert_array_equal(getattr(one, attribute), getattr(other, attribute))
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))
    np.testing.assert_array_equal(one.score_samples(X), other.score_samples(X))
    np.testing.assert_array_equal(other.impute(X), X)


@EVERY
def test_every_structure_searches_iris_with_holes(name):
    X = punched(load_iris().data, 0.2, 17, empty=1)
    model = GaussianMixture(3, covariance_type=name, missing="em", effort="quick", random_state=0).fit(X)
    assert model.status_ == "converged"
    joint = oracle.log_joint_observed(X, to_parameters(model.mixture_))
    density = np.logaddexp.reduce(joint, axis=1)
    posterior = np.exp(joint - density[:, None])
    assert model.loglik_ == pytest.approx(density.sum(), rel=1e-11)
    np.testing.assert_allclose(model.predict_proba(X), posterior, atol=1e-9)
    np.testing.assert_array_equal(model.predict(X), joint.argmax(1))
    np.testing.assert_allclose(model.score_samples(X), density, atol=1e-9)
    np.testing.assert_allclose(model.uncertainty(X), 1 - posterior.max(1), atol=1e-9)
    assert model.score_samples(X)[0] == pytest.approx(0, abs=1e-14)
    np.testing.assert_allclose(model.predict_proba(X)[0], model.weights_, rtol=1e-12)
    np.testing.assert_allclose(model.impute(X)[0], model.weights_ @ model.means_, rtol=1e-12)
    assert model.bic(X) == pytest.approx(-2 * model.loglik_ + model.n_parameters_ * np.log(150), rel=1e-12)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.filterwarnings("ignore:init_params='random'")
def test_every_start_runs(start):
    X = punched(clusters(np.random.default_rng(18), 300, 2, 3)[0], 0.2, 18)
    model = GaussianMixture(2, init_params=start, missing="em", random_state=0).fit(X)
    assert model.converged_
    assert not np.isnan(model.means_).any()


def test_given_starts_and_continued_fits_run():
    X = punched(clusters(np.random.default_rng(19), 300, 2, 3)[0], 0.2, 19)
    means = np.nan_to_num(X[:2])
    model = GaussianMixture(2, means_init=means, missing="em", max_iter=2, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bounds = [model.fit(X).loglik_ for _ in range(4)]
    assert bounds == sorted(bounds)
    assert bounds[-1] > bounds[0]


def test_the_race_looks_at_parts_of_many_rows():
    labels = np.arange(7000) % 3
    X = 5.0 * labels[:, None] + np.random.default_rng(20).normal(size=(7000, 2))
    holed = punched(X, 0.15, 20)
    model = GaussianMixture(3, missing="em", effort="quick", random_state=0).fit(holed)
    assert {rows for start in model.starts_ for rows, _ in start["stages"]} >= {2000, 7000}
    np.testing.assert_allclose(np.sort(model.means_[:, 0]), [0, 5, 10], atol=0.15)
    single = GaussianMixture(3, missing="em", effort="quick", random_state=0).fit(holed.astype(np.float32))
    assert single.means_.dtype == np.float32
    np.testing.assert_allclose(single.means_, model.means_, atol=1e-3)


KINDS = {
    "tensor": (torch.tensor, torch.Tensor),
    "float32": (lambda x: x.astype(np.float32), np.ndarray),
    "float32 tensor": (lambda x: torch.tensor(x).float(), torch.Tensor),
    "list with None": (lambda x: [[None if np.isnan(v) else v for v in row] for row in x], np.ndarray),
    "table": (lambda x: pd.DataFrame(x, columns=["a", "b"]), np.ndarray),
    "whole numbers": (lambda x: pd.DataFrame(np.round(x), columns=["a", "b"]).astype("Int64"), np.ndarray),
    "source": (lambda x: Array(x), np.ndarray),
    "file": (None, np.ndarray),
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind(kind, tmp_path):
    X = punched(clusters(np.random.default_rng(21), 80, 2, 2)[0], 0.2, 21)
    make, back = KINDS[kind]
    if kind == "file":
        pd.DataFrame(X, columns=["a", "b"]).to_csv(tmp_path / "holes.csv", index=False)
        make = lambda x: mixtura.scan(tmp_path / "holes.csv")  # noqa: E731
    given = {"missing": "em", "init_params": "kmeans", "random_state": 0, "covariance_type": "tied"}
    model = GaussianMixture(2, **given).fit(make(X))
    same = GaussianMixture(2, **given).fit(np.round(X) if kind == "whole numbers" else X)
    filling = model.impute(make(X))
    assert type(filling) is back
    assert filling.dtype in ((torch.float32, np.float32) if "float32" in kind else (torch.float64, np.float64))
    tight = "float32" not in kind
    np.testing.assert_allclose(np.asarray(model.means_), same.means_, rtol=1e-9 if tight else 1e-3)
    np.testing.assert_allclose(
        np.asarray(model.score_samples(make(X))).sum(), model.loglik_, rtol=1e-9 if tight else 1e-4
    )


def test_rows_far_out_keep_their_numbers_in_float32():
    model = GaussianMixture.from_parameters(
        np.float32([0.5, 0.5]), np.float32([[0, 0], [1, 1]]), np.float32([1, 1]), "spherical"
    ).set_params(missing="em")
    X = np.float32([[1e25, np.nan], [np.nan, -1e20], [0, np.nan]])
    assert np.isfinite(model.score_samples(X)).all()
    assert np.isfinite(model.predict_proba(X)).all()
    assert np.isfinite(model.impute(X)).all()


@pytest.mark.parametrize("make", [np.asarray, torch.tensor, pd.DataFrame])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_refused(make, value):
    X = punched(np.random.default_rng(22).normal(size=(30, 2)), 0.2, 22)
    X[3, 1] = value
    model = GaussianMixture(1, missing="em")
    with pytest.raises(ValueError, match=r"(?s)contains infinity.*1 of 30 rows.*rows 3.*columns '?1'?\)"):
        model.fit(make(X))
    with pytest.raises(ValueError, match="contains infinity"):
        model.fit(make(np.delete(X, 3, 0))).predict(make(X))


def test_a_column_without_a_value_is_refused_by_name():
    X = np.random.default_rng(23).normal(size=(30, 3))
    X[:, 1] = np.nan
    model = GaussianMixture(1, missing="em")
    with pytest.raises(ValueError, match=r"no value in the columns '1'.*leave them out"):
        model.fit(X)
    with pytest.raises(ValueError, match="no value in the columns 'size'"):
        model.fit(pd.DataFrame(X, columns=["a", "size", "b"]))
    X[:3, 1] = 1.0
    with pytest.raises(ValueError, match="no value in the columns '1'"):
        model.fit(X, sample_weight=np.r_[np.zeros(3), np.ones(27)])
    with pytest.raises(ValueError, match="no value in the columns '0', '1'"):
        model.fit(np.full((10, 2), np.nan))


def test_gaps_are_an_error_where_they_were_not_asked_for():
    X = punched(np.random.default_rng(24).normal(size=(30, 2)), 0.2, 24)
    with pytest.raises(ValueError, match=r"(?s)contains NaN.*fit with missing='em'"):
        GaussianMixture(1).fit(X)
    whole = GaussianMixture(1).fit(np.nan_to_num(X))
    for method in ("predict", "score_samples", "impute"):
        with pytest.raises(ValueError, match="contains NaN"):
            getattr(whole, method)(X)


def test_parameters_are_checked():
    X = np.random.default_rng(25).normal(size=(30, 2))
    with pytest.raises(ValueError, match="missing"):
        GaussianMixture(1, missing="drop").fit(X)
    with pytest.raises(ValueError, match="missing='em' and reproduce='sklearn' exclude each other"):
        GaussianMixture.sklearn_defaults(1, missing="em").fit(X)
    with pytest.raises(ValueError, match="exclude each other"):
        MixtureSearch(2, estimator=GaussianMixture.sklearn_defaults(1, missing="em")).fit(X)


def test_it_is_a_parameter_like_any_other(tmp_path):
    X = punched(clusters(np.random.default_rng(26), 80, 2, 2)[0], 0.2, 26)
    model = GaussianMixture(2, missing="em", init_params="kmeans", random_state=0).fit(X)
    assert clone(model).missing == "em"
    assert get_tags(model).input_tags.allow_nan
    assert not get_tags(GaussianMixture()).input_tags.allow_nan
    model.save(tmp_path / "model.safetensors")
    again = mixtura.load(tmp_path / "model.safetensors")
    assert again.missing == "em"
    np.testing.assert_array_equal(again.score_samples(X), model.score_samples(X))
    np.testing.assert_array_equal(again.impute(X), model.impute(X))
    assert not hasattr(model.to_sklearn(), "missing")


def test_a_search_hands_it_on():
    X = punched(clusters(np.random.default_rng(27), 120, 2, 2)[0], 0.15, 27)
    estimator = GaussianMixture(missing="em", init_params="kmeans")
    search = MixtureSearch((1, 2, 3), "tied_diag", estimator=estimator, random_state=0).fit(X)
    assert search.best_estimator_.missing == "em"
    assert get_tags(search).input_tags.allow_nan
    assert np.isfinite(search.table_["icl"]).all()
    np.testing.assert_array_equal(search.impute(X), search.best_estimator_.impute(X))
    assert search.table_["bic"][search.best_index_] == pytest.approx(search.bic(X), rel=1e-12)
    with pytest.raises(ValueError, match="contains NaN"):
        MixtureSearch((1, 2), "tied_diag").fit(X)
