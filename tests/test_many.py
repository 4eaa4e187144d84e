"""Many small fits at once: each is what a fit of its own would be, whatever its neighbours are."""

import warnings

import numpy as np
import oracle
import pandas as pd
import pytest
import torch
from cases import NAMES, clusters, to_parameters
from sklearn.mixture import GaussianMixture as Theirs

from mixtura import DegenerateWarning, GaussianMixture, fit_many
from mixtura.covariance import STRUCTURES
from mixtura.native.library import library

EVERY = pytest.mark.parametrize("name", NAMES)
COMPILED = pytest.mark.skipif(library().handle is None, reason=f"SKIPPED: {library().reason}")


def ragged(count=12, features=2, components=2, seed=0, apart=4.0):
    """Groups of 40 to 200 rows."""
    rng = np.random.default_rng(seed)
    return [clusters(rng, int(n), components, features, apart)[0] for n in rng.integers(40, 200, count)]


@pytest.fixture
def alone(monkeypatch):
    """Without the compiled library."""
    from mixtura.native import groups

    monkeypatch.setattr(groups, "serves", lambda *_: False)


# ---- each fit is a fit


@EVERY
@pytest.mark.parametrize("features", [1, 2, 3])
def test_likelihoods_are_those_of_the_definition(name, features):
    groups = ragged(features=features)
    fits = fit_many(groups, 2, name, random_state=0)
    for i, rows in enumerate(groups):
        p = to_parameters(fits.mixture_, i)
        # Sums of 200 numbers of size 10, by another way to the densities.
        assert fits.loglik_[i] == pytest.approx(oracle.log_density(rows, p).sum(), rel=1e-9)


@EVERY
def test_no_step_of_em_gains_anything(name):
    groups = ragged()
    fits = fit_many(groups, 2, name, random_state=0)
    assert set(fits.status_) == {"converged"}
    for i, rows in enumerate(groups):
        _, after = oracle.em_step(name, rows, to_parameters(fits.mixture_, i))
        gain = oracle.log_density(rows, after).sum() - fits.loglik_[i]
        # 1e-7 nats a row is what the stopping test leaves, three times over for the step after it.
        assert -1e-8 * len(rows) <= gain < 3e-7 * len(rows)


@EVERY
def test_no_group_is_below_sklearn(name):
    groups = ragged(count=30, seed=1, apart=3.0)
    if not STRUCTURES[name].in_sklearn:
        pytest.skip("SKIPPED: scikit-learn has no such structure")
    fits = fit_many(groups, 2, name, random_state=0)
    theirs = [Theirs(2, covariance_type=name, random_state=0).fit(g).score(g) * len(g) for g in groups]
    assert (fits.loglik_ >= np.array(theirs) - 0.01)[fits.status_ == "converged"].all()
    assert (fits.status_ == "converged").mean() > 0.9


@COMPILED
@EVERY
def test_the_library_finds_what_single_fits_find(name, monkeypatch):
    groups = ragged(seed=2, apart=6.0)
    together = fit_many(groups, 2, name, random_state=0)
    from mixtura.native import groups as compiled

    monkeypatch.setattr(compiled, "serves", lambda *_: False)
    alone = fit_many(groups, 2, name, random_state=0)
    # Separated clusters have one optimum; single quick fits stop at 1e-4 nats a row.
    np.testing.assert_allclose(together.loglik_, alone.loglik_, atol=1e-3 * 200, rtol=0)
    assert (together.loglik_ >= alone.loglik_ - 1e-3).all()
    np.testing.assert_allclose(together.weights_, alone.weights_, atol=0.02)


def test_one_feature_is_ordered_by_the_mean_and_more_by_weight():
    one = fit_many([g[:, 0] for g in ragged(apart=8.0)], 2, random_state=0)
    assert (np.diff(one.means_[..., 0]) >= 0).all()
    two = fit_many(ragged(), 2, random_state=0)
    assert (np.diff(two.weights_) <= 1e-12).all()


@pytest.mark.parametrize("components", [1, 3])
def test_any_number_of_components(components):
    fits = fit_many(ragged(components=3, apart=8.0), components, random_state=0)
    assert fits.weights_.shape == (12, components)
    np.testing.assert_allclose(fits.weights_.sum(1), 1, rtol=1e-12)


# ---- neighbours, weights, order


def test_neighbours_do_not_matter():
    groups = ragged()
    every = fit_many(groups, 2, random_state=3)
    some = fit_many(groups[:5], 2, random_state=3)
    np.testing.assert_array_equal(every.loglik_[:5], some.loglik_)
    np.testing.assert_array_equal(every.means_[:5], some.means_)


def test_batches_do_not_matter(monkeypatch):
    groups = ragged()
    every = fit_many(groups, 2, random_state=3)
    from mixtura.native import groups as compiled

    monkeypatch.setattr(compiled, "BATCH", 1)
    np.testing.assert_array_equal(every.loglik_, fit_many(groups, 2, random_state=3).loglik_)


def test_threads_do_not_matter(monkeypatch):
    groups = ragged()
    every = fit_many(groups, 2, random_state=3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    np.testing.assert_array_equal(every.loglik_, fit_many(groups, 2, random_state=3).loglik_)


@EVERY
def test_a_weight_of_two_is_a_row_given_twice(name):
    groups = ragged(apart=8.0)
    rng = np.random.default_rng(5)
    weights = [rng.integers(0, 3, len(g)).astype(float) for g in groups]
    weighted = fit_many(groups, 2, name, sample_weight=weights, random_state=0)
    repeated = fit_many(
        [np.repeat(g, w.astype(int), axis=0) for g, w in zip(groups, weights, strict=True)], 2, name, random_state=0
    )
    np.testing.assert_array_equal(weighted.weight_, repeated.weight_)
    # Other starts, the same optimum, up to what the stopping test leaves.
    np.testing.assert_allclose(weighted.loglik_, repeated.loglik_, atol=1e-4, rtol=0)


def test_moved_and_scaled_data_give_moved_and_scaled_fits():
    groups = ragged()
    fits = fit_many(groups, 2, random_state=0)
    moved = fit_many([1e3 * g + 1e6 for g in groups], 2, random_state=0)
    np.testing.assert_allclose(moved.means_, 1e3 * fits.means_ + 1e6, rtol=1e-9)
    jacobian = np.array([len(g) * 2 * np.log(1e3) for g in groups])
    np.testing.assert_allclose(moved.loglik_ + jacobian, fits.loglik_, rtol=1e-7)


# ---- forms of input and output


def test_names_tables_and_sequences_are_the_same():
    groups = ragged(count=4)
    listed = fit_many(groups, 2, random_state=0)
    named = fit_many(dict(zip("abcd", groups, strict=True)), 2, random_state=0)
    table, by = np.concatenate(groups), np.repeat(list("abcd"), [len(g) for g in groups])
    split = fit_many(table, 2, by=by, random_state=0)
    framed = fit_many(pd.DataFrame(table, columns=["x", "y"]), 2, by=by, random_state=0)
    assert named.names == split.names == list("abcd")
    for other in (named, split, framed):
        np.testing.assert_array_equal(other.loglik_, listed.loglik_)
    assert framed["b"].feature_names_in_.tolist() == ["x", "y"]
    assert listed[1].loglik_ == named["b"].loglik_ == listed[-3].loglik_


def test_shuffled_rows_of_a_table_find_their_groups():
    groups = ragged(count=3, apart=8.0)
    table, by = np.concatenate(groups), np.repeat([3, 1, 2], [len(g) for g in groups])
    order = np.random.default_rng(0).permutation(len(table))
    fits = fit_many(table[order], 2, by=by[order], random_state=0)
    assert fits.names == [1, 2, 3]
    assert fits.weight_.tolist() == [len(groups[1]), len(groups[2]), len(groups[0])]
    np.testing.assert_allclose(fits.loglik_[2], fit_many(groups[:1], 2, random_state=0).loglik_[0], atol=1e-3)


def test_a_member_is_a_fitted_estimator():
    groups = ragged()
    fits = fit_many(groups, 2, random_state=0)
    model = fits[3]
    assert isinstance(model, GaussianMixture)
    assert model.score_samples(groups[3]).sum() == pytest.approx(model.loglik_, rel=1e-10)
    assert model.bic(groups[3]) == pytest.approx(fits.bic()[3])
    assert model.aic(groups[3]) == pytest.approx(fits.aic()[3])
    np.testing.assert_array_equal(model.covariances_, fits.covariances_[3])
    assert set(model.predict(groups[3])) == {0, 1}
    assert len(list(fits)) == len(fits) == 12
    assert "12 groups" in repr(fits)


def test_tensors_come_back_as_tensors():
    fits = fit_many([torch.from_numpy(g) for g in ragged(count=3)], 2, random_state=0)
    assert isinstance(fits.means_, torch.Tensor)
    assert isinstance(fits[0].predict(torch.zeros(4, 2)), torch.Tensor)


def test_the_frame_has_a_row_for_each_group():
    fits = fit_many(dict(zip("ab", ragged(count=2), strict=True)), 2, random_state=0)
    frame = fits.to_frame()
    assert frame.index.tolist() == ["a", "b"]
    assert frame.loc["b", "mean_1_0"] == fits.means_[1, 1, 0]
    assert {"n", "loglik", "bic", "aic", "status", "n_iter", "weight_0"} <= set(frame.columns)


# ---- what cannot be fitted


def test_a_bad_group_fails_alone():
    groups = ragged(count=3, apart=8.0)
    good = fit_many(groups, 2, random_state=0)
    with pytest.warns(DegenerateWarning, match=r"Of 6 fits 2 are not sound and 1 failed, .* group 0"):
        fits = fit_many([np.zeros((1, 2)), *groups, np.ones((30, 2)), groups[0] * [1, 0]], 2, random_state=0)
    assert fits.status_.tolist() == ["failed", "converged", "converged", "converged", "degenerate", "degenerate"]
    assert np.isnan(fits.loglik_[0])
    assert np.isnan(fits.means_[0]).all()
    np.testing.assert_allclose(fits.loglik_[1:4], good.loglik_, atol=1e-3)
    with pytest.raises(ValueError, match="group 0 failed"):
        fits[0]
    # A degenerate fit says why, as a fit of its own does.
    assert "constant_column" in {f.kind for f in fits[5].diagnose()}
    assert fits[1].diagnose() == []


def test_components_on_a_grid_are_not_sound():
    rng = np.random.default_rng(0)
    counted = np.concatenate([np.zeros(97), np.ones(3), np.repeat(np.arange(10.0, 20.0), 5)])
    with pytest.warns(DegenerateWarning):
        fits = fit_many([counted, rng.normal(size=100)], 2, random_state=0)
    assert fits.status_.tolist() == ["degenerate", "converged"]
    assert "grid" in {f.kind for f in fits[0].diagnose()}


def test_max_iter_is_respected():
    fits = fit_many(ragged(apart=1.0), 2, max_iter=10, random_state=0)
    assert fits.n_iter_.max() <= 10
    assert "max_iter" in fits.status_


@pytest.mark.parametrize(
    ("groups", "params", "message"),
    [
        ([], {}, "groups is empty"),
        ([[[0.0, 1.0]], [[1.0]]], {}, r"groups: 1 has 1 columns, 0 has 2"),
        ({"a": [1.0, 2.0], "b": [1.0, np.nan]}, {}, r"groups: 'b' has NaN"),
        ([["x", "y"]], {}, "groups: 0 cannot be read as numbers"),
        ([np.zeros((2, 2, 2))], {}, r"groups: 0 has shape \(2, 2, 2\)"),
        ([[1.0, 2.0]], {"n_init": 0}, "n_init=0 is not usable"),
        ([[1.0, 2.0]], {"max_iter": "all"}, "max_iter='all' is not usable"),
        ([[1.0, 2.0]], {"covariance_type": "fuller"}, "covariance_type='fuller'"),
        ([[1.0, 2.0]], {"sample_weight": [[1.0]]}, r"sample_weight: 0 has shape \(1,\), expected \(2,\)"),
        ([[1.0, 2.0]], {"sample_weight": [[1.0, -1.0]]}, "sample_weight: 0 has negative"),
        ([[1.0, 2.0]], {"sample_weight": {"a": [1.0, 1.0]}}, "expected 1 arrays"),
        (np.zeros((4, 2)), {"by": [1, 2]}, r"by has shape \(2,\), expected \(4,\)"),
    ],
)
def test_what_is_wrong_is_said(groups, params, message):
    with pytest.raises(ValueError, match=message):
        fit_many(groups, 1, **params)


def test_a_table_without_groups_is_refused():
    with pytest.raises(TypeError, match="pass by="):
        fit_many(pd.DataFrame({"x": [1.0, 2.0]}), 1)
    with pytest.raises(ValueError, match="n_components=0"):
        fit_many([[1.0, 2.0]], 0)
    with pytest.raises(KeyError, match="is no group"):
        fit_many([[1.0, 2.0, 4.0, 8.0, 16.0, 17.0]], 1)[0:1]
    with pytest.raises(KeyError, match="'z' is no group"):
        fit_many({"a": [1.0, 2.0, 4.0, 8.0, 16.0, 17.0]}, 1)["z"]


def test_without_the_library_every_form_works(alone):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fits = fit_many(ragged(count=2, apart=8.0), 2, random_state=0)
    assert fits.status_.tolist() == ["converged", "converged"]
