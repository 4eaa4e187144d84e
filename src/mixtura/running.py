"""Running: restarts turned until they are still, in batches that memory allows, and what is told of each start."""

import math
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from mixtura.accelerate import warmed
from mixtura.converge import Outcome, Standing, converge, converging
from mixtura.data.array import Array
from mixtura.em import Likelihood, Rule, turn
from mixtura.mixture import Mixture
from mixtura.native import groups, runs
from mixtura.plan import Field, Found, Ground
from mixtura.record import Record
from mixtura.rows import Rows
from mixtura.stop import Still, Stop

BATCH = 16 * 2**20
"""Bytes of parameters that run in one batch."""


def finish(model: Mixture, told: list[dict[str, Any]], ids: list[int], ground: Ground, passes: int) -> Found:
    """Run on all rows until the stopping test is met."""
    outcome = run(model, ground.rows, ground, ground.plan.stop, passes, made(told, ids))
    note(told, ids, outcome, Field(ground.rows, ground.facts.rows, ground.facts.weight))
    return Found(outcome, told, ids)


def entry(kind: str, search: int = 0, parent: int | None = None, begins: int = 0) -> dict[str, Any]:
    """A start of which nothing is known yet.

    Args:
        kind: what it was made by.
        search: number of the independent search that made it.
        parent: the start whose mixture it was made of, if any.
        begins: how many passes lie behind that mixture.
    """
    place = {"kind": kind, "search": search, "parent": parent, "begins": begins, "same_as": None}
    return place | {"status": "dropped", "loglik": math.nan, "n_iter": 0, "lower_bounds": [], "stages": []}


def note(told: list[dict[str, Any]], ids: list[int], outcome: Outcome | Standing, field: Field) -> None:
    """Add what some starts did on a field to what is told of them."""
    each = zip((told[i] for i in ids), outcome.passes.tolist(), (outcome.bounds.T / field.weight).tolist(), strict=True)
    for start, passes, bounds in each:
        start["n_iter"] += passes
        start["lower_bounds"] += bounds[:passes]
        start["stages"].append((field.size, passes))


def made(told: list[dict[str, Any]], ids: list[int]) -> int:
    """How many passes each of some starts has behind it, or more."""
    return min((told[i]["n_iter"] for i in ids), default=0)


# ---- running


def run(model: Mixture, rows: Rows, ground: Ground, stop: Stop, passes: int, behind: int = 0) -> Outcome:
    """Converge all restarts, as many at a time as memory allows, telling the watcher of every pass.

    They have so many passes ``behind`` them.
    """
    if not passes:
        return untouched(model, rows, ground.rule)
    restarts, pace = model.shape[0], warmed(ground.plan.pace, behind)
    size = sum(t.numel() * t.itemsize for t in model.leaves()) // restarts
    batch = max(1, BATCH // size)
    outcomes: list[Outcome] = []
    for at in range(0, restarts, batch):
        some = model.take(slice(at, at + batch))
        how = (some, rows, ground.rule, stop, passes, pace)
        compiled = runs.serves(some, rows, ground.rule, stop, pace)
        steps = runs.running(*how, told=ground.plan.watch is not None) if compiled else converging(*how)
        outcomes.append(watched(steps, ground.plan.watch))
        if outcomes[-1].interrupted and at + batch < restarts:
            outcomes.append(untouched(model.take(slice(at + batch, restarts)), rows, ground.rule))
            break
    return joined(outcomes)


def heat(
    model: Mixture, rows: Rows, ground: Ground, stop: Stop, passes: int, behind: int = 0, *, leave: bool = False
) -> Standing:
    """Run all restarts for some passes, from which they are to go on: the library's word is enough for that.

    The library may ``leave`` what is on its way to a component that cannot be believed, at −∞.
    """
    pace, watch = warmed(ground.plan.pace, behind), ground.plan.watch
    few = sum(t.numel() * t.itemsize for t in model.leaves()) <= BATCH
    if not (passes and few and runs.serves(model, rows, ground.rule, stop, pace)):
        return run(model, rows, ground, stop, passes, behind).standing
    return watched(runs.heating(model, rows, ground.rule, stop, passes, pace, watch is not None, leave), watch)


def weighted_runs(
    model: Mixture,
    which: np.ndarray,
    x: Float64[Tensor, "N D"],
    weight: Float64[Tensor, "G N"],
    rule: Rule,
    passes: int,
    stop: Still = groups.NEVER,
    *,
    leave: bool = False,
) -> tuple[Mixture, Float64[Tensor, "R"]]:
    """EM of many small mixtures, on the CPU, each on the same rows with weights of its own.

    Args:
        model: the starts.
        which: (R,), the weights of each restart.
        x: the rows.
        weight: of which rows without any are left out.
        rule: the M-step.
        passes: how many, or most.
        stop: what ends a run before that; without it the steps are those of plain EM.
        leave: leave what the library gives back at −∞: it is on its way to a component that cannot be believed.

    Returns:
        Where the restarts have come to, and Σ w log p(x) there.
    """
    left = np.arange(len(which))
    models: list[Mixture] = []
    bounds: list[Tensor] = []
    places: list[np.ndarray] = []
    if groups.serves(model.covariance, x.shape[1], x.dtype) and isinstance(rule, Likelihood):
        moved, bound, calm = groups.run(model, which, x, weight, rule.floor, passes, stop)
        places.append(calm.nonzero()[0])
        models.append(moved.take(torch.from_numpy(places[0])))
        bounds.append(bound[torch.from_numpy(places[0])])
        left = (~calm).nonzero()[0]
        if leave:
            places.append(left)
            models.append(model.take(torch.from_numpy(left)))
            bounds.append(bound.new_full((len(left),), -torch.inf))
            left = left[:0]
    for group in np.unique(which[left]):
        at = left[which[left] == group]
        some = weight[group] > 0
        rows = Rows(Array(x[some], weight[group][some]), dtype=x.dtype)
        start = model.take(torch.from_numpy(at)).shifted(-rows.origin)
        last = converge(start, rows, rule, stop, passes).turn
        places.append(at)
        models.append(last.model.shifted(rows.origin))
        bounds.append(last.bound)
    order = torch.from_numpy(np.argsort(np.concatenate(places)))
    return Mixture.cat(models).take(order), torch.cat(bounds)[order]


E = TypeVar("E")


def watched(steps: Generator[tuple[Tensor, Tensor], None, E], watch: Callable[[Tensor, Tensor], Any] | None) -> E:
    """Take all steps; Ctrl-C in the watcher is Ctrl-C in the step."""
    try:
        try:
            while True:
                live, bound = next(steps)
                if watch is not None:
                    watch(live, bound)
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
