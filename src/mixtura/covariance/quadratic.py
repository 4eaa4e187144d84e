"""Quadratics: which second-order features of x a structure's density is linear in."""

from abc import ABC, abstractmethod
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


class Quadratic(ABC):
    """A map from rows to second-order features, and between symmetric matrices and their coefficients."""

    @abstractmethod
    def size(self, features: int) -> int:
        """How many quadratic features there are for D features."""

    @abstractmethod
    def write(self, x: Float[Tensor, "D N"], out: Float[Tensor, "P N"]) -> None:
        """The features of each row, written into ``out``."""


class Vech(Quadratic):
    """x_i x_j for i ≥ j, row by row of the lower triangle: P = D(D+1)/2."""

    def size(self, features: int) -> int:
        return features * (features + 1) // 2

    def write(self, x: Float[Tensor, "D N"], out: Float[Tensor, "P N"]) -> None:
        at = 0
        for i in range(len(x)):
            torch.mul(x[: i + 1], x[i], out=out[at : at + i + 1])
            at += i + 1

    def pack(self, matrix: Float[Tensor, "*B D D"]) -> Float[Tensor, "*B P"]:
        """Coefficients c with c · features(x) = xᵀ A x, for a symmetric A."""
        at, twice = lower_triangle(matrix.shape[-1], matrix.device)
        return matrix.flatten(-2)[..., at] * twice

    def unpack(self, sums: Float[Tensor, "*B P"], features: int) -> Float[Tensor, "*B D D"]:
        """The symmetric matrix whose lower triangle the sums of features are."""
        return sums[..., place_in_vech(features, sums.device)].reshape(*sums.shape[:-1], features, features)


@lru_cache(maxsize=64)
def lower_triangle(features: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where the lower triangle's entries lie in a flattened matrix, and how often each stands in xᵀ A x (float64)."""
    i, j = torch.tril_indices(features, features, device=device)
    return i * features + j, torch.where(i == j, 1.0, 2.0).to(torch.float64)


@lru_cache(maxsize=64)
def place_in_vech(features: int, device: torch.device) -> Tensor:
    """For each entry of a flattened symmetric matrix, its place in the packed lower triangle."""
    i = torch.arange(features, device=device)
    high, low = torch.maximum(i[:, None], i), torch.minimum(i[:, None], i)
    return (high * (high + 1) // 2 + low).flatten()


class Squares(Quadratic):
    """x_i²: P = D."""

    def size(self, features: int) -> int:
        return features

    def write(self, x: Float[Tensor, "D N"], out: Float[Tensor, "P N"]) -> None:
        torch.mul(x, x, out=out)


class Norm(Quadratic):
    """|x|²: P = 1."""

    def size(self, features: int) -> int:
        return 1

    def write(self, x: Float[Tensor, "D N"], out: Float[Tensor, "P N"]) -> None:
        torch.linalg.vecdot(x, x, dim=0, out=out[0])


VECH, SQUARES, NORM = Vech(), Squares(), Norm()
