"""Diagonal covariances: each component has its own variance in every column (mclust's VVI)."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mixtura.covariance.base import Covariance, Floor, Kind, NotPositiveDefinite, home
from mixtura.covariance.quadratic import SQUARES


@dataclass(frozen=True, eq=False)
class Diag(Covariance):
    """Σ = diag(σ²), held as the variances (R, K or 1, D)."""

    var: Float64[Tensor, "R K D"]

    quadratic = SQUARES
    form = "columns"

    @classmethod
    def unit(cls, restarts: int, components: int, features: int) -> "Diag":
        return Diag(torch.ones(restarts, components, features, dtype=torch.float64))

    def log_det(self) -> Float64[Tensor, "R K"]:
        return self.var.log().sum(-1)

    def variances(self) -> Float64[Tensor, "R K D"]:
        return self.var

    def dense(self) -> Float64[Tensor, "R K D D"]:
        return torch.diag_embed(self.var)

    def factor(self) -> Float64[Tensor, "R K D D"]:
        return torch.diag_embed(self.variances().sqrt())

    def whiten(self, x: Float[Tensor, "D N"], mean: Float64[Tensor, "R K D"]) -> Float[Tensor, "R K E N"]:
        return (x - mean.to(x)[..., None]) * self.var.rsqrt().to(x)[..., None]

    def moment(
        self, z: Float[Tensor, "R K E N"], w: Float[Tensor, "R K N"]
    ) -> tuple[Float64[Tensor, "R K D"], tuple[Tensor, ...]]:
        first = home((z @ w[..., None])[..., 0], self.var)
        # Weighted before it is squared: far rows have weight 0, and their squares may overflow.
        second = home(torch.linalg.vecdot(z * w[..., None, :], z), self.var)
        return self.var.sqrt() * first, (self.var * second,)

    def mean_squares(self) -> tuple[Tensor, ...]:
        return (self.var,)

    def from_scatter(self, scatter: Float64[Tensor, "R K D D"]) -> tuple[Tensor, ...]:
        return (scatter.diagonal(dim1=-2, dim2=-1),)

    def move(self, s2: tuple[Tensor, ...], s0: Tensor, s1: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
        return (s2[0] + (s0[..., None] * delta - 2 * s1) * delta,)

    def maximise(self, n: Float64[Tensor, "R K"], s2: tuple[Tensor, ...], floor: Floor) -> "Diag":
        var = s2[0] / n[..., None] + floor.added
        return Diag(var if floor.least is None else var.maximum(floor.least))

    def precision(self) -> Float64[Tensor, "R K P"]:
        return 1 / self.var

    def solve(self, v: Float64[Tensor, "R K D"]) -> Float64[Tensor, "R K D"]:
        return v / self.var

    def from_second(self, sums: Float64[Tensor, "R K P"]) -> tuple[Tensor, ...]:
        return (sums,)

    def n_parameters(self) -> int:
        return self.var[0].numel()

    def publish(self, kind: Kind) -> Tensor:
        power = {"covariances": 1.0, "precisions": -1.0, "precisions_cholesky": -0.5}[kind]
        return self.var[0] ** power

    def published_shape(self, components: int) -> tuple[int, ...]:
        return (components, self.var.shape[-1])

    def adopt(self, value: Tensor, kind: Literal["covariances", "precisions"]) -> "Diag":
        if bool((value <= 0).any()):
            raise NotPositiveDefinite("should be positive")
        return Diag((value if kind == "covariances" else 1 / value)[None])
