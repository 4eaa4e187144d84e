"""Mixture: an immutable batch of mixture models, one per restart."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from mixtura.covariance.base import Covariance
from mixtura.family import Family
from mixtura.record import Record


class Natural(NamedTuple):
    """The squared distance xᵀΛx − 2 (Λμ)ᵀx + μᵀΛμ as coefficients of features of x.

    Attributes:
        quadratic: (R, K or 1, P), of the structure's quadratic features.
        linear: (R, K, D), Λμ.
        constant: (R, K), μᵀΛμ.
    """

    quadratic: Float64[Tensor, "R #K P"]
    linear: Float64[Tensor, "R K D"]
    constant: Float64[Tensor, "R K"]


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

    def __repr__(self) -> str:
        restarts, components, features = self.shape
        several = "" if restarts == 1 else f"{restarts} restarts, "
        return f"Mixture({several}{components} components, {features} features, {self.covariance.about()})"

    @property
    def expected(self) -> "Mixture":
        """The mixture that an E-step uses: itself."""
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Restarts, components, features."""
        restarts, components, features = self.mean.shape
        return restarts, components, features

    @cached_property
    def natural(self) -> Natural:
        """The coefficients of the squared distance: what the feature map and its guard are made of."""
        linear = self.covariance.solve(self.mean)
        return Natural(self.covariance.precision(), linear, (linear * self.mean).sum(-1))

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
        factor = self.covariance.factor()[0].expand(self.mean.shape[1], -1, -1)
        out = torch.empty_like(noise)
        for k in range(self.mean.shape[1]):
            at = labels == k
            out[at] = noise[at] @ factor[k].mT + self.mean[0, k]
        return out
