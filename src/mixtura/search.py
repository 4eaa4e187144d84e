"""Search: how the optimum is looked for, by plain starts run to the end or by a race of many on growing samples."""

import math
from collections.abc import Callable, Generator
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
from mixtura.start import RACERS, Draw, mixture_from
from mixtura.survey import Survey

ALL = 2**62
"""Rows of a round that sees all of them."""

STARTING = 2000
"""Rows that the starts of a race are made from."""

SETTLED = Still(1e-5)
"""When a racer may wait for the others."""

BATCH = 16 * 2**20
"""Bytes of parameters that run in one batch."""

TWINS = 1e-4
"""Restarts whose weights and means (in standard deviations) differ by less are one, where their likelihoods agree."""

TWIN_NATS = 0.05
"""How far the log likelihoods of twins may be apart, in nats."""


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
        racers: how many starts of each kind.
        rounds: what they run; who is left after the last runs to the end.
    """

    racers: dict[str, int]
    rounds: tuple[Round, ...]


EFFORTS: dict[str, Effort] = {
    "quick": Effort(
        {"kmeans": 3, "whitened": 3, "standardised": 2},
        (Round(2000, 10, 3), Round(ALL, 10, 1)),
    ),
    "standard": Effort(
        {"kmeans": 16, "standardised": 12, "whitened": 20, "k-means++": 8, "whitened_rows": 8},
        (Round(2500, 15, 32), Round(5000, 20, 16), Round(ALL, 20, 8), Round(ALL, 40, 4), Round(ALL, 80, 2)),
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
        size = sum(effort.racers.values())
        each: list[Found] = []
        for at in range(count):
            each.append(race(ground, effort, at * size))
            if each[-1].outcome.interrupted:
                break
        ends = [at * size + i for at, found in enumerate(each) for i in found.ends]
        return Found(joined([f.outcome for f in each]), [told for f in each for told in f.starts], ends)

    return search


def race(ground: Ground, effort: Effort, first: int = 0) -> Found:
    """Many starts on growing samples: the better part goes on, unsound leaders and twins do not.

    Short runs from many starts (Biernacki, Celeux & Govaert 2003) in one batch, in rounds of successive halving.

    Args:
        ground: what to stand on.
        effort: how many starts and which rounds.
        first: index of the first start, which keys its random stream.
    """
    plan, facts = ground.plan, ground.facts
    model, told = line_up(ground, effort, first)
    racing = untwinned(twins(model, facts), list(range(len(told))), len(told))
    model, interrupted = select(model, racing), False
    for heat in effort.rounds:
        if len(racing) == 1 or interrupted or not plan.passes:
            break
        field = ground.field(heat.rows)
        outcome = run(model, field.rows, ground, SETTLED, min(heat.passes, plan.passes))
        note(told, racing, outcome, field)
        interrupted = outcome.interrupted
        ahead = leaders(outcome, facts, field.weight / facts.weight, 1 if interrupted else heat.keep)
        racing, model = [racing[i] for i in ahead], select(outcome.turn, ahead).next()
    found = finish(model, told, racing, ground, 0 if interrupted else plan.passes)
    return found._replace(outcome=found.outcome._replace(interrupted=found.outcome.interrupted or interrupted))


def line_up(ground: Ground, effort: Effort, first: int) -> tuple[Mixture, list[dict[str, Any]]]:
    """The starting mixtures of a race, and an entry for each."""
    plan, sample = ground.plan, ground.part(STARTING)
    lined: list[Mixture] = []
    told: list[dict[str, Any]] = []
    for kind, count in effort.racers.items():
        r = RACERS[kind](Draw(sample, plan.components, plan.seed, count, first + len(told)))
        lined.append(mixture_from(r, sample, ground.unit, ground.rule))
        told += [entry(kind) for _ in range(count)]
    return Record.cat(lined), told


def finish(model: Mixture, told: list[dict[str, Any]], ids: list[int], ground: Ground, passes: int) -> Found:
    """Run on all rows to the end."""
    outcome = run(model, ground.rows, ground, ground.plan.stop, passes)
    note(told, ids, outcome, Field(ground.rows, ground.facts.rows, ground.facts.weight))
    return Found(outcome, told, ids)


R = TypeVar("R", bound=Record)


def select(record: R, at: list[int]) -> R:
    """Some of the restarts, in this order."""
    return record.take(torch.tensor(at, device=record.leaves()[0].device))


# ---- who goes on


def leaders(outcome: Outcome, facts: Survey, share: float, keep: int) -> list[int]:
    """The best restarts, best first: sound ones before others, and one of each set of twins.

    On a part of the rows counts are smaller: those that are sound as counted come first, then those that would be
    with all rows.
    """
    model, n = outcome.turn.model, outcome.turn.moments.n
    bound = outcome.turn.bound.cpu().nan_to_num(nan=-torch.inf)
    level = soundness(model, n, facts).sound.double()
    if share < 1:
        level += soundness(model, n / share, facts).sound
    order = bound.argsort(descending=True, stable=True)
    order = order[level[order].argsort(descending=True, stable=True)]
    near = (bound[:, None] - bound).abs() <= TWIN_NATS * share
    return untwinned(twins(model, facts) & near, order.tolist(), keep)


def twins(model: Mixture, facts: Survey) -> Bool[Tensor, "R R"]:
    """Pairs of restarts with the same weights and means, whatever the order of their components."""
    sd = facts.covariance.diagonal().clamp_min(1e-300).sqrt()
    mean = (model.mean.cpu() / sd).sort(1).values
    about = torch.cat([model.log_weight.cpu().exp().sort(1).values, mean.flatten(1)], 1).nan_to_num(nan=torch.inf)
    gap = torch.cdist(about, about, p=torch.inf)
    return gap <= TWINS


def untwinned(same: Bool[Tensor, "R R"], order: list[int], keep: int) -> list[int]:
    """The first restarts of an order, leaving out those that have a twin before them."""
    kept: list[int] = []
    for i in order:
        if len(kept) < keep and not bool(same[i, kept].any()):
            kept.append(i)
    return kept


# ---- what is told of each start


def entry(kind: str) -> dict[str, Any]:
    """A start of which nothing is known yet."""
    return {"kind": kind, "status": "dropped", "loglik": math.nan, "n_iter": 0, "lower_bounds": [], "stages": []}


def note(told: list[dict[str, Any]], ids: list[int], outcome: Outcome, field: Field) -> None:
    """Add what some starts did on a field to what is told of them."""
    for start, passes, bounds in zip((told[i] for i in ids), outcome.passes.tolist(), outcome.bounds.T, strict=True):
        start["n_iter"] += passes
        start["lower_bounds"] += (bounds[~bounds.isnan()] / field.weight).tolist()
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
