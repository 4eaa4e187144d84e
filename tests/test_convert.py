"""scikit-learn's estimator and ours: the same mixture on both sides."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cases import CODES
from comparison.sets import load
from sklearn.exceptions import NotFittedError
from sklearn.mixture import BayesianGaussianMixture
from sklearn.mixture import GaussianMixture as Theirs

from mixtura import GaussianMixture
from mixtura.covariance import STRUCTURES
from mixtura.published import PUBLISHED

X = load("faithful")
FOUR = ["full", "tied", "diag", "spherical"]

# Log densities are sums of a few terms of order 10, and matrices have condition numbers of 1e2: 1e-16 · 10 · 1e2.
NATS = {"rtol": 0, "atol": 1e-12}


def say_the_same(a: Any, b: Any, x: Any = X) -> None:
    np.testing.assert_array_equal(a.predict(x), b.predict(x))
    np.testing.assert_allclose(a.predict_proba(x), b.predict_proba(x), **NATS)
    np.testing.assert_allclose(a.score_samples(x), b.score_samples(x), **NATS)
    assert a.score(x) == pytest.approx(b.score(x), abs=1e-12)


def look_the_same(a: Any, b: Any) -> None:
    for name in PUBLISHED:
        want = np.asarray(getattr(b, name))
        # An inverse loses the digits of the condition number, 1e3 here at most.
        np.testing.assert_allclose(getattr(a, name), want, rtol=1e-12, atol=1e-12 * np.abs(want).max())
        assert np.shape(getattr(a, name)) == want.shape
    for name in ("converged_", "n_iter_", "lower_bound_", "n_features_in_"):
        assert getattr(a, name) == getattr(b, name)


@pytest.mark.parametrize("name", FOUR)
def test_theirs_becomes_ours(name: str) -> None:
    theirs = Theirs(2, covariance_type=name, tol=1e-4, max_iter=50, reg_covar=1e-5, random_state=3).fit(X)
    ours = GaussianMixture.from_sklearn(theirs)
    say_the_same(ours, theirs)
    look_the_same(ours, theirs)
    # n is 272 and terms are of order 1e3.
    assert ours.bic(X) == pytest.approx(theirs.bic(X), abs=1e-9)
    assert ours.aic(X) == pytest.approx(theirs.aic(X), abs=1e-9)
    params = ours.get_params()
    assert {**params, **theirs.get_params()} == params
    assert (ours.status_, ours.diagnose()) == ("converged", [])


@pytest.mark.parametrize("name", FOUR)
def test_ours_becomes_theirs(name: str) -> None:
    ours = GaussianMixture(2, covariance_type=name, init_params="kmeans", random_state=3).fit(X)
    theirs = ours.to_sklearn()
    assert type(theirs) is Theirs
    say_the_same(theirs, ours)
    look_the_same(theirs, ours)
    assert theirs.bic(X) == pytest.approx(ours.bic(X), abs=1e-9)
    params = theirs.get_params()
    assert (params["n_components"], params["covariance_type"], params["random_state"]) == (2, name, 3)
    assert params["tol"] == Theirs().tol
    assert theirs.sample(5)[0].shape == (5, 2)
    theirs.fit(X)


@pytest.mark.parametrize("name", FOUR)
def test_there_and_back(name: str) -> None:
    theirs = Theirs(3, covariance_type=name, n_init=2, init_params="random_from_data", random_state=1).fit(X)
    again = GaussianMixture.from_sklearn(theirs).to_sklearn()
    look_the_same(again, theirs)
    assert again.get_params() == theirs.get_params()
    assert again.lower_bounds_ == theirs.lower_bounds_


@pytest.mark.parametrize(("name", "wider"), [("tied_diag", "diag"), ("tied_spherical", "spherical")])
def test_structures_that_they_lack_are_written_out(name: str, wider: str) -> None:
    assert set(STRUCTURES) - set(FOUR) == {"tied_diag", "tied_spherical", *CODES}
    start = {"precisions_init": np.ones(2) if name == "tied_diag" else 1.0}
    ours = GaussianMixture(2, covariance_type=name, random_state=0, **start).fit(X)
    theirs = ours.to_sklearn()
    assert theirs.covariance_type == wider
    assert theirs.precisions_init is None
    say_the_same(theirs, ours)
    for k in range(2):
        np.testing.assert_array_equal(theirs.covariances_[k], ours.covariances_)
    assert theirs._n_parameters() > ours.n_parameters_
    theirs.fit(X)


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_single_precision(make: Any) -> None:
    x = X.astype(np.float32)
    ours = GaussianMixture(2, init_params="kmeans", random_state=0).fit(make(x))
    theirs = ours.to_sklearn()
    assert isinstance(theirs.means_, np.ndarray)
    assert theirs.means_.dtype == np.float64  # the parameters themselves, not what is shown of them
    np.testing.assert_allclose(theirs.score_samples(X), GaussianMixture.score_samples(ours, X), **NATS)
    single = GaussianMixture.from_sklearn(Theirs(2, random_state=0).fit(x))
    assert single.means_.dtype == Theirs(2, random_state=0).fit(x).means_.dtype


def test_names_of_columns_are_carried() -> None:
    frame = pd.DataFrame(X, columns=["eruptions", "waiting"])
    theirs = Theirs(2, random_state=0).fit(frame)
    ours = GaussianMixture.from_sklearn(theirs)
    assert ours.feature_names_in_.tolist() == ["eruptions", "waiting"]
    say_the_same(ours, theirs, frame)
    assert ours.to_sklearn().feature_names_in_.tolist() == ["eruptions", "waiting"]
    with pytest.raises(ValueError, match="feature names should match"):
        ours.predict(frame[["waiting", "eruptions"]])


def test_fitting_again_does_what_theirs_does() -> None:
    theirs = Theirs(2, random_state=4, max_iter=200).fit(X)
    ours = GaussianMixture.from_sklearn(theirs).fit(X)
    assert ours.n_iter_ == theirs.n_iter_
    # Some ten passes over terms of order 1e2.
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-9)


def test_parameters_that_they_do_not_know() -> None:
    ours = GaussianMixture(2, init_params="whitened", random_state=np.random.default_rng(1), effort="quick").fit(X)
    theirs = ours.to_sklearn()
    assert theirs.init_params == "kmeans"
    assert theirs.random_state == ours.seed_
    given = GaussianMixture(2, means_init=torch.tensor([[2.0, 55.0], [4.0, 80.0]]), random_state=0).fit(X).to_sklearn()
    assert isinstance(given.means_init, np.ndarray)
    given.fit(X)


def test_copies_are_independent() -> None:
    ours = GaussianMixture(2, init_params="kmeans", random_state=0).fit(X)
    want = ours.score_samples(X)
    theirs = ours.to_sklearn()
    theirs.means_[:] = 0
    theirs.lower_bounds_.clear()
    np.testing.assert_array_equal(ours.score_samples(X), want)
    assert ours.lower_bounds_


def test_models_from_parameters_become_theirs() -> None:
    ours = GaussianMixture.from_parameters([0.25, 0.75], [[0.0, 1.0], [3.0, 4.0]], [[1.0, 2.0]] * 2, "diag")
    say_the_same(ours.to_sklearn(), ours)


def test_what_cannot_be_converted() -> None:
    bayesian = BayesianGaussianMixture(n_components=2, random_state=0).fit(X)
    with pytest.raises(TypeError, match=r"posterior over mixtures.*from_parameters\(model\.weights_"):
        GaussianMixture.from_sklearn(bayesian)
    with pytest.raises(TypeError, match=r"model is a dict, expected a fitted sklearn\.mixture\.GaussianMixture"):
        GaussianMixture.from_sklearn({})
    with pytest.raises(NotFittedError, match="not fitted yet"):
        GaussianMixture.from_sklearn(Theirs(2))
    with pytest.raises(NotFittedError, match="not fitted yet"):
        GaussianMixture(2).to_sklearn()
