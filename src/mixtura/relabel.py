"""Relabel: which component of one mixture is which of another, by the overlap of their densities."""

import torch
from jaxtyping import Float64, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mixtura.mixture import Mixture

FAR = 1e-6
"""Weight of the distance between components that do not overlap, beside an overlap of 0 to 1."""


def matching(mixture: Mixture, like: Mixture) -> Int64[Tensor, "K"]:
    """The order in which the components of a mixture follow those of another.

    The pairs have the largest total overlap ∫ √(p q), the Bhattacharyya coefficient (Bhattacharyya 1943): it does not
    depend on units, rotations or other affine changes of the features, and a component far from all others cannot
    pull close pairs apart. Where nothing overlaps, the smaller total distance decides. A dropped component (weight 0)
    is paired last.

    Args:
        mixture: one restart, K components.
        like: one restart, J components.

    Returns:
        (K,) indices for :meth:`mixtura.Mixture.pick`: partners in the order of ``like``, then the rest by decreasing
        weight.

    Raises:
        ValueError: the mixtures have different numbers of features.
    """
    (_, _, features), (_, _, theirs) = mixture.shape, like.shape
    if features != theirs:
        raise ValueError(f"like has {theirs} features, this model {features}: compare models of the same columns")
    distance = bhattacharyya(mixture.to("cpu"), like.to("cpu"))
    gone = mixture.log_weight[0].isneginf().cpu()[:, None] ^ like.log_weight[0].isneginf().cpu()
    cost = -torch.expm1(-distance) + FAR * distance / distance.max().clamp_min(1.0) + gone
    mine, yours = linear_sum_assignment(cost.numpy())
    paired = torch.from_numpy(mine[yours.argsort()])
    by_weight = mixture.log_weight[0].cpu().argsort(descending=True, stable=True)
    return torch.cat([paired, by_weight[~torch.isin(by_weight, paired)]])


def bhattacharyya(a: Mixture, b: Mixture) -> Float64[Tensor, "K J"]:
    """Distances between Gaussian components of two mixtures, ⅛ δᵀ Σ̄⁻¹ δ + ½ log(|Σ̄| / √(|Σ||Σ'|)) (Kailath 1967).

    Σ̄ is the mean of both covariances, δ the difference of the means. Where Σ̄ is not positive definite in the
    arithmetic at hand, components count as infinitely far apart: the largest number a matching can still add up.
    """
    first, second = (m.covariance.dense()[0].expand(m.shape[1], -1, -1) for m in (a, b))
    # In units of the standard deviations, so that features of very different size lose no digits.
    sd = (0.5 * (first.diagonal(dim1=-2, dim2=-1).mean(0) + second.diagonal(dim1=-2, dim2=-1).mean(0))).sqrt()
    first, second = (s / (sd[:, None] * sd) for s in (first, second))
    delta = (a.mean[0][:, None] - b.mean[0]) / sd
    middle, _ = torch.linalg.cholesky_ex(0.5 * (first[:, None] + second))
    white = torch.linalg.solve_triangular(middle, delta[..., None], upper=False)[..., 0]
    logs = [2 * middle.diagonal(dim1=-2, dim2=-1).log().sum(-1), *(m.covariance.log_det()[0] for m in (a, b))]
    scale = 2 * sd.log().sum()
    apart = logs[0] - 0.5 * ((logs[1] - scale)[:, None] + (logs[2] - scale))
    return (0.125 * white.square().sum(-1) + 0.5 * apart).clamp_min(0.0).nan_to_num(nan=1e9, posinf=1e9)
