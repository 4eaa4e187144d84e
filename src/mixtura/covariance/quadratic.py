"""Quadratics: which second-order features of x a structure's density is linear in."""

from abc import ABC, abstractmethod

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
        i, j = torch.tril_indices(*matrix.shape[-2:], device=matrix.device)
        return matrix[..., i, j] * torch.where(i == j, 1.0, 2.0).to(matrix)

    def unpack(self, sums: Float[Tensor, "*B P"], features: int) -> Float[Tensor, "*B D D"]:
        """The symmetric matrix whose lower triangle the sums of features are."""
        i, j = torch.tril_indices(features, features, device=sums.device)
        matrix = sums.new_empty(*sums.shape[:-1], features, features)
        matrix[..., i, j] = sums
        matrix[..., j, i] = sums
        return matrix


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
