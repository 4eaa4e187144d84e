"""Sources: where rows come from; storage only, no device, centring or mathematics."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor


class Block(NamedTuple):
    """Consecutive rows of a source as it stores them.

    Attributes:
        x: (N, D), the storage dtype, where it is stored.
        weight: (N,) float64 row weights, or None for 1.
        start: index of the first row in the source.
    """

    x: Tensor
    weight: Tensor | None
    start: int


@runtime_checkable
class Source(Protocol):
    """Rows that can be read again and again, in the same order."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""

    def blocks(self, rows: int) -> Iterator[Block]:
        """All rows in order, at most ``rows`` at a time."""
