"""Columns: tables that are written a piece at a time, as Parquet or CSV."""

import csv
import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

KINDS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv"}
"""Formats by the ending of a file."""


def kind_of(path: Path) -> str:
    """The format that a file's name asks for.

    Raises:
        ValueError: no known one.
        ModuleNotFoundError: it needs a package that is not installed.
    """
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path.name} ends in {path.suffix or 'nothing'!r}, expected .parquet or .csv: name it so")
    if kind == "parquet":
        check_parquet()
    return kind


@contextmanager
def writer(path: Path, kind: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that appends rows, as a dict of columns, to a new file.

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
        raise ModuleNotFoundError('writing Parquet needs pyarrow: pip install "mixtura[table]", or write CSV')
