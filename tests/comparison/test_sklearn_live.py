"""``sklearn_defaults()`` against the installed scikit-learn, attribute by attribute."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from comparison.sets import SETS, load
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Theirs

from mixtura import GaussianMixture

FOUR = ["full", "tied", "diag", "spherical"]
STARTS = ["kmeans", "k-means++", "random", "random_from_data"]
ATTRIBUTES = [
    "weights_",
    "means_",
    "covariances_",
    "precisions_",
    "precisions_cholesky_",
    "lower_bound_",
    "lower_bounds_",
]

# Both run the same iteration in float64, in another order of additions. What remains is rounding (about 1e-14)
# magnified by the slowest direction of EM over up to 100 iterations.
CLOSE = 1e-6


def both(x: np.ndarray, y: np.ndarray | None = None, **params: Any) -> tuple[GaussianMixture, Theirs]:
    """Ours on ``x`` and theirs on ``y`` (or ``x``), warnings of convergence muted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = Theirs(**params).fit(x if y is None else y)
        ours = GaussianMixture.sklearn_defaults(**params).fit(x)
    return ours, theirs


def apart(ours: Any, theirs: Any) -> float:
    """Largest difference relative to the largest entry of theirs."""
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    assert a.shape == b.shape
    if not a.size or np.array_equal(a, b):
        return 0.0
    return float(np.abs(a - b).max() / np.abs(b).max())


def assert_same_fit(ours: GaussianMixture, theirs: Theirs) -> None:
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.converged_ == theirs.converged_
    for name in ATTRIBUTES:
        assert apart(getattr(ours, name), getattr(theirs, name)) <= CLOSE, name


@pytest.mark.parametrize("init_params", STARTS)
@pytest.mark.parametrize("covariance_type", FOUR)
@pytest.mark.parametrize("name", SETS)
def test_every_attribute(name: str, covariance_type: str, init_params: str) -> None:
    x = SETS[name]()
    for k in (1, 3):
        for seed in (0, 1):
            params = {"covariance_type": covariance_type, "init_params": init_params, "random_state": seed}
            assert_same_fit(*both(x, n_components=k, **params))


@pytest.mark.parametrize("covariance_type", FOUR)
def test_predictions(covariance_type: str) -> None:
    x = load("iris")
    ours, theirs = both(x, n_components=3, covariance_type=covariance_type, random_state=0)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    # Probabilities are numbers up to 1, log densities of these rows up to about 20: the same rounding as above.
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=0, atol=CLOSE)
    np.testing.assert_allclose(ours.score_samples(x), theirs.score_samples(x), rtol=CLOSE, atol=CLOSE)
    for name in ("score", "bic", "aic"):
        assert getattr(ours, name)(x) == pytest.approx(getattr(theirs, name)(x), rel=CLOSE)


@pytest.mark.parametrize("covariance_type", FOUR)
def test_fit_predict(covariance_type: str) -> None:
    x = load("faithful")
    params = {"n_components": 3, "covariance_type": covariance_type, "random_state": 4}
    ours = GaussianMixture.sklearn_defaults(**params).fit_predict(x)
    np.testing.assert_array_equal(ours, Theirs(**params).fit_predict(x))


@pytest.mark.parametrize("init_params", STARTS)
@pytest.mark.parametrize("covariance_type", FOUR)
def test_n_init(covariance_type: str, init_params: str) -> None:
    params = {"n_components": 4, "covariance_type": covariance_type, "init_params": init_params, "random_state": 3}
    ours, theirs = both(load("iris"), n_init=3, **params)
    # Restarts that reach the same optimum differ in the last bit, which decides whose order of components is kept.
    assert abs(ours.lower_bound_ - theirs.lower_bound_) <= CLOSE
    mine, yours = np.lexsort(ours.means_.T.round(6)), np.lexsort(theirs.means_.T.round(6))
    for name in ("weights_", "means_", *(() if covariance_type == "tied" else ("covariances_", "precisions_"))):
        assert apart(getattr(ours, name)[mine], getattr(theirs, name)[yours]) <= CLOSE, name
    if covariance_type == "tied":
        assert apart(ours.covariances_, theirs.covariances_) <= CLOSE


@pytest.mark.parametrize("max_iter", [0, 1, 2, 7])
@pytest.mark.parametrize("init_params", STARTS)
@pytest.mark.parametrize("covariance_type", FOUR)
def test_max_iter(covariance_type: str, init_params: str, max_iter: int) -> None:
    params = {"n_components": 3, "covariance_type": covariance_type, "init_params": init_params, "random_state": 2}
    assert_same_fit(*both(load("faithful"), max_iter=max_iter, **params))


@pytest.mark.parametrize("covariance_type", FOUR)
def test_warm_start(covariance_type: str) -> None:
    x = load("faithful")
    params = {"n_components": 3, "covariance_type": covariance_type, "random_state": 1, "max_iter": 4}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ours, theirs = GaussianMixture.sklearn_defaults(warm_start=True, **params), Theirs(warm_start=True, **params)
        for _ in range(6):
            assert_same_fit(ours.fit(x), theirs.fit(x))


def inits(theirs: Theirs) -> dict[str, np.ndarray]:
    """Starting parameters near, but not at, a fit."""
    rng = np.random.default_rng(0)
    weights = theirs.weights_ + 0.05
    return {
        "weights_init": weights / weights.sum(),
        "means_init": theirs.means_ + 0.1 * rng.normal(size=theirs.means_.shape),
        "precisions_init": theirs.precisions_ * 0.5,
    }


@pytest.mark.parametrize(
    "given",
    [
        ("weights_init",),
        ("means_init",),
        ("precisions_init",),
        ("weights_init", "means_init"),
        ("means_init", "precisions_init"),
        ("weights_init", "precisions_init"),
        ("weights_init", "means_init", "precisions_init"),
    ],
    ids="+".join,
)
@pytest.mark.parametrize("covariance_type", FOUR)
def test_given_parameters(covariance_type: str, given: tuple[str, ...]) -> None:
    x = load("iris")
    params = {"n_components": 3, "covariance_type": covariance_type, "random_state": 0}
    start = inits(Theirs(**params).fit(x))
    for init_params in ("kmeans", "random_from_data"):
        chosen = {name: start[name] for name in given}
        assert_same_fit(*both(x, init_params=init_params, **params, **chosen))
        # Theirs raises AttributeError with max_iter=0 and precisions_init.
        max_iter = 1 if "precisions_init" in chosen else 0
        assert_same_fit(*both(x, init_params=init_params, max_iter=max_iter, **params, **chosen))


@pytest.mark.parametrize("init_params", STARTS)
def test_random_state_instance(init_params: str) -> None:
    mine, twin = np.random.RandomState(11), np.random.RandomState(11)
    params = {"n_components": 2, "init_params": init_params, "n_init": 2}
    for _ in range(2):
        # The instance itself is drawn from, so the second fit starts elsewhere than the first.
        ours = GaussianMixture.sklearn_defaults(random_state=mine, **params).fit(load("faithful"))
        assert_same_fit(ours, Theirs(random_state=twin, **params).fit(load("faithful")))
    assert mine.randint(2**31) == twin.randint(2**31)


def test_tol_and_ridge() -> None:
    for tol, reg_covar in [(1e-6, 1e-6), (1e-3, 0), (1e-2, 0.5)]:
        for covariance_type in FOUR:
            params = {"n_components": 2, "covariance_type": covariance_type, "random_state": 0}
            assert_same_fit(*both(load("faithful"), tol=tol, reg_covar=reg_covar, **params))


def test_stops_where_theirs_stops() -> None:
    # With tol = 1e-3 a sample the tied fit of faithful stops at −1140.55, 14 nats short of the maximum of −1126.33.
    x = load("faithful")
    ours, theirs = both(x, n_components=3, covariance_type="tied", random_state=0)
    assert ours.score(x) * len(x) == pytest.approx(-1140.55, abs=0.01)
    assert theirs.score(x) * len(x) == pytest.approx(-1140.55, abs=0.01)
    assert ours.converged_
    better = GaussianMixture(3, covariance_type="tied", random_state=0).fit(x)
    assert better.score(x) * len(x) > -1126.33


@pytest.mark.parametrize("init_params", STARTS)
@pytest.mark.parametrize("covariance_type", FOUR)
@pytest.mark.parametrize("name", SETS)
def test_float32(name: str, covariance_type: str, init_params: str) -> None:
    """On float32 rows ours computes in float64: it gives theirs on the same values in float64.

    Theirs on the float32 array itself differs from that by its own rounding, measured here, and with diagonal and
    spherical covariances of single rows by so much that it may take another path.
    """
    x = SETS[name]().astype(np.float32)
    wide = x.astype(np.float64)
    for k in (2, 3):
        params = {"n_components": k, "covariance_type": covariance_type, "init_params": init_params, "random_state": 0}
        ours, exact = both(x, wide, **params)
        _, rounded = both(x, **params)
        assert ours.means_.dtype == np.float32
        assert_same_fit(ours, exact)
        assert ours.converged_ == rounded.converged_
        same_path = init_params == "kmeans" or covariance_type == "tied"
        if same_path:
            assert ours.n_iter_ == rounded.n_iter_
        if ours.n_iter_ == rounded.n_iter_:
            for attribute in ATTRIBUTES:
                mine, double, single = (getattr(m, attribute) for m in (ours, exact, rounded))
                # 1.001: the two are relative to their own largest entries.
                assert apart(mine, single) <= CLOSE + 1.001 * apart(double, single), attribute


@pytest.mark.parametrize("covariance_type", FOUR)
@pytest.mark.parametrize("name", SETS)
def test_own_defaults_are_no_worse(name: str, covariance_type: str) -> None:
    x = SETS[name]()
    for k in (2, 3):
        params = {"covariance_type": covariance_type, "random_state": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = Theirs(k, **params).fit(x)
            ours = GaussianMixture(k, **params).fit(x)
        # Rounding of a sum of some hundred log densities stays far below 1e-6 nats.
        assert ours.loglik_ >= theirs.score(x) * len(x) - 1e-6


@pytest.mark.parametrize("covariance_type", FOUR)
def test_densities_from_the_same_parameters(covariance_type: str) -> None:
    x = load("iris")
    theirs = Theirs(3, covariance_type=covariance_type, random_state=0).fit(x)
    ours = GaussianMixture.from_parameters(theirs.weights_, theirs.means_, theirs.covariances_, covariance_type)
    far = np.vstack([x, x + 30, x * 100])
    # No iteration: only the rounding of two ways to evaluate a quadratic form of condition up to 1e3. The largest
    # log density here is about 1e7.
    np.testing.assert_allclose(ours.score_samples(far), theirs.score_samples(far), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(far), theirs.predict_proba(far), rtol=0, atol=1e-7)
    for name in ("bic", "aic", "score"):
        assert getattr(ours, name)(x) == pytest.approx(getattr(theirs, name)(x), rel=1e-10)
    assert ours.n_parameters_ == theirs._n_parameters()
    assert apart(ours.precisions_, theirs.precisions_) <= 1e-9
    assert apart(ours.precisions_cholesky_, theirs.precisions_cholesky_) <= 1e-9


@pytest.mark.parametrize("covariance_type", FOUR)
def test_tensors_give_the_same(covariance_type: str) -> None:
    x = load("faithful")
    params = {"n_components": 2, "covariance_type": covariance_type, "random_state": 0}
    ours = GaussianMixture.sklearn_defaults(**params).fit(torch.tensor(x))
    theirs = Theirs(**params).fit(x)
    assert isinstance(ours.means_, torch.Tensor)
    assert_same_fit(ours, theirs)
