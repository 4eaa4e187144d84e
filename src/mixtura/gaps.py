"""Gaps: rows with missing entries, grouped by which of their entries were observed."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

LONGEST = 1024
"""Most rows of a pattern that are worked on together; one with more stands in a group several times."""

WORD = 62
"""Columns whose presence one integer tells."""


class Group(NamedTuple):
    """Patterns that lack about as many entries and have about as many rows each, padded to equally many rows.

    Axes: M patterns, D features, L rows of the pattern with the most.

    Attributes:
        x: (D, M, L), working dtype; 0 where an entry is missing, and in padding.
        seen: (M, D), which entries a pattern has.
        weight: (M, L), working dtype; 0 in padding.
        at: (M, L), which row each one is; −1 in padding.
    """

    x: Float[Tensor, "D M L"]
    seen: Bool[Tensor, "M D"]
    weight: Float[Tensor, "M L"]
    at: Int64[Tensor, "M L"]

    def cut(self, patterns: slice) -> "Group":
        """Some of the patterns."""
        return Group(self.x[:, patterns], *(t[patterns] for t in self[1:]))


def grouped(x: Float[Tensor, "D N"], weight: Float[Tensor, "N"] | None = None) -> tuple[Group, ...]:
    """Rows sorted by their patterns, NaN being a missing entry; a row without one is a pattern like any other."""
    if not x.shape[1]:
        return ()
    seen = ~x.isnan().mT
    return tuple(_group(x, weight, seen, at, real) for at, real in _alike(seen))


def _group(
    x: Float[Tensor, "D N"],
    weight: Float[Tensor, "N"] | None,
    seen: Bool[Tensor, "N D"],
    at: Int64[Tensor, "M L"],
    real: Bool[Tensor, "M L"],
) -> Group:
    """The rows ``at`` these places; what is not ``real`` is padding."""
    own = torch.where(real, x[:, at], 0.0).nan_to_num(nan=0.0)
    counted = real.to(x) if weight is None else torch.where(real, weight[at], 0.0)
    return Group(own, seen[at[:, 0]], counted, torch.where(real, at, -1))


def _alike(seen: Bool[Tensor, "N D"]) -> list[tuple[Int64[Tensor, "M L"], Bool[Tensor, "M L"]]]:
    """Rows by pattern: places (M, L), and where they are no padding.

    Patterns stand together whose numbers of rows, and of missing entries, have as many binary digits.
    """
    _, pattern = torch.unique(_keys(seen), dim=0, return_inverse=True)
    order = pattern.argsort(stable=True)
    rank = _rank(pattern[order])
    # A long pattern is cut into pieces, each a pattern of its own.
    piece = ((rank == 0) | (rank % LONGEST == 0)).cumsum(0) - 1
    rank, size = rank % LONGEST, piece.bincount()
    first = size.cumsum(0) - size
    found = []
    lost = (~seen[order[first]]).sum(1)
    kind = torch.stack([torch.frexp(count.to(torch.float64)).exponent for count in (size, lost)], 1)
    for like in sorted(set(map(tuple, kind.tolist()))):
        pieces = (kind == kind.new_tensor(like)).all(1).nonzero()[:, 0]
        longest = torch.arange(int(size[pieces].max()), device=seen.device)
        real = longest < size[pieces][:, None]
        found.append((order[first[pieces][:, None] + torch.where(real, longest, 0)], real))
    return found


def _keys(seen: Bool[Tensor, "N D"]) -> Int64[Tensor, "N W"]:
    """The same integers for the same pattern."""
    words = [seen[:, at : at + WORD].long() for at in range(0, seen.shape[1], WORD)]
    return torch.stack([(word << torch.arange(word.shape[1], device=seen.device)).sum(1) for word in words], 1)


def _rank(label: Int64[Tensor, "N"]) -> Int64[Tensor, "N"]:
    """The place of each row among those of its own label; labels are sorted."""
    size = label.bincount()
    return torch.arange(len(label), device=label.device) - (size.cumsum(0) - size)[label]
