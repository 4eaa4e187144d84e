"""Rooted: covariance matrices of any orientation, by a root of each: what those that differ in their M-step share."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mixtura.covariance.base import Covariance, home
from mixtura.covariance.quadratic import VECH


@dataclass(frozen=True, eq=False)
class Rooted(Covariance):
    """Σ = A Aᵀ, for a square root A that the leaves give and of which the inverse is known."""

    quadratic = VECH

    @property
    @abstractmethod
    def root(self) -> Float64[Tensor, "R K D D"]:
        """A."""

    @property
    @abstractmethod
    def white(self) -> Float64[Tensor, "R K D D"]:
        """A⁻¹, inverted once: no triangular solve ever runs over the data."""

    def variances(self) -> Float64[Tensor, "R K D"]:
        return self.root.square().sum(-1)

    def dense(self) -> Float64[Tensor, "R K D D"]:
        return self.root @ self.root.mT

    def factor(self) -> Float64[Tensor, "R K D D"]:
        return self.root

    def whiten(self, x: Float[Tensor, "D N"], mean: Float64[Tensor, "R K D"]) -> Float[Tensor, "R K E N"]:
        return self.white.to(x) @ (x - mean.to(x)[..., None])

    def moment(
        self, z: Float[Tensor, "R K E N"], w: Float[Tensor, "R K N"]
    ) -> tuple[Float64[Tensor, "R K D"], tuple[Tensor, ...]]:
        first = home(z @ w[..., None], self.root)
        second = home((z * w[..., None, :]) @ z.mT, self.root)
        return (self.root @ first)[..., 0], (self.root @ second @ self.root.mT,)

    def mean_squares(self) -> tuple[Tensor, ...]:
        return (self.dense(),)

    def from_scatter(self, scatter: Float64[Tensor, "R K D D"]) -> tuple[Tensor, ...]:
        return (scatter,)

    def move(self, s2: tuple[Tensor, ...], s0: Tensor, s1: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
        # s0 δδᵀ − s1 δᵀ − δ s1ᵀ = −(A + Aᵀ) with A = (s1 − ½ s0 δ) δᵀ.
        half = torch.addcmul(s1, s0[..., None], delta, value=-0.5)[..., :, None] * delta[..., None, :]
        return (s2[0] - (half + half.mT),)

    @cached_property
    def inverse(self) -> Float64[Tensor, "R K D D"]:
        """Σ⁻¹."""
        return self.white.mT @ self.white

    def precision(self) -> Float64[Tensor, "R K P"]:
        return VECH.pack(self.inverse)

    def solve(self, v: Float64[Tensor, "R K D"]) -> Float64[Tensor, "R K D"]:
        return (self.inverse * v[..., None, :]).sum(-1)

    def from_second(self, sums: Float64[Tensor, "R K P"]) -> tuple[Tensor, ...]:
        return (VECH.unpack(sums, self.root.shape[-1]),)
