"""Array: rows in memory or in a memory map, NumPy or torch."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mixtura.data.base import Block


class Array:
    """A two-dimensional array as a source; nothing is copied until a block is read.

    Args:
        x: (N, D), NumPy (also a memory map) or torch.
        weight: (N,) row weights, or None for 1.
    """

    def __init__(self, x: "np.ndarray | Tensor", weight: "np.ndarray | Tensor | None" = None) -> None:
        self.x = x
        self.weight = None if weight is None else as_tensor(weight).to(torch.float64)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.x.shape[0]), int(self.x.shape[1])

    def blocks(self, rows: int) -> Iterator[Block]:
        for start in range(0, self.shape[0], rows):
            part = slice(start, start + rows)
            yield Block(as_tensor(self.x[part]), None if self.weight is None else self.weight[part], start)


def as_tensor(x: "np.ndarray | Tensor") -> Tensor:
    """A tensor on the same memory where torch can share it; a copy of read-only or reversed arrays."""
    if isinstance(x, Tensor):
        return x
    if not x.flags.writeable or any(stride < 0 for stride in x.strides):
        x = np.array(x)
    return torch.from_numpy(x)
