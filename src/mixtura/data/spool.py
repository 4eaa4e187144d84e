"""Spool: rows that are read once from wherever they come and kept for many passes, few in memory, more on disk."""

import errno
import logging
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixtura.data.array import Array
from mixtura.data.base import ALL, About, Block, Source, span

LOG = logging.getLogger("mixtura")

HELD = 48 * 2**20
"""Bytes of rows up to which they are held in memory."""

READ = 4 * 2**20
"""Bytes that are read at a time."""


class Spool:
    """Rows in a temporary file that has no name, so that it is gone when the process is, however that ends.

    A pass reads blocks into memory of their own: the file is never mapped, and a block is all that is held.

    Args:
        file: (N, D) values, row after row, and nothing else.
        dtype: of the values.
        shape: N and D.
        weight: (N,) float64, or None.
        about: the columns.
    """

    def __init__(self, file: Any, dtype: np.dtype, shape: tuple[int, int], weight: Tensor | None, about: About) -> None:
        self.shape, self.weight, self.about = shape, weight, about
        self._file, self._dtype, self._lock = file, dtype, threading.Lock()
        self.close = weakref.finalize(self, file.close)

    def blocks(self, rows: int, part: tuple[int, int] = ALL, *, ids: bool = False) -> Iterator[Block]:
        """The rows, without identifiers: whoever needs those asks the source that the rows came from."""
        first, last = span(self.shape[0], part)
        for start in range(first, last, rows):
            x = np.empty((min(rows, last - start), self.shape[1]), self._dtype)
            with self._lock:
                self._file.seek(start * x.strides[0])
                read = self._file.readinto(x.data.cast("B"))
            if read != x.nbytes:
                raise OSError(errno.EIO, "the working copy of the rows cannot be read back")
            weight = None if self.weight is None else self.weight[start : start + len(x)]
            yield Block(torch.from_numpy(x), weight, start)


class Straight:
    """A source as it is, with its rows counted: where there is no room for a working copy.

    Args:
        source: whose rows were counted.
        rows: how many.
        weight: (N,) float64, or None.
    """

    def __init__(self, source: Source, rows: int, weight: Tensor | None) -> None:
        self.shape, self.weight, self.about = (rows, source.shape[1]), weight, source.about
        self._source = source

    def blocks(self, rows: int, part: tuple[int, int] = ALL, *, ids: bool = False) -> Iterator[Block]:
        yield from self._source.blocks(rows, part, ids=ids)


Settled = Array | Spool | Straight
"""Sources that know how many rows they have, and their weights."""


def settled(source: Source, look: Callable[[Block], Any] = lambda block: None, held: int = HELD) -> Settled:
    """The rows of a source, read once and ready for many passes.

    Up to ``held`` bytes become an array. More are written to a temporary file, which takes as much room on disk as the
    values do, in the directory that ``TMPDIR`` names, else in ``/var/tmp`` where there is one (``/tmp`` may lie in
    memory). Where that has no room, every pass reads the source itself, which gives the same and takes longer.

    Args:
        source: where the rows come from.
        look: is shown every block, in order; what it raises ends the reading.
        held: bytes.
    """
    if isinstance(source, Array):
        for block in source.blocks(_rows(source)):
            look(block)
        return source
    parts: list[Tensor] = []
    weights: list[Tensor] = []
    file: _Copy | None = None
    rows = size = 0
    for block in source.blocks(_rows(source)):
        look(block)
        rows, size = rows + len(block.x), size + block.x.nbytes
        if block.weight is not None:
            weights.append(block.weight)
        parts.append(block.x)
        if file is None and size > held:
            file = _Copy()
        if file is not None:
            file.add(parts)
            parts = []
    weight = torch.cat(weights) if weights else None
    if file is None:
        return Array(torch.cat(parts), weight, about=source.about)
    if file.full:
        return Straight(source, rows, weight)
    assert file.dtype is not None
    return Spool(file.stream, file.dtype, (rows, source.shape[1]), weight, source.about)


class _Copy:
    """A temporary file that is being written, until the disk is full."""

    def __init__(self) -> None:
        self.dtype: np.dtype | None = None
        self.full = False
        self.stream: Any = tempfile.TemporaryFile(prefix="mixtura-", dir=roomy())  # noqa: SIM115

    def add(self, parts: list[Tensor]) -> None:
        """Write rows; when there is no room for them, give back what was taken."""
        try:
            for x in parts:
                if not self.full:
                    array = np.ascontiguousarray(x.cpu().numpy())
                    self.dtype = array.dtype if self.dtype is None else self.dtype
                    self.stream.write(array.astype(self.dtype, copy=False).data.cast("B"))
            if not self.full:
                self.stream.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            self.full = True
            self.stream.close()
            LOG.warning("no room for a working copy of the rows: every pass reads them again; TMPDIR can name a disk")


def _rows(source: Source) -> int:
    return max(1, READ // (8 * source.shape[1]))


def roomy() -> str:
    """A directory for large temporary files."""
    if not any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")) and os.access("/var/tmp", os.W_OK):
        return "/var/tmp"
    return tempfile.gettempdir()
