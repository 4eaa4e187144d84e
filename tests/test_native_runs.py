"""The compiled runs: starts on few rows go the same way as in the ring, and where it is rough, the ring's own."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import batch, clusters, onehot, tensor

from mixtura import GaussianMixture
from mixtura.accelerate import BEGIN, Squarem, warmed
from mixtura.converge import Steps, converging
from mixtura.covariance import STRUCTURES, Floor
from mixtura.data import Array
from mixtura.em import Likelihood
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.native import library as native_library
from mixtura.native import runs
from mixtura.native.library import library
from mixtura.record import Record
from mixtura.rows import Rows
from mixtura.running import watched
from mixtura.stop import Gain, Still

pytestmark = pytest.mark.skipif(library().handle is None, reason=f"SKIPPED: rows are counted by {library()}")

EVERY = pytest.mark.parametrize("name", STRUCTURES)
PACES = pytest.mark.parametrize("pace", [Steps, Squarem])
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


def rule_of(X, share=1e-12, added=0.0):
    return Likelihood(Floor(tensor(share * X.var(0) + (X.var(0) == 0)), added))


def started(name, X, restarts, components, rule, seed=0, sharp=0.8):
    """Mixtures of random partitions of the rows, each some way on from the one that all share."""
    rng, every = np.random.default_rng(seed), []
    unit = STRUCTURES[name].unit(1, components, X.shape[1])
    for _ in range(restarts):
        centres = X[rng.choice(len(X), components, replace=False)]
        labels = ((X[:, None] - centres) ** 2).sum(-1).argmin(1)
        r = sharp * onehot(labels, components) + (1 - sharp) / components
        n, mean = r.sum(0), (r.T @ X) / r.sum(0)[:, None]
        scatter = np.einsum("nk,nki,nkj->kij", r, X[:, None] - mean, X[:, None] - mean)
        covariance = unit.maximise(tensor(n)[None], unit.from_scatter(tensor(scatter)[None]), rule.floor)
        every.append(Mixture(tensor(np.log(n / n.sum()))[None], tensor(mean)[None], covariance, Gaussian()))
    return Record.cat(every)


def placed(X, weight=None, **options):
    """Rows, and the shift that takes mixtures of X to them."""
    rows = Rows(Array(X, weight), **options)
    return rows, -rows.origin.double()


def both(model, rows, rule, stop, passes, pace):
    """The outcome of the compiled runs and that of the ring."""
    assert runs.serves(model, rows, rule, stop, pace)
    return [watched(way(model, rows, rule, stop, passes, pace), None) for way in (runs.running, converging)]


def forbid_the_ring(monkeypatch):
    def converged(*_):
        raise AssertionError("a run was handed back")

    monkeypatch.setattr(runs, "converging", converged)


def same_outcome(found, want):
    """To the bit."""
    assert found.interrupted == want.interrupted
    assert torch.equal(found.passes, want.passes)
    assert torch.equal(found.still, want.still)
    torch.testing.assert_close(found.bounds, want.bounds, rtol=0, atol=0, equal_nan=True)
    same_leaves(found.turn, want.turn)


def same_leaves(one, other):
    for a, b in zip(one.leaves(), other.leaves(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def well_formed(outcome, passes):
    """Traces have a bound for every pass and none after it, and end with what was measured last."""
    took, bounds = outcome.passes.numpy(), outcome.bounds.numpy()
    assert ((took >= 1) & (took <= passes)).all()
    assert len(bounds) == took.max()
    last = outcome.turn.bound.numpy()
    # A bound that is no number ends a run.
    assert np.array_equal(np.isnan(bounds), np.arange(len(bounds))[:, None] >= took - np.isnan(last))
    assert np.array_equal(bounds[took - 1, np.arange(len(took))], last, equal_nan=True)


# ---- the calm case


@EVERY
@PACES
@DTYPES
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (2, 3), (5, 2), (18, 2)], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_runs_go_where_the_ring_goes(name, pace, dtype, shape, weighted, monkeypatch):
    features, components = shape
    rng = np.random.default_rng([features, components, weighted])
    X, _ = clusters(rng, 400, components, features, apart=4.0)
    weight = rng.gamma(2.0, size=400) * (rng.random(400) > 0.2) if weighted else None
    rule = rule_of(X)
    rows, shift = placed(X, weight, dtype=dtype)
    model = started(name, X, 4, components, rule).shifted(shift)
    want = watched(converging(model, rows, rule, Still(), 500, pace), None)
    if dtype == torch.float64 and pace is Steps:
        forbid_the_ring(monkeypatch)  # in float32 the guard may want it, and a leap may end where it is wanted
    found = watched(runs.running(model, rows, rule, Still(), 500, pace), None)
    well_formed(found, 500)
    if pace is Steps:
        assert torch.equal(found.still, want.still)
    # Rounding grows on the way: these passes are still the same in all but their last bits. The fifth measures the
    # first leap; where that is no covariance as it comes, the ring mends it and mostly takes it back, the runs go on
    # with a step.
    plain = watched(converging(model, rows, rule, Still(), 5, Steps), None).bounds
    precise = dtype == torch.float64
    for r in range(4):
        for at in range(min(5, len(found.bounds), len(want.bounds))):
            told = [t[at, r] for t in (found.bounds, want.bounds, plain) if at < len(t)]
            if not any(t.isnan() for t in told):
                assert any(
                    abs(told[0] - t) <= abs(t) * (1e-10 if precise else 1e-5) for t in told[1 : 3 if at == 4 else 2]
                )
    # Both end within Still's 1e-7 nats a row of the same top; float32 rows round away 1e-4 of a nat each.
    total = 400 if weight is None else weight.sum()
    torch.testing.assert_close(found.turn.bound, want.turn.bound, rtol=0, atol=total * (1e-6 if precise else 1e-4))
    if pace is Steps and precise:
        # The same test on nearly the same bounds.
        assert int((found.passes - want.passes).abs().max()) <= 2


@EVERY
@PACES
@pytest.mark.parametrize("added", [0.0, 1e-2])
def test_scikit_learns_test_and_ridge(name, pace, added):
    X, _ = clusters(np.random.default_rng(1), 300, 3, 2)
    rule = Likelihood(Floor(None, added)) if added else rule_of(X)
    rows, shift = placed(X)
    model = started(name, X, 4, 3, rule).shifted(shift)
    found, want = both(model, rows, rule, Gain(1e-4), 100, pace)
    well_formed(found, 100)
    assert torch.equal(found.still, want.still)
    # Gains of less than 1e-4 nats a row ended both.
    torch.testing.assert_close(found.turn.bound, want.turn.bound, rtol=0, atol=300 * 1e-3)
    if pace is Steps:
        # Components that close in on a few rows multiply rounding: variances of 1e-7 beside means of 10.
        torch.testing.assert_close(found.bounds, want.bounds, rtol=1e-6, atol=0, equal_nan=True)


@EVERY
@PACES
@pytest.mark.parametrize("passes", [1, 2, 3, 4, 5, 7, 24])
def test_no_run_takes_more_passes_than_it_may(name, pace, passes):
    X, _ = clusters(np.random.default_rng(2), 200, 3, 2, apart=1.0)
    rule = rule_of(X)
    rows, shift = placed(X)
    model = started(name, X, 3, 3, rule, sharp=0.2).shifted(shift)
    found, want = both(model, rows, rule, Still(1e-15), passes, pace)
    well_formed(found, passes)
    assert torch.equal(found.passes, want.passes)
    assert not found.still.any()
    same = 4 if pace is Squarem else 24  # leaps that are mended in the ring are left out by the runs
    torch.testing.assert_close(found.bounds[:same], want.bounds[:same], rtol=1e-8, atol=0)


@EVERY
@PACES
def test_the_bound_never_falls(name, pace):
    X, _ = clusters(np.random.default_rng(3), 300, 4, 3, apart=1.5)
    rule = rule_of(X)
    rows, shift = placed(X)
    found, _ = both(started(name, X, 8, 4, rule).shifted(shift), rows, rule, Still(), 400, pace)
    gains = found.bounds.diff(dim=0)
    # Rounding of a sum over 300 rows of some nats each.
    assert float(gains[~gains.isnan()].min()) > -1e-9


def test_what_is_not_known_is_not_served():
    X, _ = clusters(np.random.default_rng(4), 100, 2, 2)
    rule, (rows, shift) = rule_of(X), placed(X)
    model = started("full", X, 1, 2, rule).shifted(shift)
    assert runs.serves(model, rows, rule, Still(), Squarem)
    assert not runs.serves(model, rows, rule, Gain(1e-3, previous=-3.0), Squarem)
    assert not runs.serves(model, Rows(Array(X), resident=0), rule, Still(), Squarem)
    assert not runs.serves(model, rows, rule, Still(), lambda restarts, stop: Steps(restarts, stop))
    wide = np.random.default_rng(4).normal(size=(200, runs.WIDEST + 1))
    other, _ = batch("diag", np.random.default_rng(4), 1, 2, runs.WIDEST + 1)
    assert not runs.serves(other, Rows(Array(wide)), rule_of(wide), Still(), Squarem)
    gaps = X.copy()
    gaps[3, 0] = np.nan
    assert not runs.serves(model, Rows(Array(gaps), origin=torch.zeros(2), gaps=True), rule, Still(), Squarem)


# ---- the rough case: a run is handed back, and its outcome is the ring's


def rough(name):
    """Fields that the library cannot finish: rows, a start and a rule each."""
    rng = np.random.default_rng(5)
    X, _ = clusters(rng, 60, 2, 2)
    constant = np.column_stack([X, np.full(60, 3.0)])
    twice = np.repeat(X[:3], 20, 0)
    far = X + 1e8
    narrow = 1e-7 * rng.normal(size=(60, 2)) @ [[1.0, 1], [1, 1 + 1e-7]] + [1, 1]
    rule = rule_of(X)
    start = started(name, X, 3, 3, rule)
    gone = start.log_weight.clone()
    gone[1] = tensor([np.log(0.5), -np.inf, np.log(0.5)])
    broken = start.mean.clone()
    broken[0] = torch.nan
    # A component so far away that no row is its own.
    away = start.mean.clone()
    away[:, 0] = 1e3
    high = rule_of(X, share=10.0)
    return {
        "constant column": (constant, started(name, constant, 3, 3, rule_of(constant)), rule_of(constant)),
        "duplicated rows": (twice, started(name, twice + 1e-9 * rng.normal(size=(60, 2)), 3, 3, rule), rule),
        "empty component": (X, replace(start, mean=away), rule),
        "dropped component": (X, replace(start, log_weight=gone), rule),
        "no number": (X, replace(start, mean=broken), rule),
        "offset": (far, started(name, X, 3, 3, rule).shifted(torch.full((2,), 1e8).double()), rule),
        "nearly singular": (narrow, started(name, narrow, 3, 2, rule_of(narrow)), rule_of(narrow)),
        "floor above all": (X, start, high),
    }


@EVERY
@PACES
@pytest.mark.parametrize("what", rough("full"))
def test_where_it_is_rough_the_outcome_is_the_rings(name, pace, what):
    X, model, rule = rough(name)[what]
    rows, shift = placed(X)
    if what == "offset":
        # About zero, where the feature map has lost all digits.
        rows, shift = placed(X, origin=torch.zeros(2))
    found, want = both(model.shifted(shift), rows, rule, Still(), 60, pace)
    well_formed(found, 60)
    assert found.turn.bound.isnan().equal(want.turn.bound.isnan())
    fine = ~want.turn.bound.isnan()
    start = min(3, len(found.bounds), len(want.bounds))
    # 1e-3 nats a row is what the guard lets the feature map lose.
    torch.testing.assert_close(found.bounds[:start], want.bounds[:start], rtol=1e-5, atol=60e-3, equal_nan=True)
    # Of rows that are copies, scatter is rounding: so are common axes, along which the floor differs.
    rtol = 1e-2 if what == "duplicated rows" and name in ("EVE", "VVE") else 1e-5
    torch.testing.assert_close(found.turn.bound[fine], want.turn.bound[fine], rtol=rtol, atol=60e-3)
    for one, other in zip(found.turn.model.leaves(), want.turn.model.leaves(), strict=True):
        assert one.isnan().equal(other.isnan())
        assert one.isinf().equal(other.isinf())


@EVERY
@DTYPES
@pytest.mark.parametrize("weighted", [False, True])
def test_runs_that_go_on_stand_where_the_ring_does(name, dtype, weighted, monkeypatch):
    """What a heat ends with, by the library's word alone."""
    rng = np.random.default_rng([7, weighted])
    X, _ = clusters(rng, 300, 3, 2, apart=4.0)
    weight = rng.gamma(2.0, size=300) if weighted else None
    rule, (rows, shift) = rule_of(X), placed(X, weight, dtype=dtype)
    model = started(name, X, 4, 3, rule).shifted(shift)
    assert runs.serves(model, rows, rule, Still(), Steps)
    want = watched(converging(model, rows, rule, Still(), 4, Steps), None).standing
    if dtype == torch.float64:
        monkeypatch.setattr(runs, "measured", None)  # nothing is counted again; in float32 the guard may want it
    found = watched(runs.heating(model, rows, rule, Still(), 4, Steps), None)
    assert torch.equal(found.passes, want.passes)
    # In float32 a bound of some hundred nats is told to some 1e-4, and parameters after four passes to some eps.
    rtol, nats = (1e-10, 1e-9) if dtype == torch.float64 else (2e-4, 1e-2)
    torch.testing.assert_close(found.bounds, want.bounds, rtol=0, atol=nats)
    torch.testing.assert_close(found.bound, want.bound.double(), rtol=0, atol=nats)
    torch.testing.assert_close(found.n, want.n, rtol=rtol, atol=rtol)
    torch.testing.assert_close(found.model.mean, want.model.mean, rtol=rtol, atol=rtol)
    torch.testing.assert_close(found.model.log_weight, want.model.log_weight, rtol=rtol, atol=rtol)
    torch.testing.assert_close(found.model.covariance.dense(), want.model.covariance.dense(), rtol=rtol, atol=rtol)


@EVERY
def test_heats_with_a_run_that_is_handed_back_stand_where_the_ring_does(name):
    X, model, rule = rough(name)["floor above all"]
    rows, shift = placed(X)
    want = watched(converging(model.shifted(shift), rows, rule, Still(), 5, Steps), None).standing
    found = watched(runs.heating(model.shifted(shift), rows, rule, Still(), 5, Steps), None)
    torch.testing.assert_close(found.bound, want.bound, rtol=0, atol=0, equal_nan=True)
    same_leaves(found.model, want.model)


@EVERY
def test_a_heat_asks_the_ring_for_what_is_handed_back_alone(name):
    """One of three is handed back at once; the others have the library's word, and all keep their places."""
    model, rows, rule = calm(name=name, restarts=3)
    want = [watched(runs.heating(model.take([r]), rows, rule, Still(), 4, Steps), None) for r in (0, 2)]
    mixed = beyond(model, 1)
    passes = []
    told = runs.heating(mixed, rows, rule, Still(), 4, Steps)
    found = watched(told, lambda live, bound: passes.append(live.tolist()))
    ring = watched(converging(mixed.take([1]), rows, rule, Still(), 4, Steps), None).standing
    for r, alone in ((0, want[0]), (1, ring), (2, want[1])):
        assert int(found.passes[r]) == int(alone.passes[0])
        torch.testing.assert_close(found.bound[r], alone.bound[0], rtol=1e-12, atol=0)
        torch.testing.assert_close(found.n[r], alone.n[0], rtol=1e-10, atol=1e-10)
        took = int(found.passes[r])
        torch.testing.assert_close(found.bounds[:took, r], alone.bounds[:took, 0], rtol=1e-12, atol=0)
        torch.testing.assert_close(found.model.mean[r], alone.model.mean[0], rtol=1e-10, atol=1e-10)
    # The ring's passes are told by the number that the run has among all.
    assert sorted(r for live in passes for r in live) == sorted(r for r in range(3) for _ in range(found.passes[r]))


@EVERY
def test_what_collapses_may_be_left(name, monkeypatch):
    model, rows, rule = calm(name=name, restarts=3)
    mixed = beyond(model, 1)
    monkeypatch.setattr(runs, "measured", None)  # nobody asks the ring
    found = watched(runs.heating(mixed, rows, rule, Still(), 4, Steps, leave=True), None)
    assert found.bound.isneginf().tolist() == [False, True, False]
    assert found.passes.tolist() == [4, 0, 4]
    same_leaves(found.model.take([1]), mixed.take([1]))
    others = watched(runs.heating(model.take([0, 2]), rows, rule, Still(), 4, Steps), None)
    torch.testing.assert_close(found.bound[[0, 2]], others.bound, rtol=1e-12, atol=0)


@EVERY
def test_what_collapses_is_not_left_where_nothing_else_is(name):
    model, rows, rule = calm(name=name, restarts=2)
    every = beyond(beyond(model, 0), 1)
    found = watched(runs.heating(every, rows, rule, Still(), 4, Steps, leave=True), None)
    want = watched(converging(every, rows, rule, Still(), 4, Steps), None).standing
    torch.testing.assert_close(found.bound, want.bound, rtol=0, atol=0)
    same_leaves(found.model, want.model)


def test_what_rounding_hands_back_is_not_left():
    """Far from the origin of float32 rows a narrow mixture is lost in the feature map, a broad one is not."""
    X, _ = clusters(np.random.default_rng(9), 200, 2, 2, apart=4.0)
    X += 300.0
    rule, (rows, _) = rule_of(X), placed(X, dtype=torch.float32, origin=torch.zeros(2))
    narrow = started("full", X, 1, 2, rule)
    broad = replace(narrow, covariance=type(narrow.covariance)(1e3 * narrow.covariance.tril))
    found = watched(runs.heating(Record.cat([broad, narrow]), rows, rule, Still(), 1, Steps, leave=True), None)
    going = runs.runs_of(Record.cat([broad, narrow]), rows, rule, Still(), 1, Steps)
    assert watched(going.go(), None).ended.tolist() == [runs.USED_UP, runs.HANDED_BACK]
    assert going.rounded.tolist() == [False, True]
    want = watched(converging(narrow, rows, rule, Still(), 1, Steps), None).standing
    torch.testing.assert_close(found.bound[1], want.bound[0], rtol=1e-9, atol=0)
    assert bool(found.bound.isfinite().all())


@EVERY
def test_a_run_that_is_handed_back_at_once_is_the_rings_to_the_bit(name):
    X, model, rule = rough(name)["floor above all"]
    rows, shift = placed(X)
    found, want = both(model.shifted(shift), rows, rule, Still(), 60, Steps)
    same_outcome(found, want)


@EVERY
@pytest.mark.parametrize("passes", [1, 2, 3, 10, 200])
def test_calm_and_rough_runs_end_in_their_order(name, passes):
    """One of three is handed back at the start, one on the way or never, and all keep their places."""
    X, _ = clusters(np.random.default_rng(6), 150, 3, 2)
    rule, (rows, shift) = rule_of(X), placed(X)
    model = started(name, X, 3, 3, rule).shifted(shift)
    model = beyond(model, 1)
    found, want = both(model, rows, rule, Still(), passes, Steps)
    well_formed(found, passes)
    assert int((found.passes - want.passes).abs().max()) <= 2
    torch.testing.assert_close(found.turn.bound, want.turn.bound, rtol=0, atol=150e-6)
    for r in range(3):
        alone = watched(runs.running(model.take(slice(r, r + 1)), rows, rule, Still(), passes, Steps), None)
        assert int(alone.passes[0]) == int(found.passes[r])
        torch.testing.assert_close(alone.turn.bound[0], found.turn.bound[r], rtol=1e-12, atol=0)


def test_a_component_that_collapses_is_the_floors():
    """Two equal rows far from all others: a full covariance falls onto them until the floor holds it."""
    X, _ = clusters(np.random.default_rng(7), 100, 1, 2)
    X = np.concatenate([X, np.full((3, 2), 50.0)])
    labels = (np.arange(103) >= 100).astype(int)
    rule, (rows, shift) = rule_of(X, share=1e-9), placed(X)
    r = onehot(labels, 2) * 0.999 + 0.0005
    n, mean = r.sum(0), (r.T @ X) / r.sum(0)[:, None]
    scatter = np.einsum("nk,nki,nkj->kij", r, X[:, None] - mean, X[:, None] - mean)
    unit = STRUCTURES["full"].unit(1, 2, 2)
    covariance = unit.maximise(tensor(n)[None], unit.from_scatter(tensor(scatter)[None]), rule.floor)
    model = Mixture(tensor(np.log(n / n.sum()))[None], tensor(mean)[None], covariance, Gaussian()).shifted(shift)
    for pace in (Steps, Squarem):
        found, want = both(model, rows, rule, Still(), 300, pace)
        torch.testing.assert_close(found.turn.bound, want.turn.bound, rtol=0, atol=103e-6)
        least = torch.linalg.eigvalsh(found.turn.model.covariance.dense())[0, 1]
        assert float(least.min()) == pytest.approx(float(rule.floor.least.min()), rel=0.5)


# ---- slices, Ctrl-C, threads


def calm(restarts=5, components=3, apart=2.0, name="full"):
    X, _ = clusters(np.random.default_rng(8), 200, components, 2, apart=apart)
    rule, (rows, shift) = rule_of(X), placed(X)
    return started(name, X, restarts, components, rule).shifted(shift), rows, rule


def beyond(model, at):
    """The same with a component of one restart so far away that no row is its own."""
    mean = model.mean.clone()
    mean[at, 0] = 1e3
    return replace(model, mean=mean)


@PACES
def test_slices_are_one_call_to_the_bit(pace, monkeypatch):
    model, rows, rule = calm()
    whole = watched(runs.running(model, rows, rule, Still(), 300, pace), None)
    for size in (1, 10**6):
        monkeypatch.setattr(runs, "SLICE", size)
        same_outcome(watched(runs.running(model, rows, rule, Still(), 300, pace), None), whole)


def test_every_pass_is_told_with_the_runs_that_took_it(monkeypatch):
    model, rows, rule = calm()
    for size in (1, runs.SLICE):
        monkeypatch.setattr(runs, "SLICE", size)
        told: list = []
        watch = lambda live, bound: told.append((live.clone(), bound.clone()))  # noqa: E731, B023
        outcome = watched(runs.running(model, rows, rule, Still(), 300, Squarem), watch)
        assert len(told) == len(outcome.bounds)
        for at, (live, bound) in enumerate(told):
            assert torch.equal(live, (outcome.passes > at).nonzero()[:, 0])
            # The last bound of a run is the ring's own, to rounding.
            torch.testing.assert_close(bound, outcome.bounds[at, live], rtol=1e-12, atol=0)


def interrupting(at):
    seen = 0

    def watch(live, bound):
        nonlocal seen
        seen += 1
        if seen == at:
            raise KeyboardInterrupt

    return watch


@PACES
@pytest.mark.parametrize("at", [1, 2, 9])
def test_ctrl_c_ends_with_what_was_reached(pace, at, monkeypatch):
    monkeypatch.setattr(runs, "SLICE", 1)
    model, rows, rule = calm()
    whole = watched(runs.running(model, rows, rule, Still(), 300, pace), None)
    outcome = watched(runs.running(model, rows, rule, Still(), 300, pace), interrupting(at))
    assert outcome.interrupted
    assert outcome.passes.tolist() == whole.passes.clamp(max=at).tolist()
    well_formed(outcome, at)
    torch.testing.assert_close(outcome.bounds, whole.bounds[:at], rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.parametrize("at", [1, 2, 3, 4, 6, 9])
def test_ctrl_c_on_the_rings_part_of_the_way_ends_all_of_it(at, monkeypatch):
    """Runs are handed back at different passes, and go on in groups: none begins after Ctrl-C."""
    monkeypatch.setattr(runs, "SLICE", 1)
    model, rows, rule = calm(4, apart=1.0)
    mean, broken = model.mean.clone(), model.log_weight.clone()
    mean[1, 0] = 1e3
    broken[2, 0] = -torch.inf
    model = replace(model, mean=mean, log_weight=broken)
    outcome = watched(runs.running(model, rows, rule, Still(1e-12), 5, Steps), interrupting(at))
    assert outcome.interrupted
    well_formed(outcome, 5)
    assert not outcome.still.any()
    ring = watched(converging(model, rows, rule, Still(1e-12), 5, Steps), None)
    one, other = outcome.bounds, ring.bounds[: len(outcome.bounds)]
    reached = ~one.isnan()
    torch.testing.assert_close(one[reached], other[reached], rtol=1e-9, atol=0)


def test_ctrl_c_before_anything_was_measured_is_an_error(monkeypatch):
    model, rows, rule = calm()

    class Interrupted:
        def function(self, name):
            def call(job):
                raise KeyboardInterrupt

            return call

    monkeypatch.setattr(runs, "library", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        watched(runs.running(model, rows, rule, Still(), 300, Squarem), None)


@EVERY
def test_threads_do_not_change_a_run(name, monkeypatch):
    model, rows, rule = calm(name=name, restarts=7)
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(watched(runs.running(model, rows, rule, Still(), 300, Squarem), None))
    for other in found[1:]:
        # A run is one thread's, so its bits are the same; the ring's last word on it may be cut into parts.
        assert torch.equal(other.passes, found[0].passes)
        same_leaves(other.turn.model, found[0].turn.model)
        torch.testing.assert_close(other.turn.bound, found[0].turn.bound, rtol=1e-12, atol=0)


@EVERY
@DTYPES
def test_strips_of_a_single_runs_rows_are_the_rows(name, dtype, monkeypatch):
    """Any number of them, counted by any number of threads, adds up to the same."""
    X, _ = clusters(np.random.default_rng(8), 1500, 3, 2, apart=2.0)
    rule, (rows, shift) = rule_of(X), placed(X, np.random.default_rng(8).gamma(2.0, size=1500), dtype=dtype)
    model = started(name, X, 1, 3, rule).shifted(shift)

    def counted(grain, threads, most=runs.STRIPS):
        for what, value in (("GRAIN", grain), ("STRIPS", most)):
            monkeypatch.setattr(runs, what, value)
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
        return watched(runs.heating(model, rows, rule, Still(), 12, Steps), None)

    whole = counted(2**60, 1)
    for most in (2, 3, runs.STRIPS):
        cut = [counted(1, threads, most) for threads in (1, 2, 5)]
        for other in cut[1:]:
            assert torch.equal(other.bounds, cut[0].bounds)
            same_leaves(other.model, cut[0].model)
        # Sums over blocks are made in float64, whatever the rows are; common axes take some passes to settle.
        torch.testing.assert_close(cut[0].bounds, whole.bounds, rtol=1e-9 if dtype == torch.float64 else 1e-6, atol=0)


@pytest.mark.parametrize("name", ["full", "diag", "tied", "VEE"])
@pytest.mark.parametrize("behind", [BEGIN - 3, 10 * BEGIN])
def test_restarts_with_passes_behind_them_leap_sooner_as_in_the_ring(name, behind):
    model, rows, rule = calm(name=name, apart=1.5)
    found, want = both(model, rows, rule, Still(), 500, warmed(Squarem, behind))
    plain = watched(converging(model, rows, rule, Still(), 500, Steps), None)
    leaps = max(2, BEGIN - behind)
    torch.testing.assert_close(found.bounds[:leaps], plain.bounds[:leaps], rtol=1e-9, atol=0, equal_nan=True)
    # The first leap is measured by the pass after these; one that is no covariance the ring mends, the library not.
    assert int(torch.isclose(found.bounds[leaps], want.bounds[leaps], rtol=1e-9, atol=0).sum()) >= 4
    assert not torch.allclose(found.bounds[leaps], plain.bounds[leaps], rtol=1e-9, atol=0)
    # What the stopping test leaves to gain, 1e-7 nats a row.
    torch.testing.assert_close(found.turn.bound, want.turn.bound, rtol=0, atol=200 * 2e-7)


def fitted(seed, **options):
    X, _ = clusters(np.random.default_rng(seed), 300, 3, 2)
    return GaussianMixture(3, random_state=0, **options).fit(X)


def told_by(model):
    return [model.weights_, model.means_, model.covariances_, model.loglik_, model.n_iter_, model.status_]


def same_fit(one, other):
    for a, b in zip(told_by(one), told_by(other), strict=True):
        assert np.array_equal(a, b)


def test_fits_side_by_side_are_fits_one_after_the_other():
    seeds = list(range(6))
    alone = [fitted(seed) for seed in seeds]
    ready = threading.Barrier(2)

    def some(part):
        ready.wait()
        return [fitted(seed) for seed in part]

    with ThreadPoolExecutor(2) as pool:
        side_by_side = [model for part in pool.map(some, (seeds[::2], seeds[1::2])) for model in part]
    for one, other in zip(side_by_side, [*alone[::2], *alone[1::2]], strict=True):
        same_fit(one, other)


@pytest.mark.parametrize(
    "options", [{"verbose": 1}, {"verbose": 2, "verbose_interval": 1}, {"progress": lambda _: None}]
)
def test_watching_a_fit_does_not_change_it(options, capsys):
    same_fit(fitted(3, **options), fitted(3))
    assert bool(capsys.readouterr().out) == ("verbose" in options)


FORKED = """
import multiprocessing, sys
import numpy as np, torch
from mixtura import GaussianMixture
from mixtura.covariance import STRUCTURES
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.native import count
from mixtura.rows import Chunk, Scratch
torch.set_num_threads(2)
count.GRAIN = 1
X = np.random.default_rng(0).normal(size=(300, 2)) + 4 * (np.arange(300) % 3)[:, None]
zero = torch.zeros(1, 3, 2).double()
mixture = Mixture(zero[..., 0], zero, STRUCTURES["full"].unit(1, 3, 2), Gaussian())
counting = count.Compiled(mixture, Scratch(), torch.float64, torch.device("cpu"))
chunk = Chunk(torch.from_numpy(X.T.copy()).repeat(1, 10), None, 0)
def both(_=None):
    counted = float(counting(chunk).loglik)
    torch.set_num_threads(1)  # PyTorch's own operations wait for threads that are not there
    fitted = GaussianMixture(3, random_state=0).fit(X).loglik_
    torch.set_num_threads(2)
    return counted, fitted
if __name__ == "__main__":
    here = both()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        there = pool.map_async(both, [0, 1]).get(timeout=60)
    assert [*there, both()] == [here] * 3, (there, here)
    print("same")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="SKIPPED: this system does not fork")
def test_a_process_that_has_counted_may_fork():
    """Threads of the parent do not live in the child, which must not wait for them."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=300, env=environment)
    assert done.stdout == "same\n", done.stderr[-3000:]


def test_without_the_library_nothing_is_served(monkeypatch):
    model, rows, rule = calm()
    monkeypatch.setattr(runs, "usable", lambda: False)
    assert not runs.serves(model, rows, rule, Still(), Squarem)
    assert native_library.library() is library()
