"""Sourced: rows that come from a source, checked against the estimator that takes them, and as they pass."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixtura.data.array import Array
from mixtura.data.base import ALL, Block, Source
from mixtura.data.columns import listed
from mixtura.data.spool import settled
from mixtura.data.steps import feature_names, same_steps, say_steps
from mixtura.inputs import FLOATS, Checked, Gaps, Kind, check_weight, with_hint

BLOCK = 65536
"""Rows of a block where only weights are read."""


class Watched:
    """A source whose rows are checked as they pass.

    Args:
        source: where the rows come from.
        gaps: NaN is a missing entry.
    """

    def __init__(self, source: Source, gaps: bool = False) -> None:
        self.source, self.about, self.gaps = source, source.about, gaps

    @property
    def shape(self) -> tuple[int | None, int]:
        return self.source.shape

    @property
    def weight(self) -> Tensor | None:
        """(N,) weights, read in a pass of their own; None where every row counts once."""
        found = [block.weight for block in self.source.blocks(BLOCK) if block.weight is not None]
        return check_weight(torch.cat(found), sum(map(len, found))) if found else None

    def counted(self) -> int:
        """How many rows there are."""
        return sum(len(block.x) for block in self.source.blocks(BLOCK))

    def blocks(self, rows: int, part: tuple[int, int] = ALL, *, ids: bool = False) -> Iterator[Block]:
        for block in self.source.blocks(rows, part, ids=ids):
            gaps = Gaps(self.gaps)
            gaps.look(block.x, block.start)
            gaps.refuse(f"the first {block.start + len(block.x)}", self.about.names)
            yield block if block.x.dtype in FLOATS else block._replace(x=block.x.to(torch.float64))


def check_source(
    estimator: Any, source: Source, *, reset: bool, fitting: bool, sample_weight: Any, gaps: bool
) -> Checked:
    """Check a source as :func:`mixtura.inputs.check` does: for a fit read it once and make it ready for many passes.

    Raises:
        ValueError: a value is not finite, a weight is no weight, there are too few rows, or the columns are others than
            those of the fit.
    """
    if sample_weight is not None:
        raise ValueError("sample_weight is given beside a Source, which has its own: name its column, scan(weight=...)")
    kind = _kind(source)
    if not reset:
        _compare(estimator, source)
    if not fitting:
        return Checked(Watched(source, gaps), kind, gaps)
    seen = Gaps(gaps)
    found = settled(source, lambda block: seen.look(block.x, block.start))
    seen.refuse(found.shape[0], source.about.names)
    if found.shape[0] < 2:
        least = f"while a minimum of 2 is required by {type(estimator).__name__}."
        raise with_hint(ValueError(f"Found array with {found.shape[0]} sample(s) {least}"))
    found.weight = check_weight(found.weight, found.shape[0])
    if reset:
        _remember(estimator, source)
    return Checked(found, kind, seen.missing)


def _kind(source: Source) -> Kind:
    """NumPy, but for tensors that are in memory."""
    x = next(iter(source.blocks(1))).x
    dtype = torch.float32 if x.dtype == torch.float32 else torch.float64
    of_tensor = isinstance(source, Array) and isinstance(source.x, Tensor)
    return Kind(dtype, x.device if of_tensor else None)


def _names(source: Source) -> list[str] | None:
    """What the features are called, where they have names of their own."""
    about = source.about
    return list(about.names) if about.named and about.names is not None else None


def _remember(estimator: Any, source: Source) -> None:
    estimator.n_features_in_ = source.shape[1]
    estimator.__dict__.pop("feature_names_in_", None)
    if (names := _names(source)) is not None:
        estimator.feature_names_in_ = np.array(names, dtype=object)
    estimator.source_ = {"columns": feature_names(source), "steps": list(source.about.steps)}
    if source.about.matrix is not None:
        estimator.source_["matrix"] = source.about.matrix


def _compare(estimator: Any, source: Source) -> None:
    """Raise ValueError where the columns, or what was done to them, are not those of the fit."""
    if source.shape[1] != estimator.n_features_in_:
        raise with_hint(
            ValueError(
                f"X has {source.shape[1]} features, but {type(estimator).__name__} is expecting "
                f"{estimator.n_features_in_} features as input."
            )
        )
    known, names = getattr(estimator, "feature_names_in_", None), _names(source)
    if known is not None and names is not None and list(map(str, known)) != names:
        raise ValueError(
            f"X has the columns {listed(names)}, expected {listed(list(map(str, known)))}, on which the model was "
            "fitted: name them with scan(columns=...)"
        )
    if not hasattr(estimator, "source_"):
        return
    steps = estimator.source_["steps"]
    if not same_steps(steps, source.about.steps):
        raise ValueError(
            f"X was read with {say_steps(source.about.steps)}, but the model was fitted to rows read with "
            f"{say_steps(steps)}: scan new rows in the same way"
        )


def gathered(source: Source) -> np.ndarray:
    """(N, D) of all rows in memory, for what cannot do with less."""
    x = source.x if isinstance(source, Array) else torch.cat([block.x for block in source.blocks(BLOCK)])
    return x if isinstance(x, np.ndarray) else x.cpu().numpy()
