"""Mixture: an immutable batch of mixture models, one per restart."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from mixtura.covariance.base import Covariance
from mixtura.family import Family
from mixtura.record import Record


@dataclass(frozen=True, eq=False)
class Mixture(Record):
    """P(x) = Σₖ πₖ p(x | μₖ, Σₖ) for R restarts at once.

    Attributes:
        log_weight: (R, K), log πₖ; −inf for a component that was dropped.
        mean: (R, K, D).
        covariance: the covariance structure.
        family: the density of a component.
    """

    log_weight: Float64[Tensor, "R K"]
    mean: Float64[Tensor, "R K D"]
    covariance: Covariance
    family: Family

    @property
    def expected(self) -> "Mixture":
        """The mixture that an E-step uses: itself."""
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Restarts, components, features."""
        restarts, components, features = self.mean.shape
        return restarts, components, features

    def pick(self, k: Any) -> "Mixture":
        """The components selected or reordered by an index; what is shared by all stays."""
        return self.map(lambda t: t if t.shape[1] == 1 else t[:, k])

    def shifted(self, by: Float64[Tensor, "D"]) -> "Mixture":
        """The same mixture in coordinates whose origin has moved by −``by``."""
        return replace(self, mean=self.mean + by)

    def n_parameters(self) -> int:
        """Free parameters of one restart: weights, means and covariances."""
        _, components, features = self.shape
        return components - 1 + components * features + self.covariance.n_parameters()

    def draw(self, labels: Tensor, noise: Float64[Tensor, "N D"]) -> Float64[Tensor, "N D"]:
        """Rows of the first restart's components ``labels`` (N,), from standard normal noise."""
        factor = torch.linalg.cholesky(self.covariance.dense()[0])
        factor = factor.expand(self.mean.shape[1], -1, -1)
        out = torch.empty_like(noise)
        for k in range(self.mean.shape[1]):
            at = labels == k
            out[at] = noise[at] @ factor[k].mT + self.mean[0, k]
        return out
