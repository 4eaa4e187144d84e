"""Measure: one pass over the rows, each restart and each kind of row by the count that suits it."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from mixtura.e_step import Count, Whitened
from mixtura.missing import Marginal
from mixtura.mixture import Mixture
from mixtura.moments import Moments
from mixtura.native.count import Wide, by_features
from mixtura.record import Record
from mixtura.rows import Rows


@dataclass(frozen=True, eq=False)
class Parts(Record):
    """What several counts add, each for its own restarts or its own rows."""

    parts: tuple[Record, ...]


def measure(mixture: Mixture, rows: Rows, fast: Bool[Tensor, "R"]) -> Moments:
    """One pass over the rows: the moments of every restart.

    Restarts flagged in ``fast`` (on the CPU, so that nobody waits for a device) go through the feature map, the others
    through the feature map in float64 or the definition; rows with gaps have a count of their own. All report in the
    same frame, so they add up and mix.
    """
    by_map, how = fast.cpu().numpy(), (rows.scratch, rows.dtype, rows.device)
    if by_map.all():
        return _count_all([by_features(mixture, *how)], mixture, rows)
    if not by_map.any():
        return _count_all([_precise(mixture, rows)], mixture, rows)
    which = [at.nonzero()[0] for at in (by_map, ~by_map)]
    served, other = (mixture.take(placed(at, rows)) for at in which)
    counts = [by_features(served, *how), _precise(other, rows)]
    return _count_all(counts, mixture, rows, placed(np.concatenate(which).argsort(), rows))


def _precise(mixture: Mixture, rows: Rows) -> Count:
    """A count for what the feature map does not serve in the rows' own precision."""
    kind = Wide if Wide.serves(mixture, rows) else Whitened
    return kind(mixture, rows.scratch, rows.dtype, rows.device)


def placed(at: np.ndarray, rows: Rows) -> Tensor:
    """An index where the parameters are; kept there, since every copy makes the host wait for a device."""
    index = torch.from_numpy(at)
    if rows.home.type == "cpu":
        return index
    return rows.scratch.derived(("index", at.tobytes()), lambda: index.to(rows.home))


def _count_all(counts: list[Count], mixture: Mixture, rows: Rows, order: Tensor | None = None) -> Moments:
    """The moments of all restarts: of the counts joined, in the order given, and of the rows with gaps."""
    gaps: list[Count] = [Marginal(mixture, rows.scratch, rows.dtype, rows.device)] if rows.gaps else []
    every = [*counts, *gaps]
    if len(every) == 1:
        return counts[0].moments(rows.sum(counts[0], counts[0].bytes_per_row), rows)
    total = rows.sum(lambda chunk: Parts(tuple(count(chunk) for count in every)), sum(c.bytes_per_row for c in every))
    moments = [count.moments(part, rows) for count, part in zip(every, total.parts, strict=True)]
    found = Record.cat(moments[: len(counts)])
    found = found if order is None else found.take(order)
    return found + moments[-1] if gaps else found
