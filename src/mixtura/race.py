"""Race: many starts on growing samples, of which the better part goes on."""

from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mixtura.em import Standing
from mixtura.mixture import Mixture
from mixtura.plan import Field, Found, Ground
from mixtura.record import Record
from mixtura.running import entry, finish, heat, note
from mixtura.sound import counted, soundness
from mixtura.start import ENTRIES, RACERS, ROUNDS, Draw, mixture_from
from mixtura.stop import Still
from mixtura.survey import Survey

ALL = 2**62
"""Rows of a round that sees all of them."""

SETTLED = 1e-5
"""Nats a row that a racer may leave to gain while it waits for the others."""

TWINS = 1e-4
"""Restarts whose weights and means (in standard deviations) differ by less are one, where their likelihoods agree."""

TWIN_NATS = 0.05
"""How far the log likelihoods of twins may be apart, in nats."""

AGREE, AGREE_NATS = 0.05, 0.5
"""The same two for restarts that have not settled yet, but are on their way to the same optimum."""

MUCH = 2**22
"""Rows × components × quadratic features from which float32 saves more than it costs to begin with it."""


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
        opening={"kmeans": 9, "whitened": 6},
        first=Round(2000, 4, 6),
        agree=15,
        racers={},
        later=(Round(2000, 8, 2),),
        per_row=1e-4,
    ),
    "standard": Effort(
        sample=2000,
        opening={"kmeans": 3, "whitened": 3},
        first=Round(2500, 5, 6),
        agree=6,
        racers={
            "kmeans": 13,
            "standardised": 12,
            "whitened": 15,
            "k-means++": 8,
            "whitened_rows": 8,
            "hierarchical": 2,
        },
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


class Runners(NamedTuple):
    """Restarts in a race.

    Attributes:
        ids: their places among the starts.
        model: where they are.
    """

    ids: list[int]
    model: Mixture

    def pick(self, at: list[int]) -> "Runners":
        """Some of them, in this order."""
        return Runners([self.ids[i] for i in at], select(self.model, at))

    def joined(self, others: "Runners") -> "Runners":
        """All of both."""
        return Runners(self.ids + others.ids, Record.cat([self.model, others.model]))


class Race:
    """Many starts on growing samples: the better part goes on, unsound leaders and twins do not.

    Short runs from many starts (Biernacki, Celeux & Govaert 2003) in one batch, in rounds of successive halving. A few
    starts of different kinds open it: where nearly all of them begin or end at the same place, no others are tried.

    Args:
        ground: what to stand on.
        effort: how many starts and which rounds.
        first: index of the first start, which keys its random stream.

    Attributes:
        told: one dict for every start.
    """

    def __init__(self, ground: Ground, effort: Effort, first: int = 0) -> None:
        self.ground, self.effort, self.first = ground, effort, first
        self.told: list[dict[str, Any]] = []
        self.looked_at: tuple[tuple[int, bool], Field] | None = None

    def run(self) -> Found:
        """From the starts to the end; Ctrl-C ends it with the best of what is running."""
        effort, facts = self.effort, self.ground.facts
        runners = self.line_up(effort.opening)
        if not self.ground.plan.passes:
            return self.finish(runners, 0)
        if effort.agree and len(runners.ids) == int(twins(runners.model, facts, AGREE)[0].sum()):
            return self.home_stretch(runners.pick([0]))
        rounds = [effort.first, *effort.later]
        while rounds and len(runners.ids) > 1:
            now = rounds.pop(0)
            field = self.field(now.rows, runners.model)
            standing = self.heat(runners, field, min(now.passes, self.ground.plan.passes))
            runners = runners._replace(model=standing.model)
            if standing.interrupted:
                return interrupted(self.finish(runners.pick(leaders(standing, facts, field, 1)), 0))
            ahead = leaders(standing, facts, field, now.keep)
            ended = now is effort.first and agreed(standing, ahead[0], effort.agree, facts)
            runners = runners.pick(ahead[:1] if ended else ahead)
            if ended:
                break
            if now is effort.first and effort.racers:
                runners = runners.joined(self.line_up(effort.racers))
                runners = runners.pick(untwinned(twins(runners.model, facts), range(len(runners.ids))))
        return self.home_stretch(runners)

    def line_up(self, kinds: dict[str, int]) -> Runners:
        """Starts of these kinds, told of from now on."""
        plan, sample, begun = self.ground.plan, self.ground.part(self.effort.sample), len(self.told)
        lined: list[Mixture] = []
        waiting: list[Tensor] = []
        for kind, count in kinds.items():
            draw = Draw(sample, plan.components, plan.seed, count, self.first + len(self.told), ROUNDS)
            waiting.append(RACERS[kind](draw))
            self.told += [entry(kind) for _ in range(count)]
            # A few turns of the ring for many starts, as far as memory allows.
            if kind == list(kinds)[-1] or sum(r.numel() for r in waiting) > ENTRIES:
                lined.append(mixture_from(torch.cat(waiting), sample, self.ground.unit, self.ground.rule))
                waiting = []
        return Runners(list(range(begun, len(self.told))), Record.cat(lined))

    def field(self, rows: int, model: Mixture) -> Field:
        """Rows to run on: in float32 where there is much to count and that is enough."""
        facts, coarse = self.ground.facts, self.much(rows, model) and self.ground.coarsely(model)
        which = (min(rows, len(facts.sample.x)) if facts.complete else rows, coarse)
        if self.looked_at is None or self.looked_at[0] != which:
            self.looked_at = which, self.ground.field(rows, coarse)
        return self.looked_at[1]

    def much(self, rows: int, model: Mixture) -> bool:
        """Float32 saves more than it costs to begin with it."""
        restarts, components, features = model.shape
        size = min(rows, self.ground.facts.rows) * restarts * components
        return size * self.ground.unit.quadratic.size(features) >= MUCH

    def heat(self, runners: Runners, field: Field, passes: int) -> Standing:
        """Run for some passes, or until there is little to gain."""
        standing = heat(runners.model, field.rows, self.ground, self.effort.settled, passes)
        note(self.told, runners.ids, standing, field)
        return standing

    def home_stretch(self, runners: Runners) -> Found:
        """Run on all rows to the end: where there is much to count, most of the way in float32."""
        ground = self.ground
        if self.much(ALL, runners.model) and ground.coarsely(runners.model):
            standing = self.heat(runners, ground.field(ALL, coarse=True), ground.plan.passes)
            runners = runners._replace(model=standing.model)
            if standing.interrupted:
                return interrupted(self.finish(runners, 0))
        return self.finish(runners, ground.plan.passes)

    def finish(self, runners: Runners, passes: int) -> Found:
        """Run on all rows until the stopping test is met."""
        return finish(runners.model, self.told, runners.ids, self.ground, passes)


def interrupted(found: Found) -> Found:
    """The same, told that Ctrl-C ended it."""
    return found._replace(outcome=found.outcome._replace(interrupted=True))


R = TypeVar("R", bound=Record)


def select(record: R, at: list[int]) -> R:
    """Some of the restarts, in this order."""
    return record.take(torch.tensor(at).to(record.leaves()[0].device))


# ---- who goes on


def leaders(standing: Standing, facts: Survey, field: Field, keep: int) -> list[int]:
    """The best restarts, best first: sound ones before others, and one of each set of twins.

    On a part of the rows counts are smaller: those that are sound as counted come first, then those that would be
    with all rows.
    """
    share = field.weight / facts.weight
    bound = standing.bound.cpu().nan_to_num(nan=-torch.inf)
    tests = soundness(standing.model, standing.n, facts)
    level = tests.sound.double()
    if share < 1:
        level += tests._replace(counted=counted(standing.model, standing.n / share)).sound
    order = bound.argsort(descending=True, stable=True)
    order = order[level[order].argsort(descending=True, stable=True)]
    if keep == 1:
        return order[:1].tolist()
    near = (bound[:, None] - bound).abs() <= TWIN_NATS * share
    return untwinned(twins(standing.model, facts) & near, order.tolist())[:keep]


def agreed(standing: Standing, best: int, agree: int, facts: Survey) -> bool:
    """At least so many restarts are on their way to the best one's optimum; 0 is never."""
    if not agree:
        return False
    bound = standing.bound.cpu()
    near = (bound - bound[best]).abs() <= AGREE_NATS
    return int((twins(standing.model, facts, AGREE)[best] & near).sum()) >= agree


def twins(model: Mixture, facts: Survey, apart: float = TWINS) -> Bool[Tensor, "R R"]:
    """Pairs of restarts with the same weights and means, whatever the order of their components."""
    sd = facts.covariance.diagonal().clamp_min(1e-300).sqrt()
    mean, weight = model.mean.cpu() / sd, model.log_weight.cpu().exp()
    # The order along one line that favours no column: sorted column by column, other clusters could look alike.
    order = (mean @ torch.arange(2, len(sd) + 2, dtype=mean.dtype).sqrt()).argsort(1)
    mean, weight = mean.gather(1, order[..., None].expand_as(mean)), weight.gather(1, order)
    about = torch.cat([weight, mean.flatten(1)], 1).nan_to_num(nan=torch.inf)
    return torch.cdist(about, about, p=torch.inf) <= apart


def untwinned(same: Bool[Tensor, "R R"], order: Iterable[int]) -> list[int]:
    """The restarts of an order, leaving out those that have a twin before them."""
    kept: list[int] = []
    like, twin = same.numpy(), np.zeros(len(same), dtype=bool)
    for i in order:
        if not twin[i]:
            kept.append(i)
            twin |= like[:, i]
    return kept
