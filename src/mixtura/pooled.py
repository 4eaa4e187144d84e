"""Pooled: one Gaussian fitted to all rows where some have gaps, which says what to expect in the gaps."""

import torch
from jaxtyping import Float64
from torch import Tensor

from mixtura.converge import converge
from mixtura.covariance import GENERAL, Floor
from mixtura.data.array import Array
from mixtura.em import Likelihood
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.rows import Rows
from mixtura.stop import Still

ENOUGH = Still(1e-4)
"""It is only for starts and for scales: a fit goes on from there."""

PASSES = 50


def pooled(
    x: Float64[Tensor, "N D"],
    weight: Float64[Tensor, "N"],
    mean: Float64[Tensor, "D"],
    variance: Float64[Tensor, "D"],
    least: Float64[Tensor, "D"],
) -> Mixture:
    """The likeliest Gaussian by EM, NaN being missing at random.

    Args:
        x: rows.
        weight: theirs.
        mean: where to begin: of the observed entries of each column.
        variance: the same.
        least: variances below which the M-step clips.
    """
    floor, one = Floor(least), torch.ones(1, 1, dtype=torch.float64)
    unit = GENERAL.unit(1, 1, x.shape[1])
    covariance = unit.nearest(one, torch.diag(variance)[None, None], floor)
    start = Mixture(one.log(), torch.zeros_like(mean)[None, None], covariance, Gaussian())
    rows = Rows(Array(x, weight), origin=mean, gaps=True)
    return converge(start, rows, Likelihood(floor), ENOUGH, PASSES).turn.model.shifted(mean)
