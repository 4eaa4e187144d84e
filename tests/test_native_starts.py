"""Starts in the compiled library: the same as PyTorch's operations give, whoever computes them."""

from functools import partial

import numpy as np
import pytest
import torch
from cases import tensor

from mixtura import hierarchy, kmeans
from mixtura.hierarchy import Groups, agglomerate
from mixtura.kmeans import LLOYD, lloyd, nearest, plusplus
from mixtura.native import starts
from mixtura.native.library import Library, library
from mixtura.survey import Sample

pytestmark = pytest.mark.skipif(library().handle is None, reason=f"SKIPPED: {library().reason}")

KINDS = ("continuous", "weighted", "repeated", "grid")


def problem(kind, seed):
    """A sample of 1 to 300 rows of 1 to 6 columns, K up to 8, R of 1, 3 or 12, and uniform numbers for its seeding."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    rows, features = int(rng.integers(1, 300)), int(rng.integers(1, 7))
    components, restarts, trials = int(rng.integers(1, 9)), int(rng.choice([1, 3, 12])), int(rng.integers(1, 4))
    X, weight = rng.normal(size=(rows, features)), np.ones(rows)
    if kind in ("weighted", "repeated"):
        weight = rng.uniform(0.1, 3, size=rows)
    if kind == "repeated":
        X = X[rng.integers(0, -(-rows // 3), size=rows)]
    if kind == "grid":
        X = np.round(2 * X)
    return Sample(tensor(X), tensor(weight)), tensor(rng.uniform(size=(restarts, components, trials)))


def groups_of(seed, restarts=3, groups=None):
    """Groups of which some have no rows, and some no scatter."""
    rng = np.random.default_rng(seed)
    m, d = groups or int(rng.integers(1, 40)), int(rng.integers(1, 10))
    n = rng.uniform(0.5, 5, size=(restarts, m)) * (rng.random((restarts, m)) > 0.2 * (seed % 2))
    root = rng.normal(size=(restarts, m, d, d)) * (seed % 3 > 0)
    scatter = root @ root.swapaxes(-1, -2) * (rng.random((restarts, m)) > 0.3)[..., None, None]
    return Groups(tensor(n), tensor(rng.normal(size=(restarts, m, d))), tensor(scatter))


def distinct(x):
    return len(torch.unique(x, dim=0))


def inertia(sample, centres):
    """(R,), by the definition."""
    return (kmeans.squared_distances(sample.x, centres).amin(1) * sample.weight).sum(1)


# ---- the same as PyTorch's


@pytest.mark.parametrize("kind", ["continuous", "weighted", "repeated"])
@pytest.mark.parametrize("seed", range(25))
def test_seeds_are_the_same_rows(kind, seed):
    """Equal bits: centres are rows, and only rounding in a tie could choose others."""
    sample, u = problem(kind, seed)
    assert torch.equal(plusplus(sample, u), kmeans._plusplus_by_torch(sample, u))


@pytest.mark.parametrize("seed", range(25))
def test_ties_of_seeds_go_to_the_first(seed):
    """Whole numbers: everything is exact, so that costs tie often, and the first of the candidates must be kept."""
    sample, u = problem("grid", seed)
    found, x = plusplus(sample, u), sample.x
    for r in range(len(u)):
        gap = torch.ones(len(x)).double()
        for k in range(u.shape[1]):
            mass = (gap * sample.weight).cumsum(0)
            drawn = [min(int((mass < u[r, k, t] * mass[-1]).sum()), len(x) - 1) for t in range(u.shape[2])]
            each = [((x - x[i]) ** 2).sum(1) for i in (drawn if k else drawn[:1])]
            each = [torch.minimum(square, gap) for square in each] if k else each
            best = int(np.argmin([float(square @ sample.weight) for square in each]))
            assert torch.equal(found[r, k], x[drawn[best]])
            gap = each[best]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(25))
def test_rounds_end_at_the_same_centres(kind, seed):
    """To rounding: sums over rows are added in another order."""
    sample, u = problem(kind, seed)
    different = torch.unique(sample.x, dim=0)
    order = np.argsort(np.random.default_rng(seed).random((len(u), len(different))))
    seeds = different[torch.from_numpy(order[:, : u.shape[1]])]
    for rounds in (1, 3, LLOYD):
        found = lloyd(sample, seeds, rounds)
        torch.testing.assert_close(found, kmeans._lloyd_by_torch(sample, seeds, rounds), rtol=0, atol=1e-11)


@pytest.mark.parametrize("seed", range(25))
def test_more_centres_than_different_rows_end_at_the_rows(seed):
    """Which of the rows, all at distance 0, a superfluous centre takes is up to rounding; none is left uncovered."""
    sample, u = problem("repeated", seed)
    sample = Sample(sample.x[:5], sample.weight[:5])
    seeds = sample.x[torch.from_numpy(np.random.default_rng(seed).integers(0, len(sample.x), size=(len(u), 7)))]
    for found in (lloyd(sample, seeds), plusplus(sample, u[:, :1].expand(-1, 7, -1))):
        assert bool(found.isfinite().all())
        # A mean of equal rows is the row but for a few units in the last place, squared here.
        torch.testing.assert_close(inertia(sample, found), torch.zeros(len(u)).double(), rtol=0, atol=1e-28)


@pytest.mark.parametrize("seed", range(25))
def test_equal_centres_are_one_until_the_others_move(seed):
    """Rows go to the first of equal centres, so that the last is without rows and moves to the farthest row."""
    sample = problem("weighted", seed)[0]
    x, first = sample.x, sample.x[:1]
    far = ((x - first) ** 2).sum(1).argmax()
    found = lloyd(sample, first.expand(2, -1)[None], 1)[0]
    torch.testing.assert_close(found[0], (sample.weight @ x) / sample.weight.sum(), rtol=0, atol=1e-13)
    assert torch.equal(found[1], x[far])


@pytest.mark.parametrize("seed", range(10))
def test_far_centres_without_rows_move_alike(seed):
    sample, u = problem("weighted", seed)
    seeds = torch.cat([plusplus(sample, u), torch.full((len(u), 3, sample.x.shape[1]), 1e3).double()], 1)
    if seeds.shape[1] <= distinct(sample.x):
        torch.testing.assert_close(
            lloyd(sample, seeds), kmeans._lloyd_by_torch(sample, seeds, LLOYD), rtol=0, atol=1e-11
        )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(10))
def test_the_nearest_centres_are_the_same(kind, seed):
    """Labels are equal, for centres drawn apart from the rows are not equally far from one; scores are to rounding."""
    sample, u = problem(kind, seed)
    centres = tensor(np.random.default_rng(seed).normal(size=(*u.shape[:2], sample.x.shape[1])))
    (score, at), (want, label) = nearest(sample.x, centres), kmeans._nearest_by_torch(sample.x, centres)
    torch.testing.assert_close(score, want, rtol=1e-12, atol=1e-12)
    assert torch.equal(at, label)


def test_ties_go_to_the_first_centre():
    x = tensor(np.arange(40.0)[:, None])
    centres = tensor([[[30.0], [10.0], [10.0], [20.0]], [[5.0], [5.0], [5.0], [5.0]]])
    at = nearest(x, centres)[1]
    assert at[0].tolist() == [1] * 16 + [3] * 9 + [0] * 15
    assert at[1].tolist() == [0] * 40


@pytest.mark.parametrize("seed", range(30))
def test_the_same_groups_are_joined(seed):
    """Equal bits: the numbers of components, also of groups without rows."""
    groups = groups_of(seed)
    for components in (1, 3, 30):
        found = agglomerate(groups, components, 0.3)
        assert torch.equal(found, hierarchy._agglomerate_by_torch(groups, components, 0.3))


def test_ties_of_groups_go_to_the_first():
    """Equal groups, any two of which could be joined first."""
    groups = Groups(torch.ones(1, 6).double(), torch.zeros(1, 6, 2).double(), torch.zeros(1, 6, 2, 2).double())
    for components in (2, 4):
        found = agglomerate(groups, components, 0.3)
        assert torch.equal(found, hierarchy._agglomerate_by_torch(groups, components, 0.3))


def test_a_group_that_has_grown_wins_ties_as_if_it_had_always_been_so():
    """Two in one place become as heavy as the one on the other side of the first, which lies between them."""
    mean = tensor([[[0.0], [-0.3], [-0.3], [0.3]]])
    groups = Groups(tensor([[1.0, 2.0, 2.0, 4.0]]), mean, torch.zeros(1, 4, 1, 1).double())
    assert agglomerate(groups, 2, 0.3).tolist() == [[0, 0, 0, 1]]
    assert hierarchy._agglomerate_by_torch(groups, 2, 0.3).tolist() == [[0, 0, 0, 1]]


def test_groups_of_many_columns_and_tiny_variances_are_joined():
    """Determinants beyond what a float64 holds: their logarithms are taken a few pivots at a time."""
    rng = np.random.default_rng(0)
    n, mean = tensor(rng.uniform(1, 2, size=(1, 12))), tensor(1e-12 * rng.normal(size=(1, 12, 40)))
    groups = Groups(n, mean, torch.zeros(1, 12, 40, 40).double())
    found = agglomerate(groups, 4, 1e-24)
    assert torch.equal(found, hierarchy._agglomerate_by_torch(groups, 4, 1e-24))
    assert sorted(set(found[0].tolist())) == [0, 1, 2, 3]


# ---- whoever computes them


def every_start(monkeypatch, parts):
    """All functions on one problem, by so many threads."""
    monkeypatch.setattr(starts, "_parts", lambda restarts, cost: min(parts, restarts))
    sample, u = problem("weighted", 3)
    u = tensor(np.random.default_rng(1).uniform(size=(12, 5, 3)))
    seeds = plusplus(sample, u)
    return seeds, lloyd(sample, seeds), *nearest(sample.x, seeds), agglomerate(groups_of(7, 5, 30), 3, 0.3)


def test_threads_change_no_bit(monkeypatch):
    one = every_start(monkeypatch, 1)
    for parts in (2, 5):
        assert all(torch.equal(a, b) for a, b in zip(one, every_start(monkeypatch, parts), strict=True))


def test_restarts_change_no_other(monkeypatch):
    """Nor does where a slice of them ends."""
    whole = every_start(monkeypatch, 2)
    monkeypatch.setattr(starts, "SLICE", 1)
    assert all(torch.equal(a, b) for a, b in zip(whole, every_start(monkeypatch, 2), strict=True))
    sample, u = problem("continuous", 4)
    u = u[:1].expand(12, -1, -1)
    assert bool((lloyd(sample, plusplus(sample, u)) == lloyd(sample, plusplus(sample, u[:1]))).all())


def test_input_is_left_alone_and_may_lie_anyhow():
    sample, u = problem("weighted", 5)
    strided = Sample(sample.x.mT.contiguous().mT, sample.weight.repeat_interleave(2)[::2])
    turned = u.mT.contiguous().mT
    seeds = plusplus(sample, u)
    assert torch.equal(seeds, plusplus(strided, turned))
    before = seeds.clone()
    assert torch.equal(lloyd(sample, seeds), lloyd(strided, seeds.mT.contiguous().mT))
    assert torch.equal(seeds, before)


@pytest.mark.parametrize(
    "make",
    [
        lambda sample, u: plusplus(sample, u),
        lambda sample, u: lloyd(sample, sample.x[:2].repeat(len(u), 1, 1)),
        lambda sample, u: nearest(sample.x, sample.x[:2][None])[0],
        lambda sample, u: agglomerate(groups_of(2), 2, 0.3),
    ],
    ids=["plusplus", "lloyd", "nearest", "agglomerate"],
)
def test_without_the_library_the_definition_serves(make, monkeypatch):
    sample, u = problem("continuous", 6)
    compiled = make(sample, u)
    monkeypatch.setattr(starts, "library", partial(Library, None, "", "left out"))
    assert not starts.serves(sample.x)
    torch.testing.assert_close(make(sample, u), compiled, rtol=1e-12, atol=1e-12)


def test_only_float64_on_the_cpu_is_served():
    x = torch.ones(3, 2)
    assert starts.serves(x.double())
    assert not starts.serves(x)
    assert not starts.serves(x.double(), x.double().to("meta"))
    assert not starts.serves(x.double()[:0])
