"""Converge: the ring turned until every restart is still, at a pace, with as few looks as the device allows."""

from collections.abc import Callable, Generator
from copy import copy
from dataclasses import replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from mixtura.e_step import risk
from mixtura.em import CALM, RESTING, Rule, Turn, blind_turn, turn
from mixtura.mixture import Mixture
from mixtura.record import Record
from mixtura.rows import Rows
from mixtura.stop import SWINGS, Stop, rounding_noise


@runtime_checkable
class Pace(Protocol):
    """How a batch of restarts goes from turn to turn."""

    @property
    def steady(self) -> np.ndarray | Tensor:
        """(R,), restarts whose last gains are EM's own, so that the stopping test may judge by them."""

    def take(self, stay: np.ndarray) -> None:
        """Go on with these restarts, given by their places or a mask."""

    def ahead(self, now: Turn) -> Mixture:
        """The models to measure next."""

    def settle(self, now: Turn, then: Turn) -> Turn:
        """The turn that counts, of the last one and the new one."""


Pacing = Callable[[int, Stop, torch.device | None], Pace]
"""Makes a pace for so many restarts, which keeps what it knows of them on a device, or None: in NumPy's arrays."""


def kept(known: np.ndarray | Tensor, stay: np.ndarray) -> np.ndarray | Tensor:
    """What is known of restarts, (R, ...), of those that stay."""
    return known[torch.from_numpy(stay).to(known.device)] if isinstance(known, Tensor) else known[stay]


class Steps:
    """EM as it is, step by step."""

    def __init__(self, restarts: int, stop: Stop, device: torch.device | None = None) -> None:
        every = np.ones(restarts, dtype=bool)
        self.steady: np.ndarray | Tensor = every if device is None else torch.from_numpy(every).to(device)

    def take(self, stay: np.ndarray) -> None:
        self.steady = kept(self.steady, stay)

    def ahead(self, now: Turn) -> Mixture:
        return now.next()

    def settle(self, now: Turn, then: Turn) -> Turn:
        return then


class Outcome(NamedTuple):
    """How restarts ended.

    Attributes:
        turn: the last turn of every restart, in the order in which they were given.
        passes: (R,), turns each one took.
        still: (R,), those that the stopping test let go.
        bounds: (T, R), the bound at every turn; NaN after the last.
        interrupted: Ctrl-C ended the restarts that were still running.
    """

    turn: Turn
    passes: Tensor
    still: Bool[Tensor, "R"]
    bounds: Float64[Tensor, "T R"]
    interrupted: bool = False

    @property
    def standing(self) -> "Standing":
        """As seen by who goes on from here."""
        now = self.turn
        return Standing(now.next(), now.moments.n, now.bound, self.passes, self.bounds, self.interrupted)


class Standing(NamedTuple):
    """How far restarts have come that are to go on.

    Attributes:
        model: what they measure next, made of the counts of the last pass.
        n: (R, K), these counts.
        bound: (R,), what the last pass measured.
        passes, bounds, interrupted: as in :class:`Outcome`.
    """

    model: Mixture
    n: Float64[Tensor, "R K"]
    bound: Float64[Tensor, "R"]
    passes: Tensor
    bounds: Float64[Tensor, "T R"]
    interrupted: bool = False

    def pick(self, at: list[int]) -> "Standing":
        """Some of them, in this order."""
        here = torch.tensor(at, dtype=torch.long)
        there = here.to(self.n.device)
        run = self.passes[here], self.bounds[:, here], self.interrupted
        return Standing(self.model.take(there), self.n[there], self.bound[here.to(self.bound.device)], *run)

    def put(self, at: Tensor, some: "Standing") -> "Standing":
        """The same with the restarts ``at`` replaced by ``some``, where parameters are on the CPU."""
        longest = max(len(self.bounds), len(some.bounds))
        bounds, others = (
            torch.nn.functional.pad(b, (0, 0, 0, longest - len(b)), value=torch.nan) for b in (self.bounds, some.bounds)
        )
        return Standing(
            self.model.put(at, some.model),
            self.n.index_copy(0, at, some.n),
            self.bound.index_copy(0, at, some.bound),
            self.passes.index_copy(0, at, some.passes),
            bounds.index_copy(1, at, others),
            self.interrupted or some.interrupted,
        )


class Seen(NamedTuple):
    """A turn, and what the host knows of it.

    Attributes:
        turn: of the restarts that were running when it was made.
        bound: (R,).
        steady: (R,), of the pace.
    """

    turn: Turn
    bound: np.ndarray
    steady: np.ndarray


class Looks:
    """Turns one after the other, of which ``rows.patience`` are made in a row before the host looks at any.

    Looking makes the host wait for the device, and then the device for the host. Turns between looks are blind: they
    do only what needs no look, and where that is not enough (a matrix below the floor, a restart that the feature map
    serves no longer) a bound becomes NaN. Then these turns are made once more, each with a look, and so are as many
    after them; where that was not enough twice as many the next time. So a look finds exactly what looking at every
    turn would have found, but for leaps that cannot be measured blindly: they are taken back.

    Args:
        model: the starts.
        rows: what is counted.
        rule: how moments become the next model.
        pace: how restarts go from turn to turn.
        passes: how many turns there may be.

    Attributes:
        last: the last turn that was told, None before the first.
        place: (R,), the places of the restarts that still run among those of ``last``.
    """

    def __init__(self, model: Mixture, rows: Rows, rule: Rule, pace: Pace, passes: int) -> None:
        self.model, self.rows, self.rule, self.pace = model, rows, rule, pace
        self.left, self.careful, self.stretch = passes, 1, rows.patience
        self.seen: list[Seen] = []
        self.last: Turn | None = None
        self.place = np.arange(model.expected.shape[0])

    def step(self) -> tuple[np.ndarray, np.ndarray]:
        """One more turn: its bounds, and which restarts are steady, of those that still run."""
        if not self.seen:
            self.seen = self._looked()
        self.left -= 1
        self.last, bound, steady = self.seen.pop(0)
        return bound[self.place], steady[self.place]

    def part(self, at: np.ndarray) -> Turn:
        """The last turn of some of the restarts that still run, given by a mask."""
        assert self.last is not None
        place = self.place[at]
        return self.last if len(place) == len(self.last.bound) else self.last.take(index(place, self.last))

    def leave(self, done: np.ndarray) -> None:
        """Go on without these."""
        self.place = self.place[~done]

    def _looked(self) -> list[Seen]:
        now = self.last
        if now is not None and len(self.place) < len(now.bound):
            now = now.take(index(self.place, now))
            self.pace.take(self.place)
            self.last, self.place = now, np.arange(len(self.place))
        if now is not None and self.rows.patience > 1 and not self.careful:
            before, seen = copy(self.pace), self._blindly(now, min(self.rows.patience, self.left))
            if not any(np.isnan(each.bound).any() for each in seen):
                self.stretch = self.rows.patience
                return seen
            self.pace, self.careful, self.stretch = before, self.stretch, 2 * self.stretch
        self.careful = max(0, self.careful - 1)
        if now is None:
            then = turn(self.model, self.rows, self.rule)
        else:
            then = self.pace.settle(now, turn(self.pace.ahead(now), self.rows, self.rule, now))
        return [Seen(then, then.bound.cpu().numpy(), on_host(self.pace.steady))]

    def _blindly(self, now: Turn, passes: int) -> list[Seen]:
        """Some turns after this one, and one look at the end."""
        rule, fast = self.rule.blindly(), now.fast.cpu()
        calm = bool((risk(now.model.expected, self.rows.dtype) < CALM * self.rows.tolerance).all())
        turns, steady = [], []
        now = replace(now, rule=rule, resting=RESTING if calm else 0)
        for _ in range(passes):
            now = self.pace.settle(now, blind_turn(self.pace.ahead(now), self.rows, rule, now, fast))
            turns.append(replace(now, rule=self.rule, resting=0))
            steady.append(torch.as_tensor(self.pace.steady).to(now.bound))
        told = torch.stack([*(each.bound for each in turns), *steady]).cpu().numpy()
        each = zip(turns, told[:passes], told[passes:] > 0, strict=True)
        return [Seen(*one) for one in each]


def index(place: np.ndarray, like: Turn) -> Tensor:
    """Places of restarts, where their parameters are."""
    return torch.from_numpy(place).to(like.bound.device)


def on_host(known: np.ndarray | Tensor) -> np.ndarray:
    """What a pace knows, as NumPy's."""
    return known.cpu().numpy() if isinstance(known, Tensor) else known


def converging(
    model: Mixture,
    rows: Rows,
    rule: Rule,
    stop: Stop,
    passes: int | np.ndarray,
    pace: Pacing = Steps,
) -> Generator[tuple[Tensor, Tensor], None, Outcome]:
    """Turn until every restart is still, finished ones leaving the batch.

    ``passes`` is the most for all, or (R,) for each. Yields the indices of the restarts that are running and their
    bounds, after every pass, on the CPU; returns the outcome. Where ``rows.patience`` is more than 1 this comes in
    bursts, at each look; a restart ends with the pass in which it became still all the same. Ctrl-C ends it with what
    every restart has reached.
    """
    restarts = model.expected.shape[0]
    live, allowed = np.arange(restarts), np.broadcast_to(passes, restarts)
    most = int(allowed.max())
    ended: list[tuple[np.ndarray, Turn]] = []
    bounds = np.full((0, restarts), np.nan)
    took, still = np.zeros(restarts, dtype=np.int64), np.zeros(restarts, dtype=bool)
    weight = np.empty(0)
    looks = Looks(model, rows, rule, pace(restarts, stop, rows.home if rows.patience > 1 else None), most)
    interrupted = False
    try:
        for count in range(1, most + 1):
            bound, steady = looks.step()
            if looks.last is not None and count == 1:
                weight = looks.last.moments.n.sum(1).cpu().numpy()
            if count > len(bounds):
                bounds = np.concatenate([bounds, np.full((count, restarts), np.nan)])
            bounds[count - 1, live] = bound
            took[live] = count
            yield torch.from_numpy(live), torch.from_numpy(bound)
            recent = [row[live] for row in bounds[max(0, count - 2 * SWINGS) : count]]
            quiet = stop(recent, weight, rounding_noise(bound, weight, rows.dtype)) & steady
            done = quiet | np.isnan(bound) | (count == allowed[live])
            still[live] = quiet
            if done.any():
                ended.append((live[done], looks.part(done)))
                looks.leave(done)
                live, weight = live[~done], weight[~done]
            if not len(live):
                break
    except KeyboardInterrupt:
        if looks.last is None:
            raise
        interrupted = True
        ended.append((live, looks.part(np.ones(len(live), dtype=bool))))
    passed, quieted, trace = (torch.from_numpy(a) for a in (took, still, bounds[: took.max(initial=0)]))
    return Outcome(in_order(ended), passed, quieted, trace, interrupted)


def in_order(ended: list[tuple[np.ndarray, Turn]]) -> Turn:
    """The last turns of restarts that ended at different times, in the order of the restarts."""
    last = ended[0][1]
    if len(ended) == 1:
        return last
    order = np.argsort(np.concatenate([at for at, _ in ended]))
    return Record.cat([t for _, t in ended]).take(torch.from_numpy(order).to(last.bound.device))


def converge(model: Mixture, rows: Rows, rule: Rule, stop: Stop, passes: int) -> Outcome:
    """Turn until every restart is still or the passes are used up; ``passes`` ≥ 1."""
    steps = converging(model, rows, rule, stop, passes)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
