"""Draw the fixed samples that the benchmarks fit, where the packages that hold them have been downloaded.

    python make.py FOLDER

The folder holds ``fct_bacteria_strains.csv.gz``, ``geonames_cities500.csv.gz``, ``fcsparser_lsrii_d6.fcs``,
``sklearn_flower_rgb.csv.gz`` and ``scanpy_pbmc68k_reduced.h5ad``. Needs mixtura and anndata.
"""

import csv
import gzip
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import mixtura

ROWS = 15_000
COFACTOR = 150.0
CHANNELS = ("FSC-A", "FSC-H", "SSC-A", "SSC-H", "V2-A", "V2-H", "Y2-A", "Y2-H", "B1-A", "B1-H")
Table = tuple[np.ndarray, Sequence[str]]


def text(path: Path, columns: Sequence[str]) -> np.ndarray:
    """Columns of a compressed table."""
    with gzip.open(path, "rt", newline="", encoding="utf-8") as stream:
        return np.array([[float(row[c]) for c in columns] for row in csv.DictReader(stream)])


def drawn(table: np.ndarray) -> np.ndarray:
    """15,000 rows drawn once, in the order of the source."""
    return table[np.sort(np.random.default_rng(0).choice(len(table), ROWS, replace=False))]


def bacteria(folder: Path) -> Table:
    """Channels as asinh(x / 150)."""
    return np.arcsinh(drawn(text(folder / "fct_bacteria_strains.csv.gz", CHANNELS)) / COFACTOR), CHANNELS


def cities(folder: Path) -> Table:
    """Places in degrees."""
    columns = ("longitude", "latitude")
    return drawn(text(folder / "geonames_cities500.csv.gz", columns)), columns


def lsrii(folder: Path) -> Table:
    """Channels with their spillover taken out, as asinh(x / 150); all 14,945 events."""
    source: Any = mixtura.scan(folder / "fcsparser_lsrii_d6.fcs")
    rows = np.concatenate([block.x.numpy() for block in source.blocks(ROWS)])
    return np.arcsinh(rows.astype(np.float64) / COFACTOR), source.about.names


def flower(folder: Path) -> Table:
    """Pixels, each value spread evenly over its step."""
    columns = ("R", "G", "B")
    table = drawn(text(folder / "sklearn_flower_rgb.csv.gz", columns))
    return table + np.random.default_rng(1).uniform(-0.5, 0.5, table.shape), columns


def pbmc(folder: Path) -> Table:
    """The first ten principal components of 700 cells."""
    import anndata

    table = anndata.read_h5ad(folder / "scanpy_pbmc68k_reduced.h5ad").obsm["X_pca"][:, :10]
    return table, [f"PC{i + 1}" for i in range(10)]


SETS: tuple[Callable[[Path], Table], ...] = (bacteria, cities, lsrii, flower, pbmc)


def main(folder: Path) -> None:
    """Write one file a table, in float32."""
    for make in SETS:
        x, columns = make(folder)
        path = Path(__file__).with_name(f"{make.__name__}.npz")
        np.savez_compressed(path, x=x.astype(np.float32), columns=np.array(columns))
        print(f"{path.name}: {x.shape[0]} x {x.shape[1]}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
