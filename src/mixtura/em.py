"""EM: the rule that turns moments into the next mixture, and one turn of the ring."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from mixtura.covariance.base import Floor
from mixtura.e_step import risk
from mixtura.measure import measure
from mixtura.mixture import Mixture
from mixtura.moments import Moments
from mixtura.record import Record
from mixtura.rows import Rows

CALM, RESTING = 1e-2, 4
"""While the feature map's risk is below this share of its tolerance, the guard looks at every fifth pass only."""

EMPTY = 1e-13
"""Share of all weight below which a component has no rows: its weight becomes 0, its shape stays."""


@runtime_checkable
class Rule(Protocol):
    """How moments become the next model."""

    def bound(self, moments: Moments, model: Mixture) -> Float64[Tensor, "R"]:
        """What the rule raises."""

    def update(self, moments: Moments, model: Mixture) -> Mixture:
        """The next model."""

    def blindly(self) -> "Rule":
        """The same rule, which reads nothing from the device: what it would have to look at to mend becomes NaN."""


@dataclass(frozen=True)
class Likelihood:
    """Maximum likelihood (Dempster, Laird & Rubin 1977): the M-step in closed form, with a floor for variances."""

    floor: Floor

    def bound(self, moments: Moments, model: Mixture) -> Float64[Tensor, "R"]:
        return moments.loglik[:, 0]

    def update(self, moments: Moments, model: Mixture) -> Mixture:
        share = moments.n / moments.n.sum(1, keepdim=True)
        if not self.floor.blind and float(share.min()) > EMPTY:
            return self._maximise(moments, model, share)
        least = EMPTY * moments.n.sum(1, keepdim=True)
        alive = moments.n > least
        n, s0 = moments.n.maximum(least), moments.s0.maximum(least)
        s1 = torch.where(alive[..., None], moments.s1, 0.0)
        share = n / n.sum(1, keepdim=True)
        return dropped(self._maximise(replace(moments, n=n, s0=s0, s1=s1), model, share), model, alive)

    def blindly(self) -> "Likelihood":
        return replace(self, floor=self.floor._replace(blind=True))

    def _maximise(self, moments: Moments, model: Mixture, share: Float64[Tensor, "R K"]) -> Mixture:
        n = moments.n
        shift = moments.s1 / moments.s0[..., None]
        s2 = model.covariance.move(moments.s2, moments.s0, moments.s1, shift)
        return Mixture(
            share.log(),
            model.mean + shift,
            model.covariance.maximise(n, s2, self.floor),
            model.family.maximise(n, moments.extra),
        )


def dropped(new: Mixture, old: Mixture, alive: Bool[Tensor, "R K"]) -> Mixture:
    """The new mixture, in which components that are not alive have weight 0 and their old shape."""

    def keep(to: Tensor, was: Tensor) -> Tensor:
        shared = to.shape[1] != alive.shape[1]
        return to if shared else torch.where(alive.reshape(alive.shape + (1,) * (to.ndim - 2)), to, was)

    weight = torch.where(alive, new.log_weight, -torch.inf)
    return replace(new, log_weight=weight, covariance=new.covariance.map(keep, old.covariance))


@dataclass(frozen=True, eq=False)
class Turn(Record):
    """One turn of the ring: a model, what it measured, its bound; ``next`` is the model after it.

    Attributes:
        model: the models that were measured.
        moments: what one pass counted.
        bound: (R,), what the rule raises.
        fast: (R,), restarts that the feature map still serves; once off it, a restart stays off it.
        rule: how moments become the next model.
        resting: for how many passes the guard need not look again.
    """

    model: Mixture
    moments: Moments
    bound: Float64[Tensor, "R"]
    fast: Bool[Tensor, "R"]
    rule: Rule
    resting: int = 0

    def next(self) -> Mixture:
        """The model after this turn."""
        return self.rule.update(self.moments, self.model)


def turn(model: Mixture, rows: Rows, rule: Rule, before: Turn | None = None) -> Turn:
    """The ring, once: one pass over the rows, after the turn before it if there was one."""
    if before is not None and before.resting:
        by_features, resting = before.fast, before.resting - 1
    else:
        danger = risk(model.expected, rows.dtype)
        by_features = danger < rows.tolerance
        if before is not None:
            by_features = by_features & before.fast
        resting = RESTING if bool((danger < CALM * rows.tolerance).all()) else 0
    moments = measure(model.expected, rows, by_features)
    return Turn(model, moments, rule.bound(moments, model), by_features, rule, resting)


def blind_turn(model: Mixture, rows: Rows, rule: Rule, before: Turn, fast: Bool[Tensor, "R"]) -> Turn:
    """The same, with nothing read from the device: where the guard would take a restart off its path, its bound is NaN.

    ``fast`` is ``before.fast`` on the CPU, and the rule a blind one.
    """
    moments = measure(model.expected, rows, fast)
    bound, resting = rule.bound(moments, model), before.resting - 1
    if resting < 0:
        safe = (risk(model.expected, rows.dtype) < rows.tolerance) | ~before.fast
        bound, resting = torch.where(safe, bound, torch.nan), 0
    return Turn(model, moments, bound, before.fast, rule, resting)


def em(model: Mixture, rows: Rows, rule: Rule) -> Iterator[Turn]:
    """Turns without end, to be watched in a ``for`` loop."""
    now = turn(model, rows, rule)
    while True:
        yield now
        now = turn(now.next(), rows, rule, now)
