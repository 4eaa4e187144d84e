"""Array: rows in memory or in a memory map, NumPy or torch."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixtura.data.base import ALL, About, Block, span
from mixtura.data.stream import as_tensor


class Array:
    """A two-dimensional array as a source; nothing is copied until a block is read.

    Args:
        x: (N, D), NumPy (also a memory map) or torch.
        weight: (N,) row weights, or None for 1.
        ids: (N,) identifiers of the rows, NumPy or pyarrow.
        about: names of the features.
    """

    def __init__(
        self,
        x: "np.ndarray | Tensor",
        weight: "np.ndarray | Tensor | None" = None,
        ids: Any = None,
        about: About = About(),  # noqa: B008
    ) -> None:
        self.x, self.ids, self.about = x, ids, about
        self.weight = None if weight is None else as_tensor(weight).to(torch.float64)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.x.shape[0]), int(self.x.shape[1])

    def blocks(self, rows: int, part: tuple[int, int] = ALL, *, ids: bool = False) -> Iterator[Block]:
        first, last = span(self.shape[0], part)
        for start in range(first, last, rows):
            here = slice(start, min(start + rows, last))
            named = self.ids[here] if ids and self.ids is not None else None
            yield Block(as_tensor(self.x[here]), None if self.weight is None else self.weight[here], start, named)
