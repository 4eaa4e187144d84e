"""Families: the shape of a component's density as a function of its squared Mahalanobis distance."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Float64
from torch import Tensor

from mixtura.record import Record

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class Family(Record, ABC):
    """How a squared distance becomes a log density, and what a family adds to the moments."""

    affine: ClassVar[bool]
    """The log density is affine in the squared distance: row weights are 1, a shared quadratic term is a constant."""

    @abstractmethod
    def log_density(self, d2: Float[Tensor, "R K N"], log_det: Float64[Tensor, "R #K"], size: int | Tensor) -> Tensor:
        """Log density (R, K, N) from squared distances, log determinants (R, K or 1) and the number of features.

        ``size`` is one number, or (K,) where components differ in how many features were observed.
        """

    @abstractmethod
    def row_weight(self, d2: Float[Tensor, "R K N"], size: int) -> Tensor | None:
        """The weight u (R, K, N) of a row in the M-step; None stands for 1."""

    @abstractmethod
    def natural(
        self, theta: Float64[Tensor, "R K P"], log_weight: Float64[Tensor, "R K"], log_det: Tensor, size: int
    ) -> Float64[Tensor, "R K P"]:
        """Coefficients whose product with the features :meth:`read` understands, from those of the squared distance."""

    @abstractmethod
    def read(
        self, product: Float[Tensor, "R K N"], log_weight: Float64[Tensor, "R K"], log_det: Tensor, size: int
    ) -> tuple[Tensor, Tensor | None]:
        """Log joint density and row weights, each (R, K, N), from the product; may overwrite it."""

    @abstractmethod
    def extra(self, r: Float[Tensor, "R K N"], u: Tensor | None, size: int) -> tuple[Tensor, ...]:
        """The family's own statistics of weighted responsibilities, each (R, K, ...), float64."""

    @abstractmethod
    def maximise(self, n: Float64[Tensor, "R K"], extra: tuple[Tensor, ...]) -> "Family":
        """The family of the next M-step."""


@dataclass(frozen=True, eq=False)
class Gaussian(Family):
    """The normal density: log p = −½ (D log 2π + log|Σ| + d²)."""

    affine = True

    def log_density(self, d2: Float[Tensor, "R K N"], log_det: Float64[Tensor, "R #K"], size: int | Tensor) -> Tensor:
        constant = (-0.5 * (size * LOG_2PI + log_det)).to(d2)
        return constant[..., None] - 0.5 * d2

    def row_weight(self, d2: Tensor, size: int) -> None:
        return None

    def natural(
        self, theta: Float64[Tensor, "R K P"], log_weight: Float64[Tensor, "R K"], log_det: Tensor, size: int
    ) -> Float64[Tensor, "R K P"]:
        theta = -0.5 * theta
        theta[..., -1] += log_weight - 0.5 * (size * LOG_2PI + log_det)
        return theta

    def read(self, product: Tensor, log_weight: Tensor, log_det: Tensor, size: int) -> tuple[Tensor, None]:
        return product, None

    def extra(self, r: Tensor, u: Tensor | None, size: int) -> tuple[Tensor, ...]:
        return ()

    def maximise(self, n: Tensor, extra: tuple[Tensor, ...]) -> "Gaussian":
        return self
