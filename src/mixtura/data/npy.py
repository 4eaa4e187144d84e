"""NumPy files: rows are read from disk as they are needed, also from an archive."""

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from mixtura.data.base import About, Source
from mixtura.data.columns import Wanted, listed
from mixtura.data.stream import Piece, Stream

READ = 4 * 2**20
"""Bytes that are read at a time."""

DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
"""What reading a damaged archive may raise."""

AGAIN = "it may be cut short; write it again"


class Layout(NamedTuple):
    """How an array lies in a file.

    Attributes:
        shape: N and D.
        by_column: column after column, as Fortran does, not row after row.
        dtype: of the values.
        start: where they begin, after the header.
    """

    shape: tuple[int, int]
    by_column: bool
    dtype: np.dtype
    start: int


class Npy(Stream):
    """An array in a file or in an archive.

    Args:
        path: the file.
        member: name in the archive; None for a file that is no archive.
        layout: how it lies there.
        at: positions of the columns that are features.
        about: the columns.
    """

    def __init__(self, path: Path, member: str | None, layout: Layout, at: list[int], about: About) -> None:
        super().__init__(path.name, about, layout.shape[0], path)
        self._member, self._layout, self._at = member, layout, at

    def pieces(self, *, ids: bool) -> Iterator[Piece]:
        assert self.path is not None
        rows, columns = self._layout.shape
        each = max(1, READ // (columns * self._layout.dtype.itemsize))
        with ExitStack() as stack:
            stream = opened(self.path, self._member, stack)
            for start in range(0, rows, each):
                x = self._read(stream, start, min(each, rows - start))
                yield self._piece(x, ids)

    def _read(self, stream: Any, start: int, count: int) -> np.ndarray:
        (rows, columns), by_column, dtype, begin = self._layout
        if not by_column:
            stream.seek(begin + start * columns * dtype.itemsize)
            return self._values(stream, count * columns).reshape(count, columns)
        x = np.empty((columns, count), dtype)
        for j in range(columns):
            stream.seek(begin + (j * rows + start) * dtype.itemsize)
            x[j] = self._values(stream, count)
        return x.T

    def _values(self, stream: Any, count: int) -> np.ndarray:
        try:
            raw = stream.read(count * self._layout.dtype.itemsize)
        except (*DAMAGED, ValueError) as error:
            raise ValueError(f"{self.place} is damaged ({_first(error)}): {AGAIN}") from None
        if len(raw) != count * self._layout.dtype.itemsize:
            raise ValueError(f"{self.place} ends before its last row: {AGAIN}")
        return np.frombuffer(raw, self._layout.dtype)

    def _piece(self, x: np.ndarray, ids: bool) -> Piece:
        kept = x[:, self._at] if self._at != list(range(x.shape[1])) else x
        single = kept.dtype.kind == "f" and kept.dtype.itemsize <= 4
        about = self.about
        return Piece(
            kept.astype(np.float32 if single else np.float64),
            None if about.weight is None else x[:, int(about.weight)].astype(np.float64),
            native(x[:, int(about.id)]) if ids and about.id is not None else None,
        )


def native(x: np.ndarray) -> np.ndarray:
    """The same values in the byte order of this machine."""
    return x.astype(x.dtype.newbyteorder("="))


def opened(path: Path, member: str | None, stack: ExitStack) -> Any:
    """The bytes of an array, header and all."""
    if member is None:
        return stack.enter_context(path.open("rb"))
    archive = stack.enter_context(zipfile.ZipFile(path))
    return stack.enter_context(archive.open(f"{member}.npy"))


def open_source(data: Path, wanted: Wanted) -> Source:
    """The columns of a two-dimensional array, named by their index.

    Raises:
        NoColumn: there is no such column.
        ValueError: the file is damaged, or holds something other than a table of real numbers.
    """
    try:
        member = _member(data, wanted.array)
        with ExitStack() as stack:
            layout = _layout(opened(data, member, stack), data)
        _check_length(data, member, layout)
    except (*DAMAGED, KeyError) as error:
        raise ValueError(f"{data.name} is not a complete {data.suffix} file ({_first(error)}): {AGAIN}") from None
    have = [str(j) for j in range(layout.shape[1])]
    about = wanted.of(have, data.name)
    assert about.names is not None
    at = [int(name) for name in about.names]
    return Npy(data, member, layout, at, About(about.names, False, about.left_out, about.id, about.weight))


def _member(path: Path, array: str | None) -> str | None:
    with path.open("rb") as stream:
        zipped = stream.read(2) == b"PK"
    if not zipped:
        if array is not None:
            raise ValueError(f"array is {array!r}, but {path.name} holds one array without a name: leave it out")
        return None
    with zipfile.ZipFile(path) as archive:
        names = [n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")]
    if array is None and len(names) == 1:
        return names[0]
    if array not in names:
        asked = "an archive of several arrays" if array is None else f"without an array {array!r}"
        raise ValueError(f"{path.name} is {asked}: choose with array= one of {listed(names)}")
    return array


def _layout(stream: Any, path: Path) -> Layout:
    try:
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"version {version} of the format")
        shape, by_column, dtype = read(stream)
    except ValueError as error:
        raise ValueError(f"{path.name} is not a complete .npy file ({_first(error)}): {AGAIN}") from None
    if dtype.hasobject:
        raise ValueError(f"{path.name} holds Python objects, which are not loaded: save plain numbers")
    if dtype.kind not in "fiu":
        raise ValueError(f"{path.name} has dtype {dtype}, expected real numbers: convert it with astype(float)")
    if len(shape) != 2:
        hint = "; X.reshape(-1, 1) makes one column" if len(shape) == 1 else ""
        raise ValueError(f"{path.name} has shape {shape}, expected two dimensions, rows and columns{hint}")
    if not shape[0]:
        raise ValueError(f"{path.name} has shape {shape}: there are no rows to fit")
    return Layout(shape, by_column, dtype, stream.tell())


def _check_length(path: Path, member: str | None, layout: Layout) -> None:
    needed = layout.start + layout.shape[0] * layout.shape[1] * layout.dtype.itemsize
    if member is None:
        size = path.stat().st_size
    else:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(f"{member}.npy").file_size
    if size < needed:
        raise ValueError(f"{path.name} is not a complete .npy file ({size:,} of {needed:,} bytes): {AGAIN}")
    if member is not None and layout.by_column:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(f"{member}.npy").compress_type != zipfile.ZIP_STORED:
                raise ValueError(
                    f"{path.name} holds a compressed array column by column, which cannot be read row by row: save "
                    "numpy.ascontiguousarray(X), or without compression"
                )


def _first(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
