"""Relabel: components get the numbers of another model's, by the overlap of their densities."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from cases import NAMES, parameters, to_mixture
from comparison.sets import load
from scipy.integrate import dblquad
from scipy.stats import multivariate_normal
from sklearn.exceptions import NotFittedError

from mixtura import GaussianMixture, MixtureSearch
from mixtura.relabel import bhattacharyya, matching

ATTRIBUTES = ["weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"]


def fitted(k: int = 3, name: str = "full", **params: Any) -> GaussianMixture:
    return GaussianMixture(k, covariance_type=name, init_params="kmeans", random_state=0, **params).fit(load("iris"))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("name", NAMES)
def test_a_shuffled_model_is_put_in_order(name: str, order: tuple[int, ...]) -> None:
    p = parameters(name, np.random.default_rng(3), 3, 4)
    mixture = to_mixture(name, p)
    np.testing.assert_array_equal(order, matching(mixture, mixture.pick(list(order))))


@pytest.mark.parametrize("name", NAMES)
def test_every_attribute_follows(name: str) -> None:
    model, before = fitted(name=name), fitted(name=name)
    x = load("iris")
    other = GaussianMixture.from_parameters(
        *(np.asarray(a) for a in (before.weights_[::-1], before.means_[::-1])),
        before.covariances_ if name.startswith("tied") else before.covariances_[::-1],
        name,
    )
    assert model.relabel(like=other) is model
    for attribute in ATTRIBUTES:
        old, new = getattr(before, attribute), getattr(model, attribute)
        shared = name.startswith("tied") and attribute not in ("weights_", "means_")
        np.testing.assert_array_equal(new, old if shared else old[::-1])
        assert not new.flags.writeable
    np.testing.assert_array_equal(model.predict(x), 2 - before.predict(x))
    np.testing.assert_allclose(model.score_samples(x), before.score_samples(x), rtol=1e-12, atol=1e-13)
    assert model.loglik_ == before.loglik_


def test_refits_agree_after_it() -> None:
    """Halves of the data give the same clusters in whatever order; after relabel most rows keep their number."""
    x = load("faithful")
    odd, even = (GaussianMixture(2, init_params="kmeans", random_state=0).fit(x[i::2]) for i in (0, 1))
    flipped = GaussianMixture.from_parameters(odd.weights_[::-1], odd.means_[::-1], odd.covariances_[::-1])
    even.relabel(like=flipped)
    # Old Faithful's two clusters hardly overlap.
    assert (even.predict(x) == flipped.predict(x)).mean() > 0.98


@pytest.mark.parametrize("name", NAMES)
def test_the_distance_is_the_overlap(name: str) -> None:
    p = parameters(name, np.random.default_rng(0), 3, 2, spread=1.0)
    distance = bhattacharyya(to_mixture(name, p), to_mixture(name, p))
    np.testing.assert_allclose(distance.diagonal(), 0, atol=1e-12)
    np.testing.assert_allclose(distance, distance.T, rtol=1e-12)
    one, two = (multivariate_normal(p.means[k], p.covariances[k]) for k in (0, 1))
    overlap, _ = dblquad(lambda y, x: np.sqrt(one.pdf([x, y]) * two.pdf([x, y])), -15, 15, -15, 15, epsabs=1e-5)
    # As exact as the quadrature.
    assert float((-distance[0, 1]).exp()) == pytest.approx(overlap, abs=1e-4)


def test_affine_changes_change_nothing() -> None:
    rng = np.random.default_rng(1)
    a, b = (parameters("full", rng, 4, 3) for _ in range(2))
    turn, shift = rng.normal(size=(3, 3)) * np.array([1e-6, 1.0, 1e5])[:, None], rng.normal(size=3)
    moved = [
        to_mixture("full", p._replace(means=p.means @ turn.T + shift, covariances=turn @ p.covariances @ turn.T))
        for p in (a, b)
    ]
    plain = [to_mixture("full", p) for p in (a, b)]
    np.testing.assert_array_equal(matching(*moved), matching(*plain))
    # Cholesky factors of matrices with a condition number of about 1e6 after scaling.
    np.testing.assert_allclose(bhattacharyya(*moved), bhattacharyya(*plain), rtol=1e-6)


def spherical(means: Any, weights: Any = None) -> GaussianMixture:
    k = len(means)
    return GaussianMixture.from_parameters(
        np.full(k, 1 / k) if weights is None else weights, np.reshape(means, (k, -1)), np.ones(k), "spherical"
    )


def test_a_far_component_does_not_pull_close_pairs_apart() -> None:
    # Summed squared distances would swap them: 4² + 36² beats 0² + 40².
    model = spherical([0.0, 40.0]).relabel(like=spherical([0.0, 4.0 - 4.0 + 1e-3]))
    assert sorted(model.means_.ravel().tolist()) == [0.0, 40.0]
    model = spherical([30.0, 0.0]).relabel(like=spherical([0.0, -50.0]))
    np.testing.assert_array_equal(model.means_.ravel(), [0.0, 30.0])


def test_without_overlap_the_nearest_decides() -> None:
    model = spherical([100.0, 1000.0]).relabel(like=spherical([1200.0, 300.0]))
    np.testing.assert_array_equal(model.means_.ravel(), [1000.0, 100.0])


def test_more_components_than_the_other() -> None:
    model = spherical([0.0, 10.0, 20.0, 30.0], [0.1, 0.2, 0.3, 0.4]).relabel(like=spherical([20.5, 0.5]))
    np.testing.assert_array_equal(model.means_.ravel(), [20.0, 0.0, 30.0, 10.0])


def test_fewer_components_than_the_other() -> None:
    model = spherical([0.0, 10.0]).relabel(like=spherical([10.0, 5.0, -5.0, 0.0]))
    np.testing.assert_array_equal(model.means_.ravel(), [10.0, 0.0])


def test_a_dropped_component_comes_last() -> None:
    model = spherical([0.1, 0.0, 9.0], [0.0, 0.5, 0.5]).relabel(like=spherical([0.1, 9.0]))
    np.testing.assert_array_equal(model.means_.ravel(), [0.0, 9.0, 0.1])
    np.testing.assert_array_equal(model.weights_, [0.5, 0.5, 0.0])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_findings_follow() -> None:
    x = np.vstack([np.random.default_rng(0).normal(size=(60, 2)), np.full((30, 2), 12.0)])
    model = GaussianMixture(2, init_params="kmeans", random_state=0).fit(x)
    bad = {f.component for f in model.diagnose() if f.component is not None}
    assert bad == {1}
    count = len(model.diagnose())
    model.relabel(like=spherical(model.means_[::-1]))
    assert len(model.diagnose()) == count
    assert {f.component for f in model.diagnose() if f.component is not None} == {0}
    assert all(f.message.startswith("Component 0 ") for f in model.diagnose() if f.component is not None)


def test_every_model_can_be_followed() -> None:
    x = load("iris")
    want = fitted().means_
    search = MixtureSearch((3,), "full", estimator=fitted(), random_state=0).fit(x)
    for like in (fitted(), fitted().mixture_, search):
        np.testing.assert_array_equal(fitted().relabel(like=like).means_, want)
    # Another structure: setosa, the cluster with small petals, is the clear one.
    other = fitted(name="tied_diag")
    assert fitted().relabel(like=other).means_[:, 2].argmin() == other.means_[:, 2].argmin()


def test_tensors_stay_tensors() -> None:
    x = torch.tensor(load("iris"), dtype=torch.float32)
    model = GaussianMixture(2, init_params="kmeans", random_state=0).fit(x)
    means = model.means_.flip(0)
    model.relabel(like=GaussianMixture.from_parameters([0.5, 0.5], means, np.ones(2), "spherical"))
    assert model.means_.dtype == torch.float32
    torch.testing.assert_close(model.means_, means, rtol=0, atol=0)


def test_what_cannot_be_followed_changes_nothing() -> None:
    model = fitted(2)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="like has 1 features, this model 4"):
        model.relabel(like=spherical([0.0, 1.0]))
    for like in (GaussianMixture(2), None, "other"):
        with pytest.raises(TypeError, match="expected a fitted mixture"):
            model.relabel(like=like)
    assert vars(model) == before
    with pytest.raises(NotFittedError):
        GaussianMixture(2).relabel(like=model)


def test_other_columns_are_refused() -> None:
    one, two = (
        GaussianMixture(1).fit(pd.DataFrame(load("faithful"), columns=names)) for names in (["a", "b"], ["b", "a"])
    )
    with pytest.raises(ValueError, match=r"like was fitted on the features \['b', 'a'\]"):
        one.relabel(like=two)
    one.relabel(like=GaussianMixture(1).fit(load("faithful")))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_singular_components_can_be_matched() -> None:
    x = np.vstack([np.zeros((20, 2)), np.ones((20, 2))])
    model, like = (GaussianMixture(2, init_params="kmeans", random_state=0).fit(rows) for rows in (x, x[::-1]))
    model.relabel(like=like)
    np.testing.assert_array_equal(model.means_, like.means_)
