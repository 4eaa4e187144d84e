"""Moves: what they are priced at, against loops; which of them are made, and where they lead."""

import itertools

import numpy as np
import oracle
import pytest
import torch
from cases import OFF, tensor
from grounds import EVERY, grounds, looked, pairs

import mixtura.moves as moving
from mixtura.covariance import STRUCTURES, Floor
from mixtura.em import Likelihood
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.moves import Halves, Move, Removals, View, Way
from mixtura.native import groups
from mixtura.running import weighted_runs
from mixtura.start import mixture_from

# ---- what moves are priced at


@EVERY
def test_a_component_less_is_priced_after_the_m_step_of_the_others(name):
    x, _ = pairs(80)
    view, p, weight = looked(x, name)
    found = moving.removed(view, grounds(x, name, 3))
    shares, before = oracle.responsibilities(x, p), weight @ oracle.log_density(x, p)
    assert {way for way in found.ways if way.into < 0} == {Way(k, -1) for k in range(3)}
    assert {frozenset(way) for way in found.ways if way.into >= 0} == set(
        map(frozenset, itertools.combinations(range(3), 2))
    )
    for way, loss in zip(found.ways, found.loss.tolist(), strict=True):
        left = shares.copy()
        if way.into < 0:
            left[:, way.gone] = 0
            left /= left.sum(1, keepdims=True)
        else:
            left[:, way.into] += left[:, way.gone]
        q = oracle.m_step(name, x, np.delete(left, way.gone, axis=1), weight)
        want = before - weight @ oracle.log_density(x, q)
        # Rounding of sums over 80 rows; what rounds leave of an M-step without a formula moves the level by its square.
        assert loss == pytest.approx(want, rel=1e-9, abs=1e-7 if name in OFF else 1e-9)


@pytest.mark.parametrize("name", ["full", "diag", "spherical", "tied", "EVI"])
def test_halves_are_em_on_the_rows_of_a_component(name):
    """Loops over the ways to split, with EM on the component's rows alone, find the same best halves."""
    x, _ = pairs(60)
    view, p, weight = looked(x, name, seed=2)
    ground = grounds(x, name, 3)
    draws = torch.from_numpy(np.random.default_rng(0).random((3, 3, 2)))
    halves = moving.split(view, draws, 3, ground)
    shares = oracle.responsibilities(x, p)
    for k in range(3):
        counted = np.where(shares[:, k] > moving.LEAST, shares[:, k] * weight, 0)
        alone = counted @ np.array([oracle.log_normal(row, p.means[k], p.covariances[k]) for row in x])
        inverse, found = np.linalg.inv(p.covariances[k]), []
        for u in draws[:, k].numpy():
            below = np.cumsum(shares[:, k] * weight)
            ends = [x[int(np.searchsorted(below, v * below[-1] * (1 - 1e-9)))] for v in u]
            first = np.array([[(row - end) @ inverse @ (row - end) for end in ends] for row in x])
            near = (first[:, 0] < first[:, 1]).astype(float)
            start = np.stack([near, 1 - near], 1)
            if min((start * shares[:, [k]] * weight[:, None]).sum(0)) < 2 * 2 + 2:
                break  # such starts are shrunk: the test of starts says how
            q = oracle.m_step(name, x, start * shares[:, [k]], weight)
            for _ in range(2):
                _, q = oracle.em_step(name, x, q, counted)
            found.append((counted @ oracle.log_density(x, q) - alone, oracle.responsibilities(x, q)[:, 0]))
        else:
            gain, first = max(found, key=lambda way: way[0])
            assert float(halves.gain[k]) == pytest.approx(gain, rel=1e-8)
            np.testing.assert_allclose(halves.first[k].numpy(), first, atol=1e-8)


def test_halves_that_the_library_gives_back_are_left():
    """A component without any row has no matrix: where the ring is not to mend it, the others are what they were."""
    if not groups.serves(STRUCTURES["full"].unit(1, 2, 2), 2, torch.float64):
        pytest.skip("SKIPPED: there is no compiled library")
    x, _ = pairs(160)
    mean = tensor(np.array([[[0.0, 0], [20, 4]], [[0.0, 0], [1e200, 0]], [[0.0, 4], [20, 0]]]))
    start = Mixture(torch.full((3, 2), 0.5).log().double(), mean, STRUCTURES["full"].unit(3, 2, 2), Gaussian())
    floor = Floor(tensor([1e-12, 1e-12]))
    how = (np.zeros(3, dtype=int), tensor(x), torch.ones(1, len(x)).double(), Likelihood(floor), 5)
    *_, calm = groups.run(start, *how[:3], floor, 5)
    assert calm.tolist() == [True, False, True]
    (every, all_levels), (some, level) = weighted_runs(start, *how), weighted_runs(start, *how, leave=True)
    assert level.isfinite().tolist() == [True, False, True]
    assert bool((level[[0, 2]] == all_levels[[0, 2]]).all())
    assert bool((some.mean[[0, 2]] == every.mean[[0, 2]]).all())


@EVERY
@pytest.mark.parametrize("empty", [None, 0, 1, 3])
def test_compiled_halves_are_the_ring_s(name, empty, monkeypatch):
    """Of a component that takes no row of the sample, too: its halves are not followed, those of the others are."""
    if not groups.serves(STRUCTURES[name].unit(1, 2, 2), 2, torch.float64):
        pytest.skip("SKIPPED: there is no compiled library")
    x, _ = pairs(160)
    rng = np.random.default_rng(3)
    weight = tensor(rng.uniform(size=(3, len(x))) * (rng.uniform(size=(3, len(x))) > 0.3))
    start = Mixture(
        torch.full((6, 2), 0.5).log().double(),
        tensor(x[rng.integers(len(x), size=(6, 2))]),
        STRUCTURES[name].unit(6, 2, 2),
        Gaussian(),
    )
    which = np.arange(3)
    if empty is not None:
        weight = torch.stack([*weight[:empty], torch.zeros(len(x)).double(), *weight[empty:]])
        which = np.delete(np.arange(4), empty)
    how = (np.tile(which, 2), tensor(x), weight, Likelihood(Floor(tensor([1e-12, 1e-12]))), 5)
    fast, level = weighted_runs(start, *how)
    monkeypatch.setattr(groups, "serves", lambda *_: False)
    slow, want = weighted_runs(start, *how)
    # Sums over 160 rows in another order, five times over; rounds of M-steps without a formula may be one more or less.
    np.testing.assert_allclose(level.numpy(), want.numpy(), rtol=1e-6 if name in OFF else 1e-10)
    if name not in OFF:
        np.testing.assert_allclose(fast.mean.numpy(), slow.mean.numpy(), atol=1e-8)
        dense = (mixture.covariance.dense().numpy() for mixture in (fast, slow))
        np.testing.assert_allclose(*dense, atol=1e-8)


def test_pairs_that_overlap_come_first():
    share = tensor([[0.5, 0.5, 0, 0], [0.5, 0.4, 0, 0.1], [0, 0.1, 1, 0.9]])
    ways = moving.overlapping(share, torch.ones(4).double())
    assert ways == [Way(1, 0), Way(2, 1), Way(2, 0)]


# ---- which moves are made


def priced(gain, ways, loss):
    halves = Halves(torch.zeros(len(gain), 1).double(), tensor(gain))
    return halves, Removals(ways, tensor(loss), torch.zeros(len(ways), 1), torch.zeros(len(ways), len(gain), 1))


def test_moves_that_promise_most_come_first_and_split_nothing_that_goes():
    halves, removals = priced([50.0, 10.0, 0.0], [Way(0, -1), Way(2, -1), Way(1, 2)], [30.0, 10.0, 5.0])
    moves = moving.chosen(halves, removals, 24, 100.0, set())
    assert moves == [
        Move(Way(1, 2), 0, 50.0),
        Move(Way(2, -1), 0, 50.0),
        Move(Way(2, -1), 1, 10.0),
        Move(Way(0, -1), 1, 10.0),
        Move(Way(0, -1), 2, 0.0),
    ]
    few = moving.chosen(halves, removals, 24, 10.0 / moving.HOPELESS, set())
    assert few == moves[:3], "those that lose more are hopeless"


def test_what_was_tried_is_tried_anew_where_it_is_split_in_another_way():
    halves, removals = priced([50.0, 10.0, 0.0], [Way(0, -1), Way(2, -1), Way(1, 2)], [30.0, 10.0, 5.0])
    moves, anew = moving.chosen(halves, removals, 24, 100.0, set()), 100 * moving.ANEW
    others = [moves[0]._replace(gain=gain) for gain in (50 - 1.1 * anew, 50 + 1.1 * anew)]
    assert moving.chosen(halves, removals, 24, 100.0, set(others)) == moves
    same = [moves[0]._replace(gain=gain) for gain in (50 - 0.9 * anew, 50 + 0.9 * anew)]
    for tried in ({same[0]}, {same[1]}, {others[0], same[1]}):
        assert moving.chosen(halves, removals, 24, 100.0, tried) == moves[1:]
    assert not moving.chosen(halves, removals, 24, 100.0, set(moves)), "nothing is left"


def test_no_component_takes_all_moves():
    ways = [Way(k, -1) for k in range(12)]
    halves, removals = priced(np.linspace(9, 8, 12) + 50.0 * (np.arange(12) == 3), ways, np.linspace(1, 2, 12))
    moves = moving.chosen(halves, removals, 24, 1e9, set())
    assert len(moves) == 24
    assert max(np.bincount([move.split for move in moves])) == 24 // moving.SHARE
    assert max(np.bincount([move.way.gone for move in moves])) <= 24 // moving.SHARE


@pytest.mark.parametrize("joins", [False, True])
def test_a_move_gives_every_row_away_once(joins):
    x, _ = pairs(50)
    view, *_ = looked(x, components=4)
    ground = grounds(x)
    halves = moving.split(view, torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(0)).double(), 2, ground)
    removals = moving.removed(view, ground)
    way = next(way for way in removals.ways if (way.into >= 0) == joins)
    kept, half = sorted({0, 1, 2, 3} - set(way))[:2]
    share = moving.made_of(view, halves, removals, Move(way, half, 0.0))
    np.testing.assert_allclose(share.sum(0).numpy(), 1.0, atol=1e-12)
    assert float(share.min()) >= 0
    both = share[half] + share[way.gone]
    want = view.joint.clone()
    if not joins:
        want[way.gone] = -torch.inf
    np.testing.assert_allclose(both.numpy(), want.softmax(0)[half].numpy(), atol=1e-12)
    np.testing.assert_allclose(share[kept].numpy(), want.softmax(0)[kept].numpy(), atol=1e-12)
    if joins:
        together = view.share[way.into] + view.share[way.gone]
        np.testing.assert_allclose(share[way.into].numpy(), together.numpy(), atol=1e-12)


def test_the_others_of_a_row_are_counted_without_cancelling():
    """Where one component has a row all to itself, the others' sum is far below rounding of the whole."""
    joint = tensor(np.random.default_rng(0).normal(size=(4, 200)) * 10.0 ** np.arange(-2, 3).repeat(40))
    want = [joint[[j for j in range(4) if j != k]].logsumexp(0).numpy() for k in range(4)]
    np.testing.assert_allclose(moving.others(joint).numpy(), want, rtol=1e-14, atol=1e-13)


@pytest.mark.parametrize("far", [0.0, 1e6], ids=["sums", "sums that cancel"])
@EVERY
def test_moves_start_where_their_shares_say(name, far):
    """From what is summed once for all moves: the same mixtures as from the shares of each, however far from zero."""
    x, _ = pairs(160)
    view, *_ = looked(x, name, components=4)
    sample = view.sample._replace(x=view.sample.x + far)
    view = moving.seen(view.model.shifted(torch.full((2,), far).double()), sample)
    ground = grounds(x, name)
    draws = torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(0)).double()
    halves, removals = moving.split(view, draws, 2, ground), moving.removed(view, ground)
    moves = moving.chosen(halves, removals, 16, 1e9, set())
    assert {move.way.into < 0 for move in moves} == {True, False}
    found = moving.started(view, halves, removals, moves, ground)
    r = torch.stack([moving.made_of(view, halves, removals, move) for move in moves])
    want = mixture_from(r, sample, ground.unit, ground.rule)
    # Sums over 160 rows in another order; what rounds leave of an M-step without a formula.
    np.testing.assert_allclose(found.mean.numpy(), want.mean.numpy(), rtol=1e-12, atol=1e-9)
    dense = (mixture.covariance.dense().numpy() for mixture in (found, want))
    np.testing.assert_allclose(*dense, rtol=1e-6 if name in OFF else 1e-8, atol=1e-6 if name in OFF else 1e-8)


def test_a_view_is_of_one_mixture():
    view, *_ = looked(pairs(30)[0])
    assert isinstance(view, View)
    np.testing.assert_allclose(view.share.sum(0).numpy(), 1.0, atol=1e-12)
