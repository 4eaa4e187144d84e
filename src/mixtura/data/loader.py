"""Batches: rows that a DataLoader, or another iterable of tensors that can be started anew, gives batch by batch."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from mixtura.data.base import About, Source
from mixtura.data.columns import Wanted, told
from mixtura.data.stream import Changed, Piece, Stream, as_tensor, working

KEY = "x"
"""Where a batch that is a dict holds its rows."""


class Loader(Stream):
    """The rows of an iterable of batches.

    The first batch of a pass is compared with that of the pass before: an order that is not the same gives an error.

    Args:
        data: gives batches whenever it is iterated.
        place: what it is called in messages.
        about: the columns that are read.
        at: their positions; None for all.
        first: mark of the first batch.
        dtype: of the rows of every batch.
        width: columns of every batch.
    """

    def __init__(
        self, data: Any, place: str, about: About, at: list[int] | None, first: bytes, dtype: torch.dtype, width: int
    ) -> None:
        super().__init__(place, about)
        self._data, self._at, self._first, self._dtype, self._width = data, at, first, dtype, width

    def pieces(self, *, ids: bool) -> Iterator[Piece]:
        for n, batch in enumerate(_started(self._data)):
            x = rows_of(batch, n, self.place)
            if x.shape[1] != self._width:
                raise ValueError(f"batch {n} of {self.place} has {x.shape[1]} columns, the first had {self._width}")
            if x.dtype != self._dtype:
                raise ValueError(f"batch {n} of {self.place} is {_name(x.dtype)}, the first was {_name(self._dtype)}")
            if n == 0 and _mark(x) != self._first:
                raise Changed(
                    f"{self.place} gave another first batch than before: every pass needs the same rows in the same "
                    "order; turn shuffling and random augmentation off"
                )
            yield Piece(x if self._at is None else x[:, self._at])


def open_source(data: Any, wanted: Wanted) -> Source:
    """The batches of a ``torch.utils.data.DataLoader`` as a source.

    A batch is a tensor or array (N, D), or a tuple, list or dict with one as its first entry or its entry ``"x"``. The
    columns are called by their index: ``"0"``, ``"1"``, …. Half precision becomes float32, integers become float64.

    Raises:
        NoColumn: there is no such column.
        ValueError: rows come in random order, there are none, or a batch is no table.
        TypeError: it is not iterable, can be iterated only once, or its batches hold no tensor.
    """
    place = f"the {type(data).__name__}"
    for argument, given in (("weight", wanted.weight), ("id", wanted.id)):
        if given is not None:
            raise ValueError(f"{argument} is {given!r}, but batches hold rows alone: use an array or a file for it")
    _check_iterable(data, place)
    _check_order(data, place)
    first = next(iter(_started(data)), None)
    if first is None:
        raise ValueError(f"{place} gave no batches: check its dataset, batch_size and drop_last")
    x = rows_of(first, 0, place)
    width = x.shape[1]
    about = replace(wanted.of([str(j) for j in range(width)], place), named=False)
    if getattr(data, "drop_last", False):
        about = told(about, "Rows of an incomplete last batch are left out (drop_last).")
    at = [int(name) for name in about.names or ()]
    return Loader(data, place, about, None if at == list(range(width)) else at, _mark(x), x.dtype, width)


def rows_of(batch: Any, n: int, place: str) -> Tensor:
    """(N, D) float32 or float64 rows of a batch.

    Args:
        batch: a tensor or array, or a tuple, list or dict that holds one.
        n: its number, from 0.
        place: what it came from.

    Raises:
        TypeError: it holds no tensor.
        ValueError: its tensor is no table of real numbers.
    """
    if isinstance(batch, Mapping):
        if KEY not in batch:
            raise TypeError(f"batch {n} of {place} is a dict without {KEY!r}: its keys are {[*batch]!r}")
        batch = batch[KEY]
    elif isinstance(batch, (tuple, list)) and batch:
        batch = batch[0]
    if isinstance(batch, np.ndarray) and batch.dtype.kind in "fiub":
        batch = as_tensor(batch)
    if not isinstance(batch, Tensor):
        found = f"an array of {batch.dtype}" if isinstance(batch, np.ndarray) else f"a {type(batch).__name__}"
        raise TypeError(
            f"batch {n} of {place} holds {found}, expected a tensor (N, D), or a tuple, list or dict with one as its "
            f"first entry or its entry {KEY!r}"
        )
    if batch.layout is not torch.strided or batch.is_complex():
        raise ValueError(f"batch {n} of {place} is {_name(batch.dtype)}, {batch.layout}, expected dense real numbers")
    if batch.ndim != 2:
        hint = "; give the DataLoader a batch_size" if batch.ndim == 1 else "; flatten each row with reshape(N, -1)"
        raise ValueError(f"batch {n} of {place} has shape {tuple(batch.shape)}, expected (N, D){hint}")
    return working(batch.detach())


def _started(data: Any) -> Iterator[Any]:
    """A new pass; a DataLoader takes a seed for its workers from the global stream, which is put back."""
    with torch.random.fork_rng(devices=[]):
        return iter(data)


def _check_iterable(data: Any, place: str) -> None:
    if not hasattr(data, "__iter__"):
        raise TypeError(f"{place} cannot be iterated: give a DataLoader, or another iterable of batches")
    if hasattr(data, "__next__"):
        raise TypeError(
            f"{place} can be iterated only once, a fit needs many passes: give a DataLoader, or an object whose "
            "__iter__ starts anew"
        )


def _check_order(data: Any, place: str) -> None:
    """Refuse what is known to give rows in another order each time."""
    batches = getattr(data, "batch_sampler", None)
    for sampler in (getattr(data, "sampler", None), batches, getattr(batches, "sampler", None)):
        known = isinstance(sampler, (RandomSampler, SubsetRandomSampler, WeightedRandomSampler))
        if known or getattr(sampler, "shuffle", False) is True:
            raise ValueError(
                f"{place} shuffles ({type(sampler).__name__}), but every pass needs the same rows in the same order: "
                "make it with shuffle=False"
            )


def _mark(x: Tensor) -> bytes:
    return hashlib.blake2b(x.contiguous().cpu().numpy().tobytes()).digest()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
