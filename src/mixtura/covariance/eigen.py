"""Eigen: covariances whose volume, shape and orientation are each equal or variable (mclust's VEI … EVV)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from mixtura.covariance.around import Around
from mixtura.covariance.axes import along, own_axes, turned
from mixtura.covariance.base import Covariance, Floor
from mixtura.covariance.diag import Diag
from mixtura.covariance.rooted import Rooted

ROUNDS, BLIND_ROUNDS = 200, 12
"""Rounds in which volumes and a shape they share are found in turn; blind: as many, whatever they change."""

TRIED = 5
"""Rounds that axes which may be a way in are given before they are compared."""

LITTLE = 0.1
"""Share of the first round's gain that the last round of an M-step which began at the one before may leave: such a step
climbs as EM asks, and EM's own passes bring the rest (generalised EM: Dempster, Laird & Rubin 1977)."""

SETTLED = 1e-13
"""Relative change of a volume in a round after which no more are made."""


@dataclass(frozen=True, eq=False)
class Turned(Rooted):
    """Σ = Q S Qᵀ, held as the variances S along the axes, (R, K, D), and the axes Q, (R, K or 1, D, D)."""

    spread: Float64[Tensor, "R K D"]
    axes: Float64[Tensor, "R #K D D"]

    @classmethod
    def unit(cls, restarts: int, components: int, features: int) -> "Turned":
        raise TypeError("Turned holds matrices for Eigen, which knows what lies inside it")

    @cached_property
    def root(self) -> Float64[Tensor, "R K D D"]:
        return self.axes * self.spread.sqrt()[..., None, :]

    @cached_property
    def white(self) -> Float64[Tensor, "R K D D"]:
        return (self.axes * self.spread.rsqrt()[..., None, :]).mT

    def log_det(self) -> Float64[Tensor, "R K"]:
        return self.spread.log().sum(-1)

    def maximise(self, n: Float64[Tensor, "R K"], s2: tuple[Tensor, ...], floor: Floor) -> "Turned":
        raise TypeError("Turned holds matrices for Eigen, which knows how to find them")

    def n_parameters(self) -> int:
        raise TypeError("Turned holds matrices for Eigen, which knows how many parameters they have")


class Sizes(NamedTuple):
    """What is known of a batch before its volumes and shapes are found.

    Attributes:
        n: (R, K), counts.
        least: (D,) floor of variances, or None.
        own_volume, own_shape: each component has its own, or all have one.
        blind: nothing may be read from the device.
    """

    n: Float64[Tensor, "R K"]
    least: Float64[Tensor, "D"] | None
    own_volume: bool
    own_shape: bool
    blind: bool

    def raised(self, spread: Float64[Tensor, "R K D"], axes: Float64[Tensor, "R #K D D"] | None) -> Tensor:
        """Sums of squares along the axes, those below what the floor has along the same axis raised to it."""
        if self.least is None:
            return spread
        least = self.least if axes is None else torch.linalg.vecdot(axes.square(), self.least[:, None], dim=-2)
        return spread.maximum(self.n[..., None] * least)

    def likeliest(
        self, spread: Float64[Tensor, "R K D"], volume: Float64[Tensor, "R #K"]
    ) -> tuple[Float64[Tensor, "R V"], Float64[Tensor, "R S D"]]:
        """Volumes λ and shapes A for sums of squares B along the axes (Celeux & Govaert 1995, section 4).

        They minimise Σₖ nₖ D log λₖ + Σₖ tr(Bₖ Aₖ⁻¹) / λₖ. Where volumes differ and the shape does not, the two are
        found in turn, from the volumes given: the problem is convex in their logarithms, that of scaling a positive
        matrix Bₖⱼ / (λₖ Aⱼ) to given row and column sums.
        """
        if self.own_shape:
            size = spread.log().mean(-1).exp()
            found = size / self.n if self.own_volume else size.sum(1, keepdim=True) / self.n.sum(1, keepdim=True)
            return found, spread / size[..., None]
        if not self.own_volume:
            mean = (spread.sum(1) / self.n.sum(1, keepdim=True))[:, None]
            found = mean.log().mean(-1).exp()
            return found, mean / found[..., None]
        for _ in range(BLIND_ROUNDS if self.blind else ROUNDS):
            shape = (spread / volume[..., None]).sum(1, keepdim=True)
            shape = shape / shape.log().mean(-1, keepdim=True).exp()
            before, volume = volume, (spread / shape).mean(-1) / self.n
            if not self.blind and bool((changed(before, volume) < SETTLED).all()):
                break
        return volume, shape

    def level(self, volume: Float64[Tensor, "R V"]) -> Float64[Tensor, "R"]:
        """Σ n log λ: for shapes of their own the rest of what is minimised does not depend on the axes."""
        return (self.n * volume.log()).sum(1)


@dataclass(frozen=True, eq=False)
class Eigen(Around):
    """Σₖ = λₖ Qₖ Aₖ Qₖᵀ with volume λ, shape A (a diagonal of product 1) and orientation Q (Banfield & Raftery 1993).

    Each of the three is held for every component or, with a second axis of length 1, once for all: that is all in
    which these structures differ. ``axes`` None stands for the columns. The order along the axes is free, so that the
    volumes, shapes and axes of one mixture belong together.

    Attributes:
        volume: (R, K or 1), |Σ| to the power 1/D.
        shape: (R, K or 1, D).
        axes: (R, K or 1, D, D), orthonormal columns.
        warm: they come from an M-step, so that the next one begins near its end.
    """

    volume: Float64[Tensor, "R V"]
    shape: Float64[Tensor, "R S D"]
    axes: Float64[Tensor, "R Q D D"] | None
    warm: bool = False

    @staticmethod
    def spelled(code: str) -> Callable[[int, int, int], "Eigen"]:
        """Makes identity matrices of a structure by mclust's letters for volume, shape and orientation.

        E: equal; V: variable; I (of the orientation only): along the columns.
        """

        def unit(restarts: int, components: int, features: int) -> Eigen:
            volumes, shapes, turns = ({"E": 1, "V": components, "I": 0}[letter] for letter in code)
            eye = torch.eye(features, dtype=torch.float64)
            return Eigen(
                eye.new_ones(restarts, volumes),
                eye.new_ones(restarts, shapes, features),
                eye.repeat(restarts, turns, 1, 1) if turns else None,
            )

        return unit

    @property
    def components(self) -> int:
        """K; 1 where nothing differs."""
        return max(t.shape[1] for t in self.leaves())

    @property
    def own_orientation(self) -> bool:  # type: ignore[override]
        return self.axes is not None and self.axes.shape[1] == self.components

    @cached_property
    def inner(self) -> Covariance:
        spread = self.volume[..., None] * self.shape
        return Diag(spread) if self.axes is None else Turned(spread.expand(-1, self.components, -1), self.axes)

    def maximise(self, n: Float64[Tensor, "R K"], s2: tuple[Tensor, ...], floor: Floor) -> "Eigen":
        several = self.components
        own_volume, own_shape = (t.shape[1] == several for t in (self.volume, self.shape))
        sizes = Sizes(n, floor.least, own_volume, own_shape, floor.blind)
        volume = self.volume.expand(len(n), -1) if self.volume.shape[1] == n.shape[1] else torch.ones_like(n)
        (scatter,) = s2
        if self.axes is None:
            spread = sizes.raised(scatter + floor.added * n[..., None], None)
            return Eigen(*sizes.likeliest(spread, volume), None, warm=True)
        if floor.added:
            eye = torch.eye(scatter.shape[-1], dtype=scatter.dtype, device=scatter.device)
            scatter = scatter + floor.added * n[..., None, None] * eye
        if self.own_orientation:
            spread, axes = own_axes(scatter)
            return Eigen(*sizes.likeliest(sizes.raised(spread, axes), volume), axes, warm=True)
        return self._together(sizes, scatter, volume)

    def _together(self, sizes: Sizes, scatter: Float64[Tensor, "R K D D"], volume: Float64[Tensor, "R #K"]) -> "Eigen":
        """The M-step where components share their axes, which are found in turn with volumes and shapes."""

        def sized(axes: Tensor, volume: Tensor) -> tuple[Tensor, Tensor]:
            return sizes.likeliest(sizes.raised(along(axes, scatter), axes), volume)

        def improved(axes: Tensor, volume: Tensor, shape: Tensor) -> Tensor:
            if sizes.own_shape:
                return turned(axes, scatter, 1 / (volume[..., None] * shape))
            return own_axes((scatter / volume[..., None, None]).sum(1, keepdim=True))[1]

        assert self.axes is not None
        axes = self.axes.expand(len(scatter), -1, -1, -1)
        volume, shape = sized(axes, volume)
        if sizes.own_shape and not self.warm:
            # The problem has several minima. Where other axes lead lower in a few rounds than those there are, they are
            # the way in: those of the sum, and each component's own.
            for other in torch.split(own_axes(torch.cat([scatter.sum(1, keepdim=True), scatter], 1))[1], 1, dim=1):
                begun = sized(other, volume)
                for _ in range(TRIED):
                    other = improved(other, *begun)
                    begun = sized(other, begun[0])
                lower = sizes.level(begun[0]) < sizes.level(volume)
                axes = torch.where(lower[:, None, None, None], other, axes)
                volume = torch.where(lower[:, None], begun[0], volume)
                shape = torch.where(lower[:, None, None], begun[1], shape)
        # Each restart stops by itself, whoever else is in the batch.
        first, on = None, torch.ones(len(scatter), dtype=torch.bool, device=scatter.device)
        for _ in range(BLIND_ROUNDS if sizes.blind else ROUNDS):
            better = improved(axes, volume, shape)
            found, of = sized(better, volume)
            gain, going = sizes.level(volume) - sizes.level(found), changed(volume, found) >= SETTLED
            axes = torch.where(on[:, None, None, None], better, axes)
            volume = torch.where(on[:, None], found, volume)
            shape = torch.where(on[:, None, None], of, shape)
            if self.warm:
                first = gain if first is None else first
                going = going & (gain > LITTLE * first)
            on = on & going
            if not sizes.blind and not bool(on.any()):
                break
        return Eigen(volume, shape, axes, warm=True)

    def about(self) -> str:
        own = ["own" if t.shape[1] == self.components else "equal" for t in self.leaves()]
        return "Eigen({} volume, {} shape, {} axes)".format(*own, *(["columns as"] if self.axes is None else []))

    def n_parameters(self) -> int:
        features = self.shape.shape[-1]
        turns = 0 if self.axes is None else self.axes.shape[1]
        return self.volume.shape[1] + self.shape.shape[1] * (features - 1) + turns * features * (features - 1) // 2


def changed(before: Float64[Tensor, "R K"], after: Float64[Tensor, "R K"]) -> Float64[Tensor, "R"]:
    """The largest relative change of a restart's volumes; those that are no number do not count."""
    return (after / before - 1).abs().nan_to_num().amax(1)
