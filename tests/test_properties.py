"""Properties of whole fits: how they follow the data, through the estimator."""

import warnings

import numpy as np
import oracle
import pytest
import torch
from cases import NAMES, OFF, clusters, onehot
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from mixtura import DegenerateWarning, GaussianMixture
from mixtura.rows import Rows

EVERY = pytest.mark.parametrize("name", NAMES)

K, D, N = 3, 3, 180

# Both fits of a pair run the same number of passes, so that only rounding, not the stopping test, can part them.
FIXED = {"tol": 0, "max_iter": 12, "n_init": 2}


def data(seed=0, rows=N, features=D, apart=3.0):
    X, labels = clusters(np.random.default_rng(seed), rows, K, features, apart=apart)
    return X, labels


def start(name, X, labels, seed=0, weight=None):
    """A start near, but not at, the truth: a fifth of the labels drawn anew."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.uniform(size=len(X)) < 0.2, rng.integers(K, size=len(X)), labels)
    return oracle.m_step(name, X, onehot(labels, K), weight)


def given_start(name, p):
    precisions = np.stack([np.linalg.inv(c) for c in p.covariances])
    return {"weights_init": p.weights, "means_init": p.means, "precisions_init": oracle.PUBLISH[name](precisions)}


def fit(name, X, p=None, weight=None, **params):
    params = {**FIXED, "random_state": 0, **params}
    params |= {} if p is None else given_start(name, p)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", DegenerateWarning)
        return GaussianMixture(K, covariance_type=name, **params).fit(X, sample_weight=weight)


def dense(model):
    """(K, D, D) covariances of a fitted model."""
    return model.mixture_.covariance.dense()[0].expand(K, -1, -1).numpy()


def same(a, b, tol=1e-8):
    """The same mixture, relative to its own scales."""
    sd = np.sqrt(np.stack([np.diag(c) for c in dense(b)]).max(0))
    np.testing.assert_allclose(a.weights_, b.weights_, rtol=0, atol=tol)
    np.testing.assert_allclose(a.means_ / sd, b.means_ / sd, rtol=0, atol=tol)
    np.testing.assert_allclose(dense(a) / np.outer(sd, sd), dense(b) / np.outer(sd, sd), rtol=0, atol=tol)


# ---- units and origins


@EVERY
@pytest.mark.parametrize("offset", [1.0, -1e3, 1e6])
def test_fits_follow_the_origin(name, offset):
    X, labels = data()
    shift = offset * np.array([1.0, -0.5, 2.0])
    p = start(name, X, labels)
    a = fit(name, X, p)
    b = fit(name, X + shift, p._replace(means=p.means + shift))
    assert b.loglik_ == pytest.approx(a.loglik_, abs=1e-6)
    np.testing.assert_allclose(b.means_ - shift, a.means_, rtol=0, atol=1e-7)
    np.testing.assert_allclose(dense(b), dense(a), rtol=0, atol=1e-7)
    np.testing.assert_array_equal(a.predict(X), b.predict(X + shift))


@EVERY
def test_an_origin_1e8_away_costs_nothing_but_the_digits_of_the_data(name):
    X, labels = data()
    far = X + 1e8
    near = far - 1e8  # the digits that are left
    p = start(name, near, labels)
    a, b = fit(name, near, p), fit(name, far, p._replace(means=p.means + 1e8))
    # The given means lose digits, too, 1e-8 of them; EM contracts towards the same point.
    np.testing.assert_allclose(b.means_ - 1e8, a.means_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(dense(b), dense(a), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(a.predict(near), b.predict(far))
    np.testing.assert_allclose(b.score_samples(far), a.score_samples(near), rtol=0, atol=1e-5)


@EVERY
@pytest.mark.parametrize("scale", [1e-8, 1e-5, 3.0, 1e4, 1e8])
def test_fits_follow_the_units(name, scale):
    X, labels = data()
    p = start(name, X, labels)
    a = fit(name, X, p)
    b = fit(name, X * scale, p._replace(means=p.means * scale, covariances=p.covariances * scale**2))
    np.testing.assert_allclose(b.means_ / scale, a.means_, rtol=0, atol=1e-6)
    np.testing.assert_allclose(dense(b) / scale**2, dense(a), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(a.predict(X), b.predict(X * scale))
    assert b.loglik_ == pytest.approx(a.loglik_ - N * D * np.log(scale), abs=1e-6)
    assert (a.status_ == "degenerate") == (b.status_ == "degenerate")


@EVERY
@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_default_fits_follow_the_units(name, scale):
    """Nothing in the starts, the floor or the stopping test has units of its own."""
    X, _ = data()
    a, b = (GaussianMixture(K, covariance_type=name, n_init=2, random_state=0).fit(x) for x in (X, X * scale))
    assert b.loglik_ == pytest.approx(a.loglik_ - N * D * np.log(scale), abs=1e-4)
    np.testing.assert_array_equal(a.predict(X), b.predict(X * scale))
    assert a.status_ == b.status_ == "converged"


@pytest.mark.parametrize("name", ["full", "tied"])
def test_matrices_with_axes_follow_any_affine_map(name):
    X, labels = data()
    rng = np.random.default_rng(1)
    A, b = rng.normal(size=(D, D)) + 2 * np.eye(D), 10 * rng.normal(size=D)
    p = start(name, X, labels)
    q = oracle.Parameters(p.weights, p.means @ A.T + b, A @ p.covariances @ A.T)
    one, other = fit(name, X, p), fit(name, X @ A.T + b, q)
    np.testing.assert_allclose(other.means_, one.means_ @ A.T + b, rtol=0, atol=1e-7)
    np.testing.assert_allclose(dense(other), A @ dense(one) @ A.T, rtol=0, atol=1e-6)
    assert other.loglik_ == pytest.approx(one.loglik_ - N * np.linalg.slogdet(A)[1], abs=1e-6)
    np.testing.assert_array_equal(one.predict(X), other.predict(X @ A.T + b))


@pytest.mark.parametrize("name", ["diag", "tied_diag"])
def test_diagonal_matrices_follow_the_units_of_each_column(name):
    X, labels = data()
    units = np.array([1e-6, 1.0, 1e5])
    p = start(name, X, labels)
    q = oracle.Parameters(p.weights, p.means * units, p.covariances * np.outer(units, units))
    one, other = fit(name, X, p), fit(name, X * units, q)
    np.testing.assert_allclose(other.means_ / units, one.means_, rtol=0, atol=1e-7)
    np.testing.assert_allclose(dense(other) / np.outer(units, units), dense(one), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["spherical", "tied_spherical"])
def test_round_matrices_follow_rotations(name):
    X, labels = data()
    Q = np.linalg.qr(np.random.default_rng(2).normal(size=(D, D)))[0]
    p = start(name, X, labels)
    one, other = fit(name, X, p), fit(name, X @ Q.T, p._replace(means=p.means @ Q.T))
    np.testing.assert_allclose(other.means_, one.means_ @ Q.T, rtol=0, atol=1e-7)
    assert other.loglik_ == pytest.approx(one.loglik_, abs=1e-7)


@EVERY
def test_fits_follow_the_order_of_columns(name):
    X, labels = data()
    at = [2, 0, 1]
    p = start(name, X, labels)
    a = fit(name, X, p)
    b = fit(name, X[:, at], oracle.Parameters(p.weights, p.means[:, at], p.covariances[:, at][:, :, at]))
    # Where components share axes, M-steps end early, at a place that depends on the order: twelve passes show it.
    atol = 1e-3 if name in ("EVE", "VVE") else 1e-8
    np.testing.assert_allclose(b.means_, a.means_[:, at], rtol=0, atol=atol)
    np.testing.assert_allclose(dense(b), dense(a)[:, at][:, :, at], rtol=0, atol=atol)
    assert b.loglik_ == pytest.approx(a.loglik_, abs=atol)


# ---- weights


@EVERY
def test_a_weight_is_a_duplicate(name):
    X, labels = data()
    times = np.random.default_rng(3).integers(0, 4, size=N)
    p = start(name, X, labels, weight=times)
    weighted, repeated = fit(name, X, p, weight=times), fit(name, np.repeat(X, times, axis=0), p)
    same(weighted, repeated)
    assert weighted.loglik_ == pytest.approx(repeated.loglik_, abs=1e-8)
    assert weighted.bic(X, times) == pytest.approx(repeated.bic(np.repeat(X, times, axis=0)), abs=1e-7)


@EVERY
def test_a_weight_is_a_duplicate_by_default(name):
    """Also for the survey, the starts and the choice among them."""
    X, _ = data()
    times = np.random.default_rng(4).integers(0, 4, size=N)
    weighted, repeated = fit(name, X, weight=times), fit(name, np.repeat(X, times, axis=0))
    # Warm rounds of rotations may be one more or less where sums of rows round otherwise.
    same(weighted, repeated, max(1e-8, OFF.get(name, 0.0)))
    assert weighted.status_ == repeated.status_


@EVERY
def test_a_weight_of_zero_is_absence(name):
    X, _ = data()
    weight = np.ones(N)
    weight[::4] = 0
    spoilt = X.copy()
    spoilt[::4] = 1e3
    same(fit(name, spoilt, weight=weight), fit(name, X[weight > 0]))


@pytest.mark.parametrize("value", [1e12, 1e25, 3e38, 1e200])
@EVERY
def test_rows_of_weight_zero_are_absent_whatever_they_hold(name, value):
    """A weight of 0 masks rows, also those that hold the code of a missing value."""
    X, labels = data()
    kind = np.float64 if value > 1e38 * 4 else np.float32
    weight = np.append(np.ones(N), 0)
    p = start(name, X, labels)
    masked = fit(name, np.append(X, [[value, -value, value]], axis=0).astype(kind), p, weight=weight)
    tol = 1e-8 if kind is np.float64 else 1e-4  # float32: another origin rounds all rows differently
    same(masked, fit(name, X.astype(kind), p), tol)


@EVERY
@pytest.mark.parametrize("factor", [1e-3, 0.5, 7.0, 1e4])
def test_a_factor_of_all_weights_changes_no_parameter(name, factor):
    X, labels = data()
    weight = np.random.default_rng(5).uniform(0.2, 2, size=N)
    p = start(name, X, labels, weight=weight)
    a, b = fit(name, X, p, weight=weight), fit(name, X, p, weight=factor * weight)
    same(b, a)
    assert b.loglik_ == pytest.approx(factor * a.loglik_, rel=1e-10)
    assert b.lower_bound_ == pytest.approx(a.lower_bound_, abs=1e-10)


# ---- rows, chunks and kinds


@EVERY
def test_the_order_of_rows_changes_nothing(name):
    X, _ = data()
    a = GaussianMixture(K, covariance_type=name, n_init=3, random_state=0).fit(X)
    order = np.random.default_rng(6).permutation(N)
    b = GaussianMixture(K, covariance_type=name, n_init=3, random_state=0).fit(X[order])
    same(b, a, 1e-6)
    np.testing.assert_array_equal(a.predict(X)[order], b.predict(X[order]))


@EVERY
@pytest.mark.parametrize("resident", [0, 1 << 40])
def test_the_size_of_chunks_changes_nothing(name, resident, monkeypatch):
    X, labels = data(rows=1300)
    p = start(name, X, labels)
    whole = fit(name, X, p)
    want, init = whole.score_samples(X), Rows.__init__
    for budget in (1, 60_000):
        # 512 rows in a chunk, and some hundreds more.
        def cut(self, source, budget=budget, **others):
            init(self, source, **{**others, "budget": budget, "resident": resident})

        monkeypatch.setattr(Rows, "__init__", cut)
        pieces = fit(name, X, p)
        same(pieces, whole)
        np.testing.assert_allclose(pieces.score_samples(X), want, rtol=0, atol=1e-8)
        np.testing.assert_array_equal(pieces.predict(X), whole.predict(X))


@EVERY
def test_a_row_is_scored_as_it_is_alone(name, dtype):
    X, _ = data(rows=400)
    X = X.astype(str(dtype).removeprefix("torch."))
    X[7] += 1e4  # a far row beside the others
    model = fit(name, X[20:])
    together, labels, shares = model.score_samples(X), model.predict(X), model.predict_proba(X)
    tol = 1e-10 if dtype == torch.float64 else 1e-5
    for i in (0, 7, 8, 399):
        row = X[i : i + 1]
        np.testing.assert_allclose(model.score_samples(row)[0], together[i], rtol=tol, atol=tol)
        np.testing.assert_allclose(model.predict_proba(row)[0], shares[i], rtol=0, atol=10 * tol)
        assert model.predict(row)[0] == labels[i]
    np.testing.assert_allclose(model.score_samples(X[::-1])[::-1], together, rtol=tol, atol=tol)


@EVERY
def test_scores_are_those_of_the_oracle(name, dtype):
    X, _ = data()
    X = X.astype(str(dtype).removeprefix("torch."))
    model = fit(name, X)
    p = oracle.Parameters(model.mixture_.log_weight[0].exp().numpy(), model.mixture_.mean[0].numpy(), dense(model))
    wide = X.astype(float)
    tol = 1e-9 if dtype == torch.float64 else 1e-3  # TOLERANCE of the guard
    np.testing.assert_allclose(model.score_samples(X), oracle.log_density(wide, p), rtol=0, atol=tol)
    np.testing.assert_allclose(model.predict_proba(X), oracle.responsibilities(wide, p), rtol=0, atol=tol)
    assert model.loglik_ == pytest.approx(oracle.log_density(wide, p).sum(), abs=N * tol)


@EVERY
def test_integers_are_floats(name):
    X, _ = data(apart=4.0)
    whole = np.round(10 * X).astype(np.int64)
    a, b = fit(name, whole), fit(name, whole.astype(float))
    same(a, b, 0)
    np.testing.assert_array_equal(a.score_samples(whole), b.score_samples(whole.astype(float)))
    np.testing.assert_array_equal(a.score_samples(whole.astype(np.int32)), a.score_samples(whole))


@EVERY
def test_float32_keeps_a_hundredth_of_a_nat_at_1e4(name):
    X, labels = data()
    single = (X + 1e4).astype(np.float32)
    wide = single.astype(np.float64)
    p = start(name, wide, labels)
    a, b = fit(name, single, p), fit(name, wide, p)
    assert a.score_samples(single).dtype == np.float32
    np.testing.assert_allclose(a.score_samples(single), b.score_samples(wide), rtol=0, atol=1e-2)
    np.testing.assert_allclose(b.score_samples(single), b.score_samples(wide), rtol=0, atol=1e-2)
    assert a.loglik_ == pytest.approx(b.loglik_, abs=0.1)


@EVERY
@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_the_likelihood_never_falls(name, kind):
    X, _ = data(apart=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = GaussianMixture(K, covariance_type=name, n_init=2, random_state=1).fit(X.astype(kind))
    trace = np.array(model.history_["loglik"])
    assert len(trace) == model.n_iter_
    slack = 1e-10 if kind is np.float64 else 1e-5
    assert (np.diff(trace) >= -slack * np.abs(trace[:-1])).all()
    assert model.loglik_ == trace[-1]
    assert model.loglik_ == pytest.approx(model.score_samples(X.astype(kind)).astype(float).sum(), rel=slack, abs=1e-8)


@EVERY
@pytest.mark.parametrize("kind", [np.float64, np.float32])
@pytest.mark.parametrize("value", [1e6, 1e15, 1e30])
def test_a_fit_is_finite_or_an_error(name, kind, value):
    """A far row takes a component of its own, or the fit fails in words; it never ends as NaN."""
    X, _ = data()
    X = np.append(X, [[value, value, -value]], axis=0).astype(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = GaussianMixture(K, covariance_type=name, effort="quick", random_state=0).fit(X)
        except ValueError as error:
            assert len(str(error)) > 40  # noqa: PT017
            return
    assert np.isfinite(model.loglik_)
    assert np.isfinite(model.means_).all()
    assert not np.isnan(model.score_samples(X)).any()
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1, rtol=1e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(NAMES),
    seed=st.integers(0, 2**16),
    rows=st.integers(12, 80),
    features=st.integers(1, 4),
    components=st.integers(1, 3),
    grid=st.sampled_from([None, 0.5, 3.0]),
)
def test_any_table_gives_a_mixture(name, seed, rows, features, components, grid):
    """Gridded, tied, collapsing: whatever the rows, weights sum to 1, matrices are positive, scores agree."""
    X = np.random.default_rng(seed).standard_t(3, size=(rows, features))
    X = X if grid is None else np.round(X / grid) * grid
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = GaussianMixture(components, covariance_type=name, random_state=seed, n_init=2, max_iter=50).fit(X)
    assert model.weights_.sum() == pytest.approx(1, abs=1e-12)
    assert model.weights_.min() >= 0
    sigma = model.mixture_.covariance.dense()[0].numpy()
    assert np.linalg.eigvalsh(sigma).min() > 0
    assert np.isfinite(model.loglik_)
    scores = model.score_samples(X)
    # Where a matrix is as flat as the floor, distances keep half their digits.
    close = 1e-6 if model.status_ != "degenerate" else 1e-4
    assert scores.sum() == pytest.approx(model.loglik_, rel=close, abs=close)
    trace = np.array(model.history_["loglik"])
    if model.status_ != "degenerate":  # where the floor acts, the M-step is no maximum
        assert (np.diff(trace) >= -1e-9 * np.abs(trace[:-1])).all()
