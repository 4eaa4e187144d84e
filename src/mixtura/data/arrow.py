"""Arrow: columns of Arrow tables as rows, and sources of IPC files, data frames and whatever gives an Arrow stream."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mixtura.data.array import Array
from mixtura.data.base import About, Source
from mixtura.data.columns import Wanted, listed, read_columns, told
from mixtura.data.stream import Piece, Stream

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
"""Length of a unit of time."""

BATCH = 65536
"""Rows that are read at a time."""

INDEX = "__index_level_"
"""How a data frame's row names are called in a file."""


def pyarrow(what: str) -> Any:
    """The package.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import pyarrow
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f'reading {what} needs pyarrow: pip install "mixtura[table]"') from None
    return pyarrow


def about_of(schema: Any, wanted: Wanted, place: str) -> About:
    """Which columns of a table are used.

    Columns of truth values and of times are numbers for those who name them: 0 and 1, and seconds (since 1970 for
    dates).

    Raises:
        NoColumn: one asked for is not there.
        ValueError: a column is not numeric, or its name is not unique.
    """
    have = list(schema.names)
    if len(set(have)) < len(have):
        twice = sorted(name for name, n in Counter(have).items() if n > 1)
        raise ValueError(f"{place} has more than one column named {listed(twice)}: give each its own name")
    rows_named = named_index(schema)
    usual = [name for name in have if not name.startswith(INDEX) and name not in rows_named]
    about = wanted.of(have, place, usual)
    assert about.names is not None
    numeric = [is_number(schema.field(name).type, named=wanted.columns is not None) for name in about.names]
    refuse_text([name for name, number in zip(about.names, numeric, strict=True) if not number], place)
    if about.weight is not None and not is_number(schema.field(about.weight).type, named=True):
        raise ValueError(f"weight: {about.weight!r} of {place} is not numeric: weights are numbers from 0")
    timed = [name for name in about.names if unit_of(schema.field(name).type) is not None]
    return told(about, f"{listed(timed)} in seconds." if timed else "")


def named_index(schema: Any) -> list[str]:
    """Columns that were the row names of a data frame, by what pandas wrote of it."""
    try:
        told = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
    except (KeyError, ValueError, TypeError):
        return []
    return [name for name in told if isinstance(name, str)]


def refuse_text(text: list[str], place: str, example: str = "") -> None:
    """Raise ValueError where columns are not numeric."""
    if text:
        raise ValueError(
            f"{place} has columns that are not numeric: {listed(text)}{example}; choose the numeric ones with "
            "columns=, or name the rows with id="
        )


def is_number(kind: Any, *, named: bool) -> bool:
    """A column of this type is numeric, or can be read as numbers by who names it."""
    from pyarrow import types

    plain = (types.is_integer, types.is_floating, types.is_decimal, types.is_null)
    return any(test(kind) for test in plain) or (named and (types.is_boolean(kind) or unit_of(kind) is not None))


def unit_of(kind: Any) -> float | None:
    """Seconds in one unit of a type of time; None for other types."""
    from pyarrow import types

    if types.is_date32(kind):
        return 86400.0
    if types.is_date64(kind):
        return 1e-3
    if types.is_temporal(kind) and hasattr(kind, "unit"):
        return SECONDS[kind.unit]
    return None


def dtype_of(schema: Any, about: About) -> np.dtype:
    """float32 where every feature is in single precision or less, else float64."""
    from pyarrow import types

    single = [types.is_float32(t) or types.is_float16(t) for t in (schema.field(n).type for n in about.names or ())]
    return np.dtype(np.float32 if all(single) else np.float64)


def piece_of(batch: Any, about: About, dtype: np.dtype, *, ids: bool) -> Piece:
    """Rows of a batch or table; cells without a value are NaN."""
    assert about.names is not None
    x = np.empty((len(about.names), batch.num_rows), dtype)
    for out, name in zip(x, about.names, strict=True):
        out[:] = numbers(batch.column(name))
    weight = None if about.weight is None else np.asarray(numbers(batch.column(about.weight)), np.float64)
    return Piece(x.T, weight, batch.column(about.id) if ids and about.id is not None else None)


def numbers(column: Any) -> np.ndarray:
    """A column as numbers, NaN where it has none."""
    import pyarrow
    from pyarrow import compute, types

    unit = unit_of(column.type)
    if unit is not None:
        wide = pyarrow.int32() if types.is_date32(column.type) or types.is_time32(column.type) else pyarrow.int64()
        return np.asarray(compute.cast(column, wide).to_numpy(zero_copy_only=False), np.float64) * unit
    if types.is_decimal(column.type) or types.is_null(column.type) or types.is_boolean(column.type):
        column = compute.cast(column, pyarrow.float64(), safe=False)
    found: np.ndarray = column.to_numpy(zero_copy_only=False)
    return found


class Ipc(Stream):
    """An Arrow IPC file, also called Feather.

    Args:
        path: the file.
        schema: of its columns.
        about: those that are used.
    """

    def __init__(self, path: Path, schema: Any, about: About) -> None:
        super().__init__(path.name, about, path=path)
        self._dtype = dtype_of(schema, about)

    def pieces(self, *, ids: bool) -> Iterator[Piece]:
        assert self.path is not None
        about = self.about if ids else replace(self.about, id=None)
        with opened_ipc(self.path, read_columns(about)) as reader:
            for i in range(reader.num_record_batches):
                yield piece_of(reader.get_batch(i), self.about, self._dtype, ids=ids)


def opened_ipc(path: Path, columns: list[str] | None = None) -> Any:
    """A reader of an IPC file, of some columns only: what is not compressed stays in the file until it is used."""
    from pyarrow import ArrowInvalid, ipc, memory_map

    try:
        if columns is None:
            return ipc.open_file(memory_map(str(path)))
        have = ipc.open_file(memory_map(str(path))).schema.names
        used = ipc.IpcReadOptions(included_fields=[have.index(name) for name in columns])
        return ipc.open_file(memory_map(str(path)), options=used)
    except ArrowInvalid as error:
        raise ValueError(
            f"{path.name} cannot be read as an Arrow file ({str(error).splitlines()[0]}): it may be cut short; "
            "write it again"
        ) from None


def open_source(data: Any, wanted: Wanted) -> Source:
    """An Arrow IPC file, or any object that gives an Arrow stream, such as a data frame."""
    arrow = pyarrow("Arrow data")
    if isinstance(data, Path):
        with opened_ipc(data) as reader:
            schema = reader.schema
        return Ipc(data, schema, about_of(schema, wanted, data.name))
    table = arrow.table(data)
    about = about_of(table.schema, wanted, f"the {type(data).__name__}")
    if not table.num_rows:
        raise ValueError(f"the {type(data).__name__} has no rows: check how it was read or filtered")
    piece = piece_of(table.select(read_columns(about)), about, dtype_of(table.schema, about), ids=True)
    return Array(piece.x, piece.weight, piece.ids, about)
