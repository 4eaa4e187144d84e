"""Axes: orthonormal axes of scatter matrices: each one's own, and those that serve several together."""

from functools import lru_cache

import torch
from jaxtyping import Float64, Int64
from torch import Tensor


def own_axes(scatter: Float64[Tensor, "*B D D"]) -> tuple[Float64[Tensor, "*B D"], Float64[Tensor, "*B D D"]]:
    """Eigenvalues in increasing order, and eigenvectors as columns; NaN of a matrix that is not finite."""
    finite = scatter.isfinite().all(-1).all(-1)
    eye = torch.eye(scatter.shape[-1], dtype=scatter.dtype, device=scatter.device)
    value, vector = torch.linalg.eigh(torch.where(finite[..., None, None], scatter, eye))
    return torch.where(finite[..., None], value, torch.nan), vector


def along(axes: Float64[Tensor, "R #K D D"], scatter: Float64[Tensor, "R K D D"]) -> Float64[Tensor, "R K D"]:
    """The diagonals of Qᵀ W Q."""
    return torch.linalg.vecdot(scatter @ axes, axes.expand(*scatter.shape[:2], -1, -1), dim=-2)


def turned(
    axes: Float64[Tensor, "R 1 D D"], scatter: Float64[Tensor, "R K D D"], precision: Float64[Tensor, "R K D"]
) -> Float64[Tensor, "R 1 D D"]:
    """Axes that lower Σₖ tr(Wₖ Q Pₖ Qᵀ) for diagonal Pₖ: a sweep of rotations in the planes of all pairs of axes.

    A rotation by θ in the plane of the axes i and j changes the sum to a cos 2θ + b sin 2θ and a constant, with
    2a = Σₖ (pᵢ − pⱼ)(Wᵢᵢ − Wⱼⱼ) and b = Σₖ (pᵢ − pⱼ) Wᵢⱼ, which is least at 2θ = atan2(−b, −a): in closed form, unlike
    where the diagonals Pₖ move with the axes (Flury & Gautschi 1986). Pairs without an axis in common do not touch each
    other's part of the sum, so that D/2 of them turn together, as in a round-robin tournament.
    """
    features = axes.shape[-1]
    seen = axes.mT @ scatter @ axes
    eye = torch.eye(features, dtype=axes.dtype, device=axes.device).expand(len(axes), 1, -1, -1)
    total = axes
    for i, j in tournament(features, axes.device):
        on = seen.diagonal(dim1=-2, dim2=-1)
        more = precision[..., i] - precision[..., j]
        a = 0.5 * (more * (on[..., i] - on[..., j])).sum(1, keepdim=True)
        b = (more * seen[..., i, j]).sum(1, keepdim=True)
        angle = 0.5 * torch.atan2(-b, -a)
        turn, cos, sin = eye.clone(), angle.cos(), angle.sin()
        turn[..., i, i], turn[..., j, j], turn[..., j, i], turn[..., i, j] = cos, cos, sin, -sin
        seen, total = turn.mT @ seen @ turn, total @ turn
    # One step of Newton's towards orthonormal columns: rotations lose a digit in some thousand.
    return total @ (1.5 * eye - 0.5 * total.mT @ total)


@lru_cache(maxsize=64)
def tournament(features: int, device: torch.device) -> list[tuple[Int64[Tensor, "P"], Int64[Tensor, "P"]]]:
    """Every pair of axes once, in rounds in which no axis plays twice: one stays, the others go round it."""
    if features == 1:
        return []
    ring = list(range(features + features % 2))
    rounds = []
    for _ in ring[1:]:
        half = len(ring) // 2
        pairs = [(min(p), max(p)) for p in zip(ring[:half], reversed(ring[half:]), strict=True) if max(p) < features]
        i, j = torch.tensor(pairs).T.to(device)
        rounds.append((i, j))
        ring = [ring[0], ring[-1], *ring[1:-1]]
    return rounds
