"""Race: many starts on growing samples, of which the better part goes on."""

from typing import NamedTuple

import torch
from torch import Tensor

from mixtura.local import Climb
from mixtura.mixture import Mixture
from mixtura.record import Record
from mixtura.start import ENTRIES, ROUNDS, STARTS, Draw, mixture_from
from mixtura.stop import Still
from mixtura.track import AGREE, BROAD, Round, Runners, Track, agreed, twins

SETTLED = 1e-5
"""Nats a row that a racer may leave to gain while it waits for the others."""


class Effort(NamedTuple):
    """How hard to look.

    Attributes:
        sample: how many rows starts are made from.
        opening: how many starts of each kind race.
        rounds: what they run; the better ones go on.
        per_row: nats a row that the end may leave to gain.
        climb: how a local search goes on from the leader; None is none.
        searches: most searches.
        races: so many of them, the first, are independent, with a race each; the others begin at a kick of the best.
        agree: as many of them that have come to the best optimum end it.
        children: how many are made of the optimum of a race's leader and the others that the race has sent on, and of
            the best optimum and that of each further search, where they differ.
    """

    sample: int
    opening: dict[str, int]
    rounds: tuple[Round, ...]
    per_row: float
    climb: Climb | None = None
    searches: int = 1
    races: int = 1
    agree: int = 1
    children: int = 0

    @property
    def settled(self) -> Still:
        """When a racer may wait for the others."""
        return Still(max(self.per_row, SETTLED))

    @property
    def starts(self) -> int:
        """How many race."""
        return sum(self.opening.values())


QUICK = Effort(
    sample=1000,
    opening={"kmeans": 9, "whitened": 6},
    rounds=(Round(2000, 4, 6), Round(2000, 8, 2)),
    per_row=1e-4,
)

CLIMB = Climb(
    misses=3,
    sample=2000,
    splits=4,
    settling=8,
    moves=4,
    shakes=24,
    heats=(Round(2500, 4, 16, 0.3), Round(2500, 8, 8, 0.03), Round(BROAD, 10, 1, 0.005), Round(BROAD, 60, 1)),
)

# A second search follows where the first has found nothing sound.
STANDARD = QUICK._replace(per_row=1e-7, climb=CLIMB, searches=2, races=2, children=24)

EFFORTS: dict[str, Effort] = {
    "quick": QUICK,
    "standard": STANDARD,
    "thorough": STANDARD._replace(searches=16, agree=4),
}
"""What ``effort`` stands for."""


class Race:
    """Many starts on growing samples: the better part goes on, unsound leaders and twins do not.

    Short runs from many starts (Biernacki, Celeux & Govaert 2003) in one batch, in rounds of successive halving. Where
    all of them begin at the same place, or are on their way there after the first round, one goes on.

    Args:
        track: where they run.
        effort: how many starts and which rounds.
        first: index of the first start among those of all races, which keys its random stream.

    Attributes:
        agreed: all starts were on their way to the same optimum.
    """

    def __init__(self, track: Track, effort: Effort, first: int = 0) -> None:
        self.track, self.effort, self.first = track, effort, first
        self.agreed = False

    def run(self) -> Runners:
        """From the starts to those that should run to the end, best first; Ctrl-C ends it with the best so far."""
        effort, facts = self.effort, self.track.ground.facts
        runners = self.line_up()
        if not self.track.ground.plan.passes:
            return runners
        self.agreed = bool(twins(runners.model, facts, AGREE)[0].all())
        if self.agreed:
            return runners.pick([0])
        for number, now in enumerate(effort.rounds):
            if len(runners.ids) == 1:
                break
            heat = self.track.heat(runners, now.rows, now.passes, leave=True)
            if heat.standing.interrupted:
                return heat.runners.pick(self.track.leaders(heat, 1))
            ahead = self.track.leaders(heat, now.keep)
            self.agreed = number == 0 and agreed(heat.standing, ahead[0], facts)
            runners = heat.runners.pick(ahead[:1] if self.agreed else ahead)
        return runners

    def line_up(self) -> Runners:
        """The starts, told of from now on."""
        ground, opening = self.track.ground, self.effort.opening
        sample, seen = ground.part(self.effort.sample, self.track.lot), self.first
        lined: list[Mixture] = []
        waiting: list[Tensor] = []
        for kind, count in opening.items():
            draw = Draw(sample, ground.plan.components, ground.plan.seed, count, seen, ROUNDS)
            waiting.append(STARTS[kind](draw))
            seen += count
            # A few turns of the ring for many starts, as far as memory allows.
            if kind == list(opening)[-1] or sum(r.numel() for r in waiting) > ENTRIES:
                lined.append(mixture_from(torch.cat(waiting), sample, ground.unit, ground.rule))
                waiting = []
        return self.track.enter(Record.cat(lined), [kind for kind, count in opening.items() for _ in range(count)])
