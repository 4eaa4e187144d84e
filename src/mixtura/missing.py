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
    """What rows with gaps add, before a structure reads it.

    Attributes:
        loglik: (R, 1), Σ w log p(observed).
        n: (R, K), Σ w r.
        s1: (R, K, D), Σ w r E[x − μ | observed].
        scatter: (R, K, D, D), Σ w r E[(x − μ)(x − μ)ᵀ | observed].
    """

    loglik: Tensor
    n: Tensor
    s1: Tensor
    scatter: Tensor


class Marginal(Count):
    """EM for values missing at random (Little & Rubin 2019, ch. 11; Ghahramani & Jordan 1994; Hunt & Jorgensen 2003).

    A row's density is the marginal one of its observed entries. What is missing has, given them, a conditional mean and
    covariance in each component; with both, the moments are those expected of the whole row. Every pattern of observed
    entries has one Cholesky factor L of Σ with the observed columns first: its upper left block whitens them to
    z = L₁₁⁻¹ (x₁ − μ₁), the conditional mean is μ + L [z; 0], the conditional covariance of the rest L₂₂ L₂₂ᵀ. Whatever
    the structure, this takes D² numbers and D³ operations for each pattern and component.
    """

    def __init__(self, mixture: Mixture, scratch: Scratch, dtype: torch.dtype, device: torch.device) -> None:
        self.mixture, self.scratch, self.dtype, self.device = mixture, scratch, dtype, device
        self.bytes_per_row = mixture.shape[2] * dtype.itemsize

    def parts(self, group: Group) -> Iterator[tuple[slice, "Part"]]:
        """The group bit by bit, for as many patterns at a time as memory allows, and of these for all restarts."""
        restarts, components, features = self.mixture.shape
        slots = max(1, AT_ONCE // (components * features * (group.x.shape[2] + 4 * features)))
        patterns = min(len(group.x), slots)
        batch = max(1, slots // patterns)
        for at in range(0, len(group.x), patterns):
            some = group.cut(slice(at, at + patterns))
            for first in range(0, restarts, batch):
                here = slice(first, min(first + batch, restarts))
                yield here, Part(self.mixture.take(here), some, self.dtype, self.device)

    def log_joint(self, x: Float[Tensor, "D N"]) -> tuple[Float[Tensor, "R K N"], Tensor | None]:
        joint = x.new_empty(*self.mixture.shape[:2], x.shape[1])
        for group in grouped(x):
            for here, part in self.parts(group):
                real = part.group.at >= 0
                joint[here, :, part.group.at[real]] = part.log_joint()[:, :, real]
        return joint, None

    def __call__(self, chunk: Chunk) -> Sums:
        restarts, components, features = self.mixture.shape
        like = self.mixture.mean
        total = Sums(
            like.new_zeros(restarts, 1),
            like.new_zeros(restarts, components),
            like.new_zeros(like.shape),
            like.new_zeros(*like.shape, features),
        )
        for group in chunk.groups:
            for here, part in self.parts(group):
                for t, added in zip(total.leaves(), part.sums(self.scratch).leaves(), strict=True):
                    t[here] += added
        return total

    def moments(self, total: Sums, rows: Rows) -> Moments:
        s2 = self.mixture.covariance.from_scatter(total.scatter)
        return Moments(total.loglik, total.n, total.n, total.s1, s2, ())


class Part:
    """Some patterns under some restarts: factors of Σ, and the rows in whitened coordinates.

    Axes: M patterns, L rows of each, D features. Whitened coordinates stand in the order of the sorted columns,
    observed ones first; those of missing entries are 0.

    Attributes:
        group: the rows.
        factor: (R, K or 1, M, D, D), L with its rows in the order of the columns: L Lᵀ = Σ.
        observed: (M, D), coordinates that belong to observed entries.
        z: (R, K, M, D, L), the rows.
    """

    def __init__(self, mixture: Mixture, group: Group, dtype: torch.dtype, device: torch.device) -> None:
        self.mixture, self.group = mixture, group
        seen = group.seen.to(mixture.mean.device)
        pattern = torch.arange(len(seen), device=seen.device)[:, None]
        order = (~seen).to(torch.uint8).argsort(dim=1, stable=True)
        self.observed = seen[pattern, order]
        tril = quiet_cholesky(mixture.covariance.dense()[..., order[:, :, None], order[:, None, :]])
        self.factor = tril[:, :, pattern, order.argsort(1)]
        self.log_det = 2 * (tril.diagonal(dim1=-2, dim2=-1).log() * self.observed).sum(-1)
        eye = torch.eye(seen.shape[1], dtype=tril.dtype, device=seen.device)
        white = torch.linalg.solve_triangular(tril, eye, upper=False) * self.observed[..., None]
        mean = mixture.mean[..., order].to(dtype).to(device)
        x = group.x[pattern.to(device), order.to(device)].to(dtype)
        self.z = white.to(dtype).to(device) @ (x - mean[..., None])

    def log_joint(self) -> Float[Tensor, "R K M L"]:
        """log πₖ p(observed | k)."""
        restarts, components, patterns, _, rows = self.z.shape
        # Each pattern of each component is a component of its own, with as many features as were observed.
        size = self.observed.to(self.log_det).sum(1).repeat(components)
        log_det = self.log_det.expand(restarts, components, patterns).flatten(1)
        d2 = self.z.square().sum(-2).flatten(1, 2)
        density = self.mixture.family.log_density(d2, log_det, size).view(restarts, components, patterns, rows)
        return density + self.mixture.log_weight.to(density)[..., None, None]

    def sums(self, scratch: Scratch) -> Sums:
        """What these rows add."""
        joint, weight = self.log_joint(), self.group.weight.flatten()
        shape = joint.shape
        r = joint.flatten(2)
        loglik = share(r, weight, scratch)
        r = r.view(shape)
        first = home(self.z @ r[..., None], self.factor)
        second = home((self.z * r[..., None, :]) @ self.z.mT, self.factor)
        n = home(r.sum(-1), self.factor)
        # The conditional covariance: variance 1 in each whitened coordinate that nothing is known of.
        second.diagonal(dim1=-2, dim2=-1).add_(n[..., None] * ~self.observed)
        s1 = (self.factor @ first)[..., 0].sum(2)
        scatter = (self.factor @ second @ self.factor.mT).sum(2)
        return Sums(home(loglik, self.factor), n.sum(2), s1, scatter)

    def expectation(self) -> Float[Tensor, "R M D L"]:
        """Σₖ p(k | observed) E[x | observed, k]: observed entries as they are, missing ones as they are expected."""
        r = self.log_joint().softmax(1).to(self.z)
        factor, mean = (t.to(self.z.dtype).to(self.z.device) for t in (self.factor, self.mixture.mean))
        each = mean[:, :, None, :, None] + factor @ self.z
        return (each * r[..., None, :]).sum(1)


def filled(mixture: Mixture, x: Float[Tensor, "D N"]) -> Float[Tensor, "D N"]:
    """Rows with their gaps filled by what the first restart expects there given the rest, which stays as it is."""
    rows = x.isnan().any(0).nonzero()[:, 0]
    out, first = x.clone(), mixture.take(slice(0, 1))
    wide = mixture.mean.dtype if mixture.mean.device == x.device else x.dtype
    count = Marginal(first, Scratch(), wide, x.device)
    for group in grouped(x[:, rows].to(wide)):
        for _, part in count.parts(group):
            at, missing = part.group.at, ~part.group.seen
            pattern, column, row = ((at >= 0)[:, None] & missing[..., None]).nonzero(as_tuple=True)
            expected = part.expectation()[0, pattern, column, row]
            out[column, rows[at[pattern, row]]] = expected.to(x.dtype)
    return out
