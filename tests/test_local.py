"""Local search: moves are made where they should be, and nowhere else; every round sees rows of its own."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from cases import onehot, tensor
from grounds import CLIMB, EVERY, grounds, looked, pairs, shares, stuck

import mixtura.moves as moving
from mixtura import GaussianMixture
from mixtura.local import PLAIN, Climb, LocalSearch, Peak
from mixtura.record import Record
from mixtura.start import mixture_from
from mixtura.stop import Still
from mixtura.track import Round, Track

# ---- the search


@EVERY
def test_a_component_is_moved_to_where_it_is_missed(name):
    x, labels = pairs(400)
    ground = grounds(x, name)
    track = Track(ground, Still(1e-5))
    leader = track.enter(stuck(x, ground), ["kmeans"])
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


def test_a_search_ends_at_an_optimum_that_is_known():
    x, _ = pairs(400)
    ground = grounds(x)
    track = Track(ground, Still(1e-5))
    peak = LocalSearch(track, CLIMB, 0).run(track.enter(stuck(x, ground), ["kmeans"]))
    before = len(track.told)
    again = track.enter(peak.heat.runners.model, ["kmeans"])
    assert LocalSearch(track, CLIMB, 1, [peak]).run(again) is peak
    assert len(track.told) == before + 1, "no move is made of it again"
    assert track.told[before]["same_as"] == peak.heat.runners.ids[0]
    other = LocalSearch(track, CLIMB, 1, [peak]).run(track.enter(stuck(x, ground), ["kmeans"]))
    assert other is peak, "where moves lead to it, too"


def test_what_comes_back_does_not_lead():
    """The optimum itself is ahead of a move that has only begun to climb: the move wins all the same."""
    x, labels = pairs(400)
    ground = grounds(x)
    track = Track(ground, Still(1e-5))
    peak = Peak(track.heat(track.enter(stuck(x, ground), ["kmeans"]), 2**15, 2000), track, CLIMB.sample)
    # Nearly random shares, of which EM makes the right ones in more passes than the first heat has.
    share = np.random.default_rng(0).dirichlet(np.ones(4), size=len(x)).T + 0.5 * shares(x, labels, ground)
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


def test_optima_are_compared_in_the_precision_of_the_rows(monkeypatch):
    """In float32 an optimum may lie a nat beside itself, which is no reason to take it for another."""
    x, _ = pairs(400)
    x = x + 300.0
    monkeypatch.setattr("mixtura.track.MUCH", 1)
    ground = grounds(x)
    track = Track(ground, Still(1e-5))
    peak = LocalSearch(track, CLIMB, 0).run(track.enter(stuck(x, ground), ["kmeans"]))
    assert peak.heat.field.rows.dtype == torch.float32 != ground.rows.dtype
    at = peak.heat.runners.model
    want = float(moving.log_joint(at, ground.sample)[0].logsumexp(0) @ ground.sample.weight)
    assert peak.bound == pytest.approx(want, rel=1e-12)


def test_a_round_is_read_as_it_is_written():
    climb = Climb(1, 100, 2, 2, 1, 0, (Round(100, 3, 2), Round(2**15, 3, 1)))
    x, _ = pairs(400)
    ground = grounds(x)
    track = Track(ground, Still(1e-5))
    LocalSearch(track, climb, 0).run(track.enter(stuck(x, ground), ["kmeans"]))
    moves = [start for start in track.told if start["kind"] == "move" and start["parent"] == 0]
    assert 0 < len(moves) <= 4
    assert all(start["stages"][0][0] == 100 for start in moves)
    assert sum(len(start["stages"]) == 2 for start in moves) == 2
    assert all(passes <= 3 for start in moves for _, passes in start["stages"])


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
            seen.append(track.field(2500, runners).rows)
            assert track.field(2500, runners).rows is seen[-1]
            assert track.field(2**15, runners).size == 3000
            return super().tried(runners, peak)

    Telling(track, CLIMB, 0).run(track.enter(stuck(x, ground), ["kmeans"]))
    assert track.lot >= len(seen) >= CLIMB.misses
    first = {tuple(rows.held.x[:, 0].tolist()) for rows in seen}
    assert len(first) == len(seen)


def test_rounds_that_see_all_rows_share_them():
    x, _ = pairs(2500)
    track = Track(grounds(x), Still(1e-5))
    runners = track.enter(stuck(x, track.ground), ["kmeans"])
    whole = track.field(2500, runners)
    track.lot = 1
    assert track.field(2500, runners) is whole is not track.field(2000, runners)
