"""Parquet files: only the columns that are used are read, a few thousand rows at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixtura.data.arrow import BATCH, about_of, dtype_of, piece_of, pyarrow
from mixtura.data.base import About, Source
from mixtura.data.columns import Wanted, read_columns
from mixtura.data.stream import Piece, Stream

BUFFER = 2**20
"""Bytes of a column that are read from the file at a time, however large its row groups are."""


class Parquet(Stream):
    """A Parquet file.

    Args:
        path: the file.
        schema: of its columns.
        rows: how many it says it has.
        about: the columns that are used.
    """

    def __init__(self, path: Path, schema: Any, rows: int, about: About) -> None:
        super().__init__(path.name, about, rows, path)
        self._dtype = dtype_of(schema, about)

    def pieces(self, *, ids: bool) -> Iterator[Piece]:
        assert self.path is not None
        about = self.about if ids else replace(self.about, id=None)
        with opened(self.path) as file, complaints(self.path):
            for batch in file.iter_batches(BATCH, columns=read_columns(about), use_threads=False):
                yield piece_of(batch, self.about, self._dtype, ids=ids)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, closed at the end."""
    from pyarrow import parquet

    with complaints(path):
        file = parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)
    try:
        yield file
    finally:
        file.close()


@contextmanager
def complaints(path: Path) -> Iterator[None]:
    """Turn the complaints of pyarrow into one sentence."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as error:
        if getattr(error, "errno", None):
            raise
        raise ValueError(
            f"{path.name} cannot be read as Parquet ({str(error).splitlines()[0].rstrip('.')}): it may be cut short; "
            "write it again"
        ) from None


def open_source(data: Path, wanted: Wanted) -> Source:
    """A Parquet file."""
    pyarrow("Parquet")
    with opened(data) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
    about = about_of(schema, wanted, data.name)
    if not rows:
        raise ValueError(f"{data.name} has columns but no rows: check how it was written or filtered")
    return Parquet(data, schema, rows, about)
