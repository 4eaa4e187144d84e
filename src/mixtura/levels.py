"""Levels: how much of a mixture of one feature lies below a value, and the value that a share lies below."""

import torch
from jaxtyping import Float64
from scipy.special import ndtr, ndtri
from torch import Tensor

from mixtura.mixture import Mixture

HALVINGS = 1100
"""Most halvings of an interval: from the largest double to the smallest."""


def below(mixture: Mixture, x: Float64[Tensor, "N"]) -> Float64[Tensor, "N"]:
    """P(X ≤ x)."""
    weight, mean, sd = _line(mixture)
    return torch.from_numpy(ndtr(((x[:, None] - mean) / sd).numpy())) @ weight


def above(mixture: Mixture, x: Float64[Tensor, "N"]) -> Float64[Tensor, "N"]:
    """P(X > x), with the digits that 1 − P(X ≤ x) has lost."""
    weight, mean, sd = _line(mixture)
    return torch.from_numpy(ndtr(((mean - x[:, None]) / sd).numpy())) @ weight


def quantile(mixture: Mixture, p: Float64[Tensor, "N"]) -> Float64[Tensor, "N"]:
    """The x with P(X ≤ x) = p, by halving the interval between the components' own quantiles; p is within 0 and 1."""
    _, mean, sd = _line(mixture)
    each = mean + sd * torch.from_numpy(ndtri(p.numpy()))[:, None]
    low, high = each.amin(1), each.amax(1)
    upper = p > 0.5
    for _ in range(HALVINGS):
        middle = low + (high - low) / 2
        short = torch.where(upper, above(mixture, middle) > 1 - p, below(mixture, middle) < p)
        moved = torch.where(short, middle, low), torch.where(short, high, middle)
        if bool(((moved[0] == low) & (moved[1] == high) | ~middle.isfinite()).all()):
            break
        low, high = moved
    # Of 0 and 1 the ends are infinite, and the middle of them is no number.
    return torch.where(each.isfinite().all(1), high, each[:, 0])


def _line(mixture: Mixture) -> tuple[Float64[Tensor, "K"], Float64[Tensor, "K"], Float64[Tensor, "K"]]:
    """Weights, means and standard deviations of the components that have any weight."""
    weight = mixture.log_weight[0].softmax(0)
    sd = mixture.covariance.dense()[0, :, 0, 0].expand(len(weight)).sqrt()
    some = weight > 0
    return weight[some], mixture.mean[0, some, 0], sd[some]
