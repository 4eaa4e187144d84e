"""EM: one turn, turning until still, and the tests of stillness."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from cases import NAMES, OFF, batch, clusters, cold, onehot, parameters, tensor, to_mixture, to_parameters
from sklearn.mixture import GaussianMixture as Theirs

from mixtura import GaussianMixture
from mixtura.converge import converge, converging
from mixtura.covariance import STRUCTURES, Floor
from mixtura.data import Array
from mixtura.em import Likelihood, em, turn
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.record import Record
from mixtura.rows import Rows
from mixtura.start import mixture_from
from mixtura.stop import Gain, Still, rounding_noise
from mixtura.survey import Sample

EVERY = pytest.mark.parametrize("name", NAMES)
RULE = Likelihood(Floor())


def problem(name, restarts, seed=0, rows=300, device="cpu", dtype=torch.float64):
    """Overlapping clusters, and restarts from their labels with ever more of them replaced by chance."""
    rng = np.random.default_rng(seed)
    X, labels = clusters(rng, rows, 3, 2, apart=2.5)
    lost = np.linspace(0.2, 0.5, restarts)[:, None] > rng.uniform(size=(restarts, rows))
    r = np.stack([onehot(np.where(at, rng.integers(3, size=rows), labels), 3).T for at in lost])
    unit = STRUCTURES[name].unit(1, 3, 2)
    start = mixture_from(tensor(r), Sample(tensor(X), torch.ones(rows).double()), unit, RULE)
    held = Rows(Array(X), origin=torch.zeros(2), device=device, dtype=dtype)
    return start.to(held.home), held


def close(a, b, **tolerance):
    for s, t in zip(a.leaves(), b.leaves(), strict=True):
        torch.testing.assert_close(s, t, **tolerance)


# ---- one turn, and many


@EVERY
def test_em_by_hand_is_converge(name, device, dtype):
    start, rows = problem(name, 1, device=device, dtype=dtype)
    outcome = converge(start, rows, RULE, Gain(1e-4), 200)
    bounds = []
    for now in em(start, rows, RULE):
        bounds.append(float(now.bound[0]))
        if len(bounds) > 1 and abs(bounds[-1] - bounds[-2]) / 300 < 1e-4:
            break
    assert int(outcome.passes[0]) == len(bounds)
    assert outcome.bounds[:, 0].tolist() == bounds
    close(outcome.turn.model, now.model, rtol=0, atol=0)


@EVERY
def test_a_turn_measures_the_model_and_next_is_after_it(name):
    start, rows = problem(name, 2)
    now = turn(start, rows, RULE)
    close(now.model, start, rtol=0, atol=0)
    close(now.next(), RULE.update(now.moments, start), rtol=0, atol=0)
    close(now.take([1]).next(), now.next().take([1]), rtol=1e-13, atol=1e-13)
    assert torch.equal(now.bound, now.moments.loglik[:, 0])


def test_a_restart_off_the_fast_path_stays_off():
    start, rows = problem("full", 2)
    before = replace(turn(start, rows, RULE), fast=torch.tensor([False, True]), resting=0)
    now = turn(start, rows, RULE, before)
    assert now.fast.tolist() == [False, True]
    steps = em(start, rows, RULE)
    next(steps)
    far = replace(start, mean=start.mean + torch.tensor([[[1e8]], [[0.0]]]).double())
    watched = [t.fast.tolist() for t in itertools.islice(em(far, rows, RULE), 4)]
    assert watched == [[False, True]] * 4


# ---- converging


@EVERY
def test_restarts_leave_when_still_and_keep_their_order(name, device, dtype):
    start, rows = problem(name, 4, device=device, dtype=dtype)
    stop = Gain(1e-4)
    outcome = converge(start, rows, RULE, stop, 300)
    assert bool(outcome.still.all())
    tight = dtype == torch.float64
    for r in range(4):
        alone = converge(start.take([r]), rows, RULE, stop, 300)
        if tight:
            assert int(alone.passes[0]) == int(outcome.passes[r])
            close(alone.turn.model, outcome.turn.model.take([r]), rtol=1e-9, atol=1e-9)
        assert float(alone.turn.bound[0]) == pytest.approx(float(outcome.turn.bound[r]), rel=1e-12 if tight else 1e-4)
        trace = outcome.bounds[:, r]
        assert int((~trace.isnan()).sum()) == int(outcome.passes[r])
        assert float(trace[int(outcome.passes[r]) - 1]) == float(outcome.turn.bound[r])
        assert not bool(trace[: int(outcome.passes[r])].isnan().any())


def test_finished_restarts_are_not_counted_again():
    start, rows = problem("full", 4)
    running = []
    steps = converging(start, rows, RULE, Gain(1e-5), 300)
    while True:
        try:
            live, bound = next(steps)
        except StopIteration as end:
            outcome = end.value
            break
        assert len(bound) == len(live)
        running.append(live.tolist())
    assert running[0] == [0, 1, 2, 3]
    assert all(set(b) <= set(a) for a, b in itertools.pairwise(running))
    assert [sum(r in live for live in running) for r in range(4)] == outcome.passes.tolist()
    assert len(set(outcome.passes.tolist())) > 1, "the problem should have restarts that end at different passes"


@pytest.mark.parametrize("passes", [1, 2, 7])
def test_passes_run_out(passes):
    start, rows = problem("full", 2)
    outcome = converge(start, rows, RULE, Still(0.0), passes)
    assert outcome.passes.tolist() == [passes] * 2
    assert not bool(outcome.still.any())
    assert outcome.bounds.shape == (passes, 2)
    if passes == 1:
        close(outcome.turn.model, start, rtol=0, atol=0)


@EVERY
def test_a_failed_restart_fails_alone(name):
    start, rows = problem(name, 3)
    spoilt = replace(start, mean=torch.where(torch.tensor([False, True, False])[:, None, None], torch.nan, start.mean))
    outcome = converge(spoilt, rows, RULE, Gain(1e-5), 300)
    assert bool(outcome.turn.bound[1].isnan())
    assert int(outcome.passes[1]) == 1
    assert outcome.still.tolist() == [True, False, True]
    good = converge(start.take([0, 2]), rows, RULE, Gain(1e-5), 300)
    close(outcome.turn.model.take([0, 2]), good.turn.model, rtol=1e-9, atol=1e-9)
    assert outcome.passes[[0, 2]].tolist() == good.passes.tolist()


@EVERY
def test_a_component_without_rows_is_dropped(name):
    """It keeps its shape with weight 0, and the others go on as a mixture without it."""
    rng = np.random.default_rng(1)
    X, _ = clusters(rng, 100, 2, 2, apart=2.0)
    p = parameters(name, rng, 3, 2, spread=1.0)
    p.means[1] = 1e5  # so far that its responsibilities underflow to 0
    start, rows = cold(to_mixture(name, p)), Rows(Array(X))
    start = start.shifted(-rows.origin)
    rest = oracle.Parameters(p.weights[[0, 2]] / p.weights[[0, 2]].sum(), p.means[[0, 2]], p.covariances[[0, 2]])
    now = turn(start, rows, RULE)
    assert float(now.moments.n[0, 1]) == 0
    for _ in range(3):
        model = cold(now.next())
        assert float(model.log_weight[0, 1]) == -torch.inf
        assert all(bool(t.isfinite().all()) for t in (model.mean, *model.covariance.leaves()))
        assert torch.equal(model.mean[0, 1], start.mean[0, 1])
        now = turn(model, rows, RULE)
        assert bool(now.bound.isfinite().all())
        _, rest = oracle.em_step(name, X, rest)
        found = to_parameters(model.shifted(rows.origin))
        off = 10 * OFF.get(name, 0)  # what rounds leave
        np.testing.assert_allclose(found.weights[[0, 2]], rest.weights, atol=max(1e-10, off))
        np.testing.assert_allclose(found.means[[0, 2]], rest.means, atol=max(1e-9, off))
        np.testing.assert_allclose(found.covariances[[0, 2]], rest.covariances, atol=max(1e-9, off))


def test_update_keeps_a_dropped_component_of_its_own_shape():
    start, _ = batch("diag", np.random.default_rng(2), 1, 2, 2)
    rows = Rows(Array(np.random.default_rng(3).normal(size=(20, 2))))
    dropped = Mixture(tensor([[0.0, -np.inf]]), start.mean, start.covariance, Gaussian())
    model = turn(dropped, rows, RULE).next()
    assert torch.equal(model.covariance.dense()[0, 1], start.covariance.dense()[0, 1])


# ---- stillness


def bounds_of(values):
    return [np.array([v]) for v in values]


WEIGHT, QUIET = np.array([100.0]), np.array([0.0])


def test_still_wants_two_gains():
    stop = Still(1e-3)
    assert not bool(stop(bounds_of([1.0]), WEIGHT, QUIET)[0])
    assert not bool(stop(bounds_of([1.0, 1.0 + 1e-9]), WEIGHT, QUIET)[0])
    assert bool(stop(bounds_of([0.9, 1.0, 1.0 + 1e-9]), WEIGHT, QUIET)[0])


@pytest.mark.parametrize("ratio", [0.5, 0.9, 0.99, 0.999])
def test_still_stops_when_aitken_leaves_nothing(ratio):
    """Gains g, g a, g a², ... have g a^(t+1) / (1 − a) left after step t; that and two gains must be small."""
    per_row, gain, total = 1e-5, 1.0, 0.0
    bounds = [total]
    for _ in range(100_000):
        total += gain
        bounds.append(total)
        if bool(Still(per_row)(bounds_of(bounds[-3:]), WEIGHT, QUIET)[0]):
            break
        gain *= ratio
    left = gain * ratio / (1 - ratio)
    before = gain / ratio
    assert max(left, before) <= per_row * 100 * (1 + 1e-6)
    assert max(left, before) >= per_row * 100 * ratio * (1 - 1e-3), "stopped later than it had to"


def test_still_goes_on_while_gains_grow():
    assert not bool(Still(1e-3)(bounds_of([0.0, 1e-6, 3e-6]), WEIGHT, QUIET)[0])
    assert not bool(Still(1e-3)(bounds_of([0.0, 1e-6, 2e-6]), WEIGHT, QUIET)[0])


def test_noise_ends_a_fit_and_failure_does_not_look_still():
    stop = Still(0.0)
    noise = np.array([2e-3])
    assert bool(stop(bounds_of([0.0, 1e-3, 1.5e-3]), WEIGHT, noise)[0])
    assert bool(stop(bounds_of([0.0, 1e-2, 0.0]), WEIGHT, noise)[0])  # a swing larger than the noise gains nothing
    assert not bool(stop(bounds_of([0.0, 1e-3, 2.5e-3]), WEIGHT, noise)[0])
    assert not bool(stop(bounds_of([0.0, -1.0, -3.0]), WEIGHT, noise)[0])  # falling: what EM raises has a ridge in it
    assert not bool(stop(bounds_of([0.0, 1.0, 1.001]), WEIGHT, noise)[0])  # one quiet gain may be a plateau's beginning
    assert not bool(stop(bounds_of([0.0, 1.0, np.nan]), WEIGHT, QUIET)[0])


def test_a_bound_that_goes_in_circles_has_nothing_to_gain():
    stop, circle = Still(1e-7), [0.0, 3.0, 4.0] * 8
    assert bool(stop(bounds_of(circle), WEIGHT, QUIET)[0])
    assert not bool(stop(bounds_of(circle[:-1]), WEIGHT, QUIET)[0])
    assert not bool(stop(bounds_of([*circle[:-1], 5.0]), WEIGHT, QUIET)[0])  # a new best
    assert not bool(stop(bounds_of([b - 0.01 * i for i, b in enumerate(circle)]), WEIGHT, QUIET)[0])  # still falling


def test_single_precision_ends_where_rounding_makes_it_circle():
    """100 rows whose bound once went through the same three values for ever."""
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.normal(0, 1, (60, 2)), draw.normal(7, 1, (40, 2))])
    x = np.arcsinh((1000 * x).astype(np.float32) / 5)
    single = GaussianMixture(2, random_state=0).fit(x)
    assert (x.dtype, single.status_) == (np.float32, "converged")
    assert single.n_iter_ < 200
    # The passes that stay in the circle are as good as the optimum in double precision, but for the rounding.
    assert single.loglik_ == pytest.approx(
        GaussianMixture(2, random_state=0).fit(x.astype(np.float64)).loglik_, abs=1e-2
    )


@EVERY
def test_float32_fits_end_at_their_noise(name, device):
    """Their bounds jitter by more than the tolerance, which must not keep them going for ever."""
    start, rows = problem(name, 2, rows=2000, device=device, dtype=torch.float32)
    outcome = converge(start, rows, RULE, Still(1e-12), 3000)
    assert bool(outcome.still.all())
    exact = converge(outcome.turn.model, Rows(rows.source, origin=torch.zeros(2)), RULE, Still(1e-9), 3000)
    # Within the noise of a pass, ε (|L| + N) or 1e-3 nats here, of which slow fits have some tens more to go.
    assert bool((exact.turn.bound - outcome.turn.bound.cpu() < 0.05).all())


def test_noise_is_relative_to_the_bound():
    noise = rounding_noise(np.array([-1e6]), np.array([1e5]), torch.float32)
    assert float(noise[0]) == pytest.approx(2**-23 * 1.1e6)


def test_a_plateau_is_not_an_end():
    """Old Faithful, three components, one matrix: a mean gain of 1e-3 leaves EM 14 nats short of the maximum."""
    X = np.loadtxt(Path(__file__).parent / "data" / "faithful.csv", delimiter=",", skiprows=1)
    theirs = Theirs(3, covariance_type="tied", random_state=0).fit(X)
    assert theirs.score(X) * len(X) < -1130
    rows = Rows(Array(X))
    unit = STRUCTURES["tied"].unit(1, 3, 2).adopt(tensor(theirs.covariances_), "covariances")
    start = Mixture(tensor(np.log(theirs.weights_))[None], tensor(theirs.means_)[None] - rows.origin, unit, Gaussian())
    outcome = converge(start, rows, RULE, Still(), 2000)
    assert bool(outcome.still[0])
    assert float(outcome.turn.bound[0]) == pytest.approx(-1126.316, abs=2e-3)


@EVERY
def test_a_still_fit_is_at_its_maximum(name):
    start, rows = problem(name, 3)
    outcome = converge(start, rows, RULE, Still(), 3000)
    assert bool(outcome.still.all())
    further = converge(outcome.turn.model, rows, RULE, Still(1e-12), 6000)
    # 1e-7 a row is 3e-5 nats; Aitken's estimate may be a few times too small.
    assert bool((further.turn.bound - outcome.turn.bound < 5e-4).all())


def test_gain_is_the_change_of_the_mean():
    stop = Gain(0.1)
    assert not bool(stop(bounds_of([5.0]), WEIGHT, QUIET)[0])
    assert bool(stop(bounds_of([5.0, 14.9]), WEIGHT, QUIET)[0])
    assert not bool(stop(bounds_of([5.0, 15.1]), WEIGHT, QUIET)[0])
    assert bool(stop(bounds_of([14.9, 5.0]), WEIGHT, QUIET)[0])  # a fall counts by its size
    assert bool(Gain(0.1, previous=0.06)(bounds_of([5.0]), WEIGHT, QUIET)[0])
    assert not bool(Gain(0.1, previous=0.2)(bounds_of([5.0]), WEIGHT, QUIET)[0])
    assert not bool(Gain(0.0)(bounds_of([5.0, 5.0]), WEIGHT, QUIET)[0])


@pytest.mark.parametrize("name", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("tol", [1e-2, 1e-3, 1e-5])
def test_gain_stops_where_scikit_learn_stops(name, tol):
    rng = np.random.default_rng(4)
    X, _ = clusters(rng, 300, 3, 2, apart=2.5)
    p = parameters(name, rng, 3, 2)
    theirs = Theirs(
        3,
        covariance_type=name,
        tol=tol,
        reg_covar=0,
        max_iter=500,
        weights_init=p.weights,
        means_init=p.means,
        precisions_init=oracle.PUBLISH[name](np.stack([np.linalg.inv(c) for c in p.covariances])),
    ).fit(X)
    rows = Rows(Array(X))
    outcome = converge(to_mixture(name, p).shifted(-rows.origin), rows, RULE, Gain(tol), 500)
    assert int(outcome.passes[0]) == theirs.n_iter_
    # Theirs ends with one more M-step.
    after = to_parameters(outcome.turn.next().shifted(rows.origin))
    np.testing.assert_allclose(after.means, theirs.means_, rtol=0, atol=1e-8)


def test_cat_of_turns_keeps_the_rule():
    start, rows = problem("full", 2)
    now = turn(start, rows, RULE)
    back = Record.cat([now.take([0]), now.take([1])])
    assert back.rule is RULE
    close(back, now, rtol=0, atol=0)


@EVERY
def test_an_interrupt_keeps_what_every_restart_has_reached(name):
    """Also restarts that had left the batch, and their passes, whoever raises it."""
    start, rows = problem(name, 3, rows=400)
    steps = converging(start, rows, RULE, Still(1e-3), 500)
    while len(next(steps)[0]) == 3:
        pass
    with pytest.raises(StopIteration) as end:
        steps.throw(KeyboardInterrupt)
    outcome = end.value.value
    assert outcome.interrupted
    assert len(outcome.turn.bound) == 3
    assert len(outcome.bounds) == int(outcome.passes.max())
    assert not bool(outcome.still.all())
    for r in range(3):
        assert float(outcome.turn.bound[r]) == float(outcome.bounds[int(outcome.passes[r]) - 1, r])
