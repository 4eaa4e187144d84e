"""Sources: where rows come from; storage only, no device, centring or mathematics."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

ALL = (0, 1)
"""The only part of one: every row."""


class Block(NamedTuple):
    """Consecutive rows of a source as it stores them.

    Attributes:
        x: (N, D), the storage dtype, where it is stored.
        weight: (N,) float64 row weights, or None for 1.
        start: index of the first row in the source.
        ids: (N,) identifiers of the rows, NumPy or pyarrow, where they were asked for and there are any.
    """

    x: Tensor
    weight: Tensor | None
    start: int
    ids: Any = None


@dataclass(frozen=True)
class About:
    """What is known of a source besides its rows.

    Attributes:
        names: (D,) of the features; None where they have none.
        named: the names say what the features are, and are not mere indices.
        left_out: columns that are there and are not read.
        id: the column that identifies rows; None where there is none.
        weight: the column of row weights; None where every row counts once.
        steps: what was done to the values, in order, each a dict of plain types with a ``name``: it belongs to a model
            that is fitted to the rows, and has to be done to new rows, too.
        told: what a reader should know of how the rows were read, one sentence each.
        matrix: which of an AnnData's matrices the rows are: ``X``, ``layers/…`` or ``obsm/…``; None elsewhere.
    """

    names: tuple[str, ...] | None = None
    named: bool = True
    left_out: tuple[str, ...] = ()
    id: str | None = None
    weight: str | None = None
    steps: tuple[dict[str, Any], ...] = field(default=())
    told: tuple[str, ...] = ()
    matrix: str | None = None


@runtime_checkable
class Source(Protocol):
    """Rows that can be read again and again, in the same order."""

    @property
    def shape(self) -> tuple[int | None, int]:
        """Rows, None where they were not counted yet, and features."""

    @property
    def about(self) -> About:
        """Names of the features, and how they were read."""

    def blocks(self, rows: int, part: tuple[int, int] = ALL, *, ids: bool = False) -> Iterator[Block]:
        """The rows of a part in order, at most ``rows`` at a time.

        Args:
            rows: most rows of a block.
            part: (i, n): the i-th, from 0, of n parts: disjoint, complete, each of consecutive rows.
            ids: give the identifiers, too.
        """


def span(length: int, part: tuple[int, int]) -> tuple[int, int]:
    """The first row of a part, and the one after its last.

    Raises:
        ValueError: there is no such part.
    """
    i, n = part
    if not 0 <= i < n:
        raise ValueError(f"part is {part}, expected (i, n) with 0 <= i < n: the i-th of n parts")
    return length * i // n, length * (i + 1) // n
