"""A pass of EM of each covariance structure beside a pass of the full one."""

import time
from collections.abc import Callable

import numpy as np
import torch
from tables import Row, at_most, by_turns, milliseconds, over, say, spread, verdict

from mixtura.covariance import STRUCTURES, Floor
from mixtura.data import Array
from mixtura.em import Likelihood, em
from mixtura.mixture import Mixture
from mixtura.rows import Rows
from mixtura.start import mixture_from
from mixtura.survey import Sample

WANTED = 1.5
"""A pass over one of the full structure, to stay below."""

PASSES = 30
"""Passes of a turn: the first ones, in which M-steps have most to do, among them."""


def begun(rows: int, features: int, components: int) -> tuple[Rows, Callable[[str], Mixture], Likelihood]:
    """Rows of overlapping clusters of many shapes, what makes a start of a structure, and the rule."""
    draw = np.random.default_rng(0)
    centres = 3 * draw.normal(size=(components, features))
    turn = draw.normal(size=(components, features, features)) / 3 + np.eye(features)
    labels = draw.integers(components, size=rows)
    x = centres[labels] + np.einsum("nij,nj->ni", turn[labels], draw.normal(size=(rows, features)))
    mixed = np.where(draw.random(rows) < 0.2, draw.integers(components, size=rows), labels)
    r = torch.from_numpy(np.eye(components)[mixed].T[None].copy())
    rule = Likelihood(Floor(torch.full((features,), 1e-9, dtype=torch.float64)))
    sample = Sample(torch.from_numpy(x), torch.ones(rows, dtype=torch.float64))

    def start(name: str) -> Mixture:
        return mixture_from(r, sample, STRUCTURES[name].unit(1, components, features), rule)

    return Rows(Array(x), origin=torch.zeros(features)), start, rule


def per_pass(model: Mixture, rows: Rows, rule: Likelihood) -> float:
    """Seconds of a pass and its M-step."""
    turns = em(model, rows, rule)
    next(turns)
    first = time.perf_counter()
    for _ in range(PASSES):
        next(turns)
    return (time.perf_counter() - first) / PASSES


def structures(pairs: int, rows: int = 50_000, features: int = 10, components: int = 10) -> list[Row]:
    """The table."""
    data, start, rule = begun(rows, features, components)
    full, table = start("full"), []
    for name in STRUCTURES:
        model = start(name)
        jobs: dict[str, Callable[[], float]] = {
            "full": lambda: per_pass(full, data, rule),
            "this": lambda model=model: per_pass(model, data, rule),
        }
        for job in jobs.values():
            job()
        times = by_turns(jobs, pairs)
        found = {
            "workload": f"{rows}x{features} K={components}",
            "structure": name,
            "code": STRUCTURES[name].code,
            "ms": milliseconds(times["this"]),
            **at_most(over(times, "this", "full"), WANTED),
        }
        table.append(found)
        say(f"{name:>28} {found['ms']:8.2f} ms  over full {spread(found)}  {verdict(found)}")
    return table
