"""Shake: an optimum whose rows are weighed anew, and where local search goes on from there."""

import numpy as np
import pytest
import torch
from cases import OFF
from grounds import CLIMB, EVERY, grounds, looked, pairs, parted, stuck

import mixtura.local as local
from mixtura import GaussianMixture
from mixtura.draws import stream
from mixtura.local import LocalSearch
from mixtura.race import EFFORTS
from mixtura.shake import shaken
from mixtura.start import mixture_from
from mixtura.stop import Still
from mixtura.track import Track


@EVERY
def test_a_shake_is_the_mixture_of_rows_weighed_anew(name, monkeypatch):
    x, _ = pairs(160)
    view, *_ = looked(x, name, components=4)
    ground = grounds(x, name)
    draws = torch.rand(5, len(x), generator=torch.Generator().manual_seed(0)).double()
    found = shaken(view, draws, ground)
    monkeypatch.setattr("mixtura.shake.ENTRIES", 1)  # one at a time
    single = shaken(view, draws, ground)
    for r, some in enumerate(draws):
        weighed = view.sample._replace(weight=view.sample.weight * -torch.log1p(-some))
        want = mixture_from(view.share[None], weighed, ground.unit, ground.rule)
        for one in (found.take([r]), single.take([r])):
            # Sums over 160 rows in another order; what rounds leave of an M-step without a formula.
            np.testing.assert_allclose(one.mean.numpy(), want.mean.numpy(), rtol=0, atol=1e-10)
            np.testing.assert_allclose(one.log_weight.numpy(), want.log_weight.numpy(), rtol=0, atol=1e-10)
            dense = (m.covariance.dense().numpy() for m in (one, want))
            np.testing.assert_allclose(*dense, rtol=0, atol=1e-5 if name in OFF else 1e-10)


def test_shakes_weigh_all_rows_and_differ():
    x, labels = pairs(400)
    ground = grounds(x)
    track = Track(ground, Still(1e-5))
    peak = LocalSearch(track, CLIMB, 0).reached(track.enter(parted(x, labels, ground), ["kmeans"]), 50)
    view = peak.view
    draws = torch.from_numpy(stream(0, "test").random((200, len(x))))
    found = shaken(view, draws, ground.on_host)
    means = found.mean.numpy()
    # Means of 100 rows under exponential weights scatter by σ/√100 about where they were: 200 draws tell it to 5 %.
    sd = view.model.covariance.variances()[0].sqrt().numpy() / 10
    np.testing.assert_allclose(means.std(0) / sd, 1.0, atol=0.25)
    np.testing.assert_allclose((means.mean(0) - view.model.mean[0].numpy()) / sd, 0.0, atol=0.35)


def scales(rows):
    """One cluster within another within a third."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, 3)) * rng.choice([0.5, 1, 2], size=(rows, 1))


def wary(x, shakes, components=4):
    """A local search whose moves come to nothing."""
    ground = grounds(x, components=components)
    track = Track(ground, Still(1e-5))
    return LocalSearch(track, CLIMB._replace(misses=0, shakes=shakes), 0), track, ground


def test_shakes_go_on_as_long_as_they_better():
    x, rng = scales(150), np.random.default_rng(1)
    search, track, ground = wary(x, 24, 3)
    r = torch.from_numpy(rng.dirichlet(np.ones(3), size=len(ground.sample.x))).T[None].contiguous()
    start = mixture_from(r, ground.sample, ground.unit, ground.rule)
    still = LocalSearch(track, CLIMB._replace(misses=0, shakes=0), 0).run(track.enter(start, ["random"]))
    before = len(track.told)
    peak = search.run(track.enter(start, ["random"]))
    assert peak.bound > still.bound + local.GAIN
    rounds = track.told[before + 1 :]
    assert {start["kind"] for start in rounds} == {"shake"}
    assert len(rounds) % 24 == 0
    assert len(rounds) > 24
    # Each begins at the best of the round before, and the last has found no better one.
    parents = [rounds[at]["parent"] for at in range(0, len(rounds), 24)]
    assert parents == sorted(set(parents))
    assert parents[-1] == peak.heat.runners.ids[0]


@pytest.mark.parametrize("few", [True, False])
def test_only_few_rows_are_shaken(few):
    rows = CLIMB.sample if few else CLIMB.sample + 1
    x, _ = pairs(rows)
    search, track, ground = wary(x, 3)
    search.run(track.enter(stuck(x, ground), ["kmeans"]))
    assert ("shake" in {start["kind"] for start in track.told}) == few


def test_one_component_is_not_shaken():
    x, _ = pairs(80)
    model = GaussianMixture(1, random_state=0).fit(x)
    assert "shake" not in {start["kind"] for start in model.starts_}


def test_components_that_stand_far_apart_are_not_shaken():
    x, labels = pairs(80)
    search, track, ground = wary(x + 1e4 * labels[:, None], 3)
    search.run(track.enter(parted(x + 1e4 * labels[:, None], labels, ground), ["kmeans"]))
    assert "shake" not in {start["kind"] for start in track.told}


def test_known_optima_are_not_shaken_again():
    x, _ = pairs(400)
    search, track, ground = wary(x, 3)
    peak = search.run(track.enter(stuck(x, ground), ["kmeans"]))
    again = LocalSearch(track, CLIMB, 1, [peak])
    before = len(track.told)
    assert again.onward(peak) is peak
    assert len(track.told) == before


def test_what_is_interrupted_is_not_shaken():
    x, _ = pairs(80)
    search, track, ground = wary(x, 3)
    peak = search.reached(track.enter(stuck(x, ground), ["kmeans"]), 5)

    track.interrupted, before = True, len(track.told)
    assert search.shaken(peak) is None
    assert len(track.told) == before


def test_fits_tell_of_shakes():
    model = GaussianMixture(3, random_state=0).fit(scales(150))
    each = [start for start in model.starts_ if start["kind"] == "shake"]
    assert len(each) >= EFFORTS["standard"].climb.shakes
    assert "shakes" in model.summary()
