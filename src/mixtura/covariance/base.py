"""Covariance: the contract that every shape of Σ fulfils."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mixtura.covariance.quadratic import Quadratic
from mixtura.record import Record

Kind = Literal["covariances", "precisions", "precisions_cholesky"]


class Floor(NamedTuple):
    """What an M-step does to small variances.

    Attributes:
        least: (D,) variances; in coordinates scaled by their roots, eigenvalues below 1 are raised to 1. None: no clip.
        added: a variance added to every diagonal entry (scikit-learn's ridge), before the clip.
        blind: nothing may be read from the device to find what is below the floor: a matrix that cannot be shown to
            lie above it becomes NaN, unless raising it takes no decision.
    """

    least: Tensor | None = None
    added: float = 0.0
    blind: bool = False


@dataclass(frozen=True, eq=False)
class Covariance(Record, ABC):
    """One covariance matrix for each restart and component, or one that all components share.

    Axes: R restarts, K components (1 where shared), D features, N rows, E ≥ D whitened coordinates. Leaves are
    float64, (R, K or 1, ...). ``s2`` stands for the structure's own second-order statistics, a tuple of tensors.
    """

    own_orientation: ClassVar[bool] = False
    """Each component has axes of its own, so it needs more rows to be sound."""

    shared: ClassVar[bool] = False
    """All components have the same matrix."""

    quadratic: ClassVar[Quadratic]
    """Second-order features in which the squared distance is linear."""

    form: ClassVar[str | None] = None
    """What the compiled runs call :meth:`mean_squares`: ``"matrix"``, ``"columns"``, ``"one"``; None: they do not know
    its M-step."""

    @classmethod
    @abstractmethod
    def unit(cls, restarts: int, components: int, features: int) -> "Covariance":
        """Identity matrices: the template from which other values are made."""

    # ---- the density
    @abstractmethod
    def log_det(self) -> Float64[Tensor, "R K"]:
        """log|Σ|."""

    @abstractmethod
    def variances(self) -> Float64[Tensor, "R K D"]:
        """The diagonal of Σ."""

    @abstractmethod
    def dense(self) -> Float64[Tensor, "R K D D"]:
        """Σ as matrices."""

    @abstractmethod
    def factor(self) -> Float64[Tensor, "R K D D"]:
        """A with A Aᵀ = Σ: what turns standard normal noise into rows."""

    @abstractmethod
    def whiten(self, x: Float[Tensor, "D N"], mean: Float64[Tensor, "R K D"]) -> Float[Tensor, "R K E N"]:
        """Coordinates z of x − μ with |z|² the squared Mahalanobis distance."""

    # ---- the statistics
    @abstractmethod
    def moment(
        self, z: Float[Tensor, "R K E N"], w: Float[Tensor, "R K N"]
    ) -> tuple[Float64[Tensor, "R K D"], tuple[Tensor, ...]]:
        """Σ w (x − μ) and s2 about μ, float64, from whitened rows and their weights."""

    @abstractmethod
    def mean_squares(self) -> tuple[Tensor, ...]:
        """s2 of one row for each component, about its mean: linear in Σ."""

    def from_mean_squares(self, share: Float64[Tensor, "R K"], s2: tuple[Tensor, ...], floor: "Floor") -> "Covariance":
        """One of my kind from what :meth:`mean_squares` gives: the M-step of components with these shares of a row."""

        def counted(t: Tensor) -> Tensor:
            shared = t.shape[1] != share.shape[1]
            return t if shared else t * share.reshape(share.shape + (1,) * (t.ndim - 2))

        return self.maximise(share, tuple(counted(t) for t in s2), floor)

    @abstractmethod
    def from_scatter(self, scatter: Float64[Tensor, "R K D D"]) -> tuple[Tensor, ...]:
        """s2 from dense scatter matrices: the definition."""

    @abstractmethod
    def move(self, s2: tuple[Tensor, ...], s0: Tensor, s1: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
        """s2 about μ becomes s2 about μ + δ; affine in s2. s0 (R, K), s1 and δ (R, K, D)."""

    @abstractmethod
    def maximise(self, n: Float64[Tensor, "R K"], s2: tuple[Tensor, ...], floor: Floor) -> "Covariance":
        """The likeliest matrices of this kind, from counts and s2 about the new means."""

    def nearest(self, n: Float64[Tensor, "R K"], dense: Float64[Tensor, "R K D D"], floor: Floor) -> "Covariance":
        """The likeliest matrices of this kind for components with counts n and the dense covariances given."""
        return self.maximise(n, self.from_scatter(dense * n[..., None, None]), floor)

    # ---- the feature map
    @abstractmethod
    def precision(self) -> Float64[Tensor, "R K P"]:
        """Coefficients whose product with the quadratic features is xᵀ Σ⁻¹ x."""

    @abstractmethod
    def solve(self, v: Float64[Tensor, "R K D"]) -> Float64[Tensor, "R K D"]:
        """Σ⁻¹ v."""

    @abstractmethod
    def from_second(self, sums: Float64[Tensor, "R K P"]) -> tuple[Tensor, ...]:
        """s2 about the origin from weighted sums of the quadratic features."""

    # ---- what users see
    def about(self) -> str:
        """The kind of matrices, in a word or two."""
        return type(self).__name__

    @abstractmethod
    def n_parameters(self) -> int:
        """Free parameters of one restart's matrices."""

    @abstractmethod
    def publish(self, kind: Kind) -> Tensor:
        """The first restart's matrices in the shape that the field reports for this structure."""

    @abstractmethod
    def published_shape(self, components: int) -> tuple[int, ...]:
        """The shape of what :meth:`publish` returns, for that many components."""

    @abstractmethod
    def adopt(self, value: Tensor, kind: Literal["covariances", "precisions"]) -> "Covariance":
        """One restart from matrices in the published shape.

        Raises:
            NotPositiveDefinite: a matrix is not symmetric and positive definite.
        """


class NotPositiveDefinite(ValueError):
    """A matrix that should be symmetric and positive definite is not."""


def home(t: Tensor, like: Tensor) -> Tensor:
    """A sum over rows where the parameters live: first the device, then the dtype, since not every device has both."""
    return t.to(like.device).to(like.dtype)


def quiet_cholesky(matrix: Float64[Tensor, "*B D D"]) -> Float64[Tensor, "*B D D"]:
    """The Cholesky factor; NaN where there is none, so that a failed matrix fails alone."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    return torch.where((info > 0)[..., None, None], torch.nan, factor)
