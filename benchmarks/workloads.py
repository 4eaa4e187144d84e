"""The tables of numbers that programs are timed on, and where all of them start."""

from dataclasses import dataclass, replace

import numpy as np

STRUCTURES = ("full", "tied", "diag", "spherical")

BLOCK = 100_000
"""Rows that are drawn at a time."""


@dataclass(frozen=True)
class Workload:
    """Rows × features, the number of components, and the structure of their covariances."""

    rows: int
    features: int
    components: int
    structure: str = "full"

    @property
    def label(self) -> str:
        """A name for tables and plots."""
        return f"{self.rows}x{self.features} K={self.components} {self.structure}"

    @property
    def coefficients(self) -> int:
        """P, the features Φ of a row that a Gaussian's log density is linear in: quadratic ones, x and 1."""
        quadratic = {
            "full": self.features * (self.features + 1) // 2,
            "tied": 0,  # the quadratic term is the same for all components, and cancels
            "diag": self.features,
            "spherical": 1,
        }
        return quadratic[self.structure] + self.features + 1

    def tenth(self) -> "Workload":
        """The same on a tenth of the rows."""
        return replace(self, rows=max(self.rows // 10, 2 * self.components))

    def data(self, dtype: str = "float64") -> np.ndarray:
        """(rows, features), the same in every process."""
        return blobs(self.rows, self.features, self.components, dtype)

    def start(self) -> "Start":
        """Equal weights, means at the first rows, unit covariances; takes the memory of one block of rows."""
        features, components = self.features, self.components
        precisions = {
            "full": np.stack([np.eye(features)] * components),
            "tied": np.eye(features),
            "diag": np.ones((components, features)),
            "spherical": np.ones(components),
        }
        means = blobs(min(self.rows, BLOCK), features, components)[:components]
        return Start(self.structure, np.full(components, 1 / components), means, precisions[self.structure])


@dataclass(frozen=True)
class Start:
    """Starting parameters, float64: shapes as scikit-learn's ``*_init``."""

    structure: str
    weights: np.ndarray
    means: np.ndarray
    precisions: np.ndarray

    @property
    def covariances(self) -> np.ndarray:
        """Their inverses, in the same shape."""
        return np.linalg.inv(self.precisions) if self.structure in ("full", "tied") else 1 / self.precisions


def blobs(rows: int, features: int, components: int, dtype: str = "float64") -> np.ndarray:
    """Overlapping Gaussian blobs, made a block at a time so that the peak of memory is the data."""
    generator = np.random.default_rng(0)
    centres = 3 * generator.standard_normal((components, features))
    x = np.empty((rows, features), dtype=dtype)
    for begun in range(0, rows, BLOCK):
        n = min(BLOCK, rows - begun)
        x[begun : begun + n] = generator.standard_normal((n, features)) + centres[generator.integers(0, components, n)]
    return x


@dataclass(frozen=True)
class Pass:
    """A workload of the table of passes.

    Attributes:
        wanted: scikit-learn's time over ours, to reach.
        most: our time over that of the bare products, to stay below; None where nothing is claimed.
    """

    workload: Workload
    wanted: float
    most: float | None = None


PASSES = (
    Pass(Workload(200_000, 2, 3), 30.0),
    Pass(Workload(100_000, 10, 16), 14.0, 2.0),
    Pass(Workload(200_000, 8, 20), 11.0, 2.0),
    Pass(Workload(50_000, 32, 32), 5.5, 1.3),
    Pass(Workload(50_000, 50, 20), 4.0, 1.3),
    Pass(Workload(200_000, 16, 20, "tied"), 15.0),
    Pass(Workload(200_000, 16, 20, "diag"), 5.0),
    Pass(Workload(200_000, 16, 20, "spherical"), 5.0),
)

PYCAVE = (Workload(10_000, 8, 4), Workload(100_000, 32, 16), Workload(1_000_000, 64, 64, "diag"))
"""What PyCave published times of."""

FITS = (Workload(200_000, 2, 3), Workload(100_000, 10, 16), Workload(10_000, 8, 4))
"""Those that have at most as many numbers as 100,000 × 10."""

QUICK_PASSES = (Pass(Workload(4_000, 3, 3), 1.0, 2.0), Pass(Workload(4_000, 4, 3, "tied"), 1.0))
QUICK_PEERS = (Workload(3_000, 3, 3), Workload(3_000, 4, 3, "tied"))
QUICK_FITS = (Workload(1_000, 2, 3),)


def over_peers(workload: Workload) -> float:
    """The fastest peer's time over ours, to reach."""
    if workload.structure in ("diag", "spherical"):
        return 1.5
    return 2.0 if workload.features >= 32 else 3.0
