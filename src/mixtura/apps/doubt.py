"""Doubt: how many rows a mixture is not sure of, added up chunk by chunk."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ABOVE = (0.05, 0.1, 0.2, 0.5)
"""Uncertainties above which rows are counted."""


@dataclass(frozen=True)
class Doubt:
    """Sums over rows of the uncertainty 1 − maxₖ p(k | x); those of two chunks are added with ``+``.

    Attributes:
        rows: how many there were; rows whose uncertainty is not a number do not count.
        total: the sum of their uncertainties.
        above: rows whose uncertainty is above each of ``ABOVE``.

    Examples:
        >>> (Doubt.of([0.0, 0.3]) + Doubt.of([0.6])).told()
        {'rows': 3, 'mean': 0.3, 'above': {'0.05': 2, '0.1': 2, '0.2': 2, '0.5': 1}}
    """

    rows: int = 0
    total: float = 0.0
    above: tuple[int, ...] = field(default=(0,) * len(ABOVE))

    @classmethod
    def of(cls, uncertainty: Any) -> "Doubt":
        """The sums of one chunk.

        Args:
            uncertainty: (n,) numbers from 0 to 1, as ``model.uncertainty(X)`` gives them.
        """
        known = np.asarray(uncertainty, dtype=np.float64)
        known = known[np.isfinite(known)]
        return cls(len(known), float(known.sum()), tuple(int((known > limit).sum()) for limit in ABOVE))

    def __add__(self, other: "Doubt") -> "Doubt":
        above = tuple(a + b for a, b in zip(self.above, other.above, strict=True))
        return Doubt(self.rows + other.rows, self.total + other.total, above)

    def told(self) -> dict[str, Any]:
        """As it stands in ``summary.json`` under ``doubt``: rows, mean, and counts by threshold as text."""
        mean = self.total / self.rows if self.rows else math.nan
        return {
            "rows": self.rows,
            "mean": mean if math.isfinite(mean) else None,
            "above": {f"{limit:g}": count for limit, count in zip(ABOVE, self.above, strict=True)},
        }
