"""Labels: what a fitted model says of every row, computed and written in chunks."""

import csv
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mixtura.data.table import Table

ROWS = 65536
"""Rows that are scored and written at a time."""


def default_format() -> str:
    """``parquet`` where pyarrow is installed, else ``csv``."""
    return "parquet" if importlib.util.find_spec("pyarrow") else "csv"


def chunks(model: Any, table: Table, rows: int = ROWS) -> Iterator[dict[str, Any]]:
    """Columns for consecutive rows: identifier, label, posteriors, uncertainty and log density.

    Args:
        model: fitted.
        table: N rows.
        rows: most rows of a chunk.
    """
    name = table.id_column if table.id_column not in (None, "") else "row"
    taken = ("label", "uncertainty", "log_density")
    name = f"id_{name}" if name in taken or str(name).startswith("posterior_") else name
    for start in range(0, len(table), rows):
        stop = min(start + rows, len(table))
        x = table.rows(start, stop)
        posteriors = model.predict_proba(x)
        yield {
            str(name): np.arange(start, stop) if table.ids is None else table.ids[start:stop],
            "label": model.predict(x),
            **{f"posterior_{k}": posteriors[:, k] for k in range(posteriors.shape[1])},
            "uncertainty": model.uncertainty(x),
            "log_density": model.score_samples(x),
        }


@contextmanager
def writer(path: Path, kind: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that appends a chunk to a new file.

    Args:
        path: the file.
        kind: ``parquet`` or ``csv``.

    Raises:
        ModuleNotFoundError: Parquet was asked for and pyarrow is not installed.
    """
    with (_parquet if kind == "parquet" else _csv)(path) as append:
        yield append


@contextmanager
def _csv(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    with path.open("w", newline="", encoding="utf-8") as stream:
        out = csv.writer(stream, lineterminator="\n")
        begun = False

        def append(chunk: dict[str, Any]) -> None:
            nonlocal begun
            if not begun:
                out.writerow(chunk)
                begun = True
            out.writerows(zip(*map(_cells, chunk.values()), strict=True))

        yield append


def _cells(column: Any) -> list[Any]:
    return list(column.tolist() if isinstance(column, np.ndarray) else column.to_pylist())


@contextmanager
def _parquet(path: Path) -> Iterator[Callable[[dict[str, Any]], None]]:
    check_parquet()
    import pyarrow
    from pyarrow import parquet

    out: Any = None

    def append(chunk: dict[str, Any]) -> None:
        nonlocal out
        table = pyarrow.table(chunk)
        if out is None:
            out = parquet.ParquetWriter(path, table.schema)
        out.write_table(table)

    try:
        yield append
    finally:
        if out is not None:
            out.close()


def check_parquet() -> None:
    """Complain early where Parquet cannot be written.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """
    if not importlib.util.find_spec("pyarrow"):
        raise ModuleNotFoundError(
            'writing Parquet needs pyarrow: pip install "mixtura[table]", or use --labels-format csv'
        )
