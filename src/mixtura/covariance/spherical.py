"""Spherical covariances: each component has one variance (mclust's VII)."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mixtura.covariance.base import Covariance, Floor, Kind, NotPositiveDefinite, home
from mixtura.covariance.quadratic import NORM


@dataclass(frozen=True, eq=False)
class Spherical(Covariance):
    """Σ = σ² I, held as the variance (R, K or 1) and the number of features."""

    var: Float64[Tensor, "R K"]
    size: int

    quadratic = NORM
    form = "one"

    @classmethod
    def unit(cls, restarts: int, components: int, features: int) -> "Spherical":
        return Spherical(torch.ones(restarts, components, dtype=torch.float64), features)

    def log_det(self) -> Float64[Tensor, "R K"]:
        return self.size * self.var.log()

    def variances(self) -> Float64[Tensor, "R K D"]:
        return self.var[..., None].expand(*self.var.shape, self.size)

    def dense(self) -> Float64[Tensor, "R K D D"]:
        return torch.diag_embed(self.variances())

    def factor(self) -> Float64[Tensor, "R K D D"]:
        return torch.diag_embed(self.variances().sqrt())

    def whiten(self, x: Float[Tensor, "D N"], mean: Float64[Tensor, "R K D"]) -> Float[Tensor, "R K E N"]:
        return (x - mean.to(x)[..., None]) * self.var.rsqrt().to(x)[..., None, None]

    def moment(
        self, z: Float[Tensor, "R K E N"], w: Float[Tensor, "R K N"]
    ) -> tuple[Float64[Tensor, "R K D"], tuple[Tensor, ...]]:
        first = home((z @ w[..., None])[..., 0], self.var)
        # Weighted before it is squared: far rows have weight 0, and their squares may overflow.
        second = home(torch.linalg.vecdot(z * w[..., None, :], z).sum(-1), self.var)
        return self.var.sqrt()[..., None] * first, (self.var * second,)

    def mean_squares(self) -> tuple[Tensor, ...]:
        return (self.size * self.var,)

    def from_scatter(self, scatter: Float64[Tensor, "R K D D"]) -> tuple[Tensor, ...]:
        return (scatter.diagonal(dim1=-2, dim2=-1).sum(-1),)

    def move(self, s2: tuple[Tensor, ...], s0: Tensor, s1: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
        return (s2[0] + ((s0[..., None] * delta - 2 * s1) * delta).sum(-1),)

    def maximise(self, n: Float64[Tensor, "R K"], s2: tuple[Tensor, ...], floor: Floor) -> "Spherical":
        var = s2[0] / n / self.size + floor.added
        return Spherical(var if floor.least is None else var.maximum(floor.least.mean()), self.size)

    def precision(self) -> Float64[Tensor, "R K P"]:
        return (1 / self.var)[..., None]

    def solve(self, v: Float64[Tensor, "R K D"]) -> Float64[Tensor, "R K D"]:
        return v / self.var[..., None]

    def from_second(self, sums: Float64[Tensor, "R K P"]) -> tuple[Tensor, ...]:
        return (sums[..., 0],)

    def n_parameters(self) -> int:
        return self.var[0].numel()

    def publish(self, kind: Kind) -> Tensor:
        power = {"covariances": 1.0, "precisions": -1.0, "precisions_cholesky": -0.5}[kind]
        return self.var[0] ** power

    def published_shape(self, components: int) -> tuple[int, ...]:
        return (components,)

    def adopt(self, value: Tensor, kind: Literal["covariances", "precisions"]) -> "Spherical":
        if bool((value <= 0).any()):
            raise NotPositiveDefinite("should be positive")
        return Spherical((value if kind == "covariances" else 1 / value)[None], self.size)
