"""Clusters: components merged into clusters by the command, as a saved model and its summary tell it."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mixtura.apps import words
from mixtura.data.base import Source
from mixtura.data.spool import settled
from mixtura.merging import merge

BEND = 0
"""Asked for as a number of clusters: as many as where the entropy bends."""


class Clusters(NamedTuple):
    """Clusters of a mixture's components; of what :func:`mixtura.merge` returns as much as words and pictures need.

    Attributes:
        of: (K,) the cluster of each component, the cluster of the largest weight first.
        entropy_: (K,) entropy of the rows with 1, 2, … K clusters, in nats.
        n_clusters_: where the entropies bend.
    """

    of: list[int]
    entropy_: np.ndarray
    n_clusters_: int

    @classmethod
    def known(cls, model: Any) -> "Clusters | None":
        """Those that a fitted or saved model knows; None where its components were not merged.

        Raises:
            ValueError: they do not fit its components.
        """
        told = getattr(model, "merging_", None)
        return None if told is None else cls.read(told, int(model.mixture_.shape[1]))

    @classmethod
    def read(cls, told: dict[str, Any], components: int) -> "Clusters":
        """Of ``merging`` in ``summary.json``.

        Raises:
            ValueError: they do not fit a mixture of so many components.
        """
        of, entropy, bend = list(map(int, told["components"])), list(map(float, told["entropy"])), int(told["bend"])
        whole = sorted(set(of)) == list(range(max(of, default=0) + 1))
        if not whole or not len(of) == len(entropy) == components or not 1 <= bend <= components:
            raise ValueError(f"merging tells of the clusters {of}, which are not those of {components} components")
        return cls(of, np.array(entropy), bend)

    def told(self) -> dict[str, Any]:
        """As it stands in ``summary.json``."""
        return {"components": list(self.of), "entropy": self.entropy_.tolist(), "bend": self.n_clusters_}

    @property
    def number(self) -> int:
        """How many clusters."""
        return max(self.of) + 1

    @property
    def members(self) -> list[list[int]]:
        """The components of each cluster."""
        return [[k for k, cluster in enumerate(self.of) if cluster == c] for c in range(self.number)]

    def sentence(self) -> str:
        """How many clusters, and why as many, without a full stop."""
        k, c = len(self.of), self.number
        made = f"{k} component{'s' if k > 1 else ''} make{'' if k > 1 else 's'} {c} cluster{'s' if c > 1 else ''}"
        if k < 3:
            return made
        bend = self.n_clusters_
        return f"{made}, merged by entropy{' up to where it bends' if c == bend else f', which bends at {bend}'}"

    def posterior(self, of_components: Tensor) -> Tensor:
        """(C, n) posteriors of the clusters: sums of those of the components, (K, n)."""
        found = of_components.new_zeros(self.number, of_components.shape[1])
        return found.index_add_(0, torch.tensor(self.of), of_components)


def merged(model: Any, source: Source, wanted: int) -> Clusters:
    """Merge the components of a fitted model by the rows of a source.

    Args:
        model: fitted.
        source: the rows; they are read once and kept, in memory or on disk, for a pass at every step.
        wanted: how many clusters, or ``BEND``. Where there are fewer components, none is merged.

    Raises:
        ValueError: the rows cannot be used.
    """
    found = merge(model, settled(source, lambda block: None))
    level = found.components(min(wanted, len(found.entropy_)) or None)
    return Clusters(level.tolist(), found.entropy_, found.n_clusters_)


def describe(clusters: Clusters, model: Any, told: dict[str, Any]) -> list[str]:
    """The clusters in lines: how they were found, and of which components each is made.

    Args:
        clusters: of the model.
        model: fitted.
        told: ``merging`` of its summary: with ``counts`` where rows were seen.
    """
    weights, counts = model.mixture_.log_weight[0].exp().tolist(), told.get("counts")
    rows = [] if counts is None else [[words.count(count)] for count in counts]
    body = [
        [str(c), listed(parts), f"{sum(weights[k] for k in parts):.4f}", *(rows[c] if rows else [])]
        for c, parts in enumerate(clusters.members)
    ]
    head = ["cluster", "components", "weight", *(["rows"] if rows else [])]
    return [f"{clusters.sentence()}:", "", *words.Grid(head, body).lines()]


def listed(components: list[int]) -> str:
    """Components in words: 1, 1 and 2, 1 to 4."""
    if len(components) > 2 and components == list(range(components[0], components[-1] + 1)):
        return f"{components[0]} to {components[-1]}"
    *first, last = map(str, components)
    return f"{', '.join(first)} and {last}" if first else last
