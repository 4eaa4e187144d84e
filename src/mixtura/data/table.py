"""Table: the columns of a file that take part in a fit, and which file formats can be read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Table:
    """Numeric columns of a file.

    Attributes:
        x: (N, D): a memory map or array, or a pyarrow table, which carries the names of its columns.
        columns: names of the D columns; the columns of an array are named by their index.
        left_out: columns of the file that are neither in ``x`` nor the identifier.
        ids: (N,) identifiers of the rows, a pyarrow or NumPy array, or None.
        id_column: their column, or None.
    """

    x: Any
    columns: list[str]
    left_out: list[str]
    ids: Any = None
    id_column: str | None = None

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, start: int, stop: int) -> Any:
        """Rows ``start`` … ``stop`` − 1, with no copy."""
        return self.x[start:stop] if isinstance(self.x, np.ndarray) else self.x.slice(start, stop - start)

    def array(self) -> np.ndarray:
        """(N, D) as one array."""
        return np.asarray(self.x)


class NoColumn(ValueError):
    """A column was asked for that the file does not have."""


def read_table(path: str | Path, columns: list[str] | None = None, id: str | None = None) -> Table:  # noqa: A002
    """Read numeric columns of a file.

    Args:
        path: a ``.npy`` file, which is memory-mapped, or a ``.csv`` or ``.tsv`` file, which may be compressed.
        columns: names of the columns to use (for ``.npy``: their indices, as text); None uses all but ``id``.
        id: the column that identifies rows.

    Raises:
        NoColumn: there is no such column.
        ValueError: the file or one of its columns cannot be used.
        OSError: the file cannot be opened.
    """
    path = Path(path)
    reader = _reader(path)
    if path.is_dir():
        raise ValueError(f"{path} is a directory, not a file: give one table")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}: check the name and the current directory")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: it has neither column names nor rows")
    return reader(path, columns, id)


def _reader(path: Path) -> Callable[[Path, list[str] | None, str | None], Table]:
    from mixtura.data.csv import read_csv
    from mixtura.data.npy import read_npy

    endings = [e.lower() for e in path.suffixes]
    if endings and endings[-1] in {".gz", ".bz2", ".zst"}:
        endings.pop()
    kind = endings[-1] if endings else ""
    if path.is_dir():
        return read_csv
    if kind == ".npy":
        return read_npy
    if kind in {".csv", ".tsv", ".tab", ".txt"}:
        return read_csv
    raise ValueError(
        f"{path.name} ends in {kind or 'nothing'!r}, which is not a known kind of table: give .csv, .tsv or .npy"
    )


def chosen(have: list[str], columns: list[str] | None, id: str | None, path: Path) -> list[str]:  # noqa: A002
    """The columns to use: those asked for, else all but the identifier.

    Raises:
        NoColumn: one asked for is not there; the message lists those that are.
        ValueError: one is asked for twice, or none is left.
    """
    wanted = [name for name in have if name != id] if columns is None else columns
    missing = [name for name in [*wanted, *([] if id is None else [id])] if name not in have]
    if missing:
        option = "--id" if columns is None or missing[0] not in columns else "--columns"
        raise NoColumn(f"{option}: {path.name} has no column {listed(missing)}; it has {listed(have)}")
    twice = sorted({name for name in wanted if wanted.count(name) > 1})
    if twice:
        raise NoColumn(f"--columns names {listed(twice)} more than once: name each column once")
    if not wanted:
        raise ValueError(f"{path.name} has no column besides the identifier: there is nothing to fit")
    return wanted


def listed(names: list[str], most: int = 8) -> str:
    """Names in quotes, the first few of many."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
