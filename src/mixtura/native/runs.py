"""Runs: many restarts on few rows, from their starts to their ends in the compiled library."""

import ctypes
from collections.abc import Generator
from copy import copy
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from mixtura.accelerate import BEGIN, FIRST, chosen, wait
from mixtura.converge import Outcome, Pacing, Standing, Steps, converging
from mixtura.covariance.base import Covariance
from mixtura.em import Likelihood, Rule, Turn, turn
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.native import eigen
from mixtura.native.count import ALIGN, GRAIN, KINDS, cut
from mixtura.native.layout import Field, RunsJob
from mixtura.native.library import library, usable
from mixtura.record import Record
from mixtura.rows import Rows
from mixtura.stop import Gain, Still, Stop

FORMS = {"matrix": 1, "columns": 2, "one": 3}
"""Forms of a covariance that the library knows, by the names that structures give them."""

LIGHT = 2**25
"""Multiplications of a run's pass up to which what Python does around each pass shows."""

WIDEST = 64
"""Features up to which its plain factorisations are fast enough."""

SLICE = 2**28
"""Multiplications of all restarts in one call, so that Ctrl-C is heard and lines about progress come."""

STRIPS = 16
"""Most strips of the rows, counted by all threads, where there is a single run."""

FEW = 32
"""Passes of the first slice at most."""

SCALARS, ROUNDED = 8, 5
RUNNING, STILL, USED_UP, HANDED_BACK = range(4)


class Ends(NamedTuple):
    """How runs ended.

    Attributes:
        bounds: (R, T).
        passes: (R,).
        ended: (R,), one of ``STILL``, ``USED_UP``, ``HANDED_BACK``; ``RUNNING`` after Ctrl-C.
        interrupted: by Ctrl-C.
    """

    bounds: np.ndarray
    passes: np.ndarray
    ended: np.ndarray
    interrupted: bool


def serves(model: Mixture, rows: Rows, rule: Rule, stop: Stop, pace: Pacing) -> bool:
    """The library is there, knows all of this, and there is little to count."""
    held = rows.held
    return (
        held is not None
        and isinstance(rule, Likelihood)
        and (isinstance(stop, Still) or (isinstance(stop, Gain) and stop.previous is None))
        and (pace is Steps or wait(pace) is not None)
        and known(model, rows.dtype, rows.device)
        and held.x.shape[1] * model.shape[1] * count_of(model) <= LIGHT
        and usable()
    )


def count_of(model: Mixture) -> int:
    """Features of x that a component's sums are of: of a shared matrix the quadratic ones are counted once for all."""
    features, covariance = model.shape[2], model.covariance
    return (0 if covariance.shared else covariance.quadratic.size(features)) + features + 1


def known(model: Mixture, dtype: torch.dtype, device: torch.device) -> bool:
    """The library knows such mixtures and rows."""
    return (
        device.type == "cpu"
        and type(model.family) is Gaussian
        and model.covariance.form in FORMS
        and type(model.covariance.quadratic) in KINDS
        and model.shape[2] <= WIDEST
        and dtype in (torch.float64, torch.float32)
    )


class Settings(NamedTuple):
    """What all runs follow.

    Attributes:
        stop: the stopping test.
        passes: most of a run.
        squarem: with leaps.
        tolerance: nats that the feature map may lose to rounding.
        dtype: of the rows.
        added: a variance added to every diagonal.
        begin: passes before the first leap.
    """

    stop: Still | Gain
    passes: int
    squarem: bool
    tolerance: float
    dtype: torch.dtype
    added: float = 0.0
    begin: int = BEGIN


class Runs:
    """Runs in the library, a slice at a time.

    Args:
        model: the starts.
        fields: what the runs count; what they point to must outlive the runs.
        which: (R,), the field of each run.
        settings: of all of them.
    """

    def __init__(self, model: Mixture, fields: list[Field], which: np.ndarray, settings: "Settings") -> None:
        self.model, self.settings = model, settings
        restarts = model.shape[0]
        packed = packed_of(model)
        self.length = packed.shape[1]
        self.state = np.zeros((restarts, SCALARS + 4 * self.length))
        self.state[:, :3] = -np.inf, FIRST, np.inf
        self.part("after")[:] = packed
        self.bounds = np.full((restarts, FEW), np.nan)
        self.passes, self.ended = (np.zeros(restarts, dtype=np.int32) for _ in range(2))
        self.which = which.astype(np.int32)
        self.fields = (Field * len(fields))(*fields)
        self.longest = max(f.rows for f in fields)

    def part(self, name: str) -> np.ndarray:
        """(R, L), one of the four models of every run: a view of the state."""
        at = SCALARS + self.length * ("before", "now", "after", "next").index(name)
        return self.state[:, at : at + self.length]

    @property
    def rounded(self) -> np.ndarray:
        """(R,), runs that were handed back since rounding threatened."""
        return self.state[:, ROUNDED] > 0

    def take(self, at: np.ndarray) -> "Runs":
        """Some of the runs, as far as they have come."""
        some = copy(self)
        some.model = self.model.take(torch.from_numpy(at))
        for name in ("state", "bounds", "passes", "ended", "which"):
            setattr(some, name, getattr(self, name)[at])
        return some

    def onward(self, settings: "Settings") -> "Runs":
        """The same runs, to go on by other settings; those that were handed back stay so."""
        other = self.take(np.arange(len(self.passes)))
        other.settings = settings
        other.ended[other.ended != HANDED_BACK] = RUNNING
        return other

    def job(self) -> RunsJob:
        """What the library is told; what it points to lives as long as these runs."""
        (restarts, components, features), settings = self.model.shape, self.settings
        covariance, dtype = self.model.covariance, settings.dtype
        own, count = covariance.quadratic.size(features), count_of(self.model)
        how = cut(features, components, 1, count, dtype.itemsize)
        spare = spare_of(self.model)
        numbers = 8 * (2 * components * count + 2 * features * features + 2 * features + spare) + 4 * components * count
        threads = torch.get_num_threads()
        parts = max(1, min(threads, restarts))
        # Each of several runs has a thread. How the rows of a single one are cut depends on no number of threads.
        strips = max(1, min(STRIPS, self.longest * components * count // GRAIN)) if restarts == 1 else 1
        found = -(-8 * strips * (components * count + 1) // ALIGN) * ALIGN
        room = -(-(numbers + ALIGN + found + strips * how.room) // ALIGN) * ALIGN
        self.work = torch.empty(parts * room, dtype=torch.uint8)
        self.cost = max(1, self.longest * components * (count + 8) * restarts)
        stop = settings.stop
        return RunsJob(
            *(ctypes.addressof(self.fields), self.which.ctypes.data, self.state.ctypes.data, 0),
            *(self.passes.ctypes.data, self.ended.ctypes.data, self.work.data_ptr()),
            *(stop.tol if isinstance(stop, Gain) else stop.per_row, settings.tolerance, settings.added),
            *(torch.finfo(dtype).eps, self.state.shape[1], room, 0, spare, how.room),
            *(restarts, features, components),
            *(
                FORMS[str(covariance.form)],
                covariance.shared,
                *covariance.parts,
                KINDS[type(covariance.quadratic)],
                own,
                count,
            ),
            *(how.block, how.panel, dtype == torch.float32, settings.squarem, settings.begin),
            *(isinstance(stop, Gain), 0, settings.passes, parts, 0, 0, strips, threads),
        )

    def go(self, told: bool = False) -> Generator[tuple[Tensor, Tensor], None, Ends]:
        """Run to the end; where passes are ``told``, yields the running restarts and their bounds for each."""
        function, job = library().function("run"), self.job()
        seen, until, interrupted = int(self.passes.max()), int(self.passes.min()), False
        try:
            while (self.ended == RUNNING).any():
                # Twice as far every time: most runs end soon, and the bounds of all need room for the longest.
                until = min(self.settings.passes, until + max(1, SLICE // self.cost), max(FEW, 2 * until))
                if until > self.bounds.shape[1]:
                    more = np.full((len(self.bounds), until - self.bounds.shape[1]), np.nan)
                    self.bounds = np.concatenate([self.bounds, more], axis=1)
                job.bounds, job.trace, job.until = self.bounds.ctypes.data, self.bounds.shape[1], until
                function(ctypes.byref(job))
                for at in range(seen, int(self.passes.max()) if told else 0):
                    live = (self.passes > at).nonzero()[0]
                    yield torch.from_numpy(live), torch.from_numpy(self.bounds[live, at])
                seen = int(self.passes.max())
        except KeyboardInterrupt:
            if not ((self.passes > 0) | (self.ended == HANDED_BACK)).all():
                raise
            interrupted = True
        return Ends(self.bounds[:, : self.passes.max()], self.passes, self.ended, interrupted)

    def unpacked(self) -> Mixture:
        """The models that the runs have reached, as they were measured last, or, handed back, are to be measured next.

        Where there was no pass these are the starts themselves.
        """
        begun = torch.from_numpy(self.passes > 0)
        return chosen(begun, unpacked(self.part("now"), self.model), self.model)


def spare_of(model: Mixture) -> int:
    """Doubles that the M-step of matrices with parts works in: what ``composed`` in run.c carves from ``spare``."""
    _, components, features = model.shape
    if not any(model.covariance.parts):
        return 0
    return components * (2 + features + features * features) + eigen.room(components, features)


def packed_of(model: Mixture) -> np.ndarray:
    """(R, L), log weights, means, second moments of one row and what matrices carry, one after the other."""
    covariance = model.covariance
    each = (model.log_weight, model.mean, covariance.mean_squares()[0], *covariance.carried())
    return torch.cat([t.flatten(1) for t in each], 1).numpy()


def unpacked(packed: np.ndarray, like: Mixture) -> Mixture:
    """The inverse of :func:`packed_of`."""
    _, components, features = like.shape
    t = torch.from_numpy(packed.copy())
    shapes = [part.shape[1:] for part in (like.covariance.mean_squares()[0], *like.covariance.carried())]
    sizes = [components, components * features, *(shape.numel() for shape in shapes)]
    log_weight, mean, *parts = torch.split(t, sizes, dim=1)
    second, *carried = (part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True))
    # Starts may have weights that do not add up to 1, as scikit-learn's have.
    share = log_weight.softmax(1)
    covariance: Covariance = like.covariance.resumed(share, (second,), tuple(carried))
    return replace(like, log_weight=log_weight, mean=mean.reshape(like.shape), covariance=covariance)


def running(
    model: Mixture,
    rows: Rows,
    rule: Rule,
    stop: Stop,
    passes: int,
    pace: Pacing,
    told: bool = True,
) -> Generator[tuple[Tensor, Tensor], None, Outcome]:
    """What :func:`mixtura.converge.converging` does, where :func:`serves` holds; yields passes only if ``told``.

    The ring measures where the runs have ended, so that an outcome is the ring's word; restarts that the library
    handed back go on there.
    """
    going = runs_of(model, rows, rule, stop, passes, pace)
    ends = yield from going.go(told)
    return (yield from measured(going.unpacked(), ends, rows, rule, stop, passes, pace))


def heating(
    model: Mixture,
    rows: Rows,
    rule: Rule,
    stop: Stop,
    passes: int,
    pace: Pacing,
    told: bool = True,
    leave: bool = False,
) -> Generator[tuple[Tensor, Tensor], None, Standing]:
    """The same for restarts that are to go on from there: by the library's word, where it has kept them.

    To ``leave`` is to give up restarts on their way to a component that cannot be believed, at −∞, unless all are.
    """
    going = runs_of(model, rows, rule, stop, passes, pace)
    ends = yield from going.go(told)
    back = ends.ended == HANDED_BACK
    on = back & going.rounded if leave and not back.all() else back
    if ends.interrupted or on.all():
        return (yield from measured(going.unpacked(), ends, rows, rule, stop, passes, pace)).standing
    standing = standing_of(going, ends, back, rows)
    if not on.any():
        return standing
    at = on.nonzero()[0]
    some = Ends(ends.bounds[at], ends.passes[at], ends.ended[at], interrupted=False)
    steps = measured(going.take(at).unpacked(), some, rows, rule, stop, passes, pace)
    return standing.put(torch.from_numpy(at), (yield from numbered(steps, at)).standing)


def standing_of(runs: Runs, ends: Ends, back: np.ndarray, rows: Rows) -> Standing:
    """How far the library says that runs have come: those that were handed ``back`` are at −∞, where they were."""
    begun = torch.from_numpy(ends.passes > 0)
    ahead = np.where(back[:, None], runs.part("now"), runs.part("after"))
    assert rows.held is not None
    weight = rows.held.weight
    whole = rows.held.x.shape[1] if weight is None else float(weight.sum(dtype=torch.float64))
    n = torch.from_numpy(np.exp(ahead[:, : runs.model.shape[1]]) * whole)
    last = np.where(back, -np.inf, runs.bounds[np.arange(len(back)), np.maximum(ends.passes - 1, 0)])
    took, bounds = torch.from_numpy(ends.passes.astype(np.int64)), torch.from_numpy(ends.bounds.T.copy())
    # A start that is handed back at once may be no covariance as it was packed.
    model = chosen(begun, unpacked(ahead, runs.model), runs.model)
    return Standing(model, n, torch.from_numpy(last), took, bounds)


def runs_of(model: Mixture, rows: Rows, rule: Rule, stop: Stop, passes: int, pace: Pacing) -> Runs:
    """Runs of all restarts on the same rows."""
    assert isinstance(rule, Likelihood)
    assert isinstance(stop, Still | Gain)
    begin = wait(pace)
    how = (rows.tolerance, rows.dtype, rule.floor.added, begin or 0)
    settings = Settings(stop, passes, begin is not None, *how)
    return Runs(model, [field_of(model, rows, rule)], np.zeros(model.shape[0]), settings)


def field_of(model: Mixture, rows: Rows, rule: Likelihood) -> Field:
    """The rows that are kept between passes, as the library sees them; they outlive it."""
    assert rows.held is not None
    x, weight = rows.held.x, rows.held.weight
    total = rows.total(model.covariance.quadratic).data_ptr() if model.covariance.shared else None
    least = rule.floor.least
    if least is None:
        least = rows.scratch.derived(("no floor",), lambda: torch.zeros(len(x), dtype=torch.float64))
    weighed = None if weight is None else weight.data_ptr()
    return Field(x.data_ptr(), weighed, total, least.data_ptr(), x.shape[1], x.stride(0))


def measured(
    model: Mixture, ends: Ends, rows: Rows, rule: Rule, stop: Stop, passes: int, pace: Pacing
) -> Generator[tuple[Tensor, Tensor], None, Outcome]:
    """The outcome of runs: what the ring says of each model, after going on where one was handed back."""
    back, still, interrupted = ends.ended == HANDED_BACK, ends.ended == STILL, ends.interrupted
    # Of a run that ended here, the last pass is measured anew; what was handed back has its next pass before it.
    took = np.where(back, ends.passes, ends.passes - 1).astype(np.int64)
    bounds = ends.bounds.T.copy()
    groups, turns = [], []
    for goes_on in (False, True):
        at = (back == goes_on).nonzero()[0]
        if not len(at):
            continue
        part = model.take(torch.from_numpy(at))
        left = passes - took[at] if goes_on and not interrupted else None
        outcome = yield from onward(part, at, rows, rule, stop, left, pace)
        groups.append(at)
        turns.append(outcome.turn)
        more, found = outcome.passes.numpy(), outcome.bounds.numpy()
        longer = int((took[at] + more).max()) - len(bounds)
        bounds = np.concatenate([bounds, np.full((max(0, longer), bounds.shape[1]), np.nan)])
        row, run = (np.arange(len(found))[:, None] < more).nonzero()
        bounds[took[at[run]] + row, at[run]] = found[row, run]
        took[at] += more
        still[at] |= outcome.still.numpy()
        interrupted = interrupted or outcome.interrupted
    bounds[np.arange(len(bounds))[:, None] >= took] = np.nan
    order = torch.from_numpy(np.argsort(np.concatenate(groups)))
    whole: Turn = turns[0] if len(turns) == 1 else Record.cat(turns).take(order)
    return Outcome(whole, torch.from_numpy(took), torch.from_numpy(still), torch.from_numpy(bounds), interrupted)


def onward(
    model: Mixture, at: np.ndarray, rows: Rows, rule: Rule, stop: Stop, passes: np.ndarray | None, pace: Pacing
) -> Generator[tuple[Tensor, Tensor], None, Outcome]:
    """The ring's word on some runs, by the numbers ``at`` that they have among all: one turn, or up to ``passes``."""
    if passes is None:
        now = turn(model, rows, rule)
        once = torch.ones(len(at), dtype=torch.long)
        return Outcome(now, once, torch.zeros(len(at), dtype=torch.bool), now.bound[None])
    return (yield from numbered(converging(model, rows, rule, stop, passes, pace), at))


E = TypeVar("E")


def numbered(
    steps: Generator[tuple[Tensor, Tensor], None, E], at: np.ndarray
) -> Generator[tuple[Tensor, Tensor], None, E]:
    """Steps of some restarts, by the numbers ``at`` that these have among all."""
    try:
        while True:
            live, bound = next(steps)
            try:
                yield torch.from_numpy(at)[live], bound
            except KeyboardInterrupt:
                steps.throw(KeyboardInterrupt)
    except StopIteration as end:
        return end.value
