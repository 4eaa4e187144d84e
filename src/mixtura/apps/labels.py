"""Labels: what a fitted model says of every row of a source, computed and written a block at a time."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mixtura.apps.clusters import Clusters
from mixtura.apps.doubt import Doubt
from mixtura.data.array import Array
from mixtura.data.base import Source
from mixtura.fitted import place
from mixtura.inputs import Kind
from mixtura.scoring import Said, Scores
from mixtura.sourced import Watched, check_source
from mixtura.survey import Reservoir

ROWS = 65536
"""Rows that are scored and written at a time."""

SHOWN, SHOWN_BYTES = 20_000, 64 * 2**20
"""Rows of the sample that pictures are made of, and the bytes that it may take."""


def default_format() -> str:
    """``parquet`` where pyarrow is installed, else ``csv``."""
    return "parquet" if importlib.util.find_spec("pyarrow") else "csv"


@dataclass
class Tally:
    """What a summary needs of all rows, added up block by block.

    Attributes:
        components: how many.
        clusters: what they were merged into; None where they were not.
        counts: (K,) rows of each.
        rows: how many.
        weight: the sum of their weights.
        log_best: Σ w log max p(k | x).
        loglik: Σ w log p(x).
        doubt: how sure the model is of the rows' components.
        merged_counts: rows of each cluster.
        merged_doubt: how sure the model is of the rows' clusters.
    """

    components: int
    clusters: Clusters | None = None
    counts: np.ndarray = field(init=False)
    rows: int = 0
    weight: float = 0.0
    log_best: float = 0.0
    loglik: float = 0.0
    doubt: Doubt = field(default_factory=Doubt)
    merged_counts: np.ndarray = field(init=False)
    merged_doubt: Doubt = field(default_factory=Doubt)

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.components, dtype=np.int64)
        self.merged_counts = np.zeros(0 if self.clusters is None else self.clusters.number, dtype=np.int64)

    @classmethod
    def of(cls, model: Any) -> "Tally":
        """An empty one for a fitted model."""
        return cls(model.n_components, Clusters.known(model))

    def add(self, said: Said, weight: torch.Tensor | None) -> None:
        """Count some rows."""
        best = said.log_best.to(torch.float64)
        w = torch.ones_like(best) if weight is None else weight
        self.counts += np.bincount(said.label.numpy(), minlength=self.components)
        self.rows += len(best)
        self.weight += float(w.sum())
        here = w > 0
        self.log_best += float(best[here] @ w[here])
        self.loglik += float(said.log_density.to(torch.float64)[here] @ w[here])
        self.doubt += Doubt.of(-best.expm1())

    def cluster(self, said: Said) -> dict[str, np.ndarray]:
        """Count the clusters of some rows, and give them as a column; nothing where no components were merged."""
        if self.clusters is None:
            return {}
        most, label = self.clusters.posterior(said.posterior.to(torch.float64)).max(0)
        self.merged_counts += np.bincount(label.numpy(), minlength=len(self.merged_counts))
        self.merged_doubt += Doubt.of((1 - most).clamp_min(0.0))
        return {"cluster": label.numpy()}


class Sampler:
    """At most ``SHOWN`` rows, fewer where they are wide, drawn evenly from all that pass."""

    def __init__(self, features: int, seed: int) -> None:
        self._reservoir = Reservoir(features, seed, max(1000, min(SHOWN, SHOWN_BYTES // (8 * features))))

    def add(self, x: torch.Tensor) -> None:
        """Let rows pass."""
        wide = x.to(torch.float64)
        self._reservoir.add(wide, wide.new_ones(len(wide)))

    def rows(self) -> np.ndarray:
        """(n, D) of them, in random order."""
        found: np.ndarray = self._reservoir.crowd().x.numpy()
        return found


def chunks(
    model: Any, source: Source, tally: Tally, sampler: Sampler | None = None, rows: int = ROWS
) -> Iterator[dict[str, Any]]:
    """Columns for consecutive rows: identifier, label, cluster, posteriors, uncertainty and log density.

    Args:
        model: fitted.
        source: N rows.
        tally: counts them.
        sampler: draws from them.
        rows: most rows of a chunk.

    Raises:
        ValueError: the rows are not of the columns that the model was fitted on, or a value is not finite.
    """
    gaps = model._takes_gaps
    check_source(model, source, reset=False, fitting=False, sample_weight=None, gaps=gaps)
    name = named(source.about.id, () if tally.clusters is None else ("cluster",))
    for block in Watched(source, gaps).blocks(rows, ids=True):
        said = scores(model, block.x).every()
        tally.add(said, block.weight)
        if sampler is not None:
            sampler.add(block.x)
        ids = np.arange(block.start, block.start + len(block.x)) if block.ids is None else block.ids
        yield {
            name: ids,
            "label": said.label.numpy(),
            **tally.cluster(said),
            **{f"posterior_{k}": p.numpy() for k, p in enumerate(said.posterior)},
            "uncertainty": (0.0 - said.log_best.expm1()).numpy(),
            "log_density": said.log_density.numpy(),
        }


def of(model: Any, rows: np.ndarray) -> np.ndarray:
    """(n,) the components of rows in memory."""
    return scores(model, torch.from_numpy(rows).to(model._kind.dtype)).labels().cpu().numpy()


def scores(model: Any, x: torch.Tensor) -> Scores:
    """What a model says of rows in memory."""
    device = place(model.device, Kind(x.dtype, None))
    return Scores(model.mixture_, Array(x), x.dtype, device, model._takes_gaps)


def named(column: str | None, more: tuple[str, ...] = ()) -> str:
    """What the column of identifiers is called: as in the data, but for names that are taken, some and ``more``."""
    name = column if column not in (None, "") else "row"
    taken = ("label", "uncertainty", "log_density", *more)
    return f"id_{name}" if name in taken or str(name).startswith("posterior_") else str(name)
