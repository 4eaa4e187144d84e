"""Merging: clusters of components by entropy, beside loops over all pairs; what users do with them."""

import numpy as np
import oracle
import pytest
import torch
from cases import parameters, to_mixture
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score

from mixtura import GaussianMixture, Merged, MixtureSearch, merge, plot, scan
from mixtura.merging import bend


def model_of(p, name="full"):
    mixture = to_mixture(name, p)
    gm = GaussianMixture.from_parameters(np.array(p.weights), np.array(p.means), np.array(p.covariances), "full")
    assert mixture.shape == gm.mixture_.shape
    return gm


def entropy_of(t, w):
    return -float(sum(w[i] * sum(v * np.log(v) for v in t[i] if v > 0) for i in range(len(t))))


def by_loops(t, w):
    """Levels and entropies by trying every pair at every step."""
    groups, t = [[k] for k in range(t.shape[1])], t.copy()
    levels, found = [[list(g) for g in groups]], [entropy_of(t, w)]
    while t.shape[1] > 1:
        tried = {}
        for i in range(t.shape[1]):
            for j in range(i + 1, t.shape[1]):
                both = np.delete(t, j, 1)
                both[:, i] = t[:, i] + t[:, j]
                tried[i, j] = (entropy_of(both, w), both)
        i, j = min(tried, key=lambda pair: tried[pair][0])
        t = tried[i, j][1]
        groups[i] += groups.pop(j)
        levels.append([list(g) for g in groups])
        found.append(tried[i, j][0])
    return levels, found[::-1]


def overlapping(seed=0, rows=80, components=5):
    rng = np.random.default_rng(seed)
    p = parameters("full", rng, components, 2, spread=2.0)
    x = rng.normal(size=(rows, 2)) * 3
    return model_of(p), p, x, rng.uniform(0.2, 3, size=rows)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weighted", [False, True])
def test_clusters_are_those_of_loops(seed, weighted):
    gm, p, x, w = overlapping(seed)
    w = w if weighted else np.ones(len(x))
    levels, want = by_loops(oracle.responsibilities(x, p), w)
    merged = merge(gm, x, w if weighted else None)
    # Sums of 80 rows of a few terms.
    np.testing.assert_allclose(merged.entropy_, want, rtol=1e-9, atol=1e-9)
    for level in levels:
        found = merged.components(len(level))
        assert {frozenset(np.flatnonzero(found == c)) for c in range(len(level))} == set(map(frozenset, level))


def test_less_doubt_with_fewer_clusters():
    gm, _, x, w = overlapping(5, components=7)
    merged = merge(gm, x, w)
    assert (np.diff(merged.entropy_) >= -1e-9).all()
    assert merged.entropy_[0] == pytest.approx(0, abs=1e-9)


def test_levels_are_nested_and_numbered_by_weight():
    gm, _, x, _ = overlapping(2, components=6)
    merged = merge(gm, x)
    for count in range(2, 7):
        fine, coarse = merged.components(count), merged.components(count - 1)
        assert all(len(set(coarse[fine == c])) == 1 for c in range(count)), "a cluster is never divided"
        total = np.bincount(fine, weights=gm.weights_)
        assert (np.diff(total) <= 1e-12).all()


def test_a_weight_of_two_is_a_row_twice():
    gm, _, x, _ = overlapping(3)
    w = np.random.default_rng(0).integers(0, 3, size=len(x)).astype(float)
    once, twice = merge(gm, x, w), merge(gm, np.repeat(x, w.astype(int), axis=0))
    np.testing.assert_allclose(once.entropy_, twice.entropy_, rtol=1e-10, atol=1e-10)


def test_order_and_kind_of_rows_do_not_matter(tmp_path):
    gm, _, x, _ = overlapping(3)
    want = merge(gm, x).entropy_
    # One cluster has none, but for rounding.
    np.testing.assert_allclose(merge(gm, x[::-1].copy()).entropy_, want, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(merge(gm, torch.from_numpy(x)).entropy_, want, rtol=1e-12)
    np.save(tmp_path / "x.npy", x)
    np.testing.assert_allclose(merge(gm, scan(tmp_path / "x.npy")).entropy_, want, rtol=1e-12)


def test_posteriors_are_sums():
    gm, _, x, _ = overlapping(1)
    merged = merge(gm, x)
    for count in (1, 3, 5):
        level, found = merged.components(count), merged.predict_proba(x, count)
        want = np.stack([gm.predict_proba(x)[:, level == c].sum(1) for c in range(count)], 1)
        np.testing.assert_allclose(found, want, atol=1e-14)
        np.testing.assert_array_equal(merged.predict(x, count), want.argmax(1))
        tensor = merged.predict_proba(torch.from_numpy(x), count)
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_allclose(tensor.numpy(), want, atol=1e-14)
    assert merged.predict_proba(x).shape == (len(x), merged.n_clusters_)


def test_a_cluster_that_is_not_gaussian_comes_together():
    """Two rings' arcs and a ball: BIC takes several components for each arc, merging brings three clusters back."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, np.pi, size=(2, 400))
    arcs = [
        np.stack([np.cos(a) + shift, sign * np.sin(a)], 1)
        for a, shift, sign in zip(angle, (0, 6), (1, -1), strict=True)
    ]
    x = np.concatenate([*arcs, rng.normal(size=(400, 2)) * 0.3 + [3, 5]]) + rng.normal(size=(1200, 2)) * 0.08
    truth = np.repeat([0, 1, 2], 400)
    search = MixtureSearch(range(1, 12), "full", estimator=GaussianMixture(effort="quick"), random_state=0).fit(x)
    merged = merge(search, x)
    assert search.best_estimator_.n_components > 6
    assert merged.n_clusters_ in (3, 4)
    assert adjusted_rand_score(truth, merged.predict(x, 3)) > 0.99


def test_the_bend_is_where_two_lines_meet():
    assert bend(np.array([0, 1, 2, 12, 22.0])) == 3
    assert bend(np.array([0, 10, 20, 21, 22.0])) == 3
    assert bend(np.array([0, 0.1, 10, 20, 30.0])) == 2
    assert [bend(np.arange(k, dtype=float)) for k in (1, 2)] == [1, 2]


@pytest.mark.parametrize("components", [1, 2])
def test_few_components(components):
    x = np.random.default_rng(0).normal(size=(60, 2))
    merged = merge(GaussianMixture(components, random_state=0).fit(x), x)
    assert merged.n_clusters_ == components == len(merged.entropy_)
    assert merged.components(1).tolist() == [0] * components
    assert plot.merging(merged).get_xlabel() == "number of clusters"


def test_the_picture_shows_the_bend():
    gm, _, x, _ = overlapping(5, components=7)
    merged = merge(gm, x)
    ax = merged.plot()
    lines = {line.get_gid(): line for line in ax.lines}
    np.testing.assert_allclose(lines["entropy"].get_ydata(), merged.entropy_)
    assert lines["chosen"].get_xdata()[0] == merged.n_clusters_
    assert {"line 0", "line 1"} <= set(lines)
    with pytest.raises(ValueError, match=r"pass what mixtura\.merge"):
        plot.merging(gm)


@pytest.mark.parametrize("count", [0, 6, -1, 2.5, True, "two"])
def test_levels_that_are_not_there_are_refused(count):
    gm, _, x, _ = overlapping()
    with pytest.raises(ValueError, match=r"cannot be made of 5 components: give 1 to 5"):
        merge(gm, x).components(count)


def test_bad_input_is_refused():
    gm, _, x, _ = overlapping()
    with pytest.raises(NotFittedError):
        merge(GaussianMixture(), x)
    with pytest.raises(ValueError, match="features"):
        merge(gm, x[:, :1])
    with pytest.raises(ValueError, match="NaN"):
        merge(gm, np.full((3, 2), np.nan))
    assert "5 components" in repr(merge(gm, x))
    assert isinstance(merge(gm, x), Merged)
