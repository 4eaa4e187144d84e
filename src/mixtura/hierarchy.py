"""Hierarchy: groups of rows joined pair by pair by a Gaussian criterion, for many restarts together."""

from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from mixtura.covariance.base import quiet_cholesky
from mixtura.native import starts


class Groups(NamedTuple):
    """Groups of rows by what they add up to.

    Attributes:
        n: (R, M), the sum of their weights; 0 for a group without rows.
        mean: (R, M, D).
        scatter: (R, M, D, D), about the mean.
    """

    n: Float64[Tensor, "R M"]
    mean: Float64[Tensor, "R M D"]
    scatter: Float64[Tensor, "R M D D"]

    def with_each(self, at: Int64[Tensor, "R"]) -> tuple[Float64[Tensor, "R M"], Float64[Tensor, "R M D D"]]:
        """Counts and scatters of one group of each restart joined with every group of it."""
        rows = torch.arange(len(at), device=at.device)
        n = self.n[rows, at][:, None]
        both = n + self.n
        gap = self.mean - self.mean[rows, at][:, None]
        between = (n * self.n / both.clamp_min(1e-300))[..., None, None] * gap[..., :, None] * gap[..., None, :]
        return both, self.scatter[rows, at][:, None] + self.scatter + between


def criterion(n: Float64[Tensor, "R M"], scatter: Float64[Tensor, "R M D D"], prior: float) -> Float64[Tensor, "R M"]:
    """n log|S| of each group (Banfield & Raftery 1993), S = (scatter + (D + 2) · prior · I) / (n + D + 2).

    Few rows have no covariance of their own: Fraley (1998) adds a trace, here D + 2 rows' worth of a round covariance
    keep S regular.
    """
    features = scatter.shape[-1]
    eye = torch.eye(features, dtype=scatter.dtype, device=scatter.device)
    factor = quiet_cholesky((scatter + (features + 2) * prior * eye) / (n + features + 2)[..., None, None])
    return 2 * n * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def agglomerate(groups: Groups, components: int, prior: float) -> Int64[Tensor, "R M"]:
    """Join the two groups that raise the criterion least until K are left: which of them each group ends in.

    Args:
        groups: M of each restart, in coordinates in which the rows have unit covariance.
        components: K; a restart with fewer groups that have rows keeps them.
        prior: variance of the round covariance that small groups are pulled to.
    """
    if starts.serves(*groups):
        return starts.agglomerate(*groups, components, prior)
    return _agglomerate_by_torch(groups, components, prior)


def _agglomerate_by_torch(groups: Groups, components: int, prior: float) -> Int64[Tensor, "R M"]:
    groups = Groups(*(t.clone() for t in groups))
    restarts, size = groups.n.shape
    device = groups.n.device
    every, alive = torch.arange(restarts, device=device), groups.n > 0
    value = criterion(groups.n, groups.scatter, prior)
    cost = torch.full((restarts, size, size), torch.inf, dtype=value.dtype, device=device)

    def price(at: Int64[Tensor, "R"]) -> None:
        row = criterion(*groups.with_each(at), prior) - value - value[every, at][:, None]
        row = torch.where(alive & alive[every, at][:, None], row, torch.inf)
        row[every, at] = torch.inf
        cost[every, at], cost[every, :, at] = row, row

    for j in range(size):
        price(torch.full((restarts,), j, device=device))
    owner = torch.arange(size, device=device).repeat(restarts, 1)
    for _ in range(size - components):
        least = cost.flatten(1).min(1)
        on = (alive.sum(1) > components) & least.values.isfinite()
        keep, gone = least.indices // size, least.indices % size
        both, scatter = groups.with_each(keep)
        share = (groups.n[every, gone] / both[every, gone])[:, None]
        mean = groups.mean[every, keep] + share * (groups.mean[every, gone] - groups.mean[every, keep])
        groups.n[every[on], keep[on]] = both[every, gone][on]
        groups.mean[every[on], keep[on]] = mean[on]
        groups.scatter[every[on], keep[on]] = scatter[every, gone][on]
        alive[every[on], gone[on]] = False
        owner = torch.where((owner == gone[:, None]) & on[:, None], keep[:, None], owner)
        cost[every[on], gone[on]], cost[every[on], :, gone[on]] = torch.inf, torch.inf
        value[every, keep] = criterion(groups.n[every, keep][:, None], groups.scatter[every, keep][:, None], prior)[
            :, 0
        ]
        price(keep)
    rank = alive.cumsum(1) - 1
    return rank.gather(1, owner)
