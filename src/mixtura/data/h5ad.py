"""H5ad: rows of one matrix of an AnnData in a file, dense or compressed by rows, read in blocks with h5py alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mixtura.data.annotated import (
    BY_COLUMN,
    CELL,
    READ,
    Compressed,
    Where,
    chosen,
    columns,
    embedding_names,
    floats,
    where,
)
from mixtura.data.base import Source
from mixtura.data.columns import NoColumn, Wanted, listed
from mixtura.data.stream import Piece, Stream

CACHE = 32 * 2**20
"""Bytes of unpacked chunks that are kept: pieces of rows and chunks of a file seldom end together."""


class Matrix(Protocol):
    """A matrix in an open file."""

    shape: tuple[int, int]
    dtype: np.dtype

    def rows(self, first: int, last: int) -> np.ndarray:
        """(last − first, D) dense rows."""


class Dense:
    """An array.

    Args:
        found: the dataset.
    """

    def __init__(self, found: Any) -> None:
        self._found, self.shape, self.dtype = found, tuple(map(int, found.shape)), found.dtype

    def rows(self, first: int, last: int) -> np.ndarray:
        """(last − first, D) dense rows."""
        return np.asarray(self._found[first:last])


class Frame:
    """A data frame of numbers.

    Args:
        group: one dataset a column.
        place: what it is called in messages.
    """

    def __init__(self, group: Any, place: str) -> None:
        self.names = [str(name) for name in strings(group.attrs["column-order"])]
        if text := [name for name in self.names if not numeric(group[name])]:
            raise ValueError(f"{place} has columns that are not numeric: {listed(text)}; choose another matrix")
        self._columns = [group[name] for name in self.names]
        kinds = {column.dtype for column in self._columns}
        single = all(kind.kind == "f" and kind.itemsize <= 4 for kind in kinds)
        self.dtype = np.dtype(np.float32 if single else np.float64)
        self.shape = len(self._columns[0]) if self._columns else 0, len(self._columns)

    def rows(self, first: int, last: int) -> np.ndarray:
        """(last − first, D) dense rows."""
        return np.stack([column[first:last].astype(self.dtype) for column in self._columns], 1)


class H5ad(Stream):
    """A matrix of an AnnData file.

    Args:
        path: the file.
        at: which matrix.
        positions: of the columns that are features.
        width: columns of the matrix.
        length: rows.
        asked: the column of obs that identifies cells; None is its index.
        about: the columns.
    """

    def __init__(
        self, path: Path, at: Where, positions: list[int], width: int, length: int, asked: str | None, about: Any
    ) -> None:
        super().__init__(path.name, about, length, path)
        self._where, self._at, self._width, self._asked = at, positions, width, asked

    def pieces(self, *, ids: bool) -> Iterator[Piece]:
        assert self.path is not None
        each = max(1, READ // (8 * self._width))
        with opened(self.path) as file, complaints(self.path):
            matrix = matrix_of(file, self._where, self.place)
            dtype = floats(matrix.dtype, str(self._where))
            named = names_of(file["obs"], self._asked) if ids else None
            weight = None if self.about.weight is None else file["obs"][self.about.weight]
            for first in range(0, matrix.shape[0], each):
                last = min(first + each, matrix.shape[0])
                x = chosen(matrix.rows(first, last), self._at).astype(dtype, copy=False)
                counted = None if weight is None else weight[first:last].astype(np.float64)
                yield Piece(x, counted, None if named is None else named(first, last))


@contextmanager
def opened(path: Path, mode: str = "r") -> Iterator[Any]:
    """The file, closed at the end.

    Raises:
        ModuleNotFoundError: h5py is not installed.
        ValueError: it is no HDF5 file, or not whole.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModuleNotFoundError('reading h5ad files needs h5py: pip install "mixtura[bio]"') from None
    with complaints(path):
        file = h5py.File(path, mode, rdcc_nbytes=CACHE)
    with file:
        yield file


@contextmanager
def complaints(path: Path) -> Iterator[None]:
    """Turn the complaints of HDF5 into one sentence."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}: check the name and the current directory") from None
    except (OSError, KeyError, RuntimeError) as error:
        if isinstance(error, PermissionError):
            raise
        reason = (str(error).strip("'\"") or type(error).__name__).splitlines()[0].rstrip(".")
        raise ValueError(
            f"{path.name} cannot be read as h5ad ({reason}): it may be cut short, or open elsewhere for writing; write "
            "it again"
        ) from None


def matrix_of(file: Any, at: Where, place: str) -> Any:
    """One matrix of an open file.

    Raises:
        ValueError: it cannot be read by rows, or is no matrix of numbers.
    """
    found = file[str(at)]
    what = f"{at} of {place}"
    kind = str(found.attrs.get("encoding-type", ""))
    if hasattr(found, "dtype"):
        if len(found.shape) != 2 or not all(found.shape):
            raise ValueError(f"{what} has shape {found.shape}, expected cells and columns, at least one of each")
        return Dense(found)
    if kind == "csr_matrix":
        return Compressed(found)
    if kind == "csc_matrix":
        raise ValueError(f"{what} is stored column after column (csc), {BY_COLUMN}")
    if kind == "dataframe":
        return Frame(found, what)
    raise ValueError(f"{what} is of the kind {kind or 'unknown'!r}, expected an array, a sparse matrix or a data frame")


def numeric(column: Any) -> bool:
    """A column holds plain numbers."""
    return hasattr(column, "dtype") and column.dtype.kind in "fiub" and "categories" not in column.attrs


def strings(found: Any) -> np.ndarray:
    """Texts of a file as Python's."""
    return np.array([n.decode() if isinstance(n, bytes) else str(n) for n in np.asarray(found).ravel()], dtype=object)


def names_of(frame: Any, asked: str | None) -> Any:
    """A function that gives the names of some rows: of the index, or of a column of strings, numbers or categories."""
    found = frame[str(frame.attrs["_index"]) if asked is None else asked]
    if hasattr(found, "dtype"):
        return lambda first, last: plain(found[first:last])
    if "codes" in found:
        known = np.array([*column_of(found["categories"]), None], dtype=object)  # code −1 is a missing value
        return lambda first, last: known[found["codes"][first:last].astype(np.int64)]
    return lambda first, last: with_gaps(plain(found["values"][first:last]), found["mask"][first:last])


def with_gaps(values: np.ndarray, lacking: np.ndarray) -> np.ndarray:
    """The same as objects, None where there is no value."""
    found = values.astype(object)
    found[lacking] = None
    return found


def column_of(found: Any) -> np.ndarray:
    """All values of an array, which may be one with gaps."""
    return plain((found if hasattr(found, "dtype") else found["values"])[:])


def plain(values: np.ndarray) -> np.ndarray:
    """Texts as Python's, numbers as they are."""
    return strings(values) if values.dtype.kind in "OS" else values


def frame_of(file: Any, name: str, place: str) -> Any:
    """The group of obs or var.

    Raises:
        ValueError: it is not there, or of a time before such groups.
    """
    found = file.get(name)
    if found is None or not hasattr(found, "keys") or "_index" not in found.attrs:
        raise ValueError(
            f"{place} has no {name} as AnnData 0.7 and later write it: it is no AnnData file, or an old one; read it "
            "with anndata and write it again"
        )
    return found


def open_source(data: Path, wanted: Wanted) -> Source:
    """One matrix of an AnnData file.

    Raises:
        NoColumn: the matrix or a column is not there.
        ValueError: the file is damaged, or the matrix cannot be read by rows.
    """
    with opened(data) as file, complaints(data):
        obs = frame_of(file, "obs", data.name)
        have = {part: list(file[part].keys()) if part in file else [] for part in ("layers", "obsm")}
        at = where(wanted.use_rep, wanted.layer, have, data.name)
        if str(at) not in file:
            raise ValueError(f"{data.name} has no {at}: name another matrix with use_rep= or layer=")
        matrix = matrix_of(file, at, data.name)
        floats(matrix.dtype, f"{at} of {data.name}")
        names = getattr(matrix, "names", None)
        if at.of_genes:
            var = frame_of(file, "var", data.name)
            names = [str(name) for name in column_of(var[str(var.attrs["_index"])])]
        rows, width = matrix.shape
        given = names or embedding_names(at.key, width)
        about, positions = columns(wanted, given, names is not None, data.name, at)
        for argument, name in (("weight", wanted.weight), ("id", wanted.id)):
            if name is not None and name not in obs:
                raise NoColumn(
                    f"{argument}: obs of {data.name} has no column {name!r}; it has "
                    f"{listed([str(n) for n in strings(obs.attrs['column-order'])], 40)}"
                )
        if wanted.weight is not None and not numeric(obs[wanted.weight]):
            raise ValueError(f"weight: {wanted.weight!r} of obs is not numeric: weights are numbers from 0")
        if not rows:
            raise ValueError(f"{data.name} has no rows: check how it was written or filtered")
        index = str(obs.attrs["_index"])
        about = replace(about, id=wanted.id or (CELL if index == "_index" else index))
    return H5ad(data, at, positions, width, rows, wanted.id, about)
