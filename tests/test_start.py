"""Starts: seedings and k-means against loops, and mixtures from partitions."""

import numpy as np
import oracle
import pytest
import torch
from cases import NAMES, OFF, clusters, onehot, tensor
from sklearn.cluster import KMeans

from mixtura.covariance import STRUCTURES, Floor
from mixtura.draws import stream
from mixtura.em import Likelihood
from mixtura.kmeans import lloyd, nearest, one_hot, plusplus, squared_distances
from mixtura.start import STARTS, Draw, kmeans, mixture_from, partition, random_from_data, whiten
from mixtura.survey import Sample

EVERY = pytest.mark.parametrize("name", NAMES)
RULE = Likelihood(Floor())


def sample_of(X, weight=None):
    return Sample(tensor(X), torch.ones(len(X)).double() if weight is None else tensor(weight))


@pytest.fixture(scope="module")
def data():
    X, labels = clusters(np.random.default_rng(0), 240, 4, 2, apart=3.0)
    return X, labels


@pytest.fixture
def few_groups(monkeypatch):
    """Fewer groups than the data have rows, so that the hierarchical start draws some."""
    monkeypatch.setattr("mixtura.start.GROUPS", 64)


# ---- seeds


def greedy(X, weight, u):
    """Greedy k-means++ of one restart, by loops."""
    components, trials = u.shape
    centres, nearest = [], np.ones(len(X))
    for k in range(components):
        mass = np.cumsum(nearest * weight)
        drawn = [min(int((mass < u[k, t] * mass[-1]).sum()), len(X) - 1) for t in range(trials)]
        if k == 0:
            best = drawn[0]
        else:
            costs = [
                sum(w * min(n, ((x - X[i]) ** 2).sum()) for x, n, w in zip(X, nearest, weight, strict=True))
                for i in drawn
            ]
            best = drawn[int(np.argmin(costs))]
        centres.append(X[best])
        gap = ((X - X[best]) ** 2).sum(1)
        nearest = gap if k == 0 else np.minimum(nearest, gap)
    return np.stack(centres)


@pytest.mark.parametrize("weighted", [False, True])
def test_plusplus_is_the_greedy_seeding(data, weighted):
    X = data[0][:60]
    rng = np.random.default_rng(1)
    weight = rng.uniform(size=60) if weighted else np.ones(60)
    u = rng.uniform(size=(3, 4, 3))
    found = plusplus(sample_of(X, weight), tensor(u)).numpy()
    for r in range(3):
        np.testing.assert_array_equal(found[r], greedy(X, weight, u[r]))


def test_seeds_are_different_rows_while_there_are_any():
    X = np.repeat(np.arange(5.0)[:, None], 2, axis=1)
    u = torch.rand(20, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = plusplus(sample_of(X, [1, 9, 1, 1, 3]), u)
    assert all(sorted(c[:, 0].tolist()) == [0, 1, 2, 3, 4] for c in found)
    more = plusplus(sample_of(X), torch.rand(2, 8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    assert all(set(c[:, 0].tolist()) == {0, 1, 2, 3, 4} for c in more)


# ---- k-means


def test_kmeans_lowers_the_inertia_to_a_fixed_point(data):
    X, _ = data
    sample = sample_of(X)
    for seed in range(3):
        u = tensor(np.random.default_rng(seed).uniform(size=(2, 4, 3)))
        seeds = plusplus(sample, u)
        centres = lloyd(sample, seeds)
        for r in range(2):
            before, after = oracle.inertia(X, seeds[r].numpy()), oracle.inertia(X, centres[r].numpy())
            assert after <= before * (1 + 1e-12)
            nearest = [int(np.argmin([((x - c) ** 2).sum() for c in centres[r].numpy()])) for x in X]
            means = np.stack([X[np.array(nearest) == k].mean(0) for k in range(4)])
            np.testing.assert_allclose(centres[r].numpy(), means, rtol=0, atol=1e-12)


def test_kmeans_is_lloyds(data):
    X, _ = data
    rng = np.random.default_rng(2)
    weight = rng.uniform(0.1, 2, size=len(X))
    seeds = X[rng.choice(len(X), 4, replace=False)]
    theirs = KMeans(4, init=seeds, n_init=1, tol=0, max_iter=100, algorithm="lloyd").fit(X, sample_weight=weight)
    found = lloyd(sample_of(X, weight), tensor(seeds)[None])[0]
    np.testing.assert_allclose(found.numpy(), theirs.cluster_centers_, rtol=0, atol=1e-10)


def test_a_centre_without_rows_moves_to_a_far_row(data):
    X, _ = data
    seeds = np.concatenate([X[:2], np.full((2, 2), 1e6)])
    centres = lloyd(sample_of(X), tensor(seeds)[None])
    counts = partition(centres, sample_of(X)).sum(-1)
    assert bool((counts > 0).all())
    assert oracle.inertia(X, centres[0].numpy()) < oracle.inertia(X, X[:2])


def test_more_centres_than_rows_end():
    centres = lloyd(sample_of(np.array([[0.0], [1.0], [1.0]])), tensor([[[0.0], [1.0], [5.0], [7.0]]]))
    assert bool(centres.isfinite().all())
    assert {0.0, 1.0} <= set(centres[0, :, 0].tolist())


def test_weights_are_duplicates_to_kmeans(data):
    X, _ = data
    rng = np.random.default_rng(3)
    times = rng.integers(1, 4, size=len(X))
    seeds = tensor(X[:4])[None]
    weighted = lloyd(sample_of(X, times), seeds)
    repeated = lloyd(sample_of(np.repeat(X, times, axis=0)), seeds)
    torch.testing.assert_close(weighted, repeated, rtol=0, atol=1e-12)


def test_squared_distances_do_not_cancel():
    x = tensor([[1e8, 0.0], [1e8 + 1, 1e-3]])
    got = squared_distances(x, x[None])
    assert got[0, 0, 0] == 0
    assert float(got[0, 0, 1]) == pytest.approx(1 + 1e-6, rel=1e-12)


# ---- partitions


@pytest.mark.parametrize("start", list(STARTS))
def test_every_start_shares_out_each_row(start, data, few_groups):
    r = STARTS[start](Draw(sample_of(data[0]), 4, 7, 3))
    assert r.shape == (3, 4, len(data[0]))
    torch.testing.assert_close(r.sum(1), torch.ones(3, len(data[0])).double())
    if start != "random":
        assert bool(((r == 0) | (r == 1)).all())
        assert bool((r.sum(-1) > 0).all())
    assert not torch.equal(r[0], r[1])


@pytest.mark.parametrize("start", list(STARTS))
def test_a_restart_has_its_own_stream(start, data, few_groups):
    """The number of restarts changes none of them."""
    sample = sample_of(data[0])
    few, many = STARTS[start](Draw(sample, 3, 7, 2)), STARTS[start](Draw(sample, 3, 7, 5))
    assert torch.equal(few, many[:2])
    assert torch.equal(few, STARTS[start](Draw(sample, 3, 7, 2)))
    assert not torch.equal(few, STARTS[start](Draw(sample, 3, 8, 2)))


@pytest.mark.parametrize("start", list(STARTS))
def test_one_component_takes_all(start, data):
    assert bool((STARTS[start](Draw(sample_of(data[0]), 1, 0, 2)) == 1).all())


def test_kmeans_finds_separated_clusters():
    X, labels = clusters(np.random.default_rng(4), 90, 3, 2, apart=30.0)
    r = kmeans(Draw(sample_of(X), 3, 0, 4))
    for one in r:
        found = one.argmax(0).numpy()
        assert len({(int(a), int(b)) for a, b in zip(found, labels, strict=True)}) == 3


def test_rows_from_the_data_are_drawn_by_weight_and_differ():
    X = np.arange(6.0)[:, None] * 10
    weight = np.array([8.0, 1, 1, 1, 1, 1e-9])
    r = random_from_data(Draw(sample_of(X, weight), 3, 0, 300))
    assert bool((r.sum(-1) > 0).all())  # three different rows: nobody's cluster is empty
    single = random_from_data(Draw(sample_of(X, weight), 2, 0, 300))
    # A row is in a cluster of its own or the boundary lies beside it; row 0 is drawn first with probability 8/12.
    key = -np.log1p(-np.stack([stream(0, "random_from_data", k).random(6) for k in range(300)])) / weight
    assert abs((key.argmin(1) == 0).mean() - 8 / 12) < 0.1
    assert (key.argsort(1)[:, :2] != 5).all()
    assert single.shape == (300, 2, 6)


# ---- mixtures from partitions


@EVERY
@pytest.mark.parametrize("weighted", [False, True])
def test_a_partition_in_large_clusters_gives_the_m_step(name, weighted, data):
    X, labels = data
    rng = np.random.default_rng(5)
    weight = rng.uniform(0.5, 2, size=len(X)) if weighted else np.ones(len(X))
    soft = rng.dirichlet(np.ones(4), size=len(X))
    for r in (onehot(labels, 4), soft):
        unit = STRUCTURES[name].unit(1, 4, 2)
        found = mixture_from(tensor(r.T)[None], sample_of(X, weight), unit, RULE)
        want = oracle.m_step(name, X, r, weight)
        np.testing.assert_allclose(found.log_weight[0].exp().numpy(), want.weights, rtol=1e-12)
        np.testing.assert_allclose(found.mean[0].numpy(), want.means, rtol=1e-12, atol=1e-12)
        dense = found.covariance.dense()[0].expand(4, -1, -1).numpy()
        np.testing.assert_allclose(dense, want.covariances, rtol=1e-10, atol=max(1e-12, 10 * OFF.get(name, 0)))


def test_small_clusters_are_shrunk_towards_the_pooled_covariance():
    X, _ = clusters(np.random.default_rng(6), 60, 1, 3)
    labels = np.zeros(60, int)
    labels[:2] = 1
    r = onehot(labels, 2)
    found = mixture_from(tensor(r.T)[None], sample_of(X), STRUCTURES["full"].unit(1, 2, 3), RULE)
    scatter = np.stack([(len(g) - 1) * np.cov(g.T) for g in (X[2:], X[:2])])
    pooled = scatter.sum(0) / 60
    # Two rows in three dimensions: D + 2 rows' worth of the pooled covariance is mixed in.
    want = (scatter[1] + 5 * pooled) / (2 + 5)
    np.testing.assert_allclose(found.covariance.dense()[0, 1].numpy(), want, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.covariance.dense()[0, 0].numpy(), scatter[0] / 58, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.mean[0, 1].numpy(), X[:2].mean(0), rtol=1e-12)


@EVERY
def test_flat_clusters_do_not_start_singular(name):
    rng = np.random.default_rng(7)
    X = rng.normal(size=(80, 2))
    X[:40, 1] = 3.0  # forty rows on a line
    r = onehot(np.arange(80) // 40, 2)
    found = mixture_from(tensor(r.T)[None], sample_of(X), STRUCTURES[name].unit(1, 2, 2), RULE)
    assert float(torch.linalg.eigvalsh(found.covariance.dense())[..., 0].min()) > 1e-3


@EVERY
def test_a_cluster_without_rows_gets_no_weight(name, data):
    X, labels = data
    r = onehot(np.minimum(labels, 2), 4)
    found = mixture_from(tensor(r.T)[None], sample_of(X), STRUCTURES[name].unit(1, 4, 2), RULE)
    assert float(found.log_weight[0, 3]) == -torch.inf
    assert bool(found.log_weight[0, :3].isfinite().all())
    assert all(bool(t.isfinite().all()) for t in (found.mean, *found.covariance.leaves()))


@EVERY
def test_restarts_start_independently(name, data):
    X, labels = data
    rng = np.random.default_rng(8)
    r = tensor(np.stack([onehot(rng.permutation(labels), 4).T for _ in range(3)]))
    unit = STRUCTURES[name].unit(1, 4, 2)
    every = mixture_from(r, sample_of(X), unit, RULE)
    for k in range(3):
        alone = mixture_from(r[k : k + 1], sample_of(X), unit, RULE)
        for a, b in zip(every.take([k]).leaves(), alone.leaves(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@EVERY
def test_flat_sees_narrow_directions_not_small_units(name):
    rng = np.random.default_rng(9)
    X = rng.normal(size=(200, 2)) * [1, 1e-6] + np.arange(200)[:, None] // 100 * [9, 9e-6]
    labels = np.arange(200) // 100
    want = oracle.m_step(name, X, onehot(labels, 2), np.ones(200)).covariances
    found = mixture_from(tensor(onehot(labels, 2).T)[None], sample_of(X), STRUCTURES[name].unit(1, 2, 2), RULE)
    dense = found.covariance.dense()[0].expand(2, -1, -1).numpy()
    if name in ("EVE", "VVE"):
        # To the angle of 1e-6 that they have here, the oracle knows axes to a share of 1e-2.
        np.testing.assert_allclose(np.diagonal(dense, 0, 1, 2), np.diagonal(want, 0, 1, 2), rtol=1e-3)
        return
    np.testing.assert_allclose(dense, want, rtol=1e-9)


@EVERY
def test_clusters_far_apart_keep_their_digits(name):
    """Where Σ w xxᵀ about the origin would have lost them."""
    rng = np.random.default_rng(13)
    labels = np.arange(300) // 150
    X = rng.normal(size=(300, 2)) + 1e9 * (labels[:, None] - 0.5)
    want = oracle.m_step(name, X, onehot(labels, 2), np.ones(300)).covariances
    found = mixture_from(tensor(onehot(labels, 2).T)[None], sample_of(X), STRUCTURES[name].unit(1, 2, 2), RULE)
    # Rows at 5e8 are themselves rounded to 6e-8.
    np.testing.assert_allclose(found.covariance.dense()[0].expand(2, -1, -1).numpy(), want, rtol=1e-5, atol=1e-6)


def test_whitened_rows_are_uncorrelated_whatever_the_units():
    rng = np.random.default_rng(10)
    Z = rng.normal(size=(50, 3))
    X = Z @ rng.normal(size=(3, 3)) * [1e-6, 1, 1e6]
    weight = rng.uniform(0.5, 2, size=50)
    white = whiten(sample_of(X, weight)).x.numpy()
    np.testing.assert_allclose(np.cov(white.T, aweights=weight, bias=True), np.eye(3), atol=1e-9)
    gap = lambda z: ((z[:, None] - z) ** 2).sum(-1)  # noqa: E731
    # Mahalanobis distances are affine invariant.
    np.testing.assert_allclose(gap(whiten(sample_of(Z + 7, weight)).x.numpy()), gap(white), rtol=1e-6, atol=1e-6)


def test_flat_directions_are_left_out_of_whitening():
    rng = np.random.default_rng(11)
    X = rng.normal(size=(40, 2))
    X = np.column_stack([X, X.sum(1), np.full(40, 3.0)])
    assert whiten(sample_of(X)).x.shape == (40, 2)
    assert whiten(sample_of(np.ones((5, 2)))).x.shape == (5, 2)


def test_the_nearest_centre_is_the_nearest(data):
    X, _ = data
    centres = np.random.default_rng(12).normal(size=(2, 5, 2)) * 3
    score, at = nearest(tensor(X), tensor(centres))
    for r in range(2):
        gap = ((X[:, None] - centres[r]) ** 2).sum(-1)
        assert at[r].tolist() == gap.argmin(1).tolist()
        np.testing.assert_allclose(score[r].numpy() + (X**2).sum(1), gap.min(1), rtol=0, atol=1e-11)
    assert one_hot(at, 5).argmax(1).tolist() == at.tolist()
