"""Runs: many restarts on few rows, from their starts to their ends in the compiled library."""

import ctypes
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mixtura.accelerate import FIRST, Squarem, chosen
from mixtura.covariance.base import Covariance, Floor
from mixtura.em import Gain, Likelihood, Outcome, Pacing, Rule, Steps, Still, Stop, Turn, converging, turn
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.native.count import ALIGN, KINDS, cut
from mixtura.native.library import library
from mixtura.record import Record
from mixtura.rows import Rows

FORMS = {"matrix": 1, "columns": 2, "one": 3}
"""Forms of a covariance that the library knows, by the names that structures give them."""

LIGHT = 2**23
"""Multiplications of a pass up to which calling the library for it costs more than the pass."""

WIDEST = 64
"""Features up to which its plain factorisations are fast enough."""

SLICE = 2**28
"""Multiplications of all restarts in one call, so that Ctrl-C is heard and lines about progress come."""

SCALARS = 8
RUNNING, STILL, USED_UP, HANDED_BACK = range(4)


class Field(ctypes.Structure):
    """Rows of a run, as run.c declares it."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("x", "weight", "total", "least")),
        *((name, ctypes.c_int64) for name in ("rows", "stride")),
    )


class Job(ctypes.Structure):
    """Runs, as run.c declares it."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("fields", "which", "state", "bounds", "passes", "ended", "work")),
        *((name, ctypes.c_double) for name in ("per_row", "tolerance", "added", "epsilon")),
        *((name, ctypes.c_int64) for name in ("size", "room", "trace")),
        *(
            (name, ctypes.c_int32)
            for name in (
                *("restarts", "features", "components", "form", "shared", "kind", "quadratics", "count"),
                *("block", "panel", "single", "squarem", "gain", "until", "most", "parts", "ticket", "areas"),
            )
        ),
    )


class Ends(NamedTuple):
    """How runs ended.

    Attributes:
        model: of every run, as it was measured last; of one that was handed back, as it is to be measured next.
        bounds: (R, T).
        passes: (R,).
        ended: (R,), one of ``STILL``, ``USED_UP``, ``HANDED_BACK``; ``RUNNING`` after Ctrl-C.
        interrupted: by Ctrl-C.
    """

    model: Mixture
    bounds: np.ndarray
    passes: np.ndarray
    ended: np.ndarray
    interrupted: bool


Watch = Callable[[Tensor, Tensor], object]


def serves(model: Mixture, rows: Rows, rule: Rule, stop: Stop, pace: Pacing) -> bool:
    """The library is there, knows all of this, and there is little to count."""
    held = rows.held
    return (
        held is not None
        and isinstance(rule, Likelihood)
        and (isinstance(stop, Still) or (isinstance(stop, Gain) and stop.previous is None))
        and pace in (Steps, Squarem)
        and known(model, rows.dtype, rows.device)
        and held.x.shape[1] * model.shape[1] * model.covariance.quadratic.size(model.shape[2]) <= LIGHT
        and library().handle is not None
    )


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


class Runs:
    """Runs in the library, a slice at a time.

    Args:
        model: the starts.
        fields: what the runs count, one or one each.
        floor: of the M-step; ``least`` is each field's own.
        stop: the stopping test.
        passes: most of a run.
        squarem: with leaps.
        tolerance: nats that the feature map may lose to rounding.
        dtype: of the rows.
    """

    def __init__(
        self,
        model: Mixture,
        fields: list[Field],
        floor: Floor,
        stop: Still | Gain,
        passes: int,
        squarem: bool,
        tolerance: float,
        dtype: torch.dtype,
    ) -> None:
        restarts, components, features = model.shape
        self.model, self.passes_allowed = model, passes
        packed = packed_of(model)
        length = packed.shape[1]
        self.state = np.zeros((restarts, SCALARS + 4 * length))
        self.state[:, 0], self.state[:, 1], self.state[:, 2] = -np.inf, FIRST, np.inf
        self.now = slice(SCALARS + length, SCALARS + 2 * length)
        self.state[:, SCALARS + 2 * length : SCALARS + 3 * length] = packed
        self.bounds = np.full((restarts, 64), np.nan)
        self.passes, self.ended = (np.zeros(restarts, dtype=np.int32) for _ in range(2))
        self.which = np.arange(restarts, dtype=np.int32) % len(fields)
        self.fields = (Field * len(fields))(*fields)
        quadratic = model.covariance.quadratic
        own = quadratic.size(features)
        count = (0 if model.covariance.shared else own) + features + 1
        how = cut(features, components, 1, count, dtype.itemsize)
        numbers = 8 * (2 * components * count + 2 * features * features + 2 * features) + 4 * components * count
        room = -(-(numbers + ALIGN + how.room) // ALIGN) * ALIGN
        parts = max(1, min(torch.get_num_threads(), restarts))
        self.work = torch.empty(parts * room, dtype=torch.uint8)
        self.cost = max(1, max(f.rows for f in fields) * components * (count + 8) * restarts)
        self.job = Job(
            *(ctypes.addressof(self.fields), self.which.ctypes.data, self.state.ctypes.data, 0),
            *(self.passes.ctypes.data, self.ended.ctypes.data, self.work.data_ptr()),
            *(stop.tol if isinstance(stop, Gain) else stop.per_row, tolerance, floor.added, torch.finfo(dtype).eps),
            *(self.state.shape[1], room, 0, restarts, features, components),
            *(FORMS[str(model.covariance.form)], model.covariance.shared, KINDS[type(quadratic)], own, count),
            *(how.block, how.panel, dtype == torch.float32, squarem, isinstance(stop, Gain), 0, passes, parts, 0, 0),
        )

    def go(self) -> Generator[tuple[Tensor, Tensor], None, Ends]:
        """Run to the end; yields the running restarts and their bounds for every pass, after it."""
        function, told, until, interrupted = library().function("run"), 0, 0, False
        try:
            while (self.ended == RUNNING).any():
                until = min(self.passes_allowed, until + max(1, SLICE // self.cost))
                if until > self.bounds.shape[1]:
                    more = np.full((len(self.bounds), max(until, 2 * self.bounds.shape[1])), np.nan)
                    more[:, : self.bounds.shape[1]] = self.bounds
                    self.bounds = more
                self.job.bounds, self.job.trace, self.job.until = self.bounds.ctypes.data, self.bounds.shape[1], until
                function(ctypes.byref(self.job))
                for at in range(told, int(self.passes.max())):
                    live = (self.passes > at).nonzero()[0]
                    yield torch.from_numpy(live), torch.from_numpy(self.bounds[live, at])
                told = int(self.passes.max())
        except KeyboardInterrupt:
            if not (self.passes > 0).all():
                raise
            interrupted = True
        return Ends(self.unpacked(), self.bounds[:, : self.passes.max()], self.passes, self.ended, interrupted)

    def unpacked(self) -> Mixture:
        """The models that the runs have reached: where there was no pass, the starts themselves."""
        begun = torch.from_numpy(self.passes > 0)
        return chosen(begun, unpacked(self.state[:, self.now], self.model), self.model)


def packed_of(model: Mixture) -> np.ndarray:
    """(R, L), log weights, means and second moments of one row, one after the other."""
    second = model.covariance.mean_squares()[0]
    return torch.cat([model.log_weight, model.mean.flatten(1), second.flatten(1)], 1).numpy()


def unpacked(packed: np.ndarray, like: Mixture) -> Mixture:
    """The inverse of :func:`packed_of`."""
    _, components, features = like.shape
    t = torch.from_numpy(packed.copy())
    log_weight, mean, second = t.tensor_split([components, components * (1 + features)], dim=1)
    second = second.reshape(like.covariance.mean_squares()[0].shape)
    covariance: Covariance = like.covariance.from_mean_squares(log_weight.exp(), (second,), Floor())
    return replace(like, log_weight=log_weight, mean=mean.reshape(like.shape), covariance=covariance)


def running(
    model: Mixture,
    rows: Rows,
    rule: Rule,
    stop: Stop,
    passes: int,
    pace: Pacing,
) -> Generator[tuple[Tensor, Tensor], None, Outcome]:
    """What :func:`mixtura.em.converging` does, where :func:`serves` holds.

    The ring measures where the runs have ended, so that an outcome is the ring's word; restarts that the library
    handed back go on there.
    """
    assert isinstance(rule, Likelihood)
    assert isinstance(stop, Still | Gain)
    field = field_of(model, rows, rule)
    going = Runs(model, [field], rule.floor, stop, passes, pace is Squarem, rows.tolerance, rows.dtype)
    ends = yield from going.go()
    return (yield from measured(ends, rows, rule, stop, passes, pace))


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
    ends: Ends, rows: Rows, rule: Rule, stop: Stop, passes: int, pace: Pacing
) -> Generator[tuple[Tensor, Tensor], None, Outcome]:
    """The outcome of runs: what the ring says of each model, after going on where one was handed back."""
    back = (ends.ended == HANDED_BACK) & (not ends.interrupted)
    left = np.where(back, passes - ends.passes, 0)
    took, still = ends.passes.astype(np.int64), ends.ended == STILL
    bounds, groups, turns = ends.bounds.T, [], []
    interrupted = ends.interrupted
    for each in np.unique(left):
        at = (left == each).nonzero()[0]
        groups.append(at)
        part = ends.model.take(torch.from_numpy(at))
        if not each:
            turns.append(turn(part, rows, rule))
            bounds[took[at] - 1, at] = turns[-1].bound.numpy()
            continue
        outcome = yield from converging(part, rows, rule, stop, int(each), pace)
        turns.append(outcome.turn)
        longer = int((took[at] + len(outcome.bounds)).max()) - len(bounds)
        bounds = np.concatenate([bounds, np.full((max(0, longer), bounds.shape[1]), np.nan)])
        for i, r in enumerate(at):
            more = int(outcome.passes[i])
            bounds[took[r] :, r] = np.nan
            bounds[took[r] : took[r] + more, r] = outcome.bounds[:more, i].numpy()
            took[r] += more
        still[at] = outcome.still.numpy()
        interrupted = interrupted or outcome.interrupted
    order = torch.from_numpy(np.argsort(np.concatenate(groups)))
    whole: Turn = turns[0] if len(turns) == 1 else Record.cat(turns).take(order)
    return Outcome(whole, torch.from_numpy(took), torch.from_numpy(still), torch.from_numpy(bounds), interrupted)
