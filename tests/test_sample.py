"""Sample: rows drawn from a fitted model, beside what scikit-learn's does."""

import numpy as np
import pytest
import sklearn.mixture
import torch
from cases import NAMES, parameters
from comparison.sets import load
from oracle import PUBLISH

from mixtura import GaussianMixture


def three(name: str = "full") -> GaussianMixture:
    p = parameters(name, np.random.default_rng(4), 3, 2)
    return GaussianMixture.from_parameters(p.weights, p.means, PUBLISH[name](p.covariances), name)


@pytest.mark.parametrize("name", NAMES)
def test_moments_of_the_whole(name: str) -> None:
    model = three(name)
    n = 50_000
    rows, labels = model.sample(n, random_state=1)
    assert labels.dtype == np.int64
    mean = model.weights_ @ model.means_
    dense = model.mixture_.covariance.dense()[0].expand(3, 2, 2).numpy()
    offset = model.means_ - mean
    covariance = np.einsum("k,kij->ij", model.weights_, dense + offset[:, :, None] * offset[:, None, :])
    sd = np.sqrt(np.diag(covariance))
    # Five standard errors; fourth moments of a mixture this spread stay below those of a Gaussian, 3 sd⁴.
    assert (np.abs(rows.mean(0) - mean) < 5 * sd / np.sqrt(n)).all()
    assert (np.abs(np.cov(rows.T) - covariance) < 5 * np.outer(sd, sd) * np.sqrt(2 / n)).all()


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_dropped_component_is_never_drawn(shuffle: bool) -> None:
    model = GaussianMixture.from_parameters([0.5, 0.0, 0.5], [[0.0], [50.0], [9.0]], [1.0, 1.0, 1.0], "spherical")
    rows, labels = model.sample(5000, random_state=0, shuffle=shuffle)
    assert set(labels.tolist()) == {0, 2}
    assert rows.max() < 40


def test_it_means_what_scikit_learn_s_means() -> None:
    x = load("faithful")
    theirs = sklearn.mixture.GaussianMixture(2, random_state=0).fit(x)
    ours = GaussianMixture.from_parameters(theirs.weights_, theirs.means_, theirs.covariances_)
    ours.random_state = 0
    (a, la), (b, lb) = theirs.sample(300), ours.sample(300)
    assert (a.shape, la.shape, a.dtype) == (b.shape, lb.shape, b.dtype)
    for labels in (la, lb):
        np.testing.assert_array_equal(labels, np.sort(labels))
    # Counts of 300 draws: five standard errors of a share.
    assert np.abs(np.bincount(lb) / 300 - theirs.weights_).max() < 5 * 0.5 / np.sqrt(300)
    # An integer seed draws the same each time, as theirs.
    np.testing.assert_array_equal(theirs.sample(5)[0], theirs.sample(5)[0])
    np.testing.assert_array_equal(ours.sample(5)[0], ours.sample(5)[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_kind_of_the_data_comes_back(dtype: torch.dtype) -> None:
    x = torch.tensor(load("faithful"), dtype=dtype)
    rows, labels = GaussianMixture(2, init_params="kmeans", random_state=0).fit(x).sample(20)
    assert (rows.dtype, labels.dtype) == (dtype, torch.int64)
    single = GaussianMixture(2, init_params="kmeans", random_state=0).fit(load("faithful").astype(np.float32))
    assert single.sample(4)[0].dtype == np.float32


def test_the_seed_is_the_same_for_every_kind() -> None:
    """The numbers are drawn in float64 on the CPU, whatever comes back."""
    params = {"n_components": 2, "init_params": "kmeans", "random_state": 0}
    array = GaussianMixture(**params).fit(load("faithful")).sample(10)
    tensor = GaussianMixture(**params).fit(torch.tensor(load("faithful"))).sample(10)
    np.testing.assert_array_equal(array[0], tensor[0].numpy())
    np.testing.assert_array_equal(array[1], tensor[1].numpy())


def test_generators_advance_and_global_state_does_not() -> None:
    model = three()
    generator = torch.Generator().manual_seed(1)
    before = torch.get_rng_state()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = model.sample(6, generator), model.sample(6, generator)
    assert not np.array_equal(first[0], second[0])
    model.sample(6)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
