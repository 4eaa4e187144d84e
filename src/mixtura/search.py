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
        opening: how many starts of each kind run first, in the first round.
        agree: as many of them at one optimum, and no better one, end the search; 0 never does.
        racers: how many starts of each kind join them otherwise.
        rounds: what they run; who is left after the last runs to the end.
        per_row: nats a row that the end may leave to gain.
    """

    opening: dict[str, int]
    agree: int
    racers: dict[str, int]
    rounds: tuple[Round, ...]
    per_row: float


EFFORTS: dict[str, Effort] = {
    "quick": Effort(
        opening={"kmeans": 5, "whitened": 3},
        agree=0,
        racers={},
        rounds=(Round(1000, 10, 1),),
        per_row=1e-5,
    ),
    "standard": Effort(
        opening={"kmeans": 3, "whitened": 3, "whitened_rows": 2},
        agree=6,
        racers={"kmeans": 13, "standardised": 12, "whitened": 15, "k-means++": 8, "whitened_rows": 6, "hierarchical": 2},
        rounds=(Round(2500, 15, 32), Round(5000, 20, 16), Round(ALL, 20, 8), Round(ALL, 40, 4), Round(ALL, 80, 2)),
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


class Pack(NamedTuple):
    """Restarts that have run a round together.

    Attributes:
        ids: their places among the starts.
        outcome: how they ended the round.
    """

    ids: list[int]
    outcome: Outcome

    def joined(self, other: "Pack") -> "Pack":
        """Both as one."""
        return Pack(self.ids + other.ids, joined([self.outcome, other.outcome]))


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
    model = line_up(effort.opening, ground, told, first)
    if not ground.plan.passes:
        return finish(model, told, list(range(len(told))), ground, 0)
    opening, *later = effort.rounds
    field = ground.field(opening.rows)
    pack = heat(model, list(range(len(told))), opening, field, ground, told)
    if agreed(pack.outcome, effort.agree, ground.facts, field.share(ground)):
        opening, later = opening._replace(keep=1), []
    elif effort.racers and not pack.outcome.interrupted:
        model = line_up(effort.racers, ground, told, first)
        fresh = untwinned(twins(model, ground.facts), list(range(len(model.mean))), len(model.mean))
        ids = [len(pack.ids) + i for i in fresh]
        pack = pack.joined(heat(select(model, fresh), ids, opening, field, ground, told))
    pack, model = go_on(pack, opening.keep, field, ground)
    for now in later:
        if len(pack.ids) == 1 or pack.outcome.interrupted:
            break
        field = ground.field(now.rows)
        pack, model = go_on(heat(model, pack.ids, now, field, ground, told), now.keep, field, ground)
    interrupted = pack.outcome.interrupted
    found = finish(model, told, pack.ids, ground, 0 if interrupted else ground.plan.passes)
    return found._replace(outcome=found.outcome._replace(interrupted=found.outcome.interrupted or interrupted))


def line_up(kinds: dict[str, int], ground: Ground, told: list[dict[str, Any]], first: int) -> Mixture:
    """The starting mixtures of a race, with an entry for each added to what is told."""
    plan, sample = ground.plan, ground.part(STARTING)
    lined: list[Mixture] = []
    for kind, count in kinds.items():
        r = RACERS[kind](Draw(sample, plan.components, plan.seed, count, first + len(told)))
        lined.append(mixture_from(r, sample, ground.unit, ground.rule))
        told += [entry(kind) for _ in range(count)]
    return Record.cat(lined)


def heat(
    model: Mixture, ids: list[int], now: Round, field: Field, ground: Ground, told: list[dict[str, Any]]
) -> Pack:
    """Run one round."""
    outcome = run(model, field.rows, ground, SETTLED, min(now.passes, ground.plan.passes))
    note(told, ids, outcome, field)
    return Pack(ids, outcome)


def go_on(pack: Pack, keep: int, field: Field, ground: Ground) -> tuple[Pack, Mixture]:
    """Those who stay in the race, and the mixtures with which they go on."""
    ahead = leaders(pack.outcome, ground.facts, field.share(ground), 1 if pack.outcome.interrupted else keep)
    return pack._replace(ids=[pack.ids[i] for i in ahead]), select(pack.outcome.turn, ahead).next()


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


def ranked(outcome: Outcome, facts: Survey, share: float) -> list[int]:
    """All restarts, best first: sound ones before others.

    On a part of the rows counts are smaller: those that are sound as counted come first, then those that would be
    with all rows.
    """
    model, n = outcome.turn.model, outcome.turn.moments.n
    bound = outcome.turn.bound.cpu().nan_to_num(nan=-torch.inf)
    level = soundness(model, n, facts).sound.double()
    if share < 1:
        level += soundness(model, n / share, facts).sound
    order = bound.argsort(descending=True, stable=True)
    return order[level[order].argsort(descending=True, stable=True)].tolist()


def leaders(outcome: Outcome, facts: Survey, share: float, keep: int) -> list[int]:
    """The best restarts, one of each set of twins."""
    order = ranked(outcome, facts, share)
    if keep == 1:
        return order[:1]
    bound = outcome.turn.bound.cpu()
    near = (bound[:, None] - bound).abs() <= TWIN_NATS * share
    return untwinned(twins(outcome.turn.model, facts) & near, order, keep)


def agreed(outcome: Outcome, agree: int, facts: Survey, share: float) -> bool:
    """At least so many restarts are where the best one is; 0 is never."""
    if not agree or outcome.interrupted:
        return False
    best = ranked(outcome, facts, share)[0]
    near = (outcome.turn.bound.cpu() - outcome.turn.bound[best].cpu()).abs() <= AGREE_NATS
    return int((twins(outcome.turn.model, facts, AGREE)[best] & near).sum()) >= agree


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
