"""Draw the fixed 15,000-row samples that the benchmarks fit: ``python make.py BACTERIA.csv.gz CITIES.csv.gz``."""

import csv
import gzip
import sys
from pathlib import Path

import numpy as np

ROWS = 15_000
COFACTOR = 150.0

SETS = {
    "bacteria": (
        ("FSC-A", "FSC-H", "SSC-A", "SSC-H", "V2-A", "V2-H", "Y2-A", "Y2-H", "B1-A", "B1-H"),
        lambda x: np.arcsinh(x / COFACTOR),
    ),
    "cities": (("longitude", "latitude"), lambda x: x),
}
"""Columns of each table, and what is done to them."""


def main(paths: list[str]) -> None:
    """Write one file a table: rows drawn once, in the order of the source, in float32."""
    for (name, (columns, transform)), path in zip(SETS.items(), paths, strict=True):
        with gzip.open(path, "rt", newline="", encoding="utf-8") as stream:
            table = np.array([[float(row[c]) for c in columns] for row in csv.DictReader(stream)])
        chosen = np.sort(np.random.default_rng(0).choice(len(table), ROWS, replace=False))
        np.savez_compressed(
            Path(__file__).with_name(f"{name}.npz"), x=transform(table[chosen]).astype(np.float32), columns=columns
        )


if __name__ == "__main__":
    if len(sys.argv) != 1 + len(SETS):
        sys.exit(__doc__)
    main(sys.argv[1:])
