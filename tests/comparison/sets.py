"""Small data sets that the tests share; nothing outside the repository is read."""

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

DATA = Path(__file__).parent.parent / "data"


@cache
def load(name: str) -> np.ndarray:
    """The numeric columns of a data set, float64, read-only."""
    with (DATA / f"{name}.csv").open(newline="") as lines:
        rows = list(csv.reader(lines))
    at = [j for j, column in enumerate(rows[0]) if column != "class"]
    x = np.array([[float(row[j]) for j in at] for row in rows[1:]])
    x.flags.writeable = False
    return x


@cache
def classes(name: str) -> np.ndarray:
    """The column ``class`` as numbers, in order of appearance."""
    with (DATA / f"{name}.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = list(dict.fromkeys(row["class"] for row in rows))
    return np.array([found.index(row["class"]) for row in rows])


@cache
def numbers(name: str) -> Any:
    """A JSON file of reference numbers."""
    return json.loads((DATA / f"{name}.json").read_text())


@cache
def overlapping() -> np.ndarray:
    """600 rows in three dimensions from three broad clusters that overlap heavily."""
    rng = np.random.default_rng(5)
    shape = rng.normal(size=(3, 3, 3)) * 0.6 + np.eye(3)
    x = np.vstack([rng.normal(size=(200, 3)) @ shape[k] + 1.2 * rng.normal(size=3) for k in range(3)])
    x.flags.writeable = False
    return x


SETS = {"faithful": lambda: load("faithful"), "iris": lambda: load("iris"), "overlapping": overlapping}
