"""Sure: the bootstrap's draws, its fits beside single ones, and standard errors that are known."""

import warnings

import numpy as np
import pytest
import torch
from comparison.sets import load
from sklearn.exceptions import NotFittedError

from mixtura import Bootstrap, DegenerateWarning, GaussianMixture, MixtureSearch, bootstrap
from mixtura.sure import METHODS, weights


def two(rows=200, seed=0):
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.normal([0, 0], 1, (rows, 2)), rng.normal([5, 1], [1, 0.5], (rows // 2, 2))])
    return x, GaussianMixture(2, random_state=0).fit(x)


# ---- what is drawn


def test_rows_are_drawn_by_weight():
    weight = torch.tensor([0.0, 1.0, 2.0, 7.0]).double()
    drawn = weights(weight, range(4000), "rows", 0)
    assert torch.equal(drawn, drawn.round()), "whole rows"
    assert torch.equal(drawn.sum(1), torch.full((4000,), 10.0).double())
    # A binomial of ten: its mean over 4,000 has a standard deviation below 0.025.
    np.testing.assert_allclose(drawn.mean(0).numpy(), weight.numpy(), atol=0.1)
    assert float(drawn[:, 0].max()) == 0


def test_weights_are_dirichlet():
    weight = torch.tensor([0.0, 1.0, 1.0, 6.0]).double()
    drawn = weights(weight, range(4000), "weights", 0)
    np.testing.assert_allclose(drawn.sum(1).numpy(), 8.0, rtol=1e-12)
    np.testing.assert_allclose(drawn.mean(0).numpy(), weight.numpy(), atol=0.2)
    # Of a Dirichlet(1, 1, 6) the share of the first has variance a (A − a) / (A² (A + 1)).
    assert float(drawn[:, 1].var()) == pytest.approx(64 * 7 / (64 * 9), rel=0.15)
    assert float(drawn[:, 0].max()) == 0


@pytest.mark.parametrize("method", METHODS)
def test_draws_do_not_depend_on_how_many_there_are(method):
    weight = torch.ones(30).double()
    whole = weights(weight, range(10), method, 3)
    assert torch.equal(weights(weight, range(4, 7), method, 3), whole[4:7])
    assert not torch.equal(weights(weight, range(10), method, 4), whole)


# ---- fits


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["full", "tied", "diag", "VEV", "EVE"])
def test_a_resample_is_a_fit_to_its_rows(name, method):
    x, _ = two()
    gm = GaussianMixture(2, covariance_type=name, random_state=0).fit(x)
    drawn = bootstrap(gm, x, n_resamples=4, method=method)
    for b, w in enumerate(weights(torch.ones(len(x)).double(), range(4), method, gm.seed_).numpy()):
        alone = GaussianMixture(2, covariance_type=name, means_init=gm.means_, random_state=0).fit(x, sample_weight=w)
        # Each is left with at most 1e-6 nats a row to gain.
        np.testing.assert_allclose(drawn.weights_[b], alone.weights_, atol=2e-3)
        np.testing.assert_allclose(drawn.means_[b], alone.means_, atol=0.02)
        np.testing.assert_allclose(drawn.covariances_[b], alone.covariances_, atol=0.03)


def test_one_component_has_the_errors_of_the_book():
    x = np.random.default_rng(0).normal([1, 2], [1, 3], (300, 2))
    gm = GaussianMixture(1, covariance_type="diag").fit(x)
    for method in METHODS:
        errors = bootstrap(gm, x, n_resamples=2000, method=method, random_state=1).standard_errors()
        # √(σ²/n) and √(2σ⁴/n), to what 2,000 draws and 300 rows' kurtosis leave.
        np.testing.assert_allclose(errors["means"][0], x.std(0) / np.sqrt(300), rtol=0.08)
        np.testing.assert_allclose(errors["covariances"][0], x.var(0) * np.sqrt(2 / 300), rtol=0.2)
        assert errors["weights"].tolist() == [0.0]


def test_diabetes_has_mclust_s_errors():
    x = load("diabetes_corrected")
    gm = GaussianMixture(3, random_state=0).fit(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateWarning)
        drawn = bootstrap(gm, x, random_state=0)
    found = np.sort(drawn.standard_errors()["weights"])[::-1]
    # mclust's, from its own 999 resamples.
    np.testing.assert_allclose(found, [0.0496, 0.0468, 0.0357], rtol=0.2)


def test_intervals_hold_their_share():
    x, gm = two()
    drawn = bootstrap(gm, x, n_resamples=300)
    for name, (low, high) in drawn.intervals(0.9).items():
        each = getattr(drawn, f"{name}_")
        within = ((each >= low) & (each <= high)).mean(0)
        np.testing.assert_allclose(within, 0.9, atol=0.02)
        assert low.shape == getattr(gm, f"{name}_").shape
    for level in (0, 1, -0.5, "wide"):
        with pytest.raises(ValueError, match="level="):
            drawn.intervals(level)


def test_the_same_seed_draws_the_same(monkeypatch):
    x, gm = two()
    one = bootstrap(gm, x, n_resamples=20)
    monkeypatch.setattr("mixtura.sure.BATCH", 7 * len(x))
    assert np.allclose(bootstrap(gm, x, n_resamples=20).means_, one.means_, atol=1e-9)
    assert not np.allclose(bootstrap(gm, x, n_resamples=20, random_state=5).means_, one.means_)
    assert repr(one) == "Bootstrap(20 resamples, 2 components, 2 features)"
    assert isinstance(one, Bootstrap)


def test_a_search_and_given_parameters_are_taken():
    x, gm = two()
    search = MixtureSearch((1, 2), "full", random_state=0).fit(x)
    assert bootstrap(search, x, n_resamples=5).weights_.shape == (5, search.best_estimator_.n_components)
    given = GaussianMixture.from_parameters(gm.weights_, gm.means_, gm.covariances_, "full")
    np.testing.assert_allclose(bootstrap(given, x, n_resamples=50).means_.mean(0), gm.means_, atol=0.1)


def test_weights_of_rows_count():
    x, _ = two()
    w = np.random.default_rng(0).integers(0, 3, len(x)).astype(float)
    gm = GaussianMixture(2, random_state=0).fit(x, sample_weight=w)
    weighted = bootstrap(gm, x, w, n_resamples=400).standard_errors()["means"]
    repeated = bootstrap(gm, np.repeat(x, w.astype(int), axis=0), n_resamples=400, random_state=7).standard_errors()
    # Two sets of 400 draws: each error is known to about 3.5 %.
    np.testing.assert_allclose(weighted, repeated["means"], rtol=0.25)


def test_float32_and_offsets():
    x, gm = two()
    far = GaussianMixture(2, random_state=0).fit((x + 1e4).astype(np.float32))
    near, there = (
        bootstrap(m, d, n_resamples=100, random_state=0).standard_errors()["means"]
        for m, d in ((gm, x), (far, (x + 1e4).astype(np.float32)))
    )
    np.testing.assert_allclose(there, near, rtol=0.05)


def test_unsound_resamples_are_left_out_and_said():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(60, 2)), rng.normal(20, 1, size=(7, 2))])
    gm = GaussianMixture(2, random_state=0).fit(x)
    with pytest.warns(DegenerateWarning, match="not sound and are left out: method='weights'"):
        drawn = bootstrap(gm, x, n_resamples=100)
    assert 2 <= len(drawn.weights_) < 100 == drawn.n_resamples_


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_resamples": 1}, "n_resamples=1"),
        ({"n_resamples": 10.5}, "n_resamples=10.5"),
        ({"n_resamples": True}, "n_resamples=True"),
        ({"method": "jackknife"}, "method='jackknife' is unknown"),
    ],
)
def test_arguments_are_checked(given, message):
    x, gm = two()
    with pytest.raises(ValueError, match=message):
        bootstrap(gm, x, **given)


def test_bad_input_is_refused():
    x, gm = two()
    with pytest.raises(NotFittedError):
        bootstrap(GaussianMixture(), x)
    with pytest.raises(ValueError, match="features"):
        bootstrap(gm, x[:, :1])
    with pytest.raises(ValueError, match="NaN"):
        bootstrap(gm, np.where(x > 3, np.nan, x))
