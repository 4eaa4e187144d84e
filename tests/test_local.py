"""Local search: what moves are priced at, against loops; that they are made where they should be, and nowhere else."""

import itertools
import math
import warnings

import numpy as np
import oracle
import pytest
import torch
from cases import NAMES, OFF, onehot, parameters, tensor, to_mixture

import mixtura.moves as moving
from mixtura import GaussianMixture
from mixtura.covariance import STRUCTURES, Floor
from mixtura.cross import ALIKE, children
from mixtura.data.array import Array
from mixtura.em import Likelihood
from mixtura.family import Gaussian
from mixtura.kick import kick
from mixtura.local import PLAIN, WARM, Climb, LocalSearch, Peak
from mixtura.mixture import Mixture
from mixtura.moves import Halves, Move, Removals, View, Way
from mixtura.native import groups
from mixtura.plan import Plan, ground_of
from mixtura.race import EFFORTS
from mixtura.record import Record
from mixtura.rows import Rows
from mixtura.running import weighted_runs
from mixtura.search import climbed, found, plain
from mixtura.start import mixture_from
from mixtura.stop import Still
from mixtura.survey import Sample, survey
from mixtura.track import Round, Track, joined

EVERY = pytest.mark.parametrize("name", NAMES)
CLIMB = EFFORTS["standard"].climb
CPU = torch.device("cpu")


def pairs(rows=240, seed=0):
    """Four clusters in the plane, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 4
    centres = np.array([[0, 0], [0, 4], [20, 0], [20, 9]])
    return centres[labels] + rng.normal(size=(rows, 2)) * [1, 0.5], labels


def grounds(x, name="full", components=4, weight=None, seed=0, passes=2000):
    plan = Plan(
        structure=STRUCTURES[name],
        components=components,
        added=None,
        clip=True,
        stop=Still(),
        passes=passes,
        search=plain(lambda ground: None, "none"),
        last_step=False,
        ordered=True,
        seed=seed,
        device=CPU,
    )
    source = Array(x, None if weight is None else tensor(weight))
    facts = survey(source, seed)
    return ground_of(facts, Rows(source, origin=facts.mean), plan)


def looked(x, name="full", components=3, seed=1):
    """A mixture that fits nothing well, seen by rows that weigh differently, and the same as the oracle holds it."""
    rng = np.random.default_rng(seed)
    p = parameters(name, rng, components, x.shape[1], spread=3.0)
    weight = rng.uniform(0.5, 2, size=len(x))
    return moving.seen(to_mixture(name, p), Sample(tensor(x), tensor(weight))), p, weight


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
    halves, removals = priced([5.0, 1.0, 0.0], [Way(0, -1), Way(2, -1), Way(1, 2)], [3.0, 1.0, 0.5])
    moves = moving.chosen(halves, removals, 24, 100.0, set())
    assert moves == [
        Move(Way(1, 2), 0),
        Move(Way(2, -1), 0),
        Move(Way(2, -1), 1),
        Move(Way(0, -1), 1),
        Move(Way(0, -1), 2),
    ]
    assert moving.chosen(halves, removals, 24, 1.0, set()) == moves[:3], "those that lose more are hopeless"
    again = moving.chosen(halves, removals, 24, 100.0, {moves[0]})
    assert again == [*moves[1:], moves[0]], "what was tried comes last"


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
    share = moving.made_of(view, halves, removals, Move(way, half))
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


# ---- the search


def stuck(x, name, ground):
    """Two components in one cluster, one for two: where EM alone stays."""
    labels = np.where(x[:, 0] > 10, 0, np.where(x[:, 1] > 2, 1, 2 + (x[:, 0] > 0)))
    sample = ground.sample
    order = (sample.x + ground.origin).numpy()
    at = [int(np.abs(x - row).sum(1).argmin()) for row in order]
    r = tensor(onehot(labels[at], 4).T)[None]
    return mixture_from(r, sample, ground.unit, ground.rule)


@EVERY
def test_a_component_is_moved_to_where_it_is_missed(name):
    x, labels = pairs(400)
    ground = grounds(x, name)
    track = Track(ground, Still(1e-5))
    leader = track.enter(stuck(x, name, ground), ["kmeans"])
    before = track.heat(leader, 2**15, 2000)
    peak = LocalSearch(track, CLIMB, 0).run(leader).heat
    assert float(peak.standing.bound[0]) > float(before.standing.bound[0]) + 20
    means = (peak.runners.model.mean[0] + ground.origin).numpy()
    centres = np.stack([x[labels == k].mean(0) for k in range(4)])
    apart = np.abs(means[:, None] - centres).max(2).min(0)
    assert apart.max() < 0.5, "every cluster has a component of its own"
    line = track.told[peak.runners.ids[0]]
    assert line["kind"] == "move"
    assert line["begins"] >= track.told[0]["n_iter"] > 0


def test_nothing_is_tried_where_nothing_can_be_gained():
    """Clusters so far apart that any component less costs many nats a row."""
    x, labels = pairs(400)
    x = x + 1e4 * np.array([[0, 0], [0, 1], [1, 0], [1, 1]])[labels]
    ground = grounds(x)
    order = np.lexsort(x.T[::-1])
    r = tensor(onehot(labels[order], 4).T)[None]
    track = Track(ground, Still(1e-5))
    np.testing.assert_allclose((ground.sample.x + ground.origin).numpy(), x[order], atol=1e-8)
    right = track.enter(mixture_from(r, ground.sample, ground.unit, ground.rule), ["kmeans"])
    peak = LocalSearch(track, CLIMB, 0).run(right)
    assert len(track.told) == 1
    assert peak.heat.runners.ids == [0]


def test_nothing_is_tried_where_the_race_agrees():
    x, _ = pairs(400)
    model = GaussianMixture(4, random_state=0).fit(x)
    assert not any(start["kind"] == "move" for start in model.starts_)
    assert model.status_ == "converged"


@pytest.mark.parametrize("components", [1, 2])
def test_two_components_have_moves_and_one_has_none(components):
    x, _ = pairs(200)
    ground = grounds(x, components=components)
    r = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(components), size=len(ground.sample.x)))
    model = mixture_from(r.T[None].contiguous(), ground.sample, ground.unit, ground.rule)
    track = Track(ground, Still(1e-5))
    peak = Peak(track.heat(track.enter(model, ["random"]), 2**15, 1), track, CLIMB.sample)
    moves, made = LocalSearch(track, CLIMB, 0).moves(peak, set())
    assert bool(moves) == (components > 1) == (made is not None)
    assert all(move.split not in move.way for move in moves)


def test_a_leader_is_never_made_worse():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(500, 3)) * rng.choice([0.3, 1, 3], size=(500, 1))
    for seed in range(3):
        ground = grounds(x, components=5, seed=seed)
        track = Track(ground, Still(1e-5))
        r = torch.from_numpy(rng.dirichlet(np.ones(5), size=len(ground.sample.x))).T[None].contiguous()
        leader = track.enter(mixture_from(r, ground.sample, ground.unit, ground.rule), ["random"])
        before = float(track.heat(leader, 2**15, 2000).standing.bound[0])
        peak = LocalSearch(track, CLIMB, 0).run(leader)
        assert peak.bound >= before - 1e-9 * abs(before)


def test_small_batches_change_nothing(monkeypatch):
    x, _ = pairs(120)
    view, *_ = looked(x, components=4)
    ground = grounds(x)
    draws = torch.rand(2, 4, 2, generator=torch.Generator().manual_seed(0)).double()
    whole, less = moving.split(view, draws, 3, ground), moving.removed(view, ground)
    monkeypatch.setattr(moving, "ENTRIES", 1)
    parts, parted = moving.split(view, draws, 3, ground), moving.removed(view, ground)
    # One product for all or one for each: the same numbers in another order.
    np.testing.assert_allclose(parts.gain.numpy(), whole.gain.numpy(), rtol=1e-10)
    np.testing.assert_allclose(parts.first.numpy(), whole.first.numpy(), atol=1e-10)
    np.testing.assert_allclose(parted.loss.numpy(), less.loss.numpy(), rtol=1e-10)
    assert parted.ways == less.ways


def test_many_components_are_not_all_priced(monkeypatch):
    x, _ = pairs(200)
    view, *_ = looked(x, components=8)
    every = moving.removed(view, grounds(x, components=8))
    monkeypatch.setattr(moving, "FEW", 3)
    few = moving.removed(view, grounds(x, components=8))
    assert len(few.ways) == 6
    assert set(few.ways) <= set(every.ways)


def test_moves_that_fall_behind_are_not_followed(monkeypatch):
    """With no allowance nothing goes on that is worse than its parent, and what comes back to it is no success."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(500, 3)) * rng.choice([0.3, 1, 3], size=(500, 1))
    ground = grounds(x, components=5)
    track = Track(ground, Still(1e-5))
    r = torch.from_numpy(rng.dirichlet(np.ones(5), size=len(ground.sample.x))).T[None].contiguous()
    leader = track.enter(mixture_from(r, ground.sample, ground.unit, ground.rule), ["random"])
    peak = LocalSearch(track, CLIMB, 0).run(leader)
    strict = LocalSearch(track, CLIMB._replace(heats=tuple(h._replace(short=0.0) for h in CLIMB.heats)), 1)
    moves, made = strict.moves(peak, set())
    runners = track.enter(made, ["move"] * len(moves), 0)
    before = len(track.told)
    assert strict.tried(runners, peak) is None
    behind = [track.told[i] for i in runners.ids if len(track.told[i]["stages"]) == 1]
    assert len(behind) > len(moves) / 2
    assert len(track.told) == before
    back = track.enter(peak.heat.runners.model, ["move"], 0)
    assert strict.tried(back, peak) is None


@pytest.mark.parametrize("when", [0.3, 0.6, 0.9])
def test_interrupted_searches_keep_the_best(when, monkeypatch):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(500, 3)) * rng.choice([0.3, 1, 3], size=(500, 1))
    told, until = [], [math.inf]

    def watch(live, bound):
        told.append(len(live))
        if len(told) > until[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr("mixtura.planned.watcher", lambda *_: watch)
    whole = GaussianMixture(5, random_state=0).fit(x)
    assert any(start["kind"] == "move" for start in whole.starts_)
    until[0] = int(when * len(told))
    told.clear()
    model = GaussianMixture(5, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x)
    assert model.status_ == "interrupted"
    assert np.isfinite(model.loglik_)
    assert model.loglik_ <= whole.loglik_ + 1e-6


@pytest.mark.parametrize("params", [{"missing": "em"}, {"dtype": np.float32}, {"weight": True}])
def test_every_kind_of_rows_is_searched(params):
    x, _ = pairs(400)
    x = x.astype(params.get("dtype", float))
    weight = np.random.default_rng(0).uniform(0.5, 2, len(x)) if "weight" in params else None
    if "missing" in params:
        x[::7, 0] = np.nan
    model = GaussianMixture(5, random_state=0, **({"missing": "em"} if "missing" in params else {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, sample_weight=weight)
    assert any(start["kind"] == "move" for start in model.starts_)
    quick = GaussianMixture(5, random_state=0, effort="quick", tol=1e-7, missing=model.missing)
    quick.fit(x, sample_weight=weight)
    assert model.loglik_ >= quick.loglik_ - (1e-3 if x.dtype == np.float32 else 1e-6)


# ---- independent searches


def test_thorough_ends_when_enough_searches_agree():
    x, _ = pairs(400)
    model = GaussianMixture(4, effort="thorough", random_state=0).fit(x)
    agree, races = EFFORTS["thorough"].agree, EFFORTS["thorough"].races
    assert max(start["search"] for start in model.starts_) == agree - 1 < EFFORTS["thorough"].searches - 1
    # One of them runs to the end: the others have come to where it was, and say so.
    (end,) = (at for at, start in enumerate(model.starts_) if start["status"] == "converged")
    assert model.starts_[end]["search"] == 0
    again = [start for start in model.starts_ if start["same_as"] is not None]
    assert [start["search"] for start in again] == list(range(1, agree))
    assert {start["same_as"] for start in again} == {end}
    assert {start["search"] for start in model.starts_ if start["kind"] == "kick"} == set(range(races, agree))
    five = GaussianMixture(4, effort="thorough", n_init=5, random_state=0).fit(x)
    assert max(start["search"] for start in five.starts_) == 4
    assert not any(start["kind"] == "kick" for start in five.starts_), "those of n_init are independent"


def test_a_search_ends_at_an_optimum_that_is_known():
    x, _ = pairs(400)
    ground = grounds(x)
    track = Track(ground, Still(1e-5))
    peak = LocalSearch(track, CLIMB, 0).run(track.enter(stuck(x, "full", ground), ["kmeans"]))
    before = len(track.told)
    again = track.enter(peak.heat.runners.model, ["kmeans"])
    assert LocalSearch(track, CLIMB, 1, [peak]).run(again) is peak
    assert len(track.told) == before + 1, "no move is made of it again"
    assert track.told[before]["same_as"] == peak.heat.runners.ids[0]
    other = LocalSearch(track, CLIMB, 1, [peak]).run(track.enter(stuck(x, "full", ground), ["kmeans"]))
    assert other is peak, "where moves lead to it, too"


def test_agreement_is_with_the_best_sound_one():
    x, _ = pairs(400)
    ground = grounds(x)
    track = Track(ground, Still(1e-5))
    one = LocalSearch(track, CLIMB, 0).run(track.enter(stuck(x, "full", ground), ["kmeans"]))
    worse = Peak(track.heat(track.enter(stuck(x, "full", ground), ["kmeans"]), 2**15, 50), track, CLIMB.sample)
    assert found([one, one]) == 2
    assert found([one, worse, one]) == 2
    assert found([worse, one]) == 1
    assert found([worse, worse, one]) == 1
    assert found([]) == 0


def test_what_comes_back_does_not_lead():
    """The optimum itself is ahead of a move that has only begun to climb: the move wins all the same."""
    x, labels = pairs(400)
    ground = grounds(x)
    track = Track(ground, Still(1e-5))
    peak = Peak(track.heat(track.enter(stuck(x, "full", ground), ["kmeans"]), 2**15, 2000), track, CLIMB.sample)
    at = np.array([np.abs(x - row.numpy()).sum(1).argmin() for row in ground.sample.x + ground.origin])
    # Nearly random shares, of which EM makes the right ones in more passes than the first heat has.
    share = np.random.default_rng(0).dirichlet(np.ones(4), size=len(at)).T + 0.5 * onehot(labels[at], 4).T
    move = mixture_from(tensor(share / share.sum(0))[None], ground.sample, ground.unit, ground.rule)
    heats = (Round(2**15, 1, 1), Round(2**15, 500, 1))
    runners = track.enter(Record.cat([peak.heat.runners.model, move]), ["move"] * 2, 0)
    ahead = track.heat(runners, 2**15, 1).standing.bound
    assert float(ahead[0]) > float(ahead[1]) + 10
    best = LocalSearch(track, CLIMB._replace(heats=heats), 0).tried(runners, peak)
    assert best is not None
    assert best.bound > peak.bound + 20
    assert best.heat.runners.ids == runners.ids[1:]


def test_moves_of_few_rows_may_fall_further_behind_where_there_are_many_features():
    rng = np.random.default_rng(0)
    for rows, features, times in ((300, 3, 1), (300, 10, 10 / PLAIN), (6000, 10, 1)):
        track = Track(grounds(rng.normal(size=(rows, features))), Still(1e-5))
        assert LocalSearch(track, CLIMB, 0).short(Round(100, 1, 1, 0.5)) == 0.5 * times


# ---- rounds see rows of their own


@pytest.mark.parametrize("rows", [4000, 8000])
def test_every_lot_is_other_rows_drawn_by_weight(rows):
    """Of a small table, whose sample is all of it, and of a larger one, whose crowd is."""
    weight = np.where(np.arange(rows) % 2, 3.0, 1.0)
    ground = grounds(np.arange(rows)[:, None] * [1.0, -1.0], components=2, weight=weight)
    lots = [ground.part(1000, lot) for lot in range(4)]
    for lot, part in enumerate(lots):
        assert torch.equal(ground.part(1000, lot).x, part.x), "the same each time"
        assert torch.equal(ground.part(300, lot).x, part.x[:300]), "a smaller part is the beginning of a larger one"
        assert torch.equal(part.weight, torch.ones(1000, dtype=torch.float64))
    drawn = [(part.x + ground.origin)[:, 0].round().long() for part in lots]
    assert all(len(at.unique()) == 1000 for at in drawn)
    both = [len(set(one.tolist()) & set(other.tolist())) for one, other in itertools.combinations(drawn, 2)]
    assert max(both) < 600, "some rows are in two lots, by chance"
    # Three quarters of the weight are in odd rows, which thin out a little as rows are drawn; sd of a share 0.014.
    assert all(0.65 < float((at % 2).double().mean()) < 0.79 for at in drawn)


def test_every_round_sees_rows_of_its_own():
    x, _ = pairs(3000)
    ground = grounds(x)
    track = Track(ground, Still(1e-5))
    seen = []

    class Telling(LocalSearch):
        def tried(self, runners, peak):
            seen.append(track.field(2500, runners.model).rows)
            assert track.field(2500, runners.model).rows is seen[-1]
            assert track.field(2**15, runners.model).size == 3000
            return super().tried(runners, peak)

    Telling(track, CLIMB, 0).run(track.enter(stuck(x, "full", ground), ["kmeans"]))
    assert track.lot >= len(seen) > CLIMB.misses
    first = {tuple(rows.held.x[:, 0].tolist()) for rows in seen}
    assert len(first) == len(seen)


def test_rounds_that_see_all_rows_share_them():
    x, _ = pairs(2500)
    track = Track(grounds(x), Still(1e-5))
    model = track.enter(stuck(x, "full", track.ground), ["kmeans"]).model
    whole = track.field(2500, model)
    track.lot = 1
    assert track.field(2500, model) is whole is not track.field(2000, model)


# ---- kicks


@EVERY
def test_a_kick_moves_several_components(name):
    x, _ = pairs(160)
    ground = grounds(x, name)
    view, p, weight = looked(x, name, components=4)
    halves = moving.split(view, tensor(np.random.default_rng(3).random((4, 4, 2))), 4, ground)
    halves = halves._replace(gain=torch.tensor([1.0, -torch.inf, 2.0, 3.0], dtype=torch.float64))
    draws = tensor([0.5, 0.1, 0.9, 0.3])  # in the order 1, 3, 0, 2, of which 1 cannot be split
    found = kick(view, halves, draws, 0.99, ground)
    joint = oracle.responsibilities(x, p)
    joint[:, [1, 2]] = 0
    share = joint / joint.sum(1, keepdims=True)
    first = halves.first.numpy()
    for half, gone in ((3, 1), (0, 2)):
        share[:, gone] = (1 - first[half]) * share[:, half]
        share[:, half] *= first[half]
    mean = (share * weight[:, None]).T @ x / (weight @ share)[:, None]
    np.testing.assert_allclose(found.mean[0].numpy(), mean, atol=1e-8)
    assert kick(view, halves._replace(gain=torch.full((4,), -torch.inf).double()), draws, 0.5, ground) is None


@pytest.mark.parametrize("components", range(1, 10))
def test_kicks_move_from_two_components_to_half_of_them(components):
    x, _ = pairs(200)
    view, *_ = looked(x, components=components)
    ground, even = grounds(x, components=components), torch.zeros(components, 200, dtype=torch.float64)
    # All components alike, and a half that has all: what was split stays, and the place of what has gone is empty.
    view, halves = view._replace(joint=even), Halves(even + 1, torch.zeros(components, dtype=torch.float64))
    draws = tensor(np.random.default_rng(components).random(components))
    many = []
    for size in (0.0, 0.5, 0.999999):
        model = kick(view, halves, draws, size, ground)
        many.append(0 if model is None else int((model.log_weight[0].exp() < 1e-9).sum()))
    assert many[0] == (2 if components > 3 else min(1, components - 1))
    assert many[-1] == components // 2
    assert many == sorted(many)


@pytest.mark.parametrize("name", ["full", "diag", "tied", "VEV"])
def test_a_search_goes_on_from_a_kick(name):
    x, labels = sides()
    ground = grounds(x, name, components=6)
    track = Track(ground, Still(1e-5))
    peak = LocalSearch(track, CLIMB._replace(misses=0), 0).run(track.enter(half_right(x, ground, 0), ["kmeans"]))
    ends = [LocalSearch(track, CLIMB._replace(misses=1), key).kicked(peak) for key in range(6)]
    kicks = [at for at, start in enumerate(track.told) if start["kind"] == "kick"]
    assert len(kicks) == len({tuple(track.told[at]["lower_bounds"]) for at in kicks}) == 6, "each is another one"
    assert {track.told[at]["parent"] for at in kicks} == {peak.heat.runners.ids[0]}
    best = max(ends, key=lambda end: end.bound)
    assert best.bound > peak.bound + 20
    means = (best.heat.runners.model.mean[0] + ground.origin).numpy()
    centres = np.stack([x[labels == k].mean(0) for k in range(6)])
    assert np.abs(means[:, None] - centres).max(2).min(0).max() < 0.5, "every cluster has a component of its own"


def test_optima_are_compared_in_the_precision_of_the_rows(monkeypatch):
    """In float32 an optimum may lie a nat beside itself, which is no reason to take it for another."""
    x, _ = pairs(400)
    x = x + 300.0
    monkeypatch.setattr("mixtura.track.MUCH", 1)
    ground = grounds(x)
    track = Track(ground, Still(1e-5))
    peak = LocalSearch(track, CLIMB, 0).run(track.enter(stuck(x, "full", ground), ["kmeans"]))
    assert peak.heat.field.rows.dtype == torch.float32 != ground.rows.dtype
    at = peak.heat.runners.model
    want = float(moving.log_joint(at, ground.sample)[0].logsumexp(0) @ ground.sample.weight)
    assert peak.bound == pytest.approx(want, rel=1e-12)


# ---- optima of different searches are crossed


def sides(rows=480):
    """Three clusters on each of two sides."""
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % 6
    centres = np.array([[30 * side, y] for side in (0, 1) for y in (0, 5, 14)])
    return centres[labels] + rng.normal(size=(rows, 2)) * [1, 0.5], labels


def half_right(x, ground, right):
    """On one side every cluster has a component; on the other one component has two clusters and two have one."""
    rows = (ground.sample.x + ground.origin).numpy()
    side, y = (rows[:, 0] > 15).astype(int), rows[:, 1]
    good = np.digitize(y, [2.5, 9.5])
    bad = np.where(y < 9.5, 0, 1 + (rows[:, 0] - 30 * side > 0))
    r = tensor(onehot((3 * side + np.where(side == right, good, bad)).tolist(), 6).T)[None]
    return mixture_from(r, ground.sample, ground.unit, ground.rule)


@EVERY
def test_children_have_components_of_both_parents(name):
    x, _ = pairs(160)
    ground = grounds(x, name)
    one, p, weight = looked(x, name, components=4, seed=1)
    other, q, _ = looked(x, name, components=4, seed=2)
    other = moving.seen(other.model, one.sample)
    draws = np.random.default_rng(0).random((24, 4))
    found = children(one, other, tensor(draws), ground)
    shares = [oracle.responsibilities(x, each) for each in (p, q)]
    length = [np.sqrt(weight @ share**2) for share in shares]
    alike = (shares[0] * weight[:, None]).T @ shares[1] / (length[0][:, None] * length[1])
    pairing = max(itertools.permutations(range(4)), key=lambda at: alike[range(4), at].sum())
    joint = [np.log(share) + oracle.log_density(x, each)[:, None] for share, each in zip(shares, (p, q), strict=True)]
    same = alike[range(4), pairing] > ALIKE
    taken = {tuple(row) for row in ((draws < 0.5) | same).tolist()} - {(True,) * 4, tuple(same.tolist())}
    assert found.shape[0] == len(taken)
    for at, first in enumerate(sorted(taken)):
        mixed = np.where(first, joint[0], joint[1][:, pairing])
        share = np.exp(mixed - mixed.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        mean = (share * weight[:, None]).T @ x / (weight @ share)[:, None]
        np.testing.assert_allclose(found.mean[at].numpy(), mean, atol=1e-8)


def test_parents_that_differ_in_one_component_have_no_children():
    x, _ = pairs(160)
    view, *_ = looked(x, components=4)
    draws = torch.rand(24, 4, generator=torch.Generator().manual_seed(0)).double()
    share = tensor(np.random.default_rng(0).dirichlet(np.ones(4), size=160).T)
    one, ground = view._replace(share=share, joint=share.log()), grounds(x)
    for differ, many in (([], 0), ([2], 0), ([2, 3], 2)):
        other = share.clone()
        other[differ] = share[differ].flip(1)
        found = children(one, view._replace(share=other, joint=other.log()), draws, ground)
        assert (0 if found is None else found.shape[0]) == many


@pytest.mark.parametrize("name", ["full", "diag", "tied", "VEV"])
def test_two_optima_that_are_right_in_different_places_are_crossed(name):
    x, labels = sides()
    ground = grounds(x, name, components=6)
    track = Track(ground, Still(1e-5))
    still = CLIMB._replace(misses=0)
    parents = [track.enter(half_right(x, ground, side), ["kmeans"]) for side in (0, 1)]
    one, other = (LocalSearch(track, still, 0).run(parent) for parent in parents)
    child = LocalSearch(track, still, 1).crossed(one, other, 200)
    assert child.bound > max(one.bound, other.bound) + 20
    assert track.told[child.heat.runners.ids[0]]["kind"] == "cross"
    means = (child.heat.runners.model.mean[0] + ground.origin).numpy()
    centres = np.stack([x[labels == k].mean(0) for k in range(6)])
    assert np.abs(means[:, None] - centres).max(2).min(0).max() < 0.5, "every cluster has a component of its own"
    assert LocalSearch(track, still, 2).crossed(child, one, 24) is child, "nothing is gained from a worse one"


def test_the_optimum_of_a_leader_is_crossed_with_what_came_second():
    x, _ = sides()
    ground = grounds(x, "diag", components=6)
    track = Track(ground, Still(1e-5))
    runners = joined([track.enter(half_right(x, ground, side), ["kmeans"]) for side in (0, 1)])
    local = LocalSearch(track, CLIMB._replace(misses=0), 0)
    alone = climbed(local, runners, 0)
    assert {start["kind"] for start in track.told} == {"kmeans"}
    assert len(track.told[1]["stages"]) == 0, "what came second does not run"
    better = climbed(local, runners, 200)
    assert better.bound > alone.bound + 20
    child = track.told[better.heat.runners.ids[0]]
    assert child["kind"] == "cross"
    assert child["parent"] in (0, 1) or track.told[child["parent"]]["kind"] == "cross"


def test_what_came_second_is_searched_on_where_it_is_better():
    x, labels = pairs(400)
    ground = grounds(x)
    track = Track(ground, Still(1e-5))
    at = np.array([np.abs(x - row.numpy()).sum(1).argmin() for row in ground.sample.x + ground.origin])
    right = mixture_from(tensor(onehot(labels[at], 4).T)[None], ground.sample, ground.unit, ground.rule)
    local = LocalSearch(track, CLIMB._replace(misses=0), 0)
    alone = local.run(track.enter(right, ["kmeans"]))
    runners = joined([track.enter(start, ["kmeans"]) for start in (stuck(x, "full", ground), right)])
    peak = climbed(local, runners, 1)
    assert peak.bound >= alone.bound - 1e-3
    assert track.told[runners.ids[1]]["n_iter"] > WARM, "it has run on"


def test_a_round_is_read_as_it_is_written():
    climb = Climb(1, 100, 2, 2, 1, (Round(100, 3, 2), Round(2**15, 3, 1)))
    x, _ = pairs(400)
    ground = grounds(x)
    track = Track(ground, Still(1e-5))
    LocalSearch(track, climb, 0).run(track.enter(stuck(x, "full", ground), ["kmeans"]))
    moves = [start for start in track.told if start["kind"] == "move" and start["parent"] == 0]
    assert 0 < len(moves) <= 4
    assert all(start["stages"][0][0] == 100 for start in moves)
    assert sum(len(start["stages"]) == 2 for start in moves) == 2
    assert all(passes <= 3 for start in moves for _, passes in start["stages"])


def test_a_view_is_of_one_mixture():
    view, *_ = looked(pairs(30)[0])
    assert isinstance(view, View)
    np.testing.assert_allclose(view.share.sum(0).numpy(), 1.0, atol=1e-12)
