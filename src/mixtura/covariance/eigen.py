"""Eigen: covariances whose volume, shape and orientation are each equal or variable (mclust's VEI … EVV)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float64
from torch import Tensor

from mixtura.covariance.around import Around
from mixtura.covariance.axes import along, own_axes
from mixtura.covariance.base import Covariance, Floor, scaled
from mixtura.covariance.diag import Diag
from mixtura.covariance.full import clipped
from mixtura.covariance.likeliest import Likeliest, Parts, Problem
from mixtura.covariance.rooted import Rooted
from mixtura.native import eigen as native

SPECK = 1e-12
"""Share of all rows that a component without rows stands for in an M-step, with the covariance of all: what is shared
stays as it is, and what is its own is a number."""


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
        (scatter,) = s2
        restarts, total = len(n), n.sum(1, keepdim=True)
        bare = n <= SPECK * total
        n = torch.where(bare, SPECK * total, n)
        whole = scatter.sum(1, keepdim=True) / scaled(total, scatter)
        second = torch.where(scaled(bare, scatter), whole, scatter / scaled(n, scatter))
        if floor.added:
            features = scatter.shape[-1]
            ridge = torch.full((features,), floor.added, dtype=second.dtype, device=second.device)
            second = second + (ridge if self.axes is None else torch.diag(ridge))
        # From a template of one restart, or of other components, only the letters are taken.
        volumes = self.volume if self.volume.shape[1] in (1, n.shape[1]) else torch.ones_like(n)
        axes = None if self.axes is None else self.axes.expand(restarts, -1, -1, -1)
        begun = Parts(volumes.expand(restarts, -1), self.shape.expand(restarts, -1, -1), axes)
        problem = Problem(n, second, floor.least, begun, self.warm, floor.blind)
        found = solved(problem)
        if floor.least is None or not self.own_orientation:
            return Eigen(*found.parts, warm=True)
        if floor.blind:
            lost = found.doubtful.any(1, keepdim=True)
            return Eigen(torch.where(lost, torch.nan, found.parts.volume), *found.parts[1:], warm=True)
        doubtful = found.doubtful & second.isfinite().all(-1).all(-1)
        if bool(doubtful.any()):
            root = clipped(second, doubtful, floor.least)
            second = torch.where(doubtful[..., None, None], root @ root.mT, second)
            found = solved(Problem(n, second, None, begun, self.warm, blind=False))
        return Eigen(*found.parts, warm=True)

    @property
    def form(self) -> str:  # type: ignore[override]
        return "columns" if self.axes is None else "matrix"

    @property
    def parts(self) -> tuple[int, int, int]:  # type: ignore[override]
        return self.volume.shape[1], self.shape.shape[1], 0 if self.axes is None else self.axes.shape[1]

    def carried(self) -> tuple[Tensor, ...]:
        common = () if self.axes is None or self.own_orientation else (self.axes,)
        return (self.volume, *common)

    def resumed(self, share: Float64[Tensor, "R K"], s2: tuple[Tensor, ...], carried: tuple[Tensor, ...]) -> "Eigen":
        (second,), (volume, *common) = s2, carried
        spread, axes = second, None
        if common:
            (axes,) = common
            spread = along(axes, second)
        elif self.axes is not None:
            spread, axes = own_axes(second)
        size = spread.log().mean(-1).exp()
        shape = (spread / size[..., None])[:, : self.shape.shape[1]]
        return Eigen(size[:, : volume.shape[1]], shape, axes, warm=True)

    def about(self) -> str:
        own = ["own" if t.shape[1] == self.components else "equal" for t in self.leaves()]
        return "Eigen({} volume, {} shape, {} axes)".format(*own, *(["columns as"] if self.axes is None else []))

    def n_parameters(self) -> int:
        features = self.shape.shape[-1]
        turns = 0 if self.axes is None else self.axes.shape[1]
        return self.volume.shape[1] + self.shape.shape[1] * (features - 1) + turns * features * (features - 1) // 2


def solved(problem: Problem) -> Likeliest:
    """The likeliest parts: by the compiled library where it serves."""
    return native.solve(problem) if native.serves(problem) else problem.solve()
