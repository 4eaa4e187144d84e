"""Hierarchy: agglomeration against loops, and the start that is made of it."""

import numpy as np
import pytest
import torch
from cases import tensor

from mixtura import GaussianMixture
from mixtura.hierarchy import Groups, agglomerate
from mixtura.start import STARTS, Draw, hierarchical, totals
from mixtura.survey import Sample


def value(n, scatter, prior):
    """n log|S| of one group, by the definition."""
    d = len(scatter)
    return n * np.linalg.slogdet((scatter + (d + 2) * prior * np.eye(d)) / (n + d + 2))[1]


def merged(a, b):
    n = a[0] + b[0]
    gap = a[1] - b[1]
    return n, (a[0] * a[1] + b[0] * b[1]) / n, a[2] + b[2] + a[0] * b[0] / n * np.outer(gap, gap)


def by_loops(n, mean, scatter, components, prior):
    """Agglomeration of one restart: every pair is tried at every step."""
    groups = {i: ((n[i], mean[i], scatter[i]), [i]) for i in range(len(n)) if n[i] > 0}
    while len(groups) > components:
        pairs = [(i, j) for i in groups for j in groups if i < j]
        rise = {}
        for i, j in pairs:
            (a, _), (b, _) = groups[i], groups[j]
            both = merged(a, b)
            rise[i, j] = value(both[0], both[2], prior) - value(a[0], a[2], prior) - value(b[0], b[2], prior)
        i, j = min(pairs, key=rise.get)
        (a, mine), (b, theirs) = groups[i], groups.pop(j)
        groups[i] = (merged(a, b), mine + theirs)
    return {frozenset(members) for _, members in groups.values()}


@pytest.mark.parametrize("singletons", [True, False])
def test_agglomeration_is_that_of_the_definition(singletons):
    rng = np.random.default_rng(0)
    n = rng.uniform(1, 9, size=(2, 9))
    mean = rng.normal(size=(2, 9, 3))
    root = rng.normal(size=(2, 9, 3, 3)) * (0 if singletons else 0.5)
    scatter = root @ root.swapaxes(-1, -2) * n[..., None, None]
    n[1, 4] = 0  # a group without rows
    groups = Groups(tensor(n), tensor(mean), tensor(scatter))
    before = [t.clone() for t in groups]
    found = agglomerate(groups, 3, 0.2)
    for r in range(2):
        sets = {k: frozenset(np.flatnonzero((found[r].numpy() == k) & (n[r] > 0)).tolist()) for k in range(3)}
        assert set(sets.values()) == by_loops(n[r], mean[r], scatter[r], 3, 0.2)
    assert all(torch.equal(a, b) for a, b in zip(groups, before, strict=True)), "its input is left alone"


def test_totals_are_sums_over_each_groups_rows():
    rng = np.random.default_rng(5)
    phi, labels = rng.normal(size=(4, 50)), rng.integers(0, 5, size=(3, 50))
    found = totals(tensor(phi), torch.from_numpy(labels), 6)
    for r in range(3):
        want = np.stack([phi[:, labels[r] == k].sum(1) for k in range(6)])  # nobody is in the sixth
        np.testing.assert_allclose(found[r].numpy(), want, rtol=0, atol=1e-13)


def test_fewer_groups_than_components_are_kept():
    n = tensor([[3.0, 0.0, 2.0]])
    found = agglomerate(Groups(n, tensor(np.eye(3)[None]), torch.zeros(1, 3, 3, 3).double()), 3, 1.0)
    assert found[0, [0, 2]].tolist() == [0, 1]


@pytest.mark.parametrize("rows", [120, 900])
def test_separated_clusters_are_found(rows):
    """With every row a group of its own, and with groups that k-means makes first."""
    labels = np.arange(rows) % 4
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    X = 10 * corners[labels] + np.random.default_rng(1).normal(size=(rows, 2))
    draw = Draw(Sample(tensor(X), torch.ones(rows).double()), 4, 0, 2)
    found = hierarchical(draw).argmax(1).numpy()
    for r in range(2):
        pairs = set(zip(labels.tolist(), found[r].tolist(), strict=True))
        assert len(pairs) == 4, "each cluster is one group"


def test_long_thin_clusters_are_found():
    """Two parallel lines, at which k-means on the columns as they are fails."""
    rng = np.random.default_rng(2)
    labels = np.arange(200) % 2
    X = np.column_stack([rng.normal(size=200) * 30, labels * 3 + rng.normal(size=200) * 0.3])
    found = GaussianMixture(2, init_params="hierarchical", random_state=0).fit(X)
    assert len(set(zip(found.predict(X).tolist(), labels.tolist(), strict=True))) == 2


def test_a_weight_is_a_repetition():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(60, 2))
    weight = rng.integers(1, 4, size=60)
    once = GaussianMixture(3, init_params="hierarchical", random_state=0).fit(X, sample_weight=weight)
    often = GaussianMixture(3, init_params="hierarchical", random_state=0).fit(np.repeat(X, weight, axis=0))
    np.testing.assert_allclose(once.means_, often.means_, rtol=0, atol=1e-6)


def test_its_name_is_offered():
    assert STARTS["hierarchical"] is hierarchical
