"""Search: how the optimum is looked for, by plain starts run to the end or by a race of many on growing samples."""

import math
from collections.abc import Callable, Generator
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor

from mixtura.em import Outcome, Rule, Still, Stop, Turn, converging, turn
from mixtura.mixture import Mixture
from mixtura.plan import Field, Found, Ground
from mixtura.record import Record
from mixtura.rows import Rows
from mixtura.sound import soundness
from mixtura.start import ENTRIES, RACERS, ROUNDS, Draw, mixture_from
from mixtura.survey import Survey

ALL = 2**62
"""Rows of a round that sees all of them."""

SETTLED = 1e-5
"""Nats a row that a racer may leave to gain while it waits for the others."""

BATCH = 16 * 2**20
"""Bytes of parameters that run in one batch."""

TWINS = 1e-4
"""Restarts whose weights and means (in standard deviations) differ by less are one, where their likelihoods agree."""

TWIN_NATS = 0.05
"""How far the log likelihoods of twins may be apart, in nats."""


MUCH = 2**22
"""Rows × components × quadratic features from which float32 saves more than it costs to begin with it."""

AGREE, AGREE_NATS = 0.05, 0.5
"""The same for restarts that have not settled yet, but are on their way to the same optimum."""


class Round(NamedTuple):
    """One heat of a race.

    Attributes:
        rows: how many to look at.
        passes: for how many passes.
        keep: how many go on.
    """

    rows: int
    passes: int
    keep: int


class Effort(NamedTuple):
    """How hard to look.

    Attributes:
        sample: how many rows starts are made from.
        opening: how many starts of each kind open the race.
        first: what they run.
        agree: as many of them on their way to the best one's optimum end the race; 0 never does.
        racers: how many starts of each kind join the race otherwise.
        later: what all then run; who is left after the last runs to the end.
        per_row: nats a row that the end may leave to gain.
    """

    sample: int
    opening: dict[str, int]
    first: Round
    agree: int
    racers: dict[str, int]
    later: tuple[Round, ...]
    per_row: float

    @property
    def settled(self) -> Still:
        """When a racer may wait for the others."""
        return Still(max(self.per_row, SETTLED))


EFFORTS: dict[str, Effort] = {
    "quick": Effort(
        sample=1000,
        opening={"kmeans": 6, "whitened": 4},
        first=Round(2000, 8, 1),
        agree=10,
        racers={},
        later=(),
        per_row=1e-4,
    ),
    "standard": Effort(
        sample=2000,
        opening={"kmeans": 3, "whitened": 3},
        first=Round(2500, 5, 6),
        agree=6,
        racers={"kmeans": 13, "standardised": 12, "whitened": 15, "k-means++": 8, "whitened_rows": 8, "hierarchical": 2},
        later=(
            Round(2500, 15, 32),
            Round(5000, 20, 16),
            Round(ALL, 20, 8),
            Round(ALL, 40, 4),
            Round(ALL, 80, 2),
        ),
        per_row=1e-7,
    ),
}
"""What ``effort`` stands for."""


def plain(starts: Callable[[Ground], Mixture], kind: str) -> Callable[[Ground], Found]:
    """Restarts that all run to the end."""

    def search(ground: Ground) -> Found:
        model = starts(ground).to(ground.rows.home)
        told = [entry(kind) for _ in range(model.shape[0])]
        return finish(model, told, list(range(len(told))), ground, ground.plan.passes)

    return search


def races(effort: Effort, count: int) -> Callable[[Ground], Found]:
    """Independent races, each with starts of its own."""

    def search(ground: Ground) -> Found:
        size = sum(effort.opening.values()) + sum(effort.racers.values())
        each: list[Found] = []
        for at in range(count):
            each.append(race(ground, effort, at * size))
            if each[-1].outcome.interrupted:
                break
        firsts = list(accumulate((len(f.starts) for f in each), initial=0))
        ends = [first + i for first, found in zip(firsts, each, strict=False) for i in found.ends]
        return Found(joined([f.outcome for f in each]), [told for f in each for told in f.starts], ends)

    return search


def race(ground: Ground, effort: Effort, first: int = 0) -> Found:
    """Many starts on growing samples: the better part goes on, unsound leaders and twins do not.

    Short runs from many starts (Biernacki, Celeux & Govaert 2003) in one batch, in rounds of successive halving. A few
    starts of different kinds open it: where nearly all of them end at the same optimum, no others are tried.

    Args:
        ground: what to stand on.
        effort: how many starts and which rounds.
        first: index of the first start, which keys its random stream.
    """
    told: list[dict[str, Any]] = []
    model = line_up(effort.opening, effort.sample, ground, told, first)
    ids = list(range(len(told)))
    if not ground.plan.passes:
        return finish(model, told, ids, ground, 0)
    if effort.agree and len(told) == int(twins(model, ground.facts, AGREE)[0].sum()):
        return home_stretch(select(model, [0]), told, [0], ground, effort.settled)
    field = ground.field(effort.first.rows, ground.coarsely(model))
    outcome = heat(model, ids, effort.settled, effort.first, field, ground, told)
    ahead = leaders(outcome, ground, field, effort.first.keep)
    if agreed(outcome, ahead[0], effort.agree, ground):
        ahead, later = ahead[:1], ()
    else:
        later = effort.later
    ids, model = [ids[i] for i in ahead], select(outcome.turn, ahead).next()
    if effort.racers and later and not outcome.interrupted:
        model = Record.cat([model, line_up(effort.racers, effort.sample, ground, told, first)])
        ids += range(len(outcome.passes), len(told))
        fresh = untwinned(twins(model, ground.facts), list(range(len(ids))), len(ids))
        ids, model = [ids[i] for i in fresh], select(model, fresh)
    for now in later:
        if len(ids) == 1 or outcome.interrupted:
            break
        field = ground.field(now.rows, ground.coarsely(model))
        outcome = heat(model, ids, effort.settled, now, field, ground, told)
        ahead = leaders(outcome, ground, field, now.keep)
        ids, model = [ids[i] for i in ahead], select(outcome.turn, ahead).next()
    if outcome.interrupted:
        return interrupted(finish(model, told, ids, ground, 0))
    return home_stretch(model, told, ids, ground, effort.settled)


def line_up(kinds: dict[str, int], rows: int, ground: Ground, told: list[dict[str, Any]], first: int) -> Mixture:
    """The starting mixtures of a race, with an entry for each added to what is told."""
    plan, sample = ground.plan, ground.part(rows)
    lined: list[Mixture] = []
    waiting: list[Tensor] = []
    for kind, count in kinds.items():
        waiting.append(RACERS[kind](Draw(sample, plan.components, plan.seed, count, first + len(told), ROUNDS)))
        told += [entry(kind) for _ in range(count)]
        # A few turns of the ring for many starts, as far as memory allows.
        if kind == list(kinds)[-1] or sum(r.numel() for r in waiting) > ENTRIES:
            lined.append(mixture_from(torch.cat(waiting), sample, ground.unit, ground.rule))
            waiting = []
    return Record.cat(lined)


def heat(
    model: Mixture, ids: list[int], settled: Still, now: Round, field: Field, ground: Ground, told: list[dict[str, Any]]
) -> Outcome:
    """Run one round."""
    outcome = run(model, field.rows, ground, settled, min(now.passes, ground.plan.passes))
    note(told, ids, outcome, field)
    return outcome


def home_stretch(
    model: Mixture, told: list[dict[str, Any]], ids: list[int], ground: Ground, settled: Still
) -> Found:
    """Run on all rows to the end: where there is much to count, most of the way in float32."""
    _, components, features = model.shape
    size = ground.facts.rows * components * ground.unit.quadratic.size(features)
    if size >= MUCH and ground.coarsely(model):
        field = ground.field(ALL, coarse=True)
        outcome = run(model, field.rows, ground, settled, ground.plan.passes)
        note(told, ids, outcome, field)
        if outcome.interrupted:
            return interrupted(finish(outcome.turn.next(), told, ids, ground, 0))
        model = outcome.turn.next()
    return finish(model, told, ids, ground, ground.plan.passes)


def interrupted(found: Found) -> Found:
    """The same, told that Ctrl-C ended it."""
    return found._replace(outcome=found.outcome._replace(interrupted=True))


def finish(model: Mixture, told: list[dict[str, Any]], ids: list[int], ground: Ground, passes: int) -> Found:
    """Run on all rows until the stopping test is met."""
    outcome = run(model, ground.rows, ground, ground.plan.stop, passes)
    note(told, ids, outcome, Field(ground.rows, ground.facts.rows, ground.facts.weight))
    return Found(outcome, told, ids)


R = TypeVar("R", bound=Record)


def select(record: R, at: list[int]) -> R:
    """Some of the restarts, in this order."""
    return record.take(torch.tensor(at, device=record.leaves()[0].device))


# ---- who goes on


def leaders(outcome: Outcome, ground: Ground, field: Field, keep: int) -> list[int]:
    """The best restarts, best first: sound ones before others, and one of each set of twins.

    On a part of the rows counts are smaller: those that are sound as counted come first, then those that would be
    with all rows. After an interrupt only the best stays.
    """
    facts, share = ground.facts, field.weight / ground.facts.weight
    model, n = outcome.turn.model, outcome.turn.moments.n
    bound = outcome.turn.bound.cpu().nan_to_num(nan=-torch.inf)
    level = soundness(model, n, facts).sound.double()
    if share < 1:
        level += soundness(model, n / share, facts).sound
    order = bound.argsort(descending=True, stable=True)
    order = order[level[order].argsort(descending=True, stable=True)]
    if keep == 1 or outcome.interrupted:
        return order[:1].tolist()
    near = (bound[:, None] - bound).abs() <= TWIN_NATS * share
    return untwinned(twins(model, facts) & near, order.tolist(), keep)


def agreed(outcome: Outcome, best: int, agree: int, ground: Ground) -> bool:
    """At least so many restarts are where the best one is; 0 is never."""
    if not agree or outcome.interrupted:
        return False
    bound = outcome.turn.bound.cpu()
    near = (bound - bound[best]).abs() <= AGREE_NATS
    return int((twins(outcome.turn.model, ground.facts, AGREE)[best] & near).sum()) >= agree


def twins(model: Mixture, facts: Survey, apart: float = TWINS) -> Bool[Tensor, "R R"]:
    """Pairs of restarts with the same weights and means, whatever the order of their components."""
    sd = facts.covariance.diagonal().clamp_min(1e-300).sqrt()
    mean = (model.mean.cpu() / sd).sort(1).values
    about = torch.cat([model.log_weight.cpu().exp().sort(1).values, mean.flatten(1)], 1).nan_to_num(nan=torch.inf)
    gap = torch.cdist(about, about, p=torch.inf)
    return gap <= apart


def untwinned(same: Bool[Tensor, "R R"], order: list[int], keep: int) -> list[int]:
    """The first restarts of an order, leaving out those that have a twin before them."""
    kept: list[int] = []
    like = same.tolist()
    for i in order:
        if len(kept) < keep and not any(like[i][j] for j in kept):
            kept.append(i)
    return kept


# ---- what is told of each start


def entry(kind: str) -> dict[str, Any]:
    """A start of which nothing is known yet."""
    return {"kind": kind, "status": "dropped", "loglik": math.nan, "n_iter": 0, "lower_bounds": [], "stages": []}


def note(told: list[dict[str, Any]], ids: list[int], outcome: Outcome, field: Field) -> None:
    """Add what some starts did on a field to what is told of them."""
    each = zip((told[i] for i in ids), outcome.passes.tolist(), (outcome.bounds.T / field.weight).tolist(), strict=True)
    for start, passes, bounds in each:
        start["n_iter"] += passes
        start["lower_bounds"] += bounds[:passes]
        start["stages"].append((field.size, passes))


# ---- running


def run(model: Mixture, rows: Rows, ground: Ground, stop: Stop, passes: int) -> Outcome:
    """Converge all restarts, as many at a time as memory allows, telling the watcher of every pass."""
    if not passes:
        return untouched(model, rows, ground.rule)
    restarts = model.shape[0]
    size = sum(t.numel() * t.itemsize for t in model.leaves()) // restarts
    batch = max(1, BATCH // size)
    outcomes: list[Outcome] = []
    for at in range(0, restarts, batch):
        steps = converging(model.take(slice(at, at + batch)), rows, ground.rule, stop, passes)
        outcomes.append(watched(steps, ground.plan.watch))
        if outcomes[-1].interrupted and at + batch < restarts:
            outcomes.append(untouched(model.take(slice(at + batch, restarts)), rows, ground.rule))
            break
    return joined(outcomes)


def watched(
    steps: Generator[tuple[Tensor, Turn], None, Outcome], watch: Callable[[Tensor, Turn], Any] | None
) -> Outcome:
    """Take all steps; Ctrl-C in the watcher is Ctrl-C in the step."""
    try:
        try:
            while True:
                live, now = next(steps)
                if watch is not None:
                    watch(live, now)
        except KeyboardInterrupt:
            steps.throw(KeyboardInterrupt)
            raise
    except StopIteration as end:
        return end.value


def untouched(model: Mixture, rows: Rows, rule: Rule) -> Outcome:
    """The starts themselves, measured but not moved."""
    now = turn(model, rows, rule)
    restarts = len(now.bound)
    nothing = torch.zeros(restarts, dtype=torch.long)
    return Outcome(now, nothing, nothing.bool(), torch.empty(0, restarts, dtype=torch.float64))


def joined(outcomes: list[Outcome]) -> Outcome:
    """Outcomes of different restarts as one."""
    if len(outcomes) == 1:
        return outcomes[0]
    longest = max(len(o.bounds) for o in outcomes)
    padded = [torch.nn.functional.pad(o.bounds, (0, 0, 0, longest - len(o.bounds)), value=torch.nan) for o in outcomes]
    return Outcome(
        Record.cat([o.turn for o in outcomes]),
        torch.cat([o.passes for o in outcomes]),
        torch.cat([o.still for o in outcomes]),
        torch.cat(padded, 1),
        any(o.interrupted for o in outcomes),
    )
