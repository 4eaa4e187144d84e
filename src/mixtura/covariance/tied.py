"""Tied covariances: a combinator that gives all components one matrix of any other structure."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mixtura.covariance.base import Covariance, Floor, Kind
from mixtura.covariance.quadratic import Quadratic


@dataclass(frozen=True, eq=False)
class Tied(Covariance):
    """One shape for all components: a structure whose leaves are (R, 1, ...), fed with pooled statistics."""

    shape: Covariance

    shared = True

    @property
    def quadratic(self) -> Quadratic:  # type: ignore[override]
        return self.shape.quadratic

    @property
    def form(self) -> str | None:  # type: ignore[override]
        return self.shape.form

    @classmethod
    def unit(cls, restarts: int, components: int, features: int) -> "Tied":
        raise TypeError("Tied.unit is ambiguous: wrap a shape's unit of one component, Tied(Full.unit(R, 1, D))")

    def _pool(self, s2: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(t.sum(1, keepdim=True) for t in s2)

    def log_det(self) -> Float64[Tensor, "R K"]:
        return self.shape.log_det()

    def variances(self) -> Float64[Tensor, "R K D"]:
        return self.shape.variances()

    def dense(self) -> Float64[Tensor, "R K D D"]:
        return self.shape.dense()

    def factor(self) -> Float64[Tensor, "R K D D"]:
        return self.shape.factor()

    def whiten(self, x: Float[Tensor, "D N"], mean: Float64[Tensor, "R K D"]) -> Float[Tensor, "R K E N"]:
        return self.shape.whiten(x, mean)

    def moment(
        self, z: Float[Tensor, "R K E N"], w: Float[Tensor, "R K N"]
    ) -> tuple[Float64[Tensor, "R K D"], tuple[Tensor, ...]]:
        first, second = self.shape.moment(z, w)
        return first, self._pool(second)

    def mean_squares(self) -> tuple[Tensor, ...]:
        return self.shape.mean_squares()

    def from_scatter(self, scatter: Float64[Tensor, "R K D D"]) -> tuple[Tensor, ...]:
        return self._pool(self.shape.from_scatter(scatter))

    def move(self, s2: tuple[Tensor, ...], s0: Tensor, s1: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
        # Moving is affine in s2, so the pooled statistic moves by the pool of what each component's move adds.
        added = self._pool(self.shape.move(tuple(torch.zeros_like(t) for t in s2), s0, s1, delta))
        return tuple(t + a for t, a in zip(s2, added, strict=True))

    def maximise(self, n: Float64[Tensor, "R K"], s2: tuple[Tensor, ...], floor: Floor) -> "Tied":
        return Tied(self.shape.maximise(n.sum(1, keepdim=True), s2, floor))

    def precision(self) -> Float64[Tensor, "R K P"]:
        return self.shape.precision()

    def solve(self, v: Float64[Tensor, "R K D"]) -> Float64[Tensor, "R K D"]:
        return self.shape.solve(v)

    def from_second(self, sums: Float64[Tensor, "R K P"]) -> tuple[Tensor, ...]:
        return self._pool(self.shape.from_second(sums))

    def about(self) -> str:
        return f"Tied({self.shape.about()})"

    def n_parameters(self) -> int:
        return self.shape.n_parameters()

    def publish(self, kind: Kind) -> Tensor:
        return self.shape.publish(kind)[0]

    def published_shape(self, components: int) -> tuple[int, ...]:
        return self.shape.published_shape(1)[1:]

    def adopt(self, value: Tensor, kind: Literal["covariances", "precisions"]) -> "Tied":
        return Tied(self.shape.adopt(value[None], kind))
