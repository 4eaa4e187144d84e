"""Track: the rows that restarts run on before the end, what is told of them, and which of them lead."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mixtura.converge import Standing
from mixtura.em import turn
from mixtura.mixture import Mixture
from mixtura.plan import Field, Found, Ground
from mixtura.record import Record
from mixtura.running import entry, finish, heat, made, note
from mixtura.sound import counted, soundness
from mixtura.stop import Still
from mixtura.survey import Survey

ALL = 2**62
"""Rows of a round that sees all of them."""

BROAD = 2**15
"""Rows on which optima are compared: all of them, or a part of very many."""

TWINS = 1e-4
"""Restarts whose weights and means (in standard deviations) differ by less are one, where their likelihoods agree."""

TWIN_NATS = 0.05
"""How far the log likelihoods of twins may be apart, in nats."""

AGREE, AGREE_NATS = 0.05, 0.5
"""The same two for restarts that have not settled yet, but are on their way to the same optimum."""

MUCH = 2**20
"""Rows × components × quadratic features from which float32 saves more than it costs to begin with it."""


class Round(NamedTuple):
    """One heat of several restarts.

    Attributes:
        rows: how many to look at.
        passes: for how many passes.
        keep: how many go on.
        short: nats a row by which moves of local search may be short of what they were made of, and go on.
    """

    rows: int
    passes: int
    keep: int
    short: float = math.inf


class Runners(NamedTuple):
    """Restarts on a track.

    Attributes:
        ids: their places among the starts.
        model: where they are.
        coarse: float32 was enough to see where they go, or was not, when that was asked; None is not asked yet. Once is
            enough: rows in float32 have a guard of their own.
    """

    ids: list[int]
    model: Mixture
    coarse: bool | None = None

    def pick(self, at: list[int]) -> "Runners":
        """Some of them, in this order."""
        return Runners([self.ids[i] for i in at], select(self.model, at), self.coarse)


def joined(several: list[Runners]) -> Runners:
    """All of them."""
    return Runners([i for some in several for i in some.ids], Record.cat([some.model for some in several]))


class Heat(NamedTuple):
    """How a heat ended.

    Attributes:
        ids: of its runners.
        coarse: of its runners.
        standing: where they are now, and what their last pass measured.
        field: the rows they ran on.
    """

    ids: list[int]
    coarse: bool | None
    standing: Standing
    field: Field

    @property
    def runners(self) -> Runners:
        """Where they are now."""
        return Runners(self.ids, self.standing.model, self.coarse)

    def pick(self, at: list[int]) -> "Heat":
        """Some of its runners, in this order."""
        if at == list(range(len(self.ids))):
            return self
        return Heat([self.ids[i] for i in at], self.coarse, self.standing.pick(at), self.field)


class Track:
    """The rows that restarts run on before the end, a part of all or all, and what is told of them.

    Args:
        ground: what to stand on.
        settled: when a runner may wait for the others.

    Attributes:
        told: one dict for every start.
        search: number of the search that enters starts.
        lot: which rows rounds see that see only a part of them.
        interrupted: Ctrl-C has ended a heat: nothing runs any more.
    """

    def __init__(self, ground: Ground, settled: Still) -> None:
        self.ground, self.settled = ground, settled
        self.told: list[dict[str, Any]] = []
        self.search, self.lot, self.interrupted = 0, 0, False
        self._fields: dict[tuple[int, bool, int], Field] = {}

    def enter(self, model: Mixture, kinds: Iterable[str], parent: int | None = None) -> Runners:
        """Restarts that join, one of each kind named, made of the start ``parent`` or anew; told of from now on."""
        begun = len(self.told)
        before = 0 if parent is None else self.told[parent]["begins"] + self.told[parent]["n_iter"]
        self.told += [entry(kind, self.search, parent, before) for kind in kinds]
        return Runners(list(range(begun, len(self.told))), model)

    def heat(self, runners: Runners, rows: int, passes: int, *, leave: bool = False) -> Heat:
        """Run on so many rows for some passes, or until there is little to gain; ``leave`` as in :func:`heat`."""
        runners = self.asked(runners, rows)
        field = self.field(rows, runners)
        passes = min(passes, self.ground.plan.passes)
        how = (field.rows, self.ground, self.settled, passes, made(self.told, runners.ids))
        standing = heat(runners.model, *how, leave=leave)
        note(self.told, runners.ids, standing, field)
        self.interrupted |= standing.interrupted
        return Heat(runners.ids, runners.coarse, standing, field)

    def leaders(self, heat: Heat, keep: int) -> list[int]:
        """The best of a heat, best first."""
        return leaders(heat.standing, self.ground.facts, heat.field, keep)

    def asked(self, runners: Runners, rows: int) -> Runners:
        """The same, of which it is known whether float32 is enough, where there is much to count."""
        if runners.coarse is None and self._much(rows, runners.model):
            return runners._replace(coarse=self.ground.coarsely(runners.model))
        return runners

    def field(self, rows: int, runners: Runners) -> Field:
        """Rows to run on: in float32 where there is much to count and that is enough."""
        return self._field(rows, coarse=bool(runners.coarse) and self._much(rows, runners.model))

    def _field(self, rows: int, *, coarse: bool) -> Field:
        facts = self.ground.facts
        size = min(rows, len(facts.sample.x)) if facts.complete else rows
        # A part of them is another one in each lot.
        lot = self.lot if size < min(len(facts.crowd.x), BROAD) else 0
        if (size, coarse, lot) not in self._fields:
            self._fields = {which: field for which, field in self._fields.items() if which[2] in (0, lot)}
            self._fields[size, coarse, lot] = self.ground.field(rows, coarse, lot)
        return self._fields[size, coarse, lot]

    def level(self, heat: Heat) -> float:
        """What the first runner of a heat comes to on its rows, in their own precision, nats.

        In float32 the bound of one optimum is another by a nat or two, however it was come to.
        """
        if heat.field.rows.dtype == self.ground.rows.dtype:
            return float(heat.standing.bound[0])
        exact = self._field(heat.field.size, coarse=False)
        return float(turn(heat.runners.model.take(slice(1)), exact.rows, self.ground.rule).bound[0])

    def _much(self, rows: int, model: Mixture) -> bool:
        """Float32 saves more than it costs to begin with it."""
        restarts, components, features = model.shape
        size = min(rows, self.ground.facts.rows) * restarts * components
        return size * self.ground.unit.quadratic.size(features) >= MUCH

    def home_stretch(self, runners: Runners) -> Found:
        """Run on all rows to the end: where there is much to count, most of the way in float32."""
        ground = self.ground
        if (
            ground.plan.passes
            and not self.interrupted
            and self._much(ALL, runners.model)
            and ground.coarsely(runners.model)
        ):
            runners = self.heat(runners, ALL, ground.plan.passes).runners
        if not self.interrupted:
            return finish(runners.model, self.told, runners.ids, ground, ground.plan.passes)
        found = finish(runners.model, self.told, runners.ids, ground, 0)
        return found._replace(outcome=found.outcome._replace(interrupted=True))


R = TypeVar("R", bound=Record)


def select(record: R, at: list[int]) -> R:
    """Some of the restarts, in this order."""
    return record.take(torch.tensor(at).to(record.leaves()[0].device))


# ---- who goes on


def leaders(standing: Standing, facts: Survey, field: Field, keep: int) -> list[int]:
    """The best restarts, best first: sound ones before others, and one of each set of twins.

    On a part of the rows counts are smaller: those that are sound as counted come first, then those that would be
    with all rows. Of others those come first in which fewer components are not sound: they are nearer to one that is.
    """
    share = field.weight / facts.weight
    bound = standing.bound.cpu().nan_to_num(nan=-torch.inf)
    order = bound.argsort(descending=True, stable=True)
    same = twinned(standing, bound[order], TWIN_NATS * share, facts) if keep > 1 else None
    best = untwinned(same, order.tolist())[:keep]
    # Mostly these are sound, and then nothing is asked of the others.
    if bool((credible(standing.pick(best), share, facts) == CREDIBLE).all()):
        return best
    order = order[credible(standing, share, facts)[order].argsort(descending=True, stable=True)]
    return untwinned(same, order.tolist())[:keep]


CREDIBLE = 2
"""What :func:`credible` says of a sound restart."""


def credible(standing: Standing, share: float, facts: Survey) -> Tensor:
    """(R,), 2 for restarts that are sound as counted on a share of the rows, 1 for those that would be on all.

    For others 1 less the number of components that would not be.
    """
    tests = soundness(standing.model, standing.n, facts)
    whole = tests._replace(counted=counted(standing.model, standing.n / share)) if share < 1 else tests
    return tests.sound.long() + (1 - whole.faulty)


def agreed(standing: Standing, best: int, facts: Survey) -> bool:
    """All restarts are on their way to the best one's optimum."""
    bound = standing.bound.cpu()
    near = (bound - bound[best]).abs() <= AGREE_NATS
    return bool((twins(standing.model, facts, AGREE)[best] & near).all())


def twins(model: Mixture, facts: Survey, apart: float = TWINS) -> Bool[Tensor, "R R"]:
    """Pairs of restarts with the same weights and means, whatever the order of their components."""
    sd = facts.covariance.diagonal().clamp_min(1e-300).sqrt()
    mean, weight = model.mean.cpu() / sd, model.log_weight.cpu().exp()
    # The order along one line that favours no column: sorted column by column, other clusters could look alike.
    order = (mean @ torch.arange(2, len(sd) + 2, dtype=mean.dtype).sqrt()).argsort(1)
    mean, weight = mean.gather(1, order[..., None].expand_as(mean)), weight.gather(1, order)
    about = torch.cat([weight, mean.flatten(1)], 1).nan_to_num(nan=torch.inf)
    return torch.cdist(about, about, p=torch.inf) <= apart


def twinned(standing: Standing, falling: Tensor, near: float, facts: Survey) -> Bool[Tensor, "R R"] | None:
    """Pairs of twins whose bounds are near; None where no bounds are, as they say in falling order."""
    if bool((falling[:-1] - falling[1:] > near).all()):
        return None
    bound = standing.bound.cpu()
    return twins(standing.model, facts) & ((bound[:, None] - bound).abs() <= near)


def untwinned(same: Bool[Tensor, "R R"] | None, order: list[int]) -> list[int]:
    """The restarts of an order, leaving out those that have a twin before them."""
    if same is None:
        return order
    kept: list[int] = []
    like, twin = same.numpy(), np.zeros(len(same), dtype=bool)
    for i in order:
        if not twin[i]:
            kept.append(i)
            twin |= like[:, i]
    return kept
