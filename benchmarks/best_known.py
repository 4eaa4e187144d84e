"""The best sound fit that is known of every cell: ``make best-known``, by brute force.

    python benchmarks/best_known.py [--only TEXT] [--minutes 600] [--threads 2]

For each table of ``optimum.py``, structure and K: fifty starts of scikit-learn's kind run tightly, as many from random
rows and from k-means on whitened rows, and independent searches until all passes together are fifty times those of a
thorough fit; seeds are disjoint from those that are tested. Where it was stopped it goes on. The table in
benchmarks/results/best-known.json only ever rises: ``optimum.py`` raises it, too, where it finds more. ``--show`` says
what has been spent, and what is left.
"""

import argparse
import json
import time
import warnings
from itertools import product
from typing import Any

import numpy as np
import torch
from common import RESULTS, write
from tables import say
from threadpoolctl import threadpool_limits

from mixtura import GaussianMixture

NAME = "best-known"

KINDS, COMPONENTS = ("full", "diag", "tied"), (4, 8, 12)
"""What is fitted to each table."""

TIMES = 50
"""How many times the passes of a thorough fit are spent on a cell."""

PLAIN = 50
"""Plain starts of each kind."""

FIRST = 1000
"""The first seed: those below are for tests."""

ROUNDING = 1e-6
"""Nats by which ends of the same optimum may differ."""

TOGETHER = 5
"""Independent searches of one fit."""


def cells(tables: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, str, int]]:
    """Every cell by its name."""
    return {f"{name} {kind},{k}": (x, kind, k) for (name, x), kind, k in product(tables.items(), KINDS, COMPONENTS)}


def known() -> dict[str, Any]:
    """The table as it stands."""
    path = RESULTS / f"{NAME}.json"
    return json.loads(path.read_text())["cells"] if path.exists() else {}


def keep(table: dict[str, Any]) -> None:
    """Write it."""
    write(NAME, {"times": TIMES, "plain": PLAIN, "cells": dict(sorted(table.items()))})


def empty() -> dict[str, Any]:
    """A cell of which nothing is known."""
    return {"best": None, "by": None, "passes": 0.0, "thorough": None, "fits": 0, "unsound": 0, "seconds": 0.0} | {
        "done": {"scikit-learn": 0, "random_from_data": 0, "whitened": 0, "search": 0}
    }


def raised(table: dict[str, Any], cell: str, loglik: float, by: str) -> bool:
    """Raise a cell of the table to a sound fit's likelihood, if that is more."""
    row = table.setdefault(cell, empty())
    if row["best"] is not None and loglik <= row["best"] + ROUNDING:
        return False
    row["best"], row["by"] = loglik, by
    return True


def passes(model: GaussianMixture, rows: int) -> float:
    """What a fit has spent: passes of one restart over all rows."""
    return sum(min(size, rows) * count for start in model.starts_ for size, count in start["stages"]) / rows


def fitted(x: np.ndarray, kind: str, k: int, seed: int, **params: Any) -> GaussianMixture:
    return GaussianMixture(k, covariance_type=kind, random_state=seed, **params).fit(x)


WAYS: dict[str, dict[str, Any]] = {
    "scikit-learn": {"reproduce": "sklearn", "tol": 1e-8, "max_iter": 10_000, "n_init": 1},
    "random_from_data": {"init_params": "random_from_data", "n_init": 10},
    "whitened": {"init_params": "whitened", "n_init": 10},
    "search": {"effort": "thorough", "n_init": TOGETHER},
}
"""The fits of which a cell has several; each has so many starts or searches."""


def due(row: dict[str, Any]) -> str | None:
    """What is to be done next for a cell; None when it is done."""
    for way in ("scikit-learn", "random_from_data", "whitened"):
        if row["done"][way] < PLAIN:
            return way
    return "search" if row["thorough"] is None or row["passes"] < TIMES * row["thorough"] else None


def advance(row: dict[str, Any], x: np.ndarray, kind: str, k: int) -> tuple[GaussianMixture | None, str]:
    """Do what is due, and count what it cost."""
    way = due(row)
    assert way is not None
    begun = time.perf_counter()
    if row["thorough"] is None:
        row["thorough"] = float(
            np.mean([passes(fitted(x, kind, k, FIRST - 1 - s, effort="thorough"), len(x)) for s in range(3)])
        )
    try:
        model = fitted(x, kind, k, FIRST + row["done"][way], **WAYS[way])
    except ValueError:  # scikit-learn's way has no remedy for a collapsed component
        model = None
    row["done"][way] += int(WAYS[way]["n_init"])
    if model is not None:
        row["passes"] += passes(model, len(x)) if model.starts_ else float(model.n_iter_)
        ended = [start["status"] for start in model.starts_ if start["status"] != "dropped"]
        row["fits"] += len(ended)
        row["unsound"] += ended.count("degenerate")
    row["seconds"] += time.perf_counter() - begun
    return model, way


def told(table: dict[str, Any], every: dict[str, Any]) -> None:
    """What has been spent, and what is left."""
    ready = [name for name in every if name in table and due(table[name]) is None]
    rows = [table[name] for name in every if name in table]
    fits, unsound = sum(row["fits"] for row in rows), sum(row["unsound"] for row in rows)
    say(
        f"{len(ready)} of {len(every)} cells are done; {sum(row['seconds'] for row in rows) / 60:.0f} minutes, "
        f"{sum(row['passes'] for row in rows):.0f} passes, {fits} fits run to the end, {unsound} of them not sound; "
        f"{sum(row['best'] is None for row in rows)} cells without a sound fit"
    )


def main() -> None:
    from optimum import tables

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cells whose name holds this text")
    parser.add_argument("--minutes", type=float, default=600.0, help="stop after this long; a later run goes on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--show", action="store_true", help="say what has been spent")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    table, every = known(), {name: cell for name, cell in cells(tables()).items() if asked.only in name}
    until = time.monotonic() + 60 * asked.minutes
    with threadpool_limits(asked.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (x, kind, k) in every.items() if not asked.show else ():
            row = table.setdefault(name, empty())
            while due(row) is not None and time.monotonic() < until:
                model, way = advance(row, x, kind, k)
                if model is not None and model.status_ == "converged" and raised(table, name, model.loglik_, way):
                    say(f"{name}: {model.loglik_:.3f} by {way}")
                keep(table)
    told(table, every)


if __name__ == "__main__":
    main()
