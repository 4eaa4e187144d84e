"""Covariance: the contract that every shape of Σ fulfils."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Float, Float64, Shaped
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

    parts: ClassVar[tuple[int, int, int]] = (0, 0, 0)
    """How many volumes, shapes and orientations the compiled runs find in what :meth:`mean_squares` gives; none of
    each: the M-step is a mean."""

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
            return t if shared else t * scaled(share, t)

        return self.maximise(share, tuple(counted(t) for t in s2), floor)

    def carried(self) -> tuple[Tensor, ...]:
        """What the compiled runs keep beside :meth:`mean_squares`: where the next M-step begins."""
        return ()

    def resumed(
        self, share: Float64[Tensor, "R K"], s2: tuple[Tensor, ...], carried: tuple[Tensor, ...]
    ) -> "Covariance":
        """One of my kind that has these :meth:`mean_squares` exactly, from what the compiled runs kept."""
        return self.from_mean_squares(share, s2, Floor())

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

    def publish(self, kind: Kind) -> Tensor:
        """The first restart's matrices in the shape that the field reports for this structure; (K, D, D) by default."""
        root = triangular(self.factor()[0])
        if kind == "covariances":
            return root @ root.mT
        upper = inverse_of(root).mT
        return upper if kind == "precisions_cholesky" else upper @ upper.mT

    def published_shape(self, components: int) -> tuple[int, ...]:
        """The shape of what :meth:`publish` returns, for that many components."""
        features = self.variances().shape[-1]
        return (components, features, features)

    def adopt(self, value: Tensor, kind: Literal["covariances", "precisions"]) -> "Covariance":
        """One restart from matrices in the published shape.

        Raises:
            NotPositiveDefinite: a matrix is not symmetric and positive definite.
            OtherStructure: the matrices are, but this structure has none like them.
        """
        given = factor_of(value, kind)[None]
        found = self.nearest(given.new_ones(1, len(value)), given @ given.mT, Floor())
        seen = torch.linalg.solve_triangular(given, found.factor(), upper=False)
        eye = torch.eye(seen.shape[-1], dtype=seen.dtype, device=seen.device)
        if not bool(((seen @ seen.mT - eye).abs() <= SAME_MATRIX).all()):
            raise OtherStructure("should have matrices of this structure")
        return found


SAME_MATRIX = 1e-3
"""How far the nearest matrix of a structure may be from the one given, as a share of that, to be taken for it."""


class NotPositiveDefinite(ValueError):
    """A matrix that should be symmetric and positive definite is not."""


class OtherStructure(ValueError):
    """Matrices are positive definite, but not of the structure that they are given for."""


def scaled(factor: Shaped[Tensor, "R K"], like: Tensor) -> Tensor:
    """One factor for each component, ready to multiply a statistic."""
    return factor.reshape(factor.shape + (1,) * (like.ndim - 2))


def home(t: Tensor, like: Tensor) -> Tensor:
    """A sum over rows where the parameters live: first the device, then the dtype, since not every device has both."""
    return t.to(like.device).to(like.dtype)


def quiet_cholesky(matrix: Float64[Tensor, "*B D D"]) -> Float64[Tensor, "*B D D"]:
    """The Cholesky factor; NaN where there is none, so that a failed matrix fails alone."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    return torch.where((info > 0)[..., None, None], torch.nan, factor)


def triangular(root: Float64[Tensor, "*B D D"]) -> Float64[Tensor, "*B D D"]:
    """The Cholesky factor of A Aᵀ, without the square: Aᵀ = Q Lᵀ. Exact even where A Aᵀ is nearly singular."""
    upper = torch.linalg.qr(root.mT, mode="r")[1]
    return (upper * upper.diagonal(dim1=-2, dim2=-1).sign()[..., None]).mT


def inverse_of(tril: Float64[Tensor, "*B D D"]) -> Float64[Tensor, "*B D D"]:
    """L⁻¹ of a lower triangle."""
    eye = torch.eye(tril.shape[-1], dtype=tril.dtype, device=tril.device)
    return torch.linalg.solve_triangular(tril, eye, upper=False)


def factor_of(value: Tensor, kind: Literal["covariances", "precisions"]) -> Float64[Tensor, "*B D D"]:
    """Cholesky factors of Σ from matrices given.

    Raises:
        NotPositiveDefinite: a matrix is not symmetric and positive definite.
    """
    symmetric = torch.allclose(value, value.mT, rtol=1e-5, atol=1e-8 * float(value.abs().amax()))
    factor = quiet_cholesky(value if kind == "covariances" else value.flip(-1, -2))
    if not symmetric or bool(factor.isnan().any()):
        raise NotPositiveDefinite("should be symmetric, positive-definite")
    # With J the exchange, J Λ J = C Cᵀ gives Λ = U Uᵀ, U = J C J upper, hence Σ = L Lᵀ with L = U⁻ᵀ lower.
    return factor if kind == "covariances" else inverse_of(factor.flip(-1, -2).mT)
