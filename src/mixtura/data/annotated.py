"""Annotated: rows of one matrix of an AnnData, dense by blocks, and which matrix that is."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mixtura.data.array import Array
from mixtura.data.base import About, Source
from mixtura.data.columns import NoColumn, Wanted, listed, told
from mixtura.data.stream import Piece, Stream

READ = 4 * 2**20
"""Bytes of dense rows that are made at a time."""

USUAL = "X_pca"
"""The matrix that is read where none is named."""

CELL = "obs_names"
"""What the column of the cells' names is called where it has no name."""


class Where(NamedTuple):
    """One matrix of an AnnData.

    Attributes:
        part: ``X``, ``layers`` or ``obsm``.
        key: in layers or obsm; empty for X.
    """

    part: str
    key: str

    def __str__(self) -> str:
        return f"{self.part}/{self.key}" if self.key else self.part

    @property
    def of_genes(self) -> bool:
        """Its columns are those of var."""
        return self.part != "obsm"


def where(use_rep: str | None, layer: str | None, have: dict[str, list[str]], place: str) -> Where:
    """The matrix that was asked for.

    Args:
        use_rep: a key of obsm, ``X``, or None for the usual one.
        layer: a key of layers, or None.
        have: the keys of ``layers`` and of ``obsm``.
        place: what the AnnData is called in messages.

    Raises:
        NoColumn: there is no such matrix; the message lists those there are.
        ValueError: two matrices are asked for.
    """
    if layer is not None:
        if use_rep not in (None, "X"):
            raise ValueError(f"use_rep={use_rep!r} and layer={layer!r} name two matrices: give one of them")
        if layer not in have["layers"]:
            known = listed(have["layers"], 40) or "none"
            raise NoColumn(f"layer: {place} has no layer {layer!r}, expected one of its layers: {known}")
        return Where("layers", layer)
    name = USUAL if use_rep is None else use_rep
    if name == "X":
        return Where("X", "")
    if name not in have["obsm"]:
        known = listed([*have["obsm"], "X"], 40)
        raise NoColumn(
            f"use_rep: {place} has no {name!r} in obsm, expected one of {known}: compute it, or name another with "
            "use_rep="
        )
    return Where("obsm", name)


def columns(wanted: Wanted, have: list[str], named: bool, place: str, at: Where) -> tuple[About, list[int]]:
    """Which columns of a matrix are used, and their positions.

    Raises:
        NoColumn: one asked for is not there.
        ValueError: ``n_dims`` cannot be had, or names are not unique.
    """
    if len(set(have)) < len(have):
        raise ValueError(f"{place} has var names that are not unique: call adata.var_names_make_unique() first")
    most = wanted.n_dims
    if most is not None and (isinstance(most, bool) or not 1 <= most <= len(have)):
        raise ValueError(
            f"n_dims={most!r} cannot be taken of {at}, which has {len(have)} columns: give 1 to {len(have)}"
        )
    about = replace(wanted, weight=None, id=None).of(have, f"{at} of {place}", have[:most])
    names = about.names or ()
    position = {name: j for j, name in enumerate(have)}
    taken = f"{len(names)} of its {len(have)} columns" if about.left_out else f"all {len(have)} columns"
    about = replace(about, named=named, weight=wanted.weight, id=wanted.id or CELL, matrix=str(at))
    return told(about, f"The rows are those of {at}, {taken}."), [position[name] for name in names]


def embedding_names(key: str, count: int) -> list[str]:
    """What the columns of an array in obsm are called, as scanpy calls them."""
    return [f"{key}-{j}" for j in range(count)]


def floats(dtype: Any, place: str) -> np.dtype:
    """float32 for values in single precision or less, else float64.

    Raises:
        ValueError: they are no real numbers.
    """
    if dtype.kind not in "fiub":
        raise ValueError(f"{place} has dtype {dtype}, expected real numbers: choose a numeric matrix with use_rep=")
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)


class Held(Stream):
    """Rows of a matrix that is sparse, in a file, or of which only some rows are used.

    Args:
        matrix: (N, D), sliced by rows.
        at: positions of the columns that are features.
        dtype: of the rows.
        about: the columns.
        place: what the AnnData is called in messages.
        use: (N,) which rows are used; None is all.
        weight: weights of the rows that are used.
        ids: names of all rows.
    """

    def __init__(
        self,
        matrix: Any,
        at: list[int],
        dtype: np.dtype,
        about: About,
        place: str,
        use: np.ndarray | None = None,
        weight: np.ndarray | None = None,
        ids: Any = None,
    ) -> None:
        super().__init__(place, about, matrix.shape[0] if use is None else int(use.sum()))
        self._matrix, self._at, self._dtype, self._ids = matrix, at, dtype, ids
        self._use, self._weight = use, weight

    def pieces(self, *, ids: bool) -> Iterator[Piece]:
        each, done = max(1, READ // (8 * self._matrix.shape[1])), 0
        for start in range(0, self._matrix.shape[0], each):
            here = slice(start, min(start + each, self._matrix.shape[0]))
            use = None if self._use is None else self._use[here]
            if use is not None and not use.any():
                continue
            x = chosen(dense(self._matrix[here]), self._at).astype(self._dtype, copy=False)
            named = self._ids[here] if ids and self._ids is not None else None
            if use is not None:
                x, named = x[use], None if named is None else named[use]
            weight = None if self._weight is None else self._weight[done : done + len(x)]
            done += len(x)
            yield Piece(x, weight, named)


class Compressed:
    """A sparse matrix in a file, its rows one after the other.

    Args:
        group: ``data``, ``indices`` and ``indptr``.
    """

    def __init__(self, group: Any) -> None:
        self._group, self.dtype = group, group["data"].dtype
        rows, width = (int(n) for n in group.attrs["shape"])
        self.shape = rows, width

    def rows(self, first: int, last: int) -> np.ndarray:
        """(last − first, D) dense rows."""
        from scipy.sparse import csr_matrix

        ends = self._group["indptr"][first : last + 1].astype(np.int64)
        here = slice(int(ends[0]), int(ends[-1]))
        values, at = self._group["data"][here], self._group["indices"][here]
        return np.asarray(csr_matrix((values, at, ends - ends[0]), shape=(last - first, self.shape[1])).toarray())

    def __getitem__(self, here: slice) -> np.ndarray:
        return self.rows(here.start, here.stop)


def dense(rows: Any) -> np.ndarray:
    """Some rows of a matrix of any kind as an array."""
    if hasattr(rows, "compute"):
        rows = rows.compute()
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows)


def chosen(x: np.ndarray, at: list[int]) -> np.ndarray:
    """Columns of an array, without a copy where they lie side by side."""
    first, last = at[0], at[-1] + 1
    return x[:, first:last] if at == list(range(first, last)) else x[:, at]


def by_rows(matrix: Any, place: str) -> Any:
    """A matrix that gives its rows quickly.

    Raises:
        ValueError: it lies in a file column after column.
    """
    kind = getattr(matrix, "format", None)
    if kind == "csr" and hasattr(matrix, "group"):
        return Compressed(matrix.group)  # anndata's own reader hangs on what is private to scipy
    if kind is None or kind == "csr":
        return matrix
    if not hasattr(matrix, "tocsr"):
        raise ValueError(f"{place} is stored column after column ({kind}), {BY_COLUMN}")
    return matrix.tocsr()


BY_COLUMN = "and cannot be read row by row: store it by rows, adata.X = adata.X.tocsr()"


def matrix_of(adata: Any, at: Where) -> Any:
    """One matrix of an AnnData, with its columns' names where it is a data frame.

    Raises:
        ValueError: there is no X, or it is no matrix.
    """
    found = adata.X if at.part == "X" else getattr(adata, at.part)[at.key]
    if found is None:
        raise ValueError("use_rep: the AnnData has no X: name another matrix with use_rep= or layer=")
    if len(found.shape) != 2 or not all(found.shape):
        raise ValueError(
            f"use_rep: {at} has shape {tuple(found.shape)}, expected cells and columns, at least one of each"
        )
    return found


def rows_of(adata: Any, wanted: Wanted, *, use: np.ndarray | None = None, weight: np.ndarray | None = None) -> Source:
    """Rows of an AnnData in memory or backed.

    Args:
        adata: the AnnData.
        wanted: which matrix and which columns.
        use: (N,) which cells are used; None is all.
        weight: weights of the cells that are used, in place of a column of obs.

    Raises:
        NoColumn: the matrix or a column is not there.
        ValueError: it cannot be used.
    """
    have = {part: list(getattr(adata, part).keys()) for part in ("layers", "obsm")}
    at = where(wanted.use_rep, wanted.layer, have, "the AnnData")
    matrix = matrix_of(adata, at)
    names = [str(name) for name in adata.var_names] if at.of_genes else None
    if hasattr(matrix, "iloc"):
        names, matrix = [str(name) for name in matrix.columns], numbers(matrix, str(at))
    given = names or embedding_names(at.key, matrix.shape[1])
    about, positions = columns(wanted, given, names is not None, "the AnnData", at)
    ids = np.asarray(adata.obs_names if wanted.id is None else obs_column(adata, wanted.id, "id"), dtype=object)
    about = replace(about, id=wanted.id or str(adata.obs_names.name or CELL))
    if wanted.weight is not None:
        weight = numeric(obs_column(adata, wanted.weight, "weight"), wanted.weight)
    dtype = floats(matrix.dtype, str(at))
    if isinstance(matrix, np.ndarray) and matrix.dtype == dtype:
        x = chosen(np.asarray(matrix), positions)
        return Array(x, weight, ids, about) if use is None else Array(x[use], weight, ids[use], about)
    return Held(by_rows(matrix, str(at)), positions, dtype, about, "the AnnData", use, weight, ids)


def numbers(frame: Any, place: str) -> np.ndarray:
    """A data frame as an array.

    Raises:
        ValueError: a column is not numeric.
    """
    text = [str(name) for name, kind in frame.dtypes.items() if getattr(kind, "kind", "O") not in "fiub"]
    if text:
        raise ValueError(f"{place} has columns that are not numeric: {listed(text)}; choose the numeric ones")
    single = all(kind.itemsize <= 4 and kind.kind == "f" for kind in frame.dtypes)
    return np.asarray(frame, dtype=np.float32 if single else np.float64)


def obs_column(adata: Any, name: str, argument: str) -> Any:
    """A column of obs.

    Args:
        adata: the AnnData.
        name: of the column.
        argument: by which it was named, for messages.

    Raises:
        NoColumn: there is none of that name.
    """
    if name not in adata.obs:
        known = listed([str(n) for n in adata.obs.columns], 40)
        advice = f"name one of {known}" if known else "it has none"
        raise NoColumn(f"{argument}={name!r} is no column of obs: {advice}")
    return adata.obs[name]


def numeric(values: Any, name: str) -> np.ndarray:
    """Weights of a column.

    Raises:
        ValueError: they are no numbers.
    """
    kind = getattr(values.dtype, "kind", "O")
    if kind not in "fiub":
        raise ValueError(f"weight: {name!r} of obs is not numeric ({values.dtype}): weights are numbers from 0")
    return np.asarray(values, dtype=np.float64)


def open_source(data: Any, wanted: Wanted) -> Source:
    """An AnnData in memory or backed."""
    return rows_of(data, wanted)
