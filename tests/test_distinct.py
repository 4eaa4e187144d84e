"""What distinguishes a component, and how many rows are in doubt: against their definitions, on rows."""

import numpy as np
import pytest

from mixtura import GaussianMixture
from mixtura.apps.distinct import distinct, distinctions, most_distinct, said, separation
from mixtura.apps.doubt import ABOVE, Doubt
from mixtura.covariance import STRUCTURES


def given(weights, means, variances):
    return GaussianMixture.from_parameters(weights, means, variances, "diag")


@pytest.mark.parametrize("name", STRUCTURES)
def test_it_is_the_difference_of_means_in_pooled_deviations(name):
    """The same number counted on very many rows of the mixture, group against rest."""
    draw = np.random.default_rng(0)
    rows = np.concatenate([draw.normal(c, s, (400, 3)) for c, s in ((0, 1), ((4, 0, 1), 2), ((0, 6, 1), 0.5))])
    model = GaussianMixture(3, covariance_type=name, init_params="kmeans", random_state=0).fit(rows)
    x, labels = model.sample(200_000, random_state=1)
    within = sum(x[labels == k].var(0) * (labels == k).mean() for k in range(3))
    want = np.stack([(x[labels == k].mean(0) - x[labels != k].mean(0)) / np.sqrt(within) for k in range(3)])
    # Means of 60,000 rows are known to about 0.01 deviations.
    np.testing.assert_allclose(distinct(model), want, atol=0.04)
    total = x.var(0)
    np.testing.assert_allclose(separation(model), (total - within) / total, atol=0.01)


def test_units_do_not_matter():
    model = given([0.3, 0.7], [[0, 1], [2, 1.5]], [[1, 2], [3, 1]])
    scaled = given([0.3, 0.7], [[5, 100], [2005, 150]], [[1e6, 2e4], [3e6, 1e4]])
    np.testing.assert_allclose(distinct(model), distinct(scaled), rtol=1e-12)
    np.testing.assert_allclose(separation(model), separation(scaled), rtol=1e-12)


def test_nothing_to_compare_with():
    assert np.isnan(distinct(given([1.0], [[1.0, 2.0]], [[1.0, 1.0]]))).all()
    empty = distinct(given([0.5, 0.5, 0.0], [[0.0], [2.0], [50.0]], [[1.0], [1.0], [1.0]]))
    np.testing.assert_allclose(empty[:2, 0], [-2, 2])
    assert np.isnan(empty[2, 0])
    lines = distinctions(given([0.5, 0.5, 0.0], [[0.0], [2.0], [50.0]], [[1.0], [1.0], [1.0]]), ["a"])
    assert lines == ["low a (−2.0 sd)", "high a (+2.0 sd)", "empty"]


def test_a_component_with_almost_all_weight():
    lines = distinct(given([1 - 1e-9, 1e-9], [[0.0], [3.0]], [[1.0], [1.0]]))
    np.testing.assert_allclose(lines[:, 0], [-3, 3], rtol=1e-6)


def test_words():
    row = np.array([0.2, -1.2, 3.14, 0.9, 250.0])
    names = list("abcde")
    assert said(row, names) == "high e (+250 sd), high c (+3.1 sd), low b (−1.2 sd)"
    assert said(row, names, most=1) == "high e (+250 sd)"
    assert most_distinct(row, 9) == [4, 2, 1, 3]
    assert said(np.array([0.1, -0.4]), ["a", "b"]) == "close to the others in every feature, farthest in b (−0.4 sd)"
    assert said(np.array([np.nan, np.nan]), ["a", "b"]) == "nothing to compare with"


def test_doubt_adds_up_over_chunks():
    value = np.random.default_rng(0).uniform(0, 0.7, 1000).astype(np.float32)
    whole = Doubt.of(value).told()
    parts = Doubt()
    for chunk in np.array_split(value, 7):
        parts = parts + Doubt.of(chunk)
    told = parts.told()
    assert told["rows"] == whole["rows"] == 1000
    assert told["mean"] == pytest.approx(value.mean(dtype=np.float64), rel=1e-12)
    assert told["above"] == {f"{limit:g}": int((value > limit).sum()) for limit in ABOVE}
    assert Doubt().told()["mean"] is None
    assert Doubt.of([np.nan, 0.3]).told()["rows"] == 1
