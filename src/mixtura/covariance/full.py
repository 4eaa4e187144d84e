"""Full covariances: each component has its own volume, shape and orientation (mclust's VVV)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from mixtura.covariance.base import Floor, Kind, factor_of, inverse_of, quiet_cholesky, triangular
from mixtura.covariance.rooted import Rooted


@dataclass(frozen=True, eq=False)
class Full(Rooted):
    """Σ = L Lᵀ, held as the Cholesky factor L (R, K or 1, D, D)."""

    tril: Float64[Tensor, "R K D D"]

    own_orientation = True
    form = "matrix"

    @classmethod
    def unit(cls, restarts: int, components: int, features: int) -> "Full":
        return Full(torch.eye(features, dtype=torch.float64).repeat(restarts, components, 1, 1))

    @property
    def root(self) -> Float64[Tensor, "R K D D"]:
        return self.tril

    @cached_property
    def white(self) -> Float64[Tensor, "R K D D"]:
        return inverse_of(self.tril)

    def log_det(self) -> Float64[Tensor, "R K"]:
        return 2 * self.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def maximise(self, n: Float64[Tensor, "R K"], s2: tuple[Tensor, ...], floor: Floor) -> "Full":
        sigma = s2[0] / n[..., None, None]
        if floor.added:
            sigma = sigma + floor.added * torch.eye(sigma.shape[-1], dtype=sigma.dtype, device=sigma.device)
        found = Full(quiet_cholesky(sigma))
        if floor.least is None:
            return found
        # λ is an eigenvalue of Σ scaled by the floor. Σ 1/λ ≤ 1 proves every λ ≥ 1: the clip has nothing to do.
        spread = (found.white.square() * floor.least).sum((-2, -1))
        if floor.blind:
            return Full(torch.where((spread <= 1)[..., None, None], found.tril, torch.nan))
        if bool((spread <= 1).all()):
            return found
        doubtful = ~(spread <= 1) & sigma.isfinite().all(-1).all(-1)
        return Full(torch.where(doubtful[..., None, None], clipped(sigma, doubtful, floor.least), found.tril))

    def n_parameters(self) -> int:
        _, components, features, _ = self.tril.shape
        return components * features * (features + 1) // 2

    def publish(self, kind: Kind) -> Tensor:
        root = self.white[0].mT
        return {"covariances": self.dense()[0], "precisions": root @ root.mT, "precisions_cholesky": root}[kind]

    def adopt(self, value: Tensor, kind: Literal["covariances", "precisions"]) -> "Full":
        return Full(factor_of(value, kind)[None])


def clipped(sigma: Float64[Tensor, "R K D D"], which: Tensor, least: Float64[Tensor, "D"]) -> Tensor:
    """Cholesky factors of Σ with the eigenvalues that lie below the floor raised to it, where ``which`` says so."""
    root = least.sqrt()
    eye = torch.eye(len(root), dtype=sigma.dtype, device=sigma.device)
    scaled = torch.where(which[..., None, None], sigma / (root[:, None] * root), eye)
    value, vector = torch.linalg.eigh(scaled)
    return root[:, None] * triangular(value.clamp_min(1.0).sqrt()[..., None, :] * vector)
