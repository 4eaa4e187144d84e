"""GaussianMixture: parameters, attributes and what its methods promise, each against its definition."""

import inspect
import math
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from cases import CODES
from comparison.sets import load, overlapping
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.exceptions import ConvergenceWarning

from mixtura import DegenerateWarning, GaussianMixture
from mixtura.covariance import STRUCTURES


@pytest.fixture(autouse=True)
def _as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constructor without the checks of annotations that the tests install: it must take anything until fit."""
    monkeypatch.setattr(GaussianMixture, "__init__", inspect.unwrap(GaussianMixture.__init__))


def quick(k: int = 2, **params: Any) -> GaussianMixture:
    return GaussianMixture(k, **{"random_state": 0, "n_init": 1, **params})


def dense(model: GaussianMixture) -> np.ndarray:
    """(K, D, D) covariances whatever their published shape."""
    k, d = model.means_.shape
    value = np.asarray(model.covariances_, dtype=np.float64)
    match model.covariance_type:
        case "full":
            return value
        case "tied":
            return np.broadcast_to(value, (k, d, d))
        case "diag":
            return np.stack([np.diag(v) for v in value])
        case "spherical":
            return value[:, None, None] * np.eye(d)
        case "tied_diag":
            return np.broadcast_to(np.diag(value), (k, d, d))
        case code if code in CODES:
            return value
        case _:
            return np.broadcast_to(value * np.eye(d), (k, d, d))


def log_joint(model: GaussianMixture, x: np.ndarray) -> np.ndarray:
    """log πₖ N(x | μₖ, Σₖ), by SciPy."""
    parts = zip(model.weights_, model.means_, dense(model), strict=True)
    return np.stack([np.log(w) + multivariate_normal(m, s).logpdf(x) for w, m, s in parts], axis=1)


# ---- parameters

WRONG = {
    "n_components": [0, -1, 1.5, "2", None],
    "covariance_type": ["square", "Full", 3, None],
    "tol": [-1e-3, "small", math.nan, None],
    "reg_covar": [-1.0, "big", None],
    "max_iter": [-1, 1.5, "many"],
    "n_init": [0, -2, 1.5, "some"],
    "init_params": ["k-medoids", None, 1],
    "random_state": [-1, "seed", 1.5],
    "warm_start": ["yes"],
    "verbose": [-1],
    "verbose_interval": [0],
    "device": [1.5],
    "reproduce": ["R", True],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in WRONG.items() for v in values])
def test_wrong_parameters_are_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"(?s){name}.*{re.escape(repr(value))}"):
        GaussianMixture(**{name: value}).fit(load("faithful"))


@pytest.mark.parametrize("name", WRONG)
def test_wrong_parameters_wait_for_fit(name: str) -> None:
    for value in WRONG[name]:
        assert GaussianMixture(**{name: value}).get_params()[name] is value


def test_unknown_structures_are_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="covariance_type") as found:
        GaussianMixture(covariance_type="square").fit(load("faithful"))
    assert all(repr(name) in str(found.value) for name in STRUCTURES)
    with pytest.raises(ValueError, match="covariance_type='square' is not a covariance structure") as found:
        GaussianMixture.from_parameters([1.0], [[0.0]], [[[1.0]]], "square")
    assert all(repr(name) in str(found.value) for name in STRUCTURES)


STARTS = [
    ({"weights_init": [0.5, 0.6]}, r"'weights' should be normalized, but got sum\(weights\) = 1.1"),
    ({"weights_init": [1.5, -0.5]}, r"'weights' should be in the range \[0, 1\]"),
    ({"weights_init": [1.0]}, r"'weights' should have the shape of \(2,\), but got \(1,\)"),
    ({"weights_init": [0.5, math.nan]}, "NaN"),
    ({"means_init": [[1.0, 2.0]]}, r"'means' should have the shape of \(2, 2\), but got \(1, 2\)"),
    ({"means_init": [1.0, 2.0]}, r"'means' should have the shape of \(2, 2\), but got \(2,\)"),
    ({"means_init": [[1.0, math.inf], [0, 0]]}, "infinity"),
    ({"precisions_init": np.eye(2)}, r"'full precision' should have the shape of \(2, 2, 2\)"),
    ({"precisions_init": [np.eye(2), -np.eye(2)]}, "'full precision' should be symmetric, positive-definite"),
    ({"precisions_init": [np.eye(2), [[1, 0.5], [0, 1]]]}, "'full precision' should be symmetric, positive-definite"),
    ({"precisions_init": [[1, 2], [3, 0]], "covariance_type": "diag"}, "'diag precision' should be positive"),
    ({"precisions_init": [1, -1], "covariance_type": "spherical"}, "'spherical precision' should be positive"),
    ({"precisions_init": [1, 0], "covariance_type": "tied_diag"}, "'tied_diag precision' should be positive"),
    ({"precisions_init": -2.0, "covariance_type": "tied_spherical"}, "'tied_spherical precision' should be positive"),
]


@pytest.mark.parametrize(("params", "message"), STARTS)
def test_starts_that_cannot_be_used(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick(**params).fit(load("faithful"))


@pytest.mark.parametrize("name", STRUCTURES)
def test_max_iter_zero_gives_back_what_was_given(name: str) -> None:
    x = load("faithful")
    model = quick(covariance_type=name).fit(x)
    weights, means = np.array([0.3, 0.7]), np.array([[2.0, 55.0], [4.0, 80.0]])
    start = quick(
        covariance_type=name, weights_init=weights, means_init=means, precisions_init=model.precisions_ / 2, max_iter=0
    ).fit(x)
    # Through a logarithm, a shift of the origin, and a factor there and back: a few roundings each.
    np.testing.assert_allclose(start.weights_, weights, rtol=1e-14)
    np.testing.assert_allclose(start.means_, means, rtol=1e-14)
    np.testing.assert_allclose(start.precisions_, model.precisions_ / 2, rtol=1e-10)
    assert (start.n_iter_, start.converged_, start.lower_bounds_) == (0, False, [])


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor, lambda v: np.asarray(v).tolist()])
def test_starts_of_every_kind(kind: Any) -> None:
    given = {"weights_init": [0.3, 0.7], "means_init": [[2.0, 55.0], [4.0, 80.0]], "precisions_init": [np.eye(2)] * 2}
    model = quick(**{name: kind(np.asarray(value)) for name, value in given.items()}).fit(load("faithful"))
    want = quick(**given).fit(load("faithful"))
    np.testing.assert_array_equal(model.means_, want.means_)


def test_random_starts_warn() -> None:
    with pytest.warns(UserWarning, match="init_params='random'"):
        quick(init_params="random").fit(load("faithful"))


@pytest.mark.parametrize("init_params", ["auto", "kmeans", "k-means++", "random_from_data"])
def test_named_starts_work_without_warning(init_params: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = quick(init_params=init_params).fit(load("faithful"))
    # The maximum of two full components, reached from every sensible start.
    assert model.loglik_ == pytest.approx(-1130.26, abs=0.01)


def test_a_ridge_is_added() -> None:
    x = load("faithful")
    model = GaussianMixture(1, reg_covar=2.0).fit(x)
    np.testing.assert_allclose(model.covariances_[0], np.cov(x.T, bias=True) + 2 * np.eye(2), rtol=1e-12)
    np.testing.assert_allclose(GaussianMixture(1).fit(x).covariances_[0], np.cov(x.T, bias=True), rtol=1e-12)


def test_a_device_that_is_not_here() -> None:
    for device in ("nowhere", "cuda:99", torch.device("cuda", 98)):
        with pytest.raises(ValueError, match=r"device=.*cannot be used here.*'auto' or 'cpu'"):
            quick(device=device).fit(load("faithful"))


@pytest.mark.parametrize("device", [None, "auto", "cpu", torch.device("cpu")])
def test_devices_agree(device: Any) -> None:
    model = quick(device=device).fit(load("faithful"))
    assert isinstance(model.means_, np.ndarray)
    # Another device may add up in another order.
    np.testing.assert_allclose(model.means_, quick().fit(load("faithful")).means_, rtol=1e-6)


# ---- what a fit reports


@pytest.mark.parametrize("kind", ["float64", "float32"])
@pytest.mark.parametrize("name", STRUCTURES)
def test_loglik_is_the_sum_of_log_densities(name: str, kind: str) -> None:
    for x in (load("faithful"), load("iris"), overlapping()):
        x = x.astype(kind)
        model = quick(3, covariance_type=name).fit(x)
        # One evaluation inside EM, one outside, around another origin: float64 keeps 1e-9, float32 24 bits a row.
        close = 1e-9 if kind == "float64" else 1e-5
        assert model.loglik_ == pytest.approx(float(model.score_samples(x).astype(np.float64).sum()), rel=close)
        assert model.loglik_ == pytest.approx(model.score(x) * len(x), rel=close)
        assert model.loglik_ == pytest.approx(logsumexp(log_joint(model, x), axis=1).sum(), rel=close)
        assert model.bound_ == model.loglik_
        assert model.lower_bound_ == pytest.approx(model.loglik_ / len(x), rel=1e-12)


@pytest.mark.parametrize("name", STRUCTURES)
def test_weighted_loglik(name: str) -> None:
    x = load("iris")
    weight = np.random.default_rng(0).integers(0, 4, len(x)) * 0.7
    model = quick(2, covariance_type=name).fit(x, sample_weight=weight)
    assert model.loglik_ == pytest.approx(float(weight @ model.score_samples(x)), rel=1e-9)
    assert model.score(x, sample_weight=weight) == pytest.approx(model.loglik_ / weight.sum(), rel=1e-9)
    assert model.lower_bound_ == pytest.approx(model.loglik_ / weight.sum(), rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", STRUCTURES)
def test_criteria(name: str, weighted: bool) -> None:
    x = load("iris")
    weight = np.random.default_rng(1).random(len(x)) * 3 if weighted else np.ones(len(x))
    given = weight if weighted else None
    model = quick(3, covariance_type=name).fit(x, sample_weight=given)
    joint = log_joint(model, x)
    density = logsumexp(joint, axis=1)
    k, d = 3, 4
    p, n, total = k - 1 + k * d + oracle.COUNT[name](k, d), weight.sum(), weight @ density
    best = weight @ (joint.max(1) - density)
    # The same sums by SciPy, whose determinants round differently: 1e-9 of a few hundred nats.
    assert model.n_parameters_ == p
    assert model.bic(x, sample_weight=given) == pytest.approx(-2 * total + p * math.log(n), rel=1e-9)
    assert model.aic(x, sample_weight=given) == pytest.approx(-2 * total + 2 * p, rel=1e-9)
    assert model.icl(x, sample_weight=given) == pytest.approx(-2 * total + p * math.log(n) - 2 * best, rel=1e-9)
    np.testing.assert_allclose(model.predict_proba(x), np.exp(joint - density[:, None]), atol=1e-9)
    np.testing.assert_allclose(model.uncertainty(x), 1 - np.exp(joint.max(1) - density), atol=1e-9)
    np.testing.assert_array_equal(model.predict(x), joint.argmax(1))


def test_weights_count_rows() -> None:
    x = load("faithful")
    weight = np.arange(len(x)) % 3
    repeated = np.repeat(x, weight, axis=0)
    a, b = quick().fit(x, sample_weight=weight), quick().fit(repeated)
    # The same sums added in another order, near the same maximum.
    np.testing.assert_allclose(a.means_, b.means_, rtol=1e-6)
    assert a.loglik_ == pytest.approx(b.loglik_, rel=1e-9)
    assert a.bic(x, sample_weight=weight) == pytest.approx(b.bic(repeated), rel=1e-9)
    assert a.icl(x, sample_weight=weight) == pytest.approx(b.icl(repeated), rel=1e-9)


@pytest.mark.parametrize("name", STRUCTURES)
def test_history(name: str) -> None:
    model = quick(3, covariance_type=name).fit(load("faithful"))
    loglik, gain = model.history_["loglik"], model.history_["gain"]
    assert len(loglik) == len(gain) == len(model.lower_bounds_) == model.n_iter_
    assert math.isnan(gain[0])
    np.testing.assert_allclose(np.diff(loglik), gain[1:], rtol=0, atol=0)
    np.testing.assert_allclose(model.lower_bounds_, np.asarray(loglik) / 272, rtol=1e-15)
    # EM never goes down; a jitter of rounding, 1e-12 of 1,000 nats, may show at the end.
    assert min(gain[1:]) > -1e-9
    assert loglik[-1] == pytest.approx(model.loglik_, rel=1e-12)


def test_starts() -> None:
    model = GaussianMixture(3, n_init=5, init_params="random_from_data", random_state=0).fit(overlapping())
    assert len(model.starts_) == 5
    told = {"kind", "search", "parent", "begins", "same_as", "status", "loglik", "n_iter", "lower_bounds", "stages"}
    assert all(set(start) == told and start["kind"] == "random_from_data" for start in model.starts_)
    assert all(len(start["lower_bounds"]) == start["n_iter"] for start in model.starts_)
    assert all(start["stages"] == [(600, start["n_iter"])] for start in model.starts_)
    sound = [s for s in model.starts_ if s["status"] != "degenerate"]
    best = max(sound, key=lambda start: start["loglik"])
    assert model.loglik_ == pytest.approx(best["loglik"], abs=1e-6)
    assert model.n_iter_ in {s["n_iter"] for s in sound if s["loglik"] > best["loglik"] - 1e-6}
    assert len({round(s["loglik"], 9) for s in model.starts_}) > 1, "restarts should differ"


def test_more_restarts_are_no_worse() -> None:
    one = GaussianMixture(5, n_init=1, init_params="random_from_data", random_state=1).fit(overlapping())
    many = GaussianMixture(5, n_init=6, init_params="random_from_data", random_state=1).fit(overlapping())
    # The first of the six is the one, in a batch: its products round differently, up to 1e-6 nats after EM.
    assert many.loglik_ >= one.loglik_ - 1e-6


def test_too_few_iterations_are_said() -> None:
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        model = quick(3, max_iter=2).fit(overlapping())
    assert (model.n_iter_, model.converged_, model.status_) == (2, False, "max_iter")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not quick(3, max_iter=0).fit(overlapping()).converged_


def test_degenerate_fits_are_said() -> None:
    with pytest.warns(DegenerateWarning, match=r"not sound.*diagnose\(\)"):
        quick(2).fit(np.ones((20, 2)))


def test_warnings_point_at_the_caller(tmp_path: Path) -> None:
    # In a process of its own: the checks of annotations while testing add frames of their own.
    script = tmp_path / "script.py"
    script.write_text(
        """
import warnings
import numpy as np
from mixtura import GaussianMixture
x = np.random.default_rng(0).normal(size=(50, 2))
for method in ("fit", "fit_predict"):
    for model, rows in (
        (GaussianMixture(3, max_iter=1, n_init=1), x),
        (GaussianMixture(2), np.ones((20, 2))),
        (GaussianMixture(1, init_params="random"), x),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            getattr(model, method)(rows)
        assert caught
        for warning in caught:
            assert warning.filename == __file__, warning
"""
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_converged_means_converged() -> None:
    x = overlapping()
    model = quick(3).fit(x)
    assert model.status_ == "converged"
    on = quick(3, weights_init=model.weights_, means_init=model.means_, precisions_init=model.precisions_, tol=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        further = on.set_params(max_iter=200).fit(x)
    # Aitken's test leaves 1e-7 nats a row by its own estimate; a slow tail may hold ten times that.
    assert further.loglik_ - model.loglik_ < 1e-6 * len(x)


@pytest.mark.parametrize("name", STRUCTURES)
def test_precisions_are_inverses(name: str) -> None:
    model = quick(3, covariance_type=name).fit(load("iris"))
    covariances, precisions, factor = model.covariances_, model.precisions_, model.precisions_cholesky_
    if name in ("full", "tied", *CODES):
        # Condition numbers below 1e3.
        np.testing.assert_allclose(precisions @ covariances, np.broadcast_to(np.eye(4), precisions.shape), atol=1e-10)
        np.testing.assert_allclose(factor @ np.swapaxes(factor, -1, -2), precisions, rtol=1e-10)
        np.testing.assert_array_equal(np.tril(factor, -1), 0)
    else:
        np.testing.assert_allclose(precisions * covariances, 1, rtol=1e-14)
        np.testing.assert_allclose(factor**2, precisions, rtol=1e-14)


SHAPES = {"full": (3, 4, 4), "tied": (4, 4), "diag": (3, 4), "spherical": (3,), "tied_diag": (4,), "tied_spherical": ()}
SHAPES |= dict.fromkeys(CODES, (3, 4, 4))


@pytest.mark.parametrize("name", STRUCTURES)
def test_shapes(name: str) -> None:
    for x in (load("iris"), torch.tensor(load("iris"))):
        model = quick(3, covariance_type=name, max_iter=2, tol=1.0).fit(x)
        assert model.weights_.shape == (3,)
        assert model.means_.shape == (3, 4)
        for attribute in ("covariances_", "precisions_", "precisions_cholesky_"):
            assert tuple(getattr(model, attribute).shape) == SHAPES[name]
            assert type(getattr(model, attribute)) is type(x)
        assert tuple(model.predict_proba(x).shape) == (150, 3)
        assert tuple(model.score_samples(x).shape) == (150,)
        assert model.n_features_in_ == 4


def test_fit_predict_is_fit_then_predict() -> None:
    x = load("iris")
    np.testing.assert_array_equal(quick(3).fit_predict(x), quick(3).fit(x).predict(x))
    weight = np.arange(150) % 2 + 0.5
    np.testing.assert_array_equal(
        quick(3).fit_predict(x, sample_weight=weight), quick(3).fit(x, sample_weight=weight).predict(x)
    )


def test_y_is_ignored() -> None:
    x = load("iris")
    np.testing.assert_array_equal(quick().fit(x, np.arange(150)).means_, quick().fit(x).means_)
    assert quick().fit(x).score(x, np.arange(150)) == quick().fit(x).score(x)


# ---- warm start


def test_warm_start_continues() -> None:
    x = overlapping()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        whole = quick(3, init_params="kmeans", max_iter=9, tol=0.0).fit(x)
        parts = quick(3, init_params="kmeans", max_iter=5, tol=0.0, warm_start=True).fit(x)
        first = parts.means_
        parts.fit(x)
    # Five passes end before the fifth update, so that two times five are nine: rounding only.
    np.testing.assert_allclose(np.sort(parts.means_, axis=0), np.sort(whole.means_, axis=0), rtol=1e-9)
    assert parts.loglik_ == pytest.approx(whole.loglik_, rel=1e-12)
    assert not np.array_equal(first, parts.means_)


def test_warm_start_does_not_reorder() -> None:
    x = load("faithful")
    means = np.array([[2.0, 54.0], [4.3, 80.0]])
    model = quick(means_init=means, warm_start=True).fit(x)
    # The first component is the smaller one: an order by weight would turn them round.
    assert model.weights_[0] < model.weights_[1]
    before = model.means_
    np.testing.assert_allclose(model.fit(x).means_, before, rtol=1e-4)


def test_warm_start_takes_new_rows() -> None:
    x = load("faithful")
    model = quick(warm_start=True).fit(x[:200])
    model.fit(x)
    fresh = quick().fit(x)
    assert model.loglik_ == pytest.approx(fresh.loglik_, abs=1e-3)


@pytest.mark.parametrize("change", [{"n_components": 3}, {"covariance_type": "tied"}, {"covariance_type": "tied_diag"}])
def test_warm_start_with_another_model(change: dict[str, Any]) -> None:
    model = quick(warm_start=True).fit(load("faithful"))
    with pytest.raises(ValueError, match="warm_start=True continues a fit"):
        model.set_params(**change).fit(load("faithful"))


@pytest.mark.parametrize(("first", "second"), [("tied", "tied_diag"), ("tied_diag", "tied_spherical")])
def test_warm_start_tells_tied_structures_apart(first: str, second: str) -> None:
    model = quick(warm_start=True, covariance_type=first).fit(load("faithful"))
    with pytest.raises(ValueError, match="warm_start=True continues a fit"):
        model.set_params(covariance_type=second).fit(load("faithful"))


@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_warm_start_with_other_columns(kind: Any) -> None:
    model = quick(warm_start=True).fit(kind(load("faithful")))
    with pytest.raises(ValueError, match=r"X has 1 features.*expecting 2 features"):
        model.fit(kind(load("faithful")[:, :1]))


def test_warm_start_from_parameters() -> None:
    model = GaussianMixture.from_parameters([0.4, 0.6], [[2.0, 54.0], [4.3, 80.0]], [np.eye(2)] * 2)
    model.set_params(warm_start=True).fit(load("faithful"))
    assert model.loglik_ == pytest.approx(-1130.26, abs=0.01)
    assert model.weights_[0] < model.weights_[1]


# ---- verbose


def test_silence(capsys: pytest.CaptureFixture) -> None:
    quick().fit(load("faithful"))
    assert capsys.readouterr().out == ""


def test_verbose(capsys: pytest.CaptureFixture) -> None:
    model = quick(3, init_params="kmeans", verbose=1, verbose_interval=5).fit(overlapping())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Iteration 1:")
    assert len(lines) == 1 + model.n_iter_ // 5
    quick(3, init_params="kmeans", verbose=2, verbose_interval=1).fit(overlapping())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == model.n_iter_
    shown = [float(re.search(r"log likelihood (-?[\d.]+)", line)[1]) for line in lines]
    # Six printed decimals.
    np.testing.assert_allclose(shown, model.history_["loglik"], atol=1e-6)


# ---- from_parameters


@pytest.mark.parametrize("name", STRUCTURES)
def test_from_parameters_is_the_model(name: str) -> None:
    x = load("iris")
    model = quick(3, covariance_type=name).fit(x)
    twin = GaussianMixture.from_parameters(model.weights_, model.means_, model.covariances_, name)
    # Covariances are factored again.
    np.testing.assert_allclose(twin.score_samples(x), model.score_samples(x), rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(twin.predict(x), model.predict(x))
    for attribute in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        a, b = getattr(twin, attribute), getattr(model, attribute)
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10 * np.abs(b).max())
    assert twin.get_params()["n_components"] == 3
    assert twin.n_features_in_ == 4
    assert twin.bic(x) == pytest.approx(model.bic(x), rel=1e-10)
    rows, labels = twin.sample(7, random_state=3)
    assert (rows.shape, labels.shape) == ((7, 4), (7,))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_from_parameters_of_tensors(dtype: torch.dtype) -> None:
    means = torch.tensor([[0.0, 0.0], [5.0, 5.0]], dtype=dtype)
    model = GaussianMixture.from_parameters(torch.tensor([0.5, 0.5], dtype=dtype), means, torch.ones(2, 2), "diag")
    assert model.means_.dtype == dtype
    assert isinstance(model.means_, torch.Tensor)
    assert model.sample(3)[0].dtype == dtype
    np.testing.assert_array_equal(model.predict(np.array([[1.0, 0.0], [4.0, 6.0]])), [0, 1])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (([0.5, 0.6], [[0.0], [1.0]], [1.0, 1.0]), "normalized"),
        (([0.5, 0.5], [0.0, 1.0], [1.0, 1.0]), r"means has shape \(2,\), expected \(K, D\)"),
        (([0.5, 0.5], [[0.0], [1.0]], [1.0, -1.0]), "'spherical covariance' should be positive"),
        (([0.5, 0.5], [[0.0], [1.0]], [1.0]), r"'spherical covariance' should have the shape of \(2,\)"),
        (([1.0], [[0.0], [1.0]], [1.0, 1.0]), r"'weights' should have the shape of \(2,\)"),
        ((None, [[0.0], [1.0]], [1.0, 1.0]), "one of them is None"),
        (([0.5, 0.5], [[0.0], [1.0]], None), "one of them is None"),
    ],
)
def test_from_parameters_refuses(parameters: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianMixture.from_parameters(*parameters, "spherical")


# ---- sample


@pytest.mark.parametrize("name", STRUCTURES)
def test_samples_follow_the_mixture(name: str) -> None:
    model = quick(2, covariance_type=name).fit(load("faithful"))
    n = 40_000
    rows, labels = model.sample(n, random_state=0)
    counts = np.bincount(labels, minlength=2)
    # Five standard errors of each estimate.
    np.testing.assert_allclose(counts / n, model.weights_, atol=5 * 0.5 / math.sqrt(n))
    for k, sigma in enumerate(dense(model)):
        at, sd = rows[labels == k], np.sqrt(np.diag(sigma))
        assert (np.abs(at.mean(0) - model.means_[k]) < 5 * sd / math.sqrt(counts[k])).all()
        spread = np.outer(sd, sd) * 5 * math.sqrt(2 / counts[k])
        assert (np.abs(np.cov(at.T) - sigma) < spread).all()


SEEDS = {
    "integer": lambda: 3,
    "NumPy integer": lambda: np.int64(3),
    "RandomState": lambda: np.random.RandomState(3),
    "Generator": lambda: np.random.default_rng(3),
    "torch": lambda: torch.Generator().manual_seed(3),
}


@pytest.mark.parametrize("name", SEEDS)
def test_the_same_seed_draws_the_same(name: str) -> None:
    model = quick(2).fit(load("faithful"))
    (a, b), (c, d) = (model.sample(9, random_state=SEEDS[name]()) for _ in range(2))
    np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(b, d)


def test_other_seeds_draw_others() -> None:
    model = quick(2).fit(load("faithful"))
    assert not np.array_equal(model.sample(9, random_state=1)[0], model.sample(9, random_state=2)[0])
    generator = np.random.default_rng(0)
    assert not np.array_equal(model.sample(9, random_state=generator)[0], model.sample(9, random_state=generator)[0])
    free = quick(2, random_state=None).fit(load("faithful"))
    assert not np.array_equal(free.sample(9)[0], free.sample(9)[0])


def test_shuffled_samples_are_the_same_mixture_in_another_order() -> None:
    model = quick(2).fit(load("faithful"))
    _, plain = model.sample(500, random_state=0)
    rows, mixed = model.sample(500, random_state=0, shuffle=True)
    np.testing.assert_array_equal(plain, np.sort(plain))
    np.testing.assert_array_equal(np.bincount(plain), np.bincount(mixed))
    assert not np.array_equal(mixed, np.sort(mixed))
    assert (model.predict(rows) == mixed).mean() > 0.95


def test_a_single_row_is_drawn() -> None:
    rows, labels = quick(2).fit(load("faithful")).sample()
    assert (rows.shape, labels.shape) == ((1, 2), (1,))


@pytest.mark.parametrize("n", [0, -1])
def test_no_rows_cannot_be_drawn(n: int) -> None:
    with pytest.raises(ValueError, match="Invalid value for 'n_samples'"):
        quick(2).fit(load("faithful")).sample(n)


# ---- order


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", STRUCTURES)
def test_components_come_by_decreasing_weight(name: str, seed: int) -> None:
    model = quick(3, covariance_type=name, random_state=seed).fit(load("faithful"))
    assert (np.diff(model.weights_) <= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_components_of_one_feature_come_by_increasing_mean(seed: int) -> None:
    model = quick(3, random_state=seed).fit(load("galaxies_roeder"))
    assert (np.diff(model.means_[:, 0]) > 0).all()


def test_equal_weights_come_by_the_first_coordinate() -> None:
    corners = np.random.default_rng(0).normal(size=(50, 2)) * 0.1
    x = np.vstack([corners + np.array(centre) for centre in ([5, 0], [-5, 3], [0, 9])])
    model = quick(3).fit(x)
    np.testing.assert_allclose(model.weights_, 1 / 3, rtol=1e-12)
    assert (np.diff(model.means_[:, 0]) > 0).all()


def test_given_means_keep_their_order() -> None:
    for means in ([[2.0, 54.0], [4.3, 80.0]], [[4.3, 80.0], [2.0, 54.0]]):
        model = quick(means_init=means).fit(load("faithful"))
        np.testing.assert_allclose(model.means_, means, atol=1.0)
    theirs = GaussianMixture.sklearn_defaults(2, means_init=[[2.0, 54.0], [4.3, 80.0]]).fit(load("faithful"))
    assert theirs.weights_[0] < theirs.weights_[1]


# ---- seeds


@pytest.mark.parametrize("init_params", ["auto", "kmeans", "k-means++", "random_from_data"])
def test_the_same_seed_gives_the_same_bits(init_params: str) -> None:
    params = {"init_params": init_params, "n_init": 2, "random_state": 5}
    a, b = (GaussianMixture(3, **params).fit(overlapping()) for _ in range(2))
    np.testing.assert_array_equal(a.means_, b.means_)
    np.testing.assert_array_equal(a.covariances_, b.covariances_)
    assert a.loglik_ == b.loglik_
    assert a.starts_ == b.starts_
    np.testing.assert_array_equal(a.predict_proba(overlapping()), b.predict_proba(overlapping()))


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_of_every_kind(name: str) -> None:
    starts = {"init_params": "random_from_data", "n_init": 1, "max_iter": 0}
    a, b = (GaussianMixture(3, random_state=SEEDS[name](), **starts).fit(overlapping()) for _ in range(2))
    np.testing.assert_array_equal(a.means_, b.means_)
    assert a.seed_ == b.seed_
    again = GaussianMixture(3, random_state=a.seed_, **starts).fit(overlapping())
    np.testing.assert_array_equal(again.means_, a.means_)
    if name not in ("integer", "NumPy integer"):
        # A generator is drawn from: the next fit starts elsewhere.
        one = SEEDS[name]()
        c, d = (GaussianMixture(3, random_state=one, **starts).fit(overlapping()) for _ in range(2))
        assert c.seed_ != d.seed_
        assert not np.array_equal(c.means_, d.means_)


def test_fresh_entropy_is_kept() -> None:
    params = {"n_init": 2, "init_params": "random_from_data", "max_iter": 0}
    a, b = (GaussianMixture(3, **params).fit(overlapping()) for _ in range(2))
    assert a.seed_ != b.seed_
    again = GaussianMixture(3, random_state=a.seed_, **params).fit(overlapping())
    np.testing.assert_array_equal(again.means_, a.means_)


@pytest.mark.parametrize("name", ["whitened", "hierarchical"])
def test_sklearn_has_no_such_start(name: str) -> None:
    with pytest.raises(ValueError, match="is not a start of scikit-learn"):
        GaussianMixture.sklearn_defaults(2, init_params=name).fit(load("faithful"))


def test_sklearn_defaults_are_theirs() -> None:
    import sklearn.mixture

    theirs = sklearn.mixture.GaussianMixture().get_params()
    ours = GaussianMixture.sklearn_defaults().get_params()
    assert {name: ours[name] for name in theirs} == theirs
    assert set(ours) - set(theirs) == {"acceleration", "device", "effort", "missing", "progress", "reproduce"}
    assert GaussianMixture.sklearn_defaults(3, tol=1e-5).tol == 1e-5
    # A generator of another kind is one draw for their random state.
    for make in (lambda: np.random.default_rng(0), lambda: torch.Generator().manual_seed(0)):
        a, b = (GaussianMixture.sklearn_defaults(2, random_state=make()).fit(load("faithful")) for _ in range(2))
        np.testing.assert_array_equal(a.means_, b.means_)


@pytest.mark.parametrize("ridge", [1e-3, 1e-2])
def test_with_a_ridge_fits_end_at_the_fixed_point(ridge):
    """With a ridge the likelihood may peak and fall again on the way: its turning point is no end."""
    draw = np.random.default_rng(0)
    x = np.vstack([draw.normal(size=(150, 2)) * [0.3, 1], draw.normal(size=(150, 2)) * [1, 0.3] + 1.5])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = GaussianMixture(3, reg_covar=ridge, random_state=0, n_init=1).fit(x)
        end = GaussianMixture(3, reg_covar=ridge, random_state=0, n_init=1, tol=0, max_iter=2000).fit(x)
    # The bound is flat to 1e-7 a row around its limit, so means are within the root of that.
    np.testing.assert_allclose(ours.means_, end.means_, rtol=0, atol=1e-3)


def test_nearly_singular_fits_can_be_drawn_from():
    draw = np.random.default_rng(1)
    z = draw.normal(size=(400, 1))
    z[:3] *= 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = GaussianMixture(2, random_state=0, effort="quick").fit(np.hstack([z, 2 * z + 1, 3 * z]))
    assert np.isfinite(model.sample(10)[0]).all()


def test_a_model_from_parameters_can_be_diagnosed():
    model = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [4.0]], [1.0, 1.0], "spherical")
    assert model.diagnose() == []
    assert model.status_ == "converged"
