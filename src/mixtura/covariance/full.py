"""Full covariances: each component has its own volume, shape and orientation (mclust's VVV)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mixtura.covariance.base import Covariance, Floor, Kind, NotPositiveDefinite, home, quiet_cholesky
from mixtura.covariance.quadratic import VECH


@dataclass(frozen=True, eq=False)
class Full(Covariance):
    """Σ = L Lᵀ, held as the Cholesky factor L (R, K or 1, D, D)."""

    tril: Float64[Tensor, "R K D D"]

    own_orientation = True
    quadratic = VECH
    form = "matrix"

    @classmethod
    def unit(cls, restarts: int, components: int, features: int) -> "Full":
        return Full(torch.eye(features, dtype=torch.float64).repeat(restarts, components, 1, 1))

    @cached_property
    def white(self) -> Float64[Tensor, "R K D D"]:
        """L⁻¹, inverted once: no triangular solve ever runs over the data."""
        eye = torch.eye(self.tril.shape[-1], dtype=self.tril.dtype, device=self.tril.device)
        return torch.linalg.solve_triangular(self.tril, eye, upper=False)

    def log_det(self) -> Float64[Tensor, "R K"]:
        return 2 * self.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def variances(self) -> Float64[Tensor, "R K D"]:
        return self.tril.square().sum(-1)

    def dense(self) -> Float64[Tensor, "R K D D"]:
        return self.tril @ self.tril.mT

    def factor(self) -> Float64[Tensor, "R K D D"]:
        return self.tril

    def whiten(self, x: Float[Tensor, "D N"], mean: Float64[Tensor, "R K D"]) -> Float[Tensor, "R K E N"]:
        return self.white.to(x) @ (x - mean.to(x)[..., None])

    def moment(
        self, z: Float[Tensor, "R K E N"], w: Float[Tensor, "R K N"]
    ) -> tuple[Float64[Tensor, "R K D"], tuple[Tensor, ...]]:
        first = home(z @ w[..., None], self.tril)
        second = home((z * w[..., None, :]) @ z.mT, self.tril)
        return (self.tril @ first)[..., 0], (self.tril @ second @ self.tril.mT,)

    def mean_squares(self) -> tuple[Tensor, ...]:
        return (self.dense(),)

    def from_scatter(self, scatter: Float64[Tensor, "R K D D"]) -> tuple[Tensor, ...]:
        return (scatter,)

    def move(self, s2: tuple[Tensor, ...], s0: Tensor, s1: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
        # s0 δδᵀ − s1 δᵀ − δ s1ᵀ = −(A + Aᵀ) with A = (s1 − ½ s0 δ) δᵀ.
        half = torch.addcmul(s1, s0[..., None], delta, value=-0.5)[..., :, None] * delta[..., None, :]
        return (s2[0] - (half + half.mT),)

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

    @cached_property
    def inverse(self) -> Float64[Tensor, "R K D D"]:
        """Σ⁻¹."""
        return self.white.mT @ self.white

    def precision(self) -> Float64[Tensor, "R K P"]:
        return VECH.pack(self.inverse)

    def solve(self, v: Float64[Tensor, "R K D"]) -> Float64[Tensor, "R K D"]:
        return (self.inverse * v[..., None, :]).sum(-1)

    def from_second(self, sums: Float64[Tensor, "R K P"]) -> tuple[Tensor, ...]:
        return (VECH.unpack(sums, self.tril.shape[-1]),)

    def n_parameters(self) -> int:
        _, components, features, _ = self.tril.shape
        return components * features * (features + 1) // 2

    def publish(self, kind: Kind) -> Tensor:
        root = self.white[0].mT
        return {"covariances": self.dense()[0], "precisions": root @ root.mT, "precisions_cholesky": root}[kind]

    def published_shape(self, components: int) -> tuple[int, ...]:
        features = self.tril.shape[-1]
        return (components, features, features)

    def adopt(self, value: Tensor, kind: Literal["covariances", "precisions"]) -> "Full":
        symmetric = torch.allclose(value, value.mT, rtol=1e-5, atol=1e-8 * float(value.abs().amax()))
        factor = quiet_cholesky(value if kind == "covariances" else value.flip(-1, -2))
        if not symmetric or bool(factor.isnan().any()):
            raise NotPositiveDefinite("should be symmetric, positive-definite")
        if kind == "precisions":
            # With J the exchange, J Λ J = C Cᵀ gives Λ = U Uᵀ, U = J C J upper, hence Σ = L Lᵀ with L = U⁻ᵀ lower.
            upper = factor.flip(-1, -2)
            eye = torch.eye(upper.shape[-1], dtype=upper.dtype, device=upper.device)
            factor = torch.linalg.solve_triangular(upper, eye, upper=True).mT
        return Full(factor[None])


def clipped(sigma: Float64[Tensor, "R K D D"], which: Tensor, least: Float64[Tensor, "D"]) -> Tensor:
    """Cholesky factors of Σ with the eigenvalues that lie below the floor raised to it, where ``which`` says so."""
    root = least.sqrt()
    eye = torch.eye(len(root), dtype=sigma.dtype, device=sigma.device)
    scaled = torch.where(which[..., None, None], sigma / (root[:, None] * root), eye)
    value, vector = torch.linalg.eigh(scaled)
    # Σ' = V diag(λ') Vᵀ has the Cholesky factor R with √λ' Vᵀ = Q Rᵀ: exact even where Σ' is nearly singular.
    upper = torch.linalg.qr((value.clamp_min(1.0).sqrt()[..., None, :] * vector).mT, mode="r")[1]
    sign = upper.diagonal(dim1=-2, dim2=-1).sign()
    return root[:, None] * (upper * sign[..., None]).mT
