"""Patience: passes between two looks read nothing from the device, and end where looking at every pass ends."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cases import SIX, clusters, ended, parameters, to_mixture
from pretend import NAME as DEVICE
from pretend import Pretend

from mixtura import converge as module
from mixtura.accelerate import Squarem
from mixtura.converge import Steps, converge, converging
from mixtura.covariance import Floor
from mixtura.data import Array
from mixtura.em import Likelihood
from mixtura.record import Record
from mixtura.rows import PATIENCE, Rows
from mixtura.stop import Gain, Still

EVERY = pytest.mark.parametrize("name", [*SIX, "EVI", "EEV", "EVV"])
PACES = pytest.mark.parametrize("pace", [Steps, Squarem])
RULE = Likelihood(Floor(torch.full((3,), 1e-9, dtype=torch.float64)))
"""With a floor that no sound fit reaches."""


def overlapping(rows=300):
    return clusters(np.random.default_rng(0), rows, 3, 3, apart=1.0)[0]


def starts(name, x, restarts, components=3, seed=1):
    """Components at random rows, as wide as the data."""
    rng = np.random.default_rng(seed)
    wide = np.broadcast_to(x.var(0).mean() * np.eye(3), (components, 3, 3)).copy()
    every = []
    for _ in range(restarts):
        p = parameters(name, rng, components, 3)
        every.append(
            to_mixture(name, p._replace(means=x[rng.choice(len(x), components, replace=False)], covariances=wide))
        )
    return Record.cat(every)


def both(start, x, rule, stop, passes, pace, patience=8, **given):
    """The outcomes of looking at every pass, and seldom."""
    rows = [Rows(Array(x), origin=torch.zeros(3), patience=p, **given) for p in (1, patience)]
    return [ended(converging(start, r, rule, stop, passes, pace)) for r in rows]


def shown(now):
    """All numbers of a turn, of matrices themselves: axes may point either way."""
    model = now.model
    return [model.log_weight, model.mean, model.covariance.dense(), *now.moments.leaves(), now.bound, now.fast]


def same(seldom, always):
    """The same operations on the same numbers, but for branches not taken, which leave the numbers as they are."""
    assert seldom.passes.tolist() == always.passes.tolist()
    assert seldom.still.tolist() == always.still.tolist()
    kept = {"rtol": 1e-11, "atol": 1e-11, "equal_nan": True}
    torch.testing.assert_close(seldom.bounds, always.bounds, **kept)
    for a, b in zip(shown(seldom.turn), shown(always.turn), strict=True):
        torch.testing.assert_close(a, b, **kept)
    assert seldom.turn.rule is always.turn.rule


# ---- the same outcome


@EVERY
@PACES
def test_the_outcome_is_that_of_looking_at_every_pass(name, pace):
    x = overlapping()
    always, seldom = both(starts(name, x, 4), x, RULE, Still(1e-4), 300, pace)
    assert bool(always.still.all())
    assert len(set(always.passes.tolist())) > 1, "the problem should have restarts that end at different passes"
    same(seldom, always)


@PACES
@pytest.mark.parametrize("patience", [2, 5, 1000])
def test_any_patience(pace, patience):
    x = overlapping()
    always, seldom = both(starts("full", x, 3), x, RULE, Still(1e-4), 300, pace, patience)
    same(seldom, always)


@pytest.mark.parametrize("passes", [1, 2, 7, 9, 20])
def test_passes_run_out_at_any_place_between_two_looks(passes):
    x = overlapping()
    always, seldom = both(starts("full", x, 2), x, RULE, Still(0.0), passes, Steps)
    assert seldom.passes.tolist() == [passes] * 2
    same(seldom, always)


def test_what_is_told_is_told_of_every_pass():
    x, told = overlapping(), []
    for patience in (1, 8):
        rows = Rows(Array(x), origin=torch.zeros(3), patience=patience)
        steps = converging(starts("full", x, 4), rows, RULE, Still(1e-4), 300)
        told.append([(live.tolist(), bound.tolist()) for live, bound in steps])
    assert told[0] == told[1]


@EVERY
@PACES
def test_collapsed_components_are_raised_to_the_floor_all_the_same(name, pace):
    """A third of the rows are one row: what gathers them collapses."""
    x = overlapping(300)
    x[::3] = x[0]
    start = starts(name, x, 3, seed=4)
    start.mean[:, 0] = torch.from_numpy(x[0])
    rule = Likelihood(Floor(torch.full((3,), 1e-4, dtype=torch.float64)))
    always, seldom = both(start, x, rule, Still(1e-4), 200, pace)
    least = float(always.turn.model.covariance.variances().min())
    if name in SIX and not name.startswith("tied"):  # others share what they have between components
        assert least == pytest.approx(1e-4, rel=1e-6)
    assert bool(seldom.turn.bound.isfinite().all())
    if pace is Steps:
        same(seldom, always)
    # A leap below the floor is taken back instead of raised to it, so that ways differ; ends do not.
    torch.testing.assert_close(seldom.turn.bound, always.turn.bound, rtol=0, atol=1e-4 * len(x))


@EVERY
def test_components_without_rows_are_dropped_all_the_same(name):
    x = overlapping()
    start = starts(name, x, 2)
    start.mean[1, 0] = 1e5
    always, seldom = both(start, x, Likelihood(Floor()), Still(1e-4), 100, Steps)
    assert float(seldom.turn.model.log_weight[1, 0]) == -torch.inf
    same(seldom, always)


@EVERY
def test_a_failed_restart_fails_alone(name):
    x = overlapping()
    start = starts(name, x, 3)
    spoilt = replace(start, mean=torch.where(torch.tensor([False, True, False])[:, None, None], torch.nan, start.mean))
    always, seldom = both(spoilt, x, RULE, Gain(1e-5), 300, Steps)
    assert int(seldom.passes[1]) == 1
    same(seldom, always)


def test_a_matrix_that_nothing_may_raise_fails_at_the_same_pass():
    x = overlapping(300)
    x[::3] = x[0]
    start = starts("full", x, 2, seed=4)
    start.mean[0, 0] = torch.from_numpy(x[0])
    always, seldom = both(start, x, Likelihood(Floor()), Still(1e-4), 200, Steps)
    assert bool(always.turn.bound[0].isnan())
    assert 1 < int(always.passes[0]) < 200
    same(seldom, always)


def test_the_guard_takes_restarts_off_the_fast_path_between_looks():
    """Two narrow clusters far apart: on its way to one of them a component becomes too narrow for the feature map."""
    rng = np.random.default_rng(5)
    x = np.concatenate([rng.normal(size=(150, 3)), rng.normal(size=(150, 3)) + 3e4])
    start = starts("full", x, 4, components=2, seed=6)
    always, seldom = both(start, x, RULE, Still(1e-8), 300, Steps, tolerance=4.5e-7)
    first = converge(start, Rows(Array(x), origin=torch.zeros(3), tolerance=4.5e-7), RULE, Still(), 1)
    assert bool((first.turn.fast & ~always.turn.fast).any()), "the problem should have restarts that leave the path"
    same(seldom, always)


# ---- Ctrl-C


@PACES
def test_an_interrupt_keeps_what_every_restart_has_reached(pace):
    x = overlapping()
    rows = Rows(Array(x), origin=torch.zeros(3), patience=8)
    steps = converging(starts("full", x, 4), rows, RULE, Still(1e-4), 300, pace)
    while len(next(steps)[0]) == 4:
        pass
    next(steps)
    with pytest.raises(StopIteration) as end:
        steps.throw(KeyboardInterrupt)
    outcome = end.value.value
    assert outcome.interrupted
    assert len(outcome.turn.bound) == 4
    assert len(outcome.bounds) == int(outcome.passes.max())
    for r in range(4):
        assert float(outcome.turn.bound[r]) == float(outcome.bounds[int(outcome.passes[r]) - 1, r])


@pytest.mark.parametrize("calls", [1, 3, 20])
def test_an_interrupt_between_looks_keeps_the_last_look(calls, monkeypatch):
    x, made = overlapping(), module.blind_turn

    def pressed(*given):
        nonlocal calls
        calls -= 1
        if not calls:
            raise KeyboardInterrupt
        return made(*given)

    monkeypatch.setattr(module, "blind_turn", pressed)
    rows = Rows(Array(x), origin=torch.zeros(3), patience=8)
    outcome = ended(converging(starts("full", x, 4), rows, RULE, Still(1e-4), 300))
    assert outcome.interrupted
    assert int(outcome.passes.max()) % 8 == 1  # the first pass is looked at
    for r in range(4):
        assert float(outcome.turn.bound[r]) == float(outcome.bounds[int(outcome.passes[r]) - 1, r])


# ---- what is read


def waits_between(name, pace, monkeypatch, resident=1 << 30, **given):
    """What the host waited for before each pass that is not the first after a look."""
    x = overlapping()
    with Pretend() as device:
        rows = Rows(Array(x), origin=torch.zeros(3), device=DEVICE, resident=resident, **given)
        start = starts(name, x, 3).to(rows.home)
        rule, found, looked, made = Likelihood(Floor(RULE.floor.least.to(rows.home))), [], 0, module.blind_turn

        def noted(*given):
            nonlocal looked
            found.append(device.waits[looked:])
            now = made(*given)
            looked = len(device.waits)
            return now

        monkeypatch.setattr(module, "blind_turn", noted)
        outcome = ended(converging(start, rows, rule, Still(0.0), 1 + 3 * PATIENCE, pace))
        assert outcome.turn.bound.device.type == DEVICE
        assert len(device.waits) > 0
    assert len(found) == 3 * PATIENCE, "these passes should all be blind"
    return [each for at, each in enumerate(found) if at % PATIENCE], len(device.waits)


@EVERY
@PACES
def test_nothing_is_read_between_two_looks(name, pace, monkeypatch):
    between, _ = waits_between(name, pace, monkeypatch)
    # An eigendecomposition looks at its own result, on every device.
    between = [[what for what in each if what != "_linalg_eigh"] for each in between]
    assert between == [[]] * len(between)


def test_restarts_of_both_counts_read_nothing_either(monkeypatch):
    real, calls = module.turn, []

    def split(*given):
        calls.append(0)
        now = real(*given)
        return replace(now, fast=torch.tensor([True, False, True]).to(now.fast.device))

    monkeypatch.setattr(module, "turn", split)
    between, _ = waits_between("full", Steps, monkeypatch)
    # The places of the restarts that each count serves are moved to the device once.
    assert [each for each in between if each] in ([], [["_to_copy"] * 3])


def test_the_stand_in_notes_what_is_read():
    """So that the tests above can fail."""
    with Pretend() as device:
        t = torch.arange(3.0).to(DEVICE)
        for read in (lambda: float(t.sum()), lambda: bool((t > 0).all()), lambda: t[t > 0], lambda: t.cpu()):
            before = len(device.waits)
            read()
            assert len(device.waits) == before + 1
        before = len(device.waits)
        torch.where(t > 0, t, 0.0).add_(1)[torch.tensor([0])]
        assert len(device.waits) == before
        with pytest.raises(RuntimeError, match="same device"):
            t + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            t.numpy()


def test_patience_is_for_devices():
    x = overlapping(20)
    assert Rows(Array(x)).patience == 1
    assert Rows(Array(x), patience=3).coarse().patience == 3
    with Pretend():
        assert Rows(Array(x), device=DEVICE).patience == PATIENCE
