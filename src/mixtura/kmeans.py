"""K-means: seedings and Lloyd's rounds for many restarts together, on weighted rows."""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from mixtura.native import starts
from mixtura.survey import Sample

LLOYD = 100
"""Most rounds of k-means."""


def squared_distances(x: Float64[Tensor, "S D"], centres: Float64[Tensor, "R K D"]) -> Float64[Tensor, "R K S"]:
    """|x − c|², without the cancellation of an expanded square."""
    return torch.cdist(centres, x.expand(len(centres), -1, -1), compute_mode="donot_use_mm_for_euclid_dist").square()


def nearest(
    x: Float64[Tensor, "S D"], centres: Float64[Tensor, "R K D"]
) -> tuple[Float64[Tensor, "R S"], Int64[Tensor, "R S"]]:
    """|x − c|² − |x|² for the nearest centre c of each row, and which one it is."""
    if starts.serves(x, centres):
        return starts.nearest(x, centres)
    return _nearest_by_torch(x, centres)


def _nearest_by_torch(
    x: Float64[Tensor, "S D"], centres: Float64[Tensor, "R K D"]
) -> tuple[Float64[Tensor, "R S"], Int64[Tensor, "R S"]]:
    """One product for all restarts."""
    product = (centres.flatten(0, 1) @ x.mT).view(*centres.shape[:2], len(x))
    least = product.mul_(-2).add_(centres.square().sum(-1, keepdim=True)).min(1)
    return least.values, least.indices


def plusplus(sample: Sample, u: Float64[Tensor, "R K T"]) -> Float64[Tensor, "R K D"]:
    """Greedy k-means++ for all restarts together: of T candidates drawn by squared distance, the best is kept."""
    if starts.serves(sample.x, sample.weight, u):
        return starts.plusplus(sample.x, sample.weight, u)
    return _plusplus_by_torch(sample, u)


def _plusplus_by_torch(sample: Sample, u: Float64[Tensor, "R K T"]) -> Float64[Tensor, "R K D"]:
    x, weight = sample
    restarts, components, _ = u.shape
    centres = x.new_empty(restarts, components, x.shape[1])
    gap = x.new_ones(restarts, len(x))
    every = torch.arange(restarts, device=x.device)
    for k in range(components):
        mass = (gap * weight).cumsum(1)
        candidates = torch.searchsorted(mass, u[:, k] * mass[:, -1:]).clamp_max(len(x) - 1)
        if k == 0:
            candidates, gap = candidates[:, :1], torch.full_like(gap, torch.inf)
        closer = torch.minimum(squared_distances(x, x[candidates]), gap[:, None])
        best = (closer @ weight).argmin(1)
        centres[:, k], gap = x[candidates[every, best]], closer[every, best]
    return centres


def lloyd(sample: Sample, centres: Float64[Tensor, "R K D"], rounds: int = LLOYD) -> Float64[Tensor, "R K D"]:
    """k-means (Lloyd 1982) for all restarts together; a centre that loses its rows moves to the farthest row."""
    if starts.serves(sample.x, sample.weight, centres):
        return starts.lloyd(sample.x, sample.weight, centres, rounds)
    return _lloyd_by_torch(sample, centres, rounds)


def _lloyd_by_torch(sample: Sample, centres: Float64[Tensor, "R K D"], rounds: int) -> Float64[Tensor, "R K D"]:
    x, weight = sample
    labels: Int64[Tensor, "R S"] | None = None
    length = x.square().sum(1)
    for _ in range(rounds):
        distance, found = _nearest_by_torch(x, centres)
        if labels is not None and torch.equal(found, labels):
            break
        labels = found
        member = one_hot(labels, centres.shape[1]) * weight
        count = member.sum(-1, keepdim=True)
        centres = torch.where(count > 0, (member @ x) / count.clamp_min(torch.finfo(x.dtype).tiny), centres)
        for r, k in (count[..., 0] == 0).nonzero().tolist():
            far = (distance[r] + length).argmax()
            centres[r, k], distance[r, far] = x[far], -length[far]
    return centres


def one_hot(labels: Int64[Tensor, "R S"], components: int) -> Float64[Tensor, "R K S"]:
    """Responsibilities of a partition: 1 for a row's own component."""
    return torch.zeros(len(labels), components, labels.shape[1], dtype=torch.float64, device=labels.device).scatter_(
        1, labels[:, None], 1.0
    )
