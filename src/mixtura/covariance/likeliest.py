"""Likeliest: volumes, shapes and axes of covariances for the scatter of their components, by PyTorch's operations."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from mixtura.covariance.axes import along, own_axes, turned

ROUNDS, BLIND_ROUNDS = 200, 12
"""Rounds in which volumes and a shape they share are found in turn; blind: as many, whatever they change."""

WAYS, TRIED = 3, 5
"""Axes that are tried as a way in, the best of those that may be one, and the rounds that they are given."""

LITTLE = 0.1
"""Share of the first round's gain that the last round of an M-step which began at the one before may leave: such a step
climbs as EM asks, and EM's own passes bring the rest (generalised EM: Dempster, Laird & Rubin 1977)."""

SETTLED, STEADY = 1e-13, 1e-10
"""Relative change of a volume, and turn of common axes that are turned, in a round after which no more are made."""


class Parts(NamedTuple):
    """What covariances Σ = λ Q A Qᵀ are made of; a second axis of length 1 holds what all components share.

    Attributes:
        volume: λ, (R, K or 1).
        shape: A, (R, K or 1, D), of product 1.
        axes: Q, (R, K or 1, D, D), as columns; None: along the columns of the data.
    """

    volume: Float64[Tensor, "R V"]
    shape: Float64[Tensor, "R S D"]
    axes: Float64[Tensor, "R Q D D"] | None


class Likeliest(NamedTuple):
    """Parts found, and what of them is in doubt.

    Attributes:
        parts: the likeliest.
        doubtful: (R, K), components with axes of their own that could not be shown to lie above the floor; nothing was
            raised there.
    """

    parts: Parts
    doubtful: Bool[Tensor, "R K"]


@dataclass(frozen=True)
class Problem:
    """What parts are found for.

    Attributes:
        n: (R, K), counts.
        second: covariances of the components: (R, K, D, D), or (R, K, D) where only the columns' variances matter.
        least: (D,) floor of variances, or None.
        begun: the parts there are: how many of each, and where to begin.
        warm: they come from an M-step, so that few rounds are enough.
        blind: nothing may be read from the device.
    """

    n: Float64[Tensor, "R K"]
    second: Tensor
    least: Float64[Tensor, "D"] | None
    begun: Parts
    warm: bool
    blind: bool

    @property
    def own_volume(self) -> bool:
        """Each component has its own volume."""
        return self.begun.volume.shape[1] == self.n.shape[1]

    @property
    def own_shape(self) -> bool:
        """Each component has its own shape."""
        return self.begun.shape.shape[1] == self.n.shape[1]

    def solve(self) -> Likeliest:
        """The parts of the highest expected likelihood (Celeux & Govaert 1995; Browne & McNicholas 2014)."""
        volume, sure = self.begun.volume, torch.zeros_like(self.n, dtype=torch.bool)
        if self.begun.axes is None:
            spread = self.second if self.least is None else self.second.maximum(self.least)
            return Likeliest(Parts(*self.sizes(spread, volume), None), sure)
        if self.begun.axes.shape[1] < self.n.shape[1]:
            return Likeliest(self._together(self.begun.axes), sure)
        spread, axes = own_axes(self.second)
        doubtful = sure if self.least is None else ~self._above(spread, axes)
        return Likeliest(Parts(*self.sizes(spread, volume), axes), doubtful)

    def _above(self, spread: Float64[Tensor, "R K D"], axes: Float64[Tensor, "R K D D"]) -> Bool[Tensor, "R K"]:
        """With λ the eigenvalues in coordinates scaled by the floor, Σ 1/λ ≤ 1 proves that none is below 1."""
        return (spread[..., 0] > 0) & ((self._floor(axes) / spread).sum(-1) <= 1)

    def _floor(self, axes: Float64[Tensor, "R #K D D"]) -> Float64[Tensor, "R #K D"]:
        """What the floor has along the axes."""
        assert self.least is not None
        return torch.linalg.vecdot(axes.square(), self.least[:, None], dim=-2)

    def sizes(
        self, spread: Float64[Tensor, "R K D"], volume: Float64[Tensor, "R V"]
    ) -> tuple[Float64[Tensor, "R V"], Float64[Tensor, "R S D"]]:
        """Volumes λ and shapes A for mean squares B along the axes (Celeux & Govaert 1995, section 4).

        They minimise Σₖ nₖ (D log λₖ + tr(Bₖ Aₖ⁻¹) / λₖ). Where volumes differ and the shape does not, the two are
        found in turn, from the volumes given: the problem is convex in their logarithms, that of scaling a positive
        matrix nₖ Bₖⱼ / (λₖ Aⱼ) to given row and column sums.
        """
        share = (self.n / self.n.sum(1, keepdim=True))[..., None]
        if self.own_shape:
            size = spread.log().mean(-1).exp()
            found = size if self.own_volume else (share[..., 0] * size).sum(1, keepdim=True)
            return found, spread / size[..., None]
        if not self.own_volume:
            mean = (share * spread).sum(1, keepdim=True)
            found = mean.log().mean(-1).exp()
            return found, mean / found[..., None]
        for _ in range(BLIND_ROUNDS if self.blind else ROUNDS):
            shape = (share * spread / volume[..., None]).sum(1, keepdim=True)
            shape = shape / shape.log().mean(-1, keepdim=True).exp()
            before, volume = volume, (spread / shape).mean(-1)
            if not self.blind and bool((changed(before, volume) < SETTLED).all()):
                break
        return volume, shape

    def level(self, volume: Float64[Tensor, "R V"]) -> Float64[Tensor, "R"]:
        """Σ n log λ: what is left of what is minimised where shapes are the likeliest."""
        return (self.n * volume.log()).sum(1)

    def _sized(self, axes: Tensor, volume: Tensor) -> tuple[Tensor, Tensor]:
        """Volumes and shapes along common axes."""
        spread = along(axes, self.second)
        return self.sizes(spread if self.least is None else spread.maximum(self._floor(axes)), volume)

    def _improved(self, axes: Tensor, volume: Tensor, shape: Tensor) -> Tensor:
        """Common axes that suit the volumes and shapes better."""
        if self.own_shape:
            return turned(axes, self.second, self.n[..., None] / (volume[..., None] * shape))
        return own_axes((self.second * (self.n / volume)[..., None, None]).sum(1, keepdim=True))[1]

    def _together(self, axes: Float64[Tensor, "R 1 D D"]) -> Parts:
        """Axes that components share are found in turn with volumes and shapes."""
        volume, shape = self._sized(axes, self.begun.volume)
        if self.own_shape and not self.warm:
            # The problem has several minima. Where other axes lead lower in a few rounds than those there are, they are
            # the way in: those of all scatter together, and each component's own.
            scatter = self.second * self.n[..., None, None]
            may_be = own_axes(torch.cat([scatter.sum(1, keepdim=True), scatter], 1))[1]
            levels = [self.level(self._sized(other, volume)[0]) for other in torch.split(may_be, 1, dim=1)]
            for at in torch.split(torch.stack(levels, 1).argsort(dim=1, stable=True)[:, :WAYS], 1, dim=1):
                other = may_be.take_along_dim(at[..., None, None], 1)
                begun = self._sized(other, volume)
                for _ in range(TRIED):
                    other = self._improved(other, *begun)
                    begun = self._sized(other, begun[0])
                lower = self.level(begun[0]) < self.level(volume)
                axes = torch.where(lower[:, None, None, None], other, axes)
                volume = torch.where(lower[:, None], begun[0], volume)
                shape = torch.where(lower[:, None, None], begun[1], shape)
        # Each restart stops by itself, whoever else is in the batch.
        first, on = None, torch.ones(len(axes), dtype=torch.bool, device=axes.device)
        for _ in range(BLIND_ROUNDS if self.blind else ROUNDS):
            better = self._improved(axes, volume, shape)
            found, of = self._sized(better, volume)
            gain = self.level(volume) - self.level(found)
            if self.own_shape:
                going = (better - axes).abs().nan_to_num().amax((1, 2, 3)) >= STEADY
            else:
                going = changed(volume, found) >= SETTLED
            axes = torch.where(on[:, None, None, None], better, axes)
            volume = torch.where(on[:, None], found, volume)
            shape = torch.where(on[:, None, None], of, shape)
            if self.warm:
                first = gain if first is None else first
                going = going & (gain > LITTLE * first)
            on = on & going
            if not self.blind and not bool(on.any()):
                break
        return Parts(volume, shape, axes)


def changed(before: Float64[Tensor, "R K"], after: Float64[Tensor, "R K"]) -> Float64[Tensor, "R"]:
    """The largest relative change of a restart's volumes; those that are no number do not count."""
    return (after / before - 1).abs().nan_to_num().amax(1)
