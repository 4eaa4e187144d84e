"""Stream: rows that are read anew in every pass, whatever the pieces they come in; counted, and watched for changes."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mixtura.data.base import ALL, About, Block, span


class Piece(NamedTuple):
    """Some consecutive rows, as they come.

    Attributes:
        x: (N, D) float64 or float32, NumPy or torch, in any layout.
        weight: (N,), or None for 1.
        ids: (N,) identifiers, NumPy or pyarrow, where they were asked for.
    """

    x: "np.ndarray | Tensor"
    weight: "np.ndarray | Tensor | None" = None
    ids: Any = None


class Changed(ValueError):
    """A source gave other rows than before."""


class Stream(ABC):
    """A source whose rows come one after another.

    Args:
        place: what it is called in messages, such as the name of a file, without its directory.
        about: its columns.
        length: rows, where they are known before the first pass.
        path: the file, which must not change between passes.
    """

    def __init__(self, place: str, about: About, length: int | None = None, path: Path | None = None) -> None:
        self.place, self.about, self.path = place, about, path
        self._length = length
        self._stamp = None if path is None else stamp(path)

    @abstractmethod
    def pieces(self, *, ids: bool) -> Iterator[Piece]:
        """All rows in order, in pieces of any size.

        Args:
            ids: give the identifiers, too.
        """

    @property
    def shape(self) -> tuple[int | None, int]:
        """Rows, None before the first complete pass of a source that cannot tell them, and features."""
        names = self.about.names
        assert names is not None
        return self._length, len(names)

    def counted(self) -> int:
        """How many rows there are, in a pass if need be."""
        if self._length is None:
            for _ in self.blocks(65536):
                pass
        assert self._length is not None
        return self._length

    def blocks(self, rows: int, part: tuple[int, int] = ALL, *, ids: bool = False) -> Iterator[Block]:
        """The rows of a part in order, at most ``rows`` at a time.

        Raises:
            Changed: the file is another one than before, or has other rows.
            ValueError: there are no rows.
        """
        if rows < 1:
            raise ValueError(f"rows is {rows}, expected at least 1: the most rows of a block")
        if part == ALL:
            yield from joined(self._whole(ids), rows, 0)
        else:
            first, last = span(self.counted(), part)
            yield from joined(self._between(ids, first, last), rows, first)

    def _whole(self, ids: bool) -> Iterator[Piece]:
        seen = 0
        self._check_stamp()
        for piece in self.pieces(ids=ids):
            seen += len(piece.x)
            yield piece
        self._check_stamp()
        if not seen:
            raise ValueError(f"{self.place} gave no rows: check how it was written or filtered")
        if self._length is None:
            self._length = seen
        elif self._length != seen:
            raise Changed(
                f"{self.place} gave {seen:,} rows in this pass, {self._length:,} before: use a source that gives the "
                "same rows every time, or a copy that nobody writes to"
            )

    def _between(self, ids: bool, first: int, last: int) -> Iterator[Piece]:
        self._check_stamp()
        at = 0
        for piece in self.pieces(ids=ids):
            here = slice(max(first - at, 0), max(last - at, 0))
            at += len(piece.x)
            if at > first:
                yield cut(piece, here)
            if at >= last:
                return

    def _check_stamp(self) -> None:
        if self.path is not None and stamp(self.path) != self._stamp:
            raise Changed(f"{self.place} changed while it was read: use a copy that nobody writes to")


def stamp(path: Path) -> tuple[int, int, int]:
    """What tells that a file is the same as before."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def cut(piece: Piece, here: slice) -> Piece:
    """Some rows of a piece."""
    x, weight, ids = piece
    if ids is not None:
        ids = ids[here]
    return Piece(x[here], None if weight is None else weight[here], ids)


def joined(pieces: Iterator[Piece], rows: int, start: int) -> Iterator[Block]:
    """Blocks of ``rows`` rows, but for the last, from pieces of any size."""
    waiting: list[Piece] = []
    held = 0
    for piece in pieces:
        size = len(piece.x)
        at = 0
        while size - at >= rows - held:
            waiting.append(cut(piece, slice(at, at + rows - held)))
            at += rows - held
            yield _block(waiting, start)
            start, waiting, held = start + rows, [], 0
        if at < size:
            waiting.append(cut(piece, slice(at, size)))
            held += size - at
    if held:
        yield _block(waiting, start)


def _block(pieces: list[Piece], start: int) -> Block:
    x = [as_tensor(p.x) for p in pieces]
    w = [as_tensor(p.weight).to(torch.float64) for p in pieces if p.weight is not None]
    ids = [p.ids for p in pieces if p.ids is not None]
    if len(pieces) == 1:
        return Block(x[0], w[0] if w else None, start, ids[0] if ids else None)
    return Block(torch.cat(x), torch.cat(w) if w else None, start, _cat(ids) if ids else None)


def _cat(ids: list[Any]) -> Any:
    if isinstance(ids[0], np.ndarray):
        return np.concatenate(ids)
    import pyarrow

    return pyarrow.chunked_array([chunk for part in ids for chunk in getattr(part, "chunks", [part])])


def working(x: Tensor) -> Tensor:
    """A tensor in a dtype that can be fitted: integers in float64, half precision in float32.

    Raises:
        TypeError: it is sparse.
        ValueError: it is complex.
    """
    if x.layout != torch.strided:
        raise TypeError("the tensor is sparse, expected dense rows: pass X.to_dense()")
    if x.is_complex():
        raise ValueError("the tensor is complex, expected real numbers: pass the real and imaginary parts as columns")
    if x.dtype in (torch.float32, torch.float64):
        return x
    return x.to(torch.float32 if x.is_floating_point() or x.device.type == "mps" else torch.float64)


def as_tensor(x: "np.ndarray | Tensor") -> Tensor:
    """A tensor on the same memory where torch can share it; a copy of read-only or reversed arrays."""
    if isinstance(x, Tensor):
        return x
    if not x.flags.writeable or any(stride < 0 for stride in x.strides):
        x = np.array(x)
    return torch.from_numpy(x)
