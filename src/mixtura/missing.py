"""Missing: the count for rows with gaps, from the marginal density of what was observed of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mixtura.covariance.base import home, quiet_cholesky
from mixtura.e_step import Count, share
from mixtura.gaps import Group, grouped
from mixtura.mixture import Mixture
from mixtura.moments import Moments
from mixtura.record import Record
from mixtura.rows import Chunk, Rows, Scratch

AT_ONCE = 2**21
"""Numbers that the whitened rows and factors of a group may take together."""


@dataclass(frozen=True, eq=False)
class Sums(Record):
    """What rows with gaps add.

    Attributes:
        loglik: (R, 1), Σ w log p(observed).
        n: (R, K), Σ w r.
        s1: (R, K, D), Σ w r (E[x | observed, k] − μ).
        s2: the structure's second-order statistics of the same rows, each (R, K or 1, ...).
        spread: (R, K, D, D), Σ w r Cov[x | observed, k].
    """

    loglik: Tensor
    n: Tensor
    s1: Tensor
    s2: tuple[Tensor, ...]
    spread: Tensor


class Marginal(Count):
    """EM for values missing at random (Little & Rubin 2019, ch. 11; Ghahramani & Jordan 1994; Hunt & Jorgensen 2003).

    A row's density is the marginal one of its observed entries o. Given them, its missing entries m have in each
    component a conditional mean and covariance, with which the moments are those expected of the whole row. In terms of
    the precision Λ = Σ⁻¹ and d = x − μ these are

        E[d_m] = −C Λ_mo d_o,  C = Cov[d_m] = Λ_mm⁻¹,  log|Σ_oo| = log|Σ| + log|Λ_mm|,

    and the squared distance of a row so filled is that of its observed entries. So a row is filled, once for each
    component, and then counted by the definition; only C is added. Everything is in float64 where the device has it.
    """

    def __init__(self, mixture: Mixture, scratch: Scratch, dtype: torch.dtype, device: torch.device) -> None:
        self.mixture, self.scratch, self.device = mixture, scratch, device
        self.dtype = mixture.mean.dtype if mixture.mean.device == device else dtype
        self.bytes_per_row = mixture.shape[2] * dtype.itemsize

    def parts(self, group: Group) -> Iterator[tuple[slice, "Part"]]:
        """The group bit by bit: as many patterns at a time as memory allows, and of these as many restarts."""
        restarts, components, features = self.mixture.shape
        most = int((~group.seen).sum(1).max())
        slots = max(1, AT_ONCE // (4 * components * (features * group.x.shape[2] + most * most)))
        patterns = min(len(group.seen), slots)
        batch = max(1, slots // patterns)
        for first in range(0, restarts, batch):
            here = slice(first, min(first + batch, restarts))
            under = Precision(self.mixture.take(here), self.dtype, self.device)
            for at in range(0, len(group.seen), patterns):
                yield here, Part(under, group.cut(slice(at, at + patterns)))

    def log_joint(self, x: Float[Tensor, "D N"]) -> tuple[Float[Tensor, "R K N"], Tensor | None]:
        joint = x.new_empty(*self.mixture.shape[:2], x.shape[1])
        for group in grouped(x):
            for here, part in self.parts(group):
                real = part.group.at >= 0
                joint[here, :, part.group.at[real]] = part.log_joint()[:, :, real].to(x.dtype)
        return joint, None

    def __call__(self, chunk: Chunk) -> Sums:
        (restarts, components, features), like = self.mixture.shape, self.mixture.mean
        spread = like.new_zeros(restarts, components, features, features)
        s2 = tuple(t.clone() for t in self.mixture.covariance.from_scatter(spread))
        total = Sums(spread[..., 0, :1, 0], spread[..., 0, 0], spread[..., 0], s2, spread).map(torch.clone)
        for group in chunk.groups:
            for here, part in self.parts(group):
                for t, added in zip(total.leaves(), part.sums(self.scratch).leaves(), strict=True):
                    t[here] += added
        return total

    def moments(self, total: Sums, rows: Rows) -> Moments:
        added = self.mixture.covariance.from_scatter(total.spread)
        s2 = tuple(t + a for t, a in zip(total.s2, added, strict=True))
        return Moments(total.loglik, total.n, total.n, total.s1, s2, ())


class Precision:
    """Some restarts, with what a pattern needs of their covariances.

    Attributes:
        mixture: these restarts.
        mean: (R, K, D), where the rows are.
        white: (R, K or 1, E, D), W with Σ⁻¹ = Wᵀ W.
        precision: (R, K or 1, D, D), Σ⁻¹.
    """

    def __init__(self, mixture: Mixture, dtype: torch.dtype, device: torch.device) -> None:
        covariance, log_det = mixture.covariance, mixture.covariance.log_det()
        eye = torch.eye(mixture.shape[2], dtype=log_det.dtype, device=log_det.device)
        white = covariance.whiten(eye, torch.zeros_like(mixture.mean[:, : log_det.shape[1]]))
        self.mixture, self.log_det = mixture, log_det
        self.mean, self.white, self.precision = (
            t.to(dtype).to(device) for t in (mixture.mean, white, white.mT @ white)
        )


class Part:
    """Some patterns under some restarts: rows filled for each component.

    Axes: M patterns, L rows of each, H missing entries of the pattern with the most; a place among these that a pattern
    does not need has variance 1 and offset 0.

    Attributes:
        group: the rows.
        offset: (R, K, D, M, L), E[x | observed, k] − μ.
        spread: (R, K or 1, M, H, H), Cov[missing | observed, k].
        lost: (M, H), the columns of the missing entries.
        log_det: (R, K or 1, M), log|Σ| of the observed entries.
    """

    def __init__(self, under: Precision, group: Group) -> None:
        self.under, self.group = under, group
        seen = group.seen
        # Missing columns first, at least one place; what is no missing one is masked.
        most = max(1, int((~seen).sum(1).max()))
        self.lost = seen.to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
        self.lacks = ~seen.gather(1, self.lost)
        both = self.lacks[:, :, None] & self.lacks[:, None, :]
        block = under.precision[..., self.lost[:, :, None], self.lost[:, None, :]]
        factor = quiet_cholesky(torch.where(both, block, torch.eye(most, dtype=block.dtype, device=block.device)))
        self.spread = torch.cholesky_inverse(factor) * both
        self.log_det = under.log_det[..., None] + home(
            2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1), under.log_det
        )
        self.offset = self._filled()

    def _filled(self) -> Float[Tensor, "R K D M L"]:
        x, mean, precision = self.group.x, self.under.mean, self.under.precision
        offset = (x.to(mean.dtype) - mean[..., None, None]) * self.group.seen.mT[:, :, None]
        pull = (precision @ offset.flatten(3)).view_as(offset)
        where = self.lost.mT[:, :, None].expand(*offset.shape[:2], -1, -1, offset.shape[-1])
        expected = -self.spread @ pull.gather(2, where).movedim(3, 2)
        return offset.scatter_add_(2, where, expected.movedim(2, 3))

    def whitened(self) -> Float[Tensor, "R K E N"]:
        """The filled rows in coordinates in which their length is the distance of what was observed."""
        return self.under.white @ self.offset.flatten(3)

    def log_joint(self, z: Float[Tensor, "R K E N"] | None = None) -> Float[Tensor, "R K M L"]:
        """log πₖ p(observed | k)."""
        restarts, components, _, patterns, rows = self.offset.shape
        z = self.whitened() if z is None else z
        # Each pattern of each component is a component of its own, with as many features as were observed.
        size = self.group.seen.to(self.log_det).sum(1).repeat(components)
        log_det = self.log_det.expand(restarts, components, patterns).flatten(1)
        d2 = z.square().sum(-2).view(restarts, components * patterns, rows)
        mixture = self.under.mixture
        density = mixture.family.log_density(d2, log_det, size).view(restarts, components, patterns, rows)
        return density + mixture.log_weight.to(density)[..., None, None]

    def sums(self, scratch: Scratch) -> Sums:
        """What these rows add."""
        z, covariance = self.whitened(), self.under.mixture.covariance
        joint, weight = self.log_joint(z), self.group.weight.flatten()
        r = joint.flatten(2)
        loglik = share(r, weight.to(r), scratch)
        s1, s2 = covariance.moment(z, r)
        n = r.view_as(joint).sum(-1)
        restarts, components, features, *_ = self.offset.shape
        spread = n.new_zeros(restarts, components, features * features)
        cells = (self.lost[:, :, None] * features + self.lost[:, None, :]).flatten()
        spread.index_add_(2, cells, (n[..., None, None] * self.spread).flatten(2))
        spread = spread.view(restarts, components, features, features)
        return Sums(home(loglik, s1), home(n.sum(-1), s1), s1, s2, home(spread, s1))

    def expectation(self) -> Float[Tensor, "R D M L"]:
        """Σₖ p(k | observed) E[x | observed, k]: observed entries as they are, missing ones as they are expected."""
        each = self.under.mean[..., None, None] + self.offset
        return (each * self.log_joint().softmax(1)[:, :, None]).sum(1)


def filled(mixture: Mixture, x: Float[Tensor, "D N"]) -> Float[Tensor, "D N"]:
    """Rows with their gaps filled by what the first restart expects there given the rest, which stays as it is."""
    rows = x.isnan().any(0).nonzero()[:, 0]
    out = x.clone()
    count = Marginal(mixture.take(slice(0, 1)), Scratch(), x.dtype, x.device)
    for group in grouped(x[:, rows]):
        for _, part in count.parts(group):
            at, missing = part.group.at, ~part.group.seen.mT
            column, pattern, row = (missing[..., None] & (at >= 0)).nonzero(as_tuple=True)
            expected = part.expectation()[0, column, pattern, row]
            out[column, rows[at[pattern, row]]] = expected.to(x.dtype)
    return out
