"""Moments: what one pass over the data adds up."""

from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor

from mixtura.record import Record


@dataclass(frozen=True, eq=False)
class Moments(Record):
    """Additive statistics of a mixture on some rows, always about the means of the mixture that was measured.

    With row weights w, responsibilities r and the family's row weights u (1 for a Gaussian); axes: R restarts,
    K components, D features.

    Attributes:
        loglik: (R, 1), Σ w log p(x).
        n: (R, K), Σ w r.
        s0: (R, K), Σ w r u.
        s1: (R, K, D), Σ w r u (x − μ).
        s2: the covariance structure's second-order statistics, each (R, K or 1, ...).
        extra: the family's statistics, each (R, K, ...).
    """

    loglik: Float64[Tensor, "R 1"]
    n: Float64[Tensor, "R K"]
    s0: Float64[Tensor, "R K"]
    s1: Float64[Tensor, "R K D"]
    s2: tuple[Tensor, ...]
    extra: tuple[Tensor, ...]
