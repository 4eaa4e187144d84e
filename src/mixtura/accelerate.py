"""Accelerate: SQUAREM, leaps along the way that EM takes, taken back where they do not climb."""

from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from mixtura.converge import Pacing, kept
from mixtura.covariance.base import Floor
from mixtura.em import Likelihood, Turn
from mixtura.mixture import Mixture
from mixtura.record import Record
from mixtura.stop import Stop

BEGIN = 20
"""Passes before the first leap: the first ones change much, and not along one line."""

FIRST, FACTOR = 4.0, 4.0
"""The longest leap at first, in steps of EM, and what it grows by when it was reached, or shrinks by when it failed."""

SHORTEST = 1.5
"""The longest leap is never shorter than this; a leap of 1 ends where EM arrives itself."""


class Squarem:
    """SQUAREM with a guard (Varadhan & Roland 2008, scheme S3), for all restarts of a batch, each at its own pace.

    With θ₀, θ₁ = F(θ₀) and θ₂ = F(θ₁), where F is a step of EM, r = θ₁ − θ₀ and v = θ₂ − θ₁ − r, a leap goes to
    θ₀ + 2αr + α²v with α = ‖r‖ / ‖v‖; α = 1 is θ₂. The coordinates are log weights, means and covariance matrices, and
    the norm measures means by the covariances, so that leaps follow the data through every affine map. A leap costs the
    pass that measures it, which EM would have needed for θ₂; where the bound would fall, or is no number, it is taken
    back, and EM goes on from θ₁.

    Where a step of EM gains little, another one follows instead of a leap, for the stopping test to judge by; if the
    restart is not still, leaps go on.

    On a device whose values are not looked at in every pass, decisions are made there: what a leap would need is
    computed in every pass, whether one is due or not. NumPy's calls on a few numbers are cheaper than torch's, so that
    what is known of the restarts is NumPy's where looking costs nothing.

    Args:
        restarts: how many.
        stop: the stopping test, whose ``enough`` says what little is.
        device: where to keep what is known of the restarts; None: in NumPy's arrays.
        made: passes that the restarts have behind them.
    """

    def __init__(self, restarts: int, stop: Stop, device: torch.device | None = None, made: int = 0) -> None:
        self.stop, self.device = stop, device
        self.passes = made
        self.before: Mixture | None = None
        self.longest = self._known(np.full(restarts, FIRST))
        self.least = self._known(np.full(restarts, np.inf))
        self.steps = self._known(np.zeros(restarts, dtype=np.int64))  # of EM, since the last leap
        self.waiting = self._known(np.zeros(restarts, dtype=bool))
        self.alpha = self._known(np.ones(restarts))  # of the leaps that are being measured; 1 where there is none

    def _known(self, each: Any) -> Any:
        """Numbers of restarts, where they are kept: NumPy's arrays or tensors, which understand the same below."""
        if self.device is None:
            return each.cpu().numpy() if isinstance(each, Tensor) else each
        return each if isinstance(each, Tensor) else torch.from_numpy(each).to(self.device)

    def _any(self, which: Any) -> bool:
        """Some restart is one of these; it may be, where nobody looks."""
        return self.device is not None or bool(which.any())

    @property
    def steady(self) -> Any:
        """(R,), restarts whose last two steps were EM's own: their gains tell how far they have to go."""
        return self.steps >= 2

    def take(self, stay: np.ndarray) -> None:
        """Go on with these restarts."""
        for name in ("longest", "least", "steps", "waiting", "alpha"):
            setattr(self, name, kept(getattr(self, name), stay))
        if self.before is not None:
            self.before = self.before.take(torch.from_numpy(stay).to(self.before.mean.device))

    def ahead(self, now: Turn) -> Mixture:
        """The models to measure next: where EM arrives, or a leap."""
        after, xp = now.next(), self._xp
        self.passes += 1
        self.alpha = xp.ones_like(self.longest)
        ready = (self.steps >= 1) & ~self.waiting
        if self.before is None or self.passes < BEGIN or not self._any(ready):
            return after
        assert isinstance(now.rule, Likelihood)
        found = self._known(lengths(self.before, now.model, after))
        self.alpha = xp.where(ready & (found > 1), xp.minimum(found, self.longest), 1.0)
        if not self._any(self.alpha > 1):
            return after
        alpha = torch.as_tensor(self.alpha).to(now.bound.device)
        return chosen(alpha > 1, leap(self.before, now.model, after, alpha, now.rule.floor), after)

    def settle(self, now: Turn, then: Turn) -> Turn:
        """The turn that counts: the new one, or the one before it where a leap did not climb."""
        xp, gain = self._xp, self._known(then.bound - now.bound)
        leaping = self.alpha > 1
        failed = leaping & ~(gain >= 0)
        reached = leaping & ~failed & (self.alpha >= self.longest)
        longest = xp.where(reached, self.longest * FACTOR, self.longest)
        self.longest = xp.where(failed, (longest / FACTOR).clip(min=SHORTEST), longest)
        self.steps = xp.where(leaping, 0, self.steps + 1)
        enough = xp.minimum(self.stop.enough(self._known(now.moments.n.sum(1))), self.least)
        self.waiting = (self.steps == 1) & (gain <= enough)
        self.least = xp.where(self.waiting, abs(gain) / 2, self.least)
        self.before = now.model
        if not self._any(failed):
            return then
        return chosen(torch.as_tensor(~failed).to(now.bound.device), then, now)

    @property
    def _xp(self) -> Any:
        return np if self.device is None else torch


def warmed(pace: Pacing, made: int) -> Pacing:
    """The pace of restarts that have so many passes behind them: leaps need not wait as long."""
    return partial(Squarem, made=made) if made and pace is Squarem else pace


def wait(pace: Pacing) -> int | None:
    """Passes before the first leap at this pace: at least the two that it is made of; None where there are no leaps."""
    if pace is Squarem:
        return BEGIN
    return max(2, BEGIN - pace.keywords["made"]) if isinstance(pace, partial) else None


def lengths(zero: Mixture, one: Mixture, two: Mixture) -> Float64[Tensor, "R"]:
    """(R,), α = ‖r‖ / ‖v‖; 1 where a component has gone or nothing moves any more."""
    weight = zero.log_weight.exp()

    def size(mean: Tensor, log_weight: Tensor) -> Tensor:
        squared = (mean * zero.covariance.solve(mean)).sum(-1) + log_weight.square()
        return (weight * squared).sum(1).sqrt()

    first = size(one.mean - zero.mean, one.log_weight - zero.log_weight)
    second = size(two.mean - 2 * one.mean + zero.mean, two.log_weight - 2 * one.log_weight + zero.log_weight)
    return (first / second).nan_to_num(nan=1.0, posinf=1.0)


def leap(zero: Mixture, one: Mixture, two: Mixture, alpha: Float64[Tensor, "R"], floor: Floor) -> Mixture:
    """θ₀ + 2α(θ₁ − θ₀) + α²(θ₂ − 2θ₁ + θ₀), its matrices made covariances by the structure's M-step."""

    def along(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        step = alpha.reshape(-1, *[1] * (a.ndim - 1))
        return a + 2 * step * (b - a) + step.square() * (c - 2 * b + a)

    log_weight = along(zero.log_weight, one.log_weight, two.log_weight).log_softmax(1)
    # What is added to variances is in the models already.
    bare = floor._replace(added=0.0)
    second = zip(*(m.covariance.mean_squares() for m in (zero, one, two)), strict=True)
    covariance = two.covariance.from_mean_squares(log_weight.exp(), tuple(along(*parts) for parts in second), bare)
    return Mixture(log_weight, along(zero.mean, one.mean, two.mean), covariance, two.family)


R = TypeVar("R", bound=Record)


def chosen(which: Bool[Tensor, "R"], yes: R, no: R) -> R:
    """Restarts of one record where ``which`` says so, else of the other."""
    return yes.map(lambda a, b: torch.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b), no)
