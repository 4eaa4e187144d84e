"""Survey: facts about rows, the canonical sample, scales and grids."""

import numpy as np
import pytest
import torch
from cases import Cut, tensor

from mixtura.data import Array
from mixtura.survey import CLIP, CROWD, SAMPLE, Reservoir, Sample, grid_step, robust_scale, sorted_rows, survey


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(300, 3)) * [1, 100, 1e-3] + [0, 1e4, -5]


# ---- facts


def test_facts_are_those_of_the_rows(X):
    weight = np.random.default_rng(1).uniform(0.1, 2, size=300)
    facts = survey(Array(X, weight), 0)
    assert facts.rows == facts.distinct == 300
    assert facts.weight == pytest.approx(weight.sum(), rel=1e-14)
    np.testing.assert_allclose(facts.mean.numpy(), np.average(X, axis=0, weights=weight), rtol=1e-13)
    np.testing.assert_array_equal(facts.low.numpy(), X.min(0))
    np.testing.assert_array_equal(facts.high.numpy(), X.max(0))
    want = np.cov(X.T, aweights=weight, ddof=0)
    np.testing.assert_allclose(facts.covariance.numpy(), want, rtol=1e-9, atol=1e-12 * want.max())
    assert facts.complete
    assert facts.constant == []
    assert facts.step.tolist() == [0, 0, 0]


def test_rows_of_weight_zero_are_absent(X):
    weight = np.ones(300)
    weight[::3] = 0
    spoilt = X.copy()
    spoilt[::3] = 1e9
    a, b = survey(Array(spoilt, weight), 0), survey(Array(X[weight > 0]), 0)
    assert (a.rows, a.weight, a.distinct) == (b.rows, b.weight, b.distinct)
    for name in ("mean", "low", "high", "scale", "covariance", "step"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-14, atol=0)
    assert torch.equal(a.sample.x, b.sample.x)


def test_no_weight_at_all_is_an_error(X):
    with pytest.raises(ValueError, match="sample_weight is zero for every row"):
        survey(Array(X, np.zeros(300)), 0)


def test_weights_are_duplicates(X):
    times = np.random.default_rng(2).integers(0, 4, size=300)
    a, b = survey(Array(X, times.astype(float)), 0), survey(Array(np.repeat(X, times, axis=0)), 0)
    assert a.weight == b.weight
    assert torch.equal(a.sample.x, b.sample.x)
    torch.testing.assert_close(a.sample.weight, b.sample.weight)
    for name in ("mean", "scale", "covariance", "step"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-12, atol=0)


def test_constant_columns_are_found(X):
    X[:, 1] = 7.0
    facts = survey(Array(X), 0)
    assert facts.constant == [1]
    assert float(facts.step[1]) == 0
    assert float(facts.covariance[1, 1]) < 1e-25


@pytest.mark.parametrize("size", [1, 17, 299, 300])
def test_facts_do_not_depend_on_blocks(X, size):
    weight = np.random.default_rng(1).uniform(size=300)
    a, b = survey(Array(X, weight), 0), survey(Cut(Array(X, weight), size), 0)
    assert torch.equal(a.sample.x, b.sample.x)
    torch.testing.assert_close(a.sample.weight, b.sample.weight, rtol=1e-14, atol=0)
    for name in ("mean", "low", "high", "scale", "covariance", "step"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-11, atol=1e-14)


# ---- the sample


def test_the_sample_is_canonical():
    X = np.array([[2.0, 1], [0, 5], [2, 1], [0, -1], [9, 9], [0, 5], [2, 1]])
    sample = survey(Array(X, np.array([1.0, 2, 3, 4, 0, 5, 6])), 0).sample
    assert sample.x.tolist() == [[0, -1], [0, 5], [2, 1]]
    assert sample.weight.tolist() == [4, 7, 10]


@pytest.mark.parametrize("values", [2, 3, 30, 10**6])
@pytest.mark.parametrize("columns", [1, 2, 4])
def test_rows_are_sorted_by_one_column_after_the_other(values, columns):
    X = np.random.default_rng([values, columns]).integers(0, values, size=(200, columns)).astype(float)
    order, new = sorted_rows(X)
    np.testing.assert_array_equal(order, np.lexsort(X.T[::-1]))
    np.testing.assert_array_equal(new, np.append(True, (np.diff(X[order], axis=0) != 0).any(1)))


def test_negative_zero_is_zero():
    facts = survey(Array(np.array([[0.0, 1], [-0.0, 1], [1.0, -0.0], [1.0, 0.0]])), 0)
    assert facts.distinct == 2


def test_the_sample_does_not_depend_on_the_order_of_rows(X):
    a = survey(Array(X), 0).sample
    b = survey(Array(X[np.random.default_rng(3).permutation(300)]), 0).sample
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.weight, b.weight)


@pytest.mark.parametrize("rows", [SAMPLE, SAMPLE + 1, 12_000])
@pytest.mark.parametrize("size", [100, 4999, 5000, 7001])
def test_a_sample_of_many_rows_does_not_depend_on_blocks(rows, size):
    rng = np.random.default_rng(4)
    X, weight = rng.normal(size=(rows, 2)), rng.uniform(0.1, 5, size=rows)
    a, b = survey(Array(X, weight), 9), survey(Cut(Array(X, weight), size), 9)
    assert a.complete == (rows <= SAMPLE)
    assert len(a.sample.x) == min(rows, SAMPLE)
    assert torch.equal(a.sample.x, b.sample.x)
    assert torch.equal(a.sample.weight, b.sample.weight)
    if rows > SAMPLE:
        assert bool((a.sample.weight == 1).all())  # drawn by weight, so each row stands for as much
        assert not torch.equal(a.sample.x, survey(Array(X, weight), 10).sample.x)


def test_a_sample_of_many_rows_does_not_depend_on_absent_ones():
    """Rows of weight 0 change neither which rows are drawn nor what blocks mean."""
    rng = np.random.default_rng(5)
    X, weight = rng.normal(size=(12_000, 2)), rng.integers(0, 2, size=12_000).astype(float)
    weight[:7000] = 1
    whole = survey(Array(X, weight), 9).sample
    assert torch.equal(whole.x, survey(Cut(Array(X, weight), 700), 9).sample.x)
    assert torch.equal(whole.x, survey(Cut(Array(X[weight > 0]), 700), 9).sample.x)


def test_rows_are_drawn_by_weight():
    rows = 20_000
    X = np.arange(float(rows))[:, None]
    weight = np.where(np.arange(rows) % 2, 3.0, 1.0)
    weight[:10] = 1e9
    sample = survey(Array(X, weight), 0).sample
    at = sample.x[:, 0].long()
    assert bool((at[:10] == torch.arange(10)).all())
    odd = float((at % 2).double().mean())
    # Without replacement at a quarter of all rows; inclusion is 1 − exp(−w t) with t solving the total: 0.71 odd.
    assert 0.69 < odd < 0.73


def test_a_reservoir_is_exact_to_its_brim():
    reservoir = Reservoir(1, 0, 500)
    for start in range(0, 500, 100):
        x = torch.arange(start, start + 100).double()[:, None]
        reservoir.add(x, torch.full((100,), 2.0).double())
    crowd = reservoir.crowd()
    assert torch.equal(crowd.x[:, 0].sort().values, torch.arange(500).double())
    assert torch.equal(crowd.weight, torch.full((500,), 2.0).double())
    reservoir.add(torch.full((1, 1), 500.0).double(), torch.full((1,), 2.0).double())
    assert torch.equal(reservoir.crowd().weight, torch.ones(500).double())


@pytest.mark.parametrize("rows", [SAMPLE + 7, CROWD + 1000])
def test_the_sample_is_the_first_part_of_the_crowd(rows):
    rng = np.random.default_rng(10)
    X, weight = rng.normal(size=(rows, 2)), rng.uniform(0.5, 2, size=rows)
    facts = survey(Array(X, weight), 3)
    assert len(facts.crowd.x) == min(rows, CROWD)
    first = facts.crowd.x[:SAMPLE]
    assert torch.equal(first[np.lexsort(first.T.numpy()[::-1])], facts.sample.x)
    if rows > CROWD:
        assert bool((facts.crowd.weight == 1).all())
    else:  # nobody was left out, so rows keep their weights
        assert float(facts.crowd.weight.sum()) == pytest.approx(weight.sum(), rel=1e-12)


# ---- scales


def scale_of(X, weight=None):
    return robust_scale(Sample(tensor(X), tensor(np.ones(len(X)) if weight is None else weight))).numpy()


@pytest.mark.parametrize("rows", [2, 3, 4, 5, 99, 100])
def test_scale_is_the_squared_interquartile_range(rows):
    X = np.random.default_rng(rows).normal(size=(rows, 2))
    low, high = np.quantile(X, [0.25, 0.75], axis=0, method="inverted_cdf")
    np.testing.assert_allclose(scale_of(X), np.where(high > low, (high - low) ** 2, scale_of(X)), rtol=1e-13)
    assert (scale_of(X) > 0).all()


def test_weighted_quantiles_are_those_of_duplicates():
    rng = np.random.default_rng(6)
    for _ in range(20):
        X, times = rng.normal(size=(11, 2)), rng.integers(1, 5, size=11)
        np.testing.assert_array_equal(scale_of(X, times), scale_of(np.repeat(X, times, axis=0)))


def test_a_far_outlier_does_not_move_the_scale():
    X = np.random.default_rng(7).normal(size=(200, 1))
    far = X.copy()
    far[0] = 1e9
    assert scale_of(far)[0] == pytest.approx(scale_of(X)[0], rel=0.2)


def test_a_column_without_a_middle_takes_what_there_is():
    X = np.zeros((100, 3))
    X[:, 0] = np.random.default_rng(8).normal(size=100)
    X[0, 1] = 5.0  # varies, but its quartiles do not: the smaller of its variance and the smallest range
    own, sparse, constant = scale_of(X)
    assert sparse == pytest.approx(min(np.var(X[:, 1]), own))
    assert constant == own
    assert scale_of(X[:, 1:])[0] == pytest.approx(np.var(X[:, 1]))
    assert scale_of(X[:, 1:])[1] == pytest.approx(np.var(X[:, 1]))
    assert scale_of(np.full((4, 2), 3.0)).tolist() == [1, 1]


@pytest.mark.parametrize("scale", [1e-9, 3.0, 1e8])
def test_the_floor_follows_the_units(X, scale):
    one, scaled = survey(Array(X), 0), survey(Array(X * scale), 0)
    np.testing.assert_allclose(scaled.least.numpy(), scale**2 * one.least.numpy(), rtol=1e-9)
    np.testing.assert_allclose(one.least.numpy(), CLIP * one.scale.numpy(), rtol=0)


# ---- grids

RNG = np.random.default_rng(9)


@pytest.mark.parametrize(
    ("column", "step"),
    [
        (RNG.integers(0, 256, size=400), 1.0),
        (RNG.integers(0, 50, size=400) * 2 + 1, 2.0),
        (RNG.integers(-30, 30, size=400) / 10, 0.1),
        (RNG.integers(0, 1000, size=400) * 0.1, 0.1),
        (RNG.integers(0, 60, size=400) / 60, 1 / 60),
        ((RNG.integers(0, 100, size=400) * 0.1 + 3).astype(np.float32), 0.1),
        (1e6 + RNG.integers(0, 100, size=400) * 0.25, 0.25),
        (RNG.integers(0, 2, size=400), 1.0),
        (RNG.normal(size=400), 0.0),
        (np.exp(RNG.normal(size=400) * 4), 0.0),
        (RNG.uniform(size=400).astype(np.float32), 0.0),
        (np.full(400, 3.0), 0.0),
        (np.append(RNG.integers(0, 10, size=400), 0.5 + 1 / 7), 0.0),
        (np.append(RNG.integers(0, 10, size=400), 1e9), 0.0),
        (np.append(RNG.normal(size=400), 1e12), 0.0),
        (1e8 + RNG.normal(size=400), 0.0),
    ],
)
def test_grid_step(column, step):
    assert grid_step(column.astype(np.float64)) == pytest.approx(step, rel=1e-3)


def test_a_grid_is_seen_through_rounding():
    """Tenths reached in different ways differ in the last digit and are the same number still."""
    column = np.concatenate([np.arange(100) / 10, np.arange(100) * 0.1])
    assert len(np.unique(column)) > 100
    assert grid_step(column) == pytest.approx(0.1, rel=1e-3)
