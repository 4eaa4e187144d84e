"""Around: a structure whose matrices another one holds, from which it differs in how they are found."""

from abc import abstractmethod
from dataclasses import dataclass

from jaxtyping import Float, Float64
from torch import Tensor

from mixtura.covariance.base import Covariance
from mixtura.covariance.quadratic import Quadratic


@dataclass(frozen=True, eq=False)
class Around(Covariance):
    """Densities and statistics are those of the inner structure; the M-step is my own."""

    @property
    @abstractmethod
    def inner(self) -> Covariance:
        """What holds the matrices."""

    @property
    def quadratic(self) -> Quadratic:  # type: ignore[override]
        return self.inner.quadratic

    @classmethod
    def unit(cls, restarts: int, components: int, features: int) -> "Around":
        raise TypeError(f"{cls.__name__}.unit is ambiguous: the registry says what lies inside each structure")

    def log_det(self) -> Float64[Tensor, "R K"]:
        return self.inner.log_det()

    def variances(self) -> Float64[Tensor, "R K D"]:
        return self.inner.variances()

    def dense(self) -> Float64[Tensor, "R K D D"]:
        return self.inner.dense()

    def factor(self) -> Float64[Tensor, "R K D D"]:
        return self.inner.factor()

    def whiten(self, x: Float[Tensor, "D N"], mean: Float64[Tensor, "R K D"]) -> Float[Tensor, "R K E N"]:
        return self.inner.whiten(x, mean)

    def moment(
        self, z: Float[Tensor, "R K E N"], w: Float[Tensor, "R K N"]
    ) -> tuple[Float64[Tensor, "R K D"], tuple[Tensor, ...]]:
        return self.inner.moment(z, w)

    def mean_squares(self) -> tuple[Tensor, ...]:
        return self.inner.mean_squares()

    def from_scatter(self, scatter: Float64[Tensor, "R K D D"]) -> tuple[Tensor, ...]:
        return self.inner.from_scatter(scatter)

    def move(self, s2: tuple[Tensor, ...], s0: Tensor, s1: Tensor, delta: Tensor) -> tuple[Tensor, ...]:
        return self.inner.move(s2, s0, s1, delta)

    def precision(self) -> Float64[Tensor, "R K P"]:
        return self.inner.precision()

    def solve(self, v: Float64[Tensor, "R K D"]) -> Float64[Tensor, "R K D"]:
        return self.inner.solve(v)

    def from_second(self, sums: Float64[Tensor, "R K P"]) -> tuple[Tensor, ...]:
        return self.inner.from_second(sums)
