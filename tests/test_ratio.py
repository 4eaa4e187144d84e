"""Ratio: likelihood-ratio statistics that mclust has published, and how sure the bootstrap is of them."""

import numpy as np
import pytest
from comparison.sets import load
from comparison.test_mclust import from_partition

from mixtura import GaussianMixture, likelihood_ratio_test
from mixtura.ratio import simulated


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_statistic_is_of_the_best_optima(k):
    """mclust's 319.06535 for one against two, where both are at the optimum; beyond, optima here are higher."""
    found = likelihood_ratio_test(load("faithful"), k, n_resamples=1, random_state=0)
    assert found.smaller.n_components == k == found.larger.n_components - 1
    assert found.statistic == 2 * (found.larger.loglik_ - found.smaller.loglik_)
    alone = [GaussianMixture(c, random_state=0).fit(load("faithful")).loglik_ for c in (k, k + 1)]
    assert found.smaller.loglik_ >= alone[0] - 1e-3
    assert found.larger.loglik_ >= alone[1] - 1e-3
    if k == 1:
        assert found.statistic == pytest.approx(319.06535, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("k", "statistic", "want"), [(1, 369.98537, 0.001), (2, 121.10652, 0.001), (3, 19.90071, 0.283)]
)
def test_p_values_are_mclust_s(k, statistic, want):
    """Of its own statistics and the fit from its own partition, with 999 resamples and one start for each, as there.

    Two bootstraps of 999 differ by up to 0.04 for the last.
    """
    x = load("diabetes_corrected")
    null = simulated(from_partition("diabetes_corrected", "full", k), len(x), 999, 0, starts=1)
    assert (1 + np.sum(null >= statistic)) / (1 + len(null)) == pytest.approx(want, abs=0.05)


@pytest.mark.slow
def test_more_starts_make_large_statistics_more_common():
    """Fits of K + 1 to simulated rows come to better optima, as the fit to the data has: p = 0.34 in place of 0.29."""
    x, fit = load("diabetes_corrected"), from_partition("diabetes_corrected", "full", 3)
    one, several = (simulated(fit, len(x), 499, 0, starts=starts) for starts in (1, 8))
    assert np.median(several) > np.median(one)


def clusters(apart, rows=80, features=1, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0, 1, (rows, features)), rng.normal(apart, 1, (rows, features))])


@pytest.mark.parametrize("name", ["full", "tied", "spherical", "VEE"])
def test_clusters_apart_are_told_and_one_is_not_divided(name):
    x = clusters(6, features=2)
    found = likelihood_ratio_test(x, 1, name, n_resamples=99, random_state=0)
    assert found.p_value == 0.01, "nothing simulated comes near"
    assert likelihood_ratio_test(x, 2, name, n_resamples=99, random_state=0).p_value > 0.05


def test_under_the_null_p_is_uniform():
    """Rows of one normal: small p-values are as rare as they say."""
    p = []
    for seed in range(40):
        x = np.random.default_rng(seed).normal(size=(60, 1))
        p.append(likelihood_ratio_test(x, 1, "tied", n_resamples=39, random_state=seed).p_value)
    # Binomial(40, 0.5) and (40, 0.1): both bounds are passed with probability below 0.001.
    assert 9 <= np.sum(np.array(p) <= 0.5) <= 31
    assert np.sum(np.array(p) <= 0.1) <= 11


def test_the_null_is_the_same_for_a_seed():
    x = clusters(3)
    one, two = (likelihood_ratio_test(x, 1, n_resamples=25, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(one.null, two.null)
    assert one.p_value == (1 + np.sum(one.null >= one.statistic)) / (1 + len(one.null))
    gm = GaussianMixture(1).fit(x)
    np.testing.assert_array_equal(simulated(gm, len(x), 10, 3), simulated(gm, len(x), 25, 3)[:10])
    assert "1 against 2" in repr(one)


def test_batches_change_nothing(monkeypatch):
    gm = GaussianMixture(1).fit(clusters(3))
    whole = simulated(gm, 50, 12, 0)
    monkeypatch.setattr("mixtura.ratio.BATCH", 1)
    np.testing.assert_allclose(simulated(gm, 50, 12, 0), whole, atol=1e-3)


def test_weights_count_rows():
    x = clusters(4)
    w = np.random.default_rng(0).integers(1, 3, len(x)).astype(float)
    weighted = likelihood_ratio_test(x, 1, sample_weight=w, n_resamples=9, random_state=0)
    twice = likelihood_ratio_test(np.repeat(x, w.astype(int), axis=0), 1, n_resamples=9, random_state=0)
    assert weighted.statistic == pytest.approx(twice.statistic, abs=1e-3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_components": 0}, "n_components=0"),
        ({"n_components": 2.0}, "n_components=2.0"),
        ({"n_resamples": 0}, "n_resamples=0"),
        ({"covariance_type": "round"}, "round"),
        ({"covariance_type": ["full", "diag"]}, "tested within one structure"),
        ({"estimator": GaussianMixture(2, means_init=[[0.0], [1.0]])}, "estimator sets means_init"),
        ({"n_components": 300}, "300"),
    ],
)
def test_arguments_are_checked(given, message):
    with pytest.raises(ValueError, match=message):
        likelihood_ratio_test(clusters(3), **{"n_resamples": 3, **given})


def test_a_larger_fit_that_is_not_sound_speaks_for_nothing():
    x = np.random.default_rng(0).normal(size=(12, 2))
    found = likelihood_ratio_test(x, 1, n_resamples=19, random_state=0)
    assert found.larger.status_ == "degenerate"
    assert (found.statistic, found.p_value) == (0.0, 1.0)
    with pytest.raises(ValueError, match="the fit with 3 is not sound, so its likelihood cannot be compared"):
        likelihood_ratio_test(x, 3, n_resamples=3)
