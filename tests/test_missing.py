"""Rows with gaps: their count is the oracle's, EM climbs, and what is missing at random does no harm."""

import itertools

import numpy as np
import oracle
import pytest
import torch
from cases import NAMES, OFF, batch, clusters, cold, counted, parameters, punched, tensor, to_mixture, to_parameters

from mixtura import GaussianMixture, gaps
from mixtura.covariance import Floor
from mixtura.data import Array
from mixtura.e_step import Whitened
from mixtura.em import Likelihood, em, turn
from mixtura.family import Gaussian
from mixtura.missing import Marginal, filled
from mixtura.mixture import Mixture
from mixtura.rows import Rows, Scratch
from mixtura.survey import SAMPLE, survey

EVERY = pytest.mark.parametrize("name", NAMES)

NATS = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Error of the log likelihood, per row."""

SHARE = {torch.float64: 1e-12, torch.float32: 2e-5}
"""Error of a statistic, as a share of what all rows could add to it."""


def table(seed, rows, features, share=0.3, empty=2):
    """Rows of about the size of the test mixtures, exact in float32."""
    X = 3 * np.random.default_rng(seed).normal(size=(rows, features))
    return punched(X.astype(np.float32).astype(np.float64), share, seed, empty)


def same_moments(found, name, every, X, weight, dtype):
    total = len(X) if weight is None else weight.sum()
    filling = np.nan_to_num(X)
    for r, p in enumerate(every):
        want = oracle.moments_observed(X, p, weight)
        far = total * (1 + max(((filling - m) ** 2).sum(1).max() for m in p.means))
        assert abs(float(found.loglik[r, 0]) - want.loglik) < NATS[dtype] * total
        second = oracle.SECOND[name](want.scatter)
        pairs = ((found.n, want.n), (found.s0, want.s0), (found.s1, want.s1), (found.s2[0], second))
        for a, b in pairs:
            np.testing.assert_allclose(a[r].numpy(), b, rtol=0, atol=SHARE[dtype] * far)


# ---- rows by pattern


@pytest.mark.parametrize("features", [1, 3, 70])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_row_stands_in_one_group_with_what_it_has(features, weighted, monkeypatch):
    monkeypatch.setattr(gaps, "LONGEST", 7)
    X = table(1, 200, features, empty=3)
    X[50:120] = np.where(np.isnan(X[50]), np.nan, X[50:120])
    X = np.where(np.isnan(X[:, :1]) & (features > 1) & (np.arange(200) % 9 == 0)[:, None], np.nan, X)
    weight = torch.arange(200).double() if weighted else None
    groups = gaps.grouped(tensor(X).mT, weight)
    seen_rows = []
    for group in groups:
        real = group.at >= 0
        assert group.x.shape[2] <= 7
        assert bool(real.any(1).all())
        # Padding is less than the rows themselves.
        assert int((~real).sum()) <= int(real.sum())
        assert not bool(group.weight[~real].any())
        for m, pattern in enumerate(group.seen):
            rows = group.at[m, real[m]]
            seen_rows += rows.tolist()
            np.testing.assert_array_equal(~np.isnan(X[rows.numpy()]), pattern[None].expand(len(rows), -1).numpy())
            np.testing.assert_array_equal(np.nan_to_num(X[rows.numpy()]).T, group.x[:, m, real[m]].numpy())
            assert torch.equal(group.weight[m, real[m]], rows.double() if weighted else torch.ones(len(rows)).double())
    assert sorted(seen_rows) == list(range(200))


def test_no_rows_are_no_groups():
    assert gaps.grouped(torch.empty(3, 0)) == ()


# ---- the count


@EVERY
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 2), (3, 2, 4)], ids=str)
def test_the_count_is_the_oracle(name, shape, weighted, device, dtype):
    rng = np.random.default_rng([*shape, weighted])
    mixture, every = batch(name, rng, *shape)
    X = table(2, 30, shape[2])
    weight = rng.uniform(0, 3, size=30) if weighted else None
    origin = torch.full((shape[2],), 0.25).double()
    rows = Rows(Array(X, weight), dtype=dtype, device=device, origin=origin, gaps=True)
    shifted = mixture.shifted(-origin)
    for by_features in (True, False):
        same_moments(counted(shifted, rows, by_features), name, every, X, weight, dtype)


@EVERY
def test_restarts_mix_the_counts_in_order(name, device, dtype):
    mixture, every = batch(name, np.random.default_rng(3), 4, 3, 2)
    X = table(3, 50, 2)
    rows = Rows(Array(X), dtype=dtype, device=device, origin=torch.zeros(2), gaps=True)
    same_moments(counted(mixture, rows, [False, True, True, False]), name, every, X, None, dtype)


@EVERY
def test_rows_without_gaps_are_a_pattern_like_any_other(name, device, dtype):
    mixture, _ = batch(name, np.random.default_rng(4), 2, 3, 3)
    x = tensor(table(4, 30, 3, share=0, empty=0)).mT.to(device, dtype)
    home = mixture.to("cpu" if device.type == "mps" else device)
    whole, observed = (kind(home, Scratch(), dtype, device).log_joint(x)[0] for kind in (Whitened, Marginal))
    torch.testing.assert_close(observed, whole, rtol=1e-12 if dtype == torch.float64 else 1e-5, atol=0)


@EVERY
@pytest.mark.parametrize("resident", [0, 2**30])
def test_rows_add_up_in_any_order_and_in_chunks_of_any_size(name, resident, monkeypatch, device, dtype):
    mixture, _ = batch(name, np.random.default_rng(5), 3, 2, 3)
    X, weight = table(5, 700, 3), np.random.default_rng(5).uniform(0, 2, size=700)
    given = {"dtype": dtype, "device": device, "origin": torch.zeros(3), "gaps": True}
    want = counted(mixture, Rows(Array(X, weight), **given), True)
    order = np.random.default_rng(6).permutation(700)
    monkeypatch.setattr("mixtura.missing.AT_ONCE", 3000)
    small = Rows(Array(X[order], weight[order]), budget=1, resident=resident, **given)
    assert len(list(small.chunks(512))) > 1 or resident
    found = counted(mixture, small, True)
    for a, b in zip(want.leaves(), found.leaves(), strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=SHARE[dtype] * 700 * 100)


@EVERY
def test_a_weight_is_a_duplicate_and_zero_is_absence(name, dtype, device):
    rng = np.random.default_rng(7)
    mixture, _ = batch(name, rng, 2, 3, 2)
    X, times = table(7, 200, 2), rng.integers(0, 4, size=200)
    given = {"dtype": dtype, "device": device, "origin": torch.zeros(2), "gaps": True}
    weighted = counted(mixture, Rows(Array(X, times.astype(float)), **given), True)
    repeated = counted(mixture, Rows(Array(np.repeat(X, times, axis=0)), **given), True)
    for a, b in zip(weighted.leaves(), repeated.leaves(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=SHARE[dtype] * 400 * 100)


@EVERY
def test_columns_may_change_places(name):
    p = parameters(name, np.random.default_rng(8), 3, 4)
    X, order = table(8, 60, 4), np.array([2, 0, 3, 1])
    q = oracle.Parameters(p.weights, p.means[:, order], p.covariances[:, order][:, :, order])
    one, other = (
        counted(to_mixture(name, m), Rows(Array(x), origin=torch.zeros(4), gaps=True), True)
        for m, x in ((p, X), (q, X[:, order]))
    )
    assert float(one.loglik) == pytest.approx(float(other.loglik), rel=1e-13)
    np.testing.assert_allclose(other.n, one.n, rtol=1e-12)
    np.testing.assert_allclose(other.s1, one.s1[..., order], rtol=0, atol=1e-10)


def test_a_row_without_any_value_says_nothing():
    p = parameters("full", np.random.default_rng(9), 3, 2)
    rows = Rows(Array(np.full((4, 2), np.nan)), origin=torch.zeros(2), gaps=True)
    moments = counted(to_mixture("full", p), rows, True)
    assert float(moments.loglik) == pytest.approx(0, abs=1e-14)
    np.testing.assert_allclose(moments.n[0], 4 * p.weights, rtol=1e-13)
    assert not bool(moments.s1.any())
    # It is expected to lie as the component does: the M-step gains nothing from it.
    np.testing.assert_allclose(moments.s2[0][0], 4 * p.weights[:, None, None] * p.covariances, rtol=1e-12)


@EVERY
def test_a_dropped_component_counts_nothing(name, device, dtype):
    p = parameters(name, np.random.default_rng(10), 3, 2)
    X = table(10, 40, 2)
    rows = Rows(Array(X), device=device, dtype=dtype, origin=torch.zeros(2), gaps=True)
    mixture = to_mixture(name, p)
    dropped = Mixture(tensor([[np.log(0.4), -np.inf, np.log(0.6)]]), mixture.mean, mixture.covariance, Gaussian())
    moments = counted(dropped, rows, True)
    want = oracle.moments_observed(X, oracle.Parameters(np.array([0.4, 0.6]), p.means[[0, 2]], p.covariances[[0, 2]]))
    # In float32 shares are held at 1e-34.
    assert float(moments.n[0, 1]) < (1e-30 if dtype == torch.float32 else 1e-300)
    np.testing.assert_allclose(moments.n[0, [0, 2]].numpy(), want.n, atol=40 * SHARE[dtype] * 10)
    assert all(bool(t.isfinite().all()) for t in moments.leaves())


@EVERY
def test_a_failed_restart_fails_alone(name):
    mixture, every = batch(name, np.random.default_rng(11), 3, 2, 2)
    spoilt = mixture.map(lambda t: torch.where(torch.arange(3).reshape(-1, *[1] * (t.ndim - 1)) == 1, torch.nan, t))
    X = table(11, 30, 2)
    found = counted(spoilt, Rows(Array(X), origin=torch.zeros(2), gaps=True), [True, False, True])
    assert bool(found.loglik[1].isnan().all())
    same_moments(found.take([0, 2]), name, [every[0], every[2]], X, None, torch.float64)


@EVERY
def test_what_is_expected_is_the_oracle(name, device, dtype):
    p = parameters(name, np.random.default_rng(12), 3, 3)
    X = table(12, 50, 3)
    mixture = to_mixture(name, p).to("cpu" if device.type == "mps" else device)
    x = tensor(X).mT.to(device, dtype)
    found = filled(mixture, x)
    seen = ~x.isnan()
    assert torch.equal(found[seen], x[seen])
    atol = 1e-10 if dtype == torch.float64 else 1e-4
    np.testing.assert_allclose(found.mT.cpu().double().numpy(), oracle.impute(X, p), rtol=0, atol=atol)


# ---- EM


@EVERY
def test_passes_are_those_of_the_oracle_and_never_fall(name):
    X = punched(clusters(np.random.default_rng(13), 30, 2, 3, apart=1.5)[0], 0.3, 13)
    p = parameters(name, np.random.default_rng(13), 2, 3)
    weight = np.random.default_rng(13).uniform(0.5, 2, size=30)
    rows = Rows(Array(X, weight), origin=torch.zeros(3), gaps=True)
    rule, model = Likelihood(Floor()), cold(to_mixture(name, p))
    steps = em(model, rows, rule)
    for _ in range(3):
        now = turn(model, rows, rule)
        bound, after = oracle.em_step_observed(name, X, p, weight)
        # One pass after another: errors of 1e-14 grow by at most some orders in three, and what rounds leave as much.
        off = 10 * OFF.get(name, 0)
        assert float(now.bound) == pytest.approx(bound, rel=1e-10, abs=off)
        model = cold(now.next())
        for a, b in zip(to_parameters(model), after, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=max(1e-8, off))
        p = after
    bounds = [float(now.bound) for _, now in zip(range(15), steps, strict=False)]
    assert all(b >= a - 1e-10 * abs(a) for a, b in itertools.pairwise(bounds))
    assert bounds[-1] > bounds[0]


# ---- the survey


def test_facts_are_of_the_observed_entries():
    rng = np.random.default_rng(28)
    X = np.stack([rng.normal(size=400), 3 * rng.normal(size=400) + 5, np.round(rng.normal(size=400)) / 2], 1)
    X[:, 1] += X[:, 0]
    weight = rng.integers(0, 3, size=400).astype(float)
    holed = punched(X, 0.2, 28)
    holed[weight == 0] = np.nan
    facts = survey(Array(holed, weight), 0, gaps=True)
    repeated = np.repeat(holed, weight.astype(int), axis=0)
    assert facts.gaps
    assert facts.weight == weight.sum()
    np.testing.assert_allclose(facts.mean, np.nanmean(repeated, axis=0), rtol=1e-12)
    np.testing.assert_array_equal(facts.low, np.nanmin(repeated, axis=0))
    np.testing.assert_array_equal(facts.high, np.nanmax(repeated, axis=0))
    assert facts.step.tolist() == [0, 0, 0.5]
    quartiles = np.nanquantile(repeated, [0.25, 0.75], axis=0, method="inverted_cdf")
    np.testing.assert_allclose(facts.scale, (quartiles[1] - quartiles[0]) ** 2, rtol=1e-12)
    # Standard errors of 400 rows of which a fifth is missing: about 6 % of a variance.
    true = np.cov(np.repeat(X, weight.astype(int), axis=0).T)
    sd = np.sqrt(np.diag(true))
    np.testing.assert_allclose(facts.covariance.numpy() / np.outer(sd, sd), true / np.outer(sd, sd), atol=0.15)


def test_rows_that_lack_the_same_are_equal():
    nan = np.nan
    X = np.array([[1.0, nan], [nan, 2.0], [1.0, nan], [1.0, 2.0], [nan, nan], [nan, 2.0], [nan, nan]])
    facts = survey(Array(X), 0, gaps=True)
    assert facts.distinct == 4
    assert sorted(facts.sample.weight.tolist()) == [1, 2, 2, 2]
    other = survey(Array(X[[5, 3, 6, 0, 1, 4, 2]]), 0, gaps=True)
    np.testing.assert_array_equal(other.sample.x, facts.sample.x)
    assert torch.equal(other.sample.weight, facts.sample.weight)


def test_the_one_gaussian_is_nearly_the_likeliest():
    X = punched(clusters(np.random.default_rng(29), 200, 1, 3)[0], 0.3, 29)
    gaussian = survey(Array(X), 0, gaps=True).gaussian
    fitted = GaussianMixture(1, missing="em").fit(X)
    found = oracle.log_density_observed(X, to_parameters(gaussian)).sum()
    # It may leave 1e-4 nats a row.
    assert fitted.loglik_ - 200 * 2e-4 < found <= fitted.loglik_ + 1e-9


def test_gaps_in_rows_that_do_not_count_are_none():
    X = np.random.default_rng(30).normal(size=(50, 2))
    weight = np.r_[0.0, np.ones(49)]
    spoilt = np.r_[[[np.nan, 1.0]], X[1:]]
    assert not survey(Array(spoilt, weight), 0, gaps=True).gaps
    a = GaussianMixture(1, missing="em").fit(spoilt, sample_weight=weight)
    b = GaussianMixture(1).fit(X[1:])
    np.testing.assert_allclose(a.covariances_, b.covariances_, rtol=1e-12)


def test_a_column_that_the_sample_lacks_does_no_harm():
    X = np.random.default_rng(31).normal(size=(SAMPLE + 3000, 2))
    X[20:, 1] = np.nan
    facts = survey(Array(X), 0, gaps=True)
    assert bool(facts.scale.gt(0).all() & facts.covariance.isfinite().all())
    assert not facts.whole(facts.sample).x.isnan().any()
