"""Search: several searches one after the other, of which some go on from kicks, and whose optima are crossed."""

import itertools

import numpy as np
import oracle
import pytest
import torch
from cases import onehot, tensor
from grounds import CLIMB, EVERY, grounds, looked, pairs, parted, stuck

import mixtura.moves as moving
from mixtura import DegenerateWarning, GaussianMixture
from mixtura.cross import ALIKE, children
from mixtura.kick import kick
from mixtura.local import WARM, LocalSearch, Peak
from mixtura.moves import Halves
from mixtura.race import EFFORTS
from mixtura.search import climbed, found
from mixtura.start import mixture_from
from mixtura.stop import Still
from mixtura.track import Track, joined

# ---- searches that agree


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


def test_agreement_is_with_the_best_sound_one():
    x, _ = pairs(400)
    ground = grounds(x)
    track = Track(ground, Still(1e-5))
    one = LocalSearch(track, CLIMB, 0).run(track.enter(stuck(x, ground), ["kmeans"]))
    worse = Peak(track.heat(track.enter(stuck(x, ground), ["kmeans"]), 2**15, 50), track, CLIMB.sample)
    assert found([one, one]) == 2
    assert found([one, worse, one]) == 2
    assert found([worse, one]) == 1
    assert found([worse, worse, one]) == 1
    assert found([]) == 0


# ---- what is not sound


def few(rows, features, components, seed):
    """Few rows for each component, so that the likelihood asks for smaller ones than can be believed."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.normal(size=(components, features))
    return rng.normal(size=(rows, features)) + centres[rng.integers(0, components, rows)]


def test_sound_fits_are_found_of_few_rows():
    """A component needs 10 of the 120 rows, and there are eight."""
    told = [GaussianMixture(8, random_state=0).fit(few(120, 4, 8, seed)).status_ for seed in range(8)]
    assert told.count("converged") >= 7


def test_one_search_is_enough_where_it_has_found_a_sound_optimum():
    x = few(400, 4, 8, 0)
    model = GaussianMixture(8, random_state=0).fit(x)
    assert model.status_ == "converged"
    assert {start["search"] for start in model.starts_} == {0}


def test_another_search_follows_where_nothing_sound_was_found():
    x = few(70, 4, 8, 0)  # 80 rows would be needed
    with pytest.warns(DegenerateWarning):
        model = GaussianMixture(8, random_state=0).fit(x)
    assert {start["search"] for start in model.starts_} == {0, 1}
    assert {start["kind"] for start in model.starts_ if start["search"] == 1} >= {"kmeans", "whitened"}
    with pytest.warns(DegenerateWarning):
        single = GaussianMixture(8, n_init=1, random_state=0).fit(x)
    assert {start["search"] for start in single.starts_} == {0}


def test_an_optimum_is_bettered_by_one_that_is_nearer_to_a_sound_one():
    def peak(faulty, bound):
        made = Peak.__new__(Peak)
        made.faulty, made.bound = faulty, bound
        return made

    assert peak(2, 0.0).bettered(peak(1, -100.0))
    assert peak(1, 0.0).bettered(peak(0, -100.0))
    assert not peak(1, 0.0).bettered(peak(1, 100.0)), "no gain by collapse"
    assert not peak(0, 0.0).bettered(peak(1, 100.0))
    assert not peak(0, 0.0).bettered(peak(0, 0.4))
    assert peak(0, 0.0).bettered(peak(0, 0.6))


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
    peak = LocalSearch(track, CLIMB._replace(misses=0, shakes=0), 0).run(
        track.enter(half_right(x, ground, 0), ["kmeans"])
    )
    ends = [LocalSearch(track, CLIMB._replace(misses=1), key).kicked(peak) for key in range(6)]
    kicks = [at for at, start in enumerate(track.told) if start["kind"] == "kick"]
    assert len(kicks) == len({tuple(track.told[at]["lower_bounds"]) for at in kicks}) == 6, "each is another one"
    assert {track.told[at]["parent"] for at in kicks} == {peak.heat.runners.ids[0]}
    best = max(ends, key=lambda end: end.bound)
    assert best.bound > peak.bound + 20
    means = (best.heat.runners.model.mean[0] + ground.origin).numpy()
    centres = np.stack([x[labels == k].mean(0) for k in range(6)])
    assert np.abs(means[:, None] - centres).max(2).min(0).max() < 0.5, "every cluster has a component of its own"


# ---- optima are crossed


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


def test_a_parent_that_is_no_number_has_no_children():
    x, _ = pairs(160)
    view, *_ = looked(x, components=4)
    draws = torch.rand(24, 4, generator=torch.Generator().manual_seed(0)).double()
    lost = view._replace(share=torch.full_like(view.share, torch.nan))
    assert children(view, lost, draws, grounds(x)) is None


@pytest.mark.parametrize("name", ["full", "diag", "tied", "VEV"])
def test_two_optima_that_are_right_in_different_places_are_crossed(name):
    x, labels = sides()
    ground = grounds(x, name, components=6)
    track = Track(ground, Still(1e-5))
    still = CLIMB._replace(misses=0, shakes=0)
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
    local = LocalSearch(track, CLIMB._replace(misses=0, shakes=0), 0)
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
    right = parted(x, labels, ground)
    local = LocalSearch(track, CLIMB._replace(misses=0, shakes=0), 0)
    alone = local.run(track.enter(right, ["kmeans"]))
    runners = joined([track.enter(start, ["kmeans"]) for start in (stuck(x, ground), right)])
    peak = climbed(local, runners, 1)
    assert peak.bound >= alone.bound - 1e-3
    assert track.told[runners.ids[1]]["n_iter"] > WARM, "it has run on"
