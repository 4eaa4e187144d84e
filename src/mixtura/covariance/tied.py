"""Tied covariances: a combinator that gives all components one matrix of any other structure."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mixtura.covariance.around import Around
from mixtura.covariance.base import Covariance, Floor, Kind


@dataclass(frozen=True, eq=False)
class Tied(Around):
    """One shape for all components: a structure whose leaves are (R, 1, ...), fed with pooled statistics."""

    shape: Covariance

    shared = True

    @property
    def inner(self) -> Covariance:
        return self.shape

    @property
    def form(self) -> str | None:  # type: ignore[override]
        return self.shape.form

    def _pool(self, s2: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(t.sum(1, keepdim=True) for t in s2)

    def moment(
        self, z: Float[Tensor, "R K E N"], w: Float[Tensor, "R K N"]
    ) -> tuple[Float64[Tensor, "R K D"], tuple[Tensor, ...]]:
        first, second = self.shape.moment(z, w)
        return first, self._pool(second)

    def from_scatter(self, scatter: Float64[Tensor, "R K D D"]) -> tuple[Tensor, ...]:
        return self._pool(self.shape.from_scatter(scatter))

    def move(self, s2: tuple[Tensor, ...], s0: Tensor, s1: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
        # Moving is affine in s2, so the pooled statistic moves by the pool of what each component's move adds.
        added = self._pool(self.shape.move(tuple(torch.zeros_like(t) for t in s2), s0, s1, delta))
        return tuple(t + a for t, a in zip(s2, added, strict=True))

    def maximise(self, n: Float64[Tensor, "R K"], s2: tuple[Tensor, ...], floor: Floor) -> "Tied":
        return Tied(self.shape.maximise(n.sum(1, keepdim=True), s2, floor))

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
