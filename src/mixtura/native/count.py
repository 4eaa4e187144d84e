"""Compiled: the count by features in one call of the compiled library, for rows on the CPU, and which one suits."""

import ctypes
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mixtura.covariance.quadratic import Norm, Quadratic, Squares, Vech
from mixtura.e_step import Count, Features, Raw, risk
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.moments import Moments
from mixtura.native.layout import PassJob
from mixtura.native.library import library, usable
from mixtura.rows import Chunk, Rows, Scratch

KINDS: dict[type[Quadratic], int] = {Vech: 1, Squares: 2, Norm: 3}
"""Quadratic features that the library can write."""

CACHE = 192 * 2**10
"""Bytes of features and responsibilities of a block: a share of a core's second-level cache."""

PANEL, BATCH = 128, 64
"""Features written at a time, and the components that share them when there are more."""

LEAST, MOST, STEP = 48, 384, 24
"""Rows of a block, a multiple of what a register tile takes."""

GRAIN = 2**17
"""Multiplications worth waking a thread for."""

ALIGN = 64


class Cut(NamedTuple):
    """How a pass is cut so that its working arrays stay in the cache.

    Attributes:
        block: rows at a time.
        panel: features at a time.
        batch: restarts at a time.
        room: bytes of working arrays.
    """

    block: int
    panel: int
    batch: int
    room: int


def cut(features: int, components: int, restarts: int, count: int, size: int) -> Cut:
    """How to cut a pass: D features, K components, restarts, ``count`` features of x, bytes a number."""
    panel = min(count, PANEL)
    batch = 1 if count <= PANEL else max(1, min(restarts, BATCH // components))
    held = features + panel + batch * components
    block = max(LEAST, min(MOST, CACHE // (held * size) // STEP * STEP))
    return Cut(block, panel, batch, -(-held * block * size // ALIGN) * ALIGN)


class Compiled(Features):
    """The count by features with everything between the rows and the sums kept in the cache.

    The same Θ, the same sums: only the way from a chunk to :class:`Raw` differs.
    """

    @staticmethod
    def serves(mixture: Mixture, dtype: torch.dtype, device: torch.device) -> bool:
        """The library is there and can count this."""
        return (
            device.type == "cpu"
            and type(mixture.family) is Gaussian
            and type(mixture.covariance.quadratic) in KINDS
            and dtype in (torch.float64, torch.float32)
            and usable()
        )

    def __init__(self, mixture: Mixture, scratch: Scratch, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(mixture, scratch, dtype, device)
        self.theta = self.theta.contiguous()
        # Features and responsibilities of a chunk never exist: only its rows do.
        self.bytes_per_row = mixture.shape[2] * dtype.itemsize

    def __call__(self, chunk: Chunk) -> Raw:
        restarts, components, features = self.mixture.shape
        x, weight = along_rows(chunk.x), None if chunk.weight is None else chunk.weight.contiguous()
        rows, (both, count), size = x.shape[1], self.theta.shape, x.itemsize
        how = cut(features, components, restarts, count, size)
        parts = max(1, min(torch.get_num_threads(), rows * both * count // GRAIN))
        work = self.scratch.take(f"work{size}", (1, parts * how.room // size), x)
        sums = x.new_zeros(parts, restarts + both * count, dtype=torch.float64)
        loglik, total = sums[:, :restarts], sums[:, restarts:]
        job = PassJob(
            *(x.data_ptr(), None if weight is None else weight.data_ptr(), self.theta.data_ptr()),
            *(work.data_ptr(), loglik.data_ptr(), total.data_ptr()),
            *(rows, x.stride(0), how.room, sums.stride(0), features, components, restarts),
            *(KINDS[type(self.mixture.covariance.quadratic)] if self.quadratics else 0, self.quadratics, count),
            *(how.block, how.panel, how.batch, parts, size == 4, 0),
        )
        library().function("count")(ctypes.byref(job))
        found = sums.sum(0) if parts > 1 else sums[0]
        features_ = found[restarts:].view(restarts, components, count)
        return Raw(found[:restarts, None], features_[..., -1], features_, ())


class Wide(Count):
    """The count by features in float64, of float32 rows whose own rounding the feature map cannot bear.

    On a CPU that costs twice the arithmetic of float32, where the definition costs D times as much.
    """

    @staticmethod
    def serves(mixture: Mixture, rows: Rows) -> bool:
        """Rows are in float32 on the CPU, and float64 is enough for all of these."""
        return (
            rows.device.type == "cpu"
            and rows.dtype == torch.float32
            and bool((risk(mixture, torch.float64) < rows.tolerance).all())
        )

    def __init__(self, mixture: Mixture, scratch: Scratch, dtype: torch.dtype, device: torch.device) -> None:
        self.mixture, self.scratch = mixture, scratch
        self.count = by_features(mixture, scratch, torch.float64, device)
        self.bytes_per_row = self.count.bytes_per_row + 8 * mixture.shape[2]

    def log_joint(self, x: Float[Tensor, "D N"]) -> tuple[Float[Tensor, "R K N"], Tensor | None]:
        return self.count.log_joint(x.double())

    def __call__(self, chunk: Chunk) -> Raw:
        # Features of rows that last are kept by what they were made of, whatever its precision: not of these.
        features, rows = chunk.x.shape
        wide = self.scratch.take("wide", (features, rows), self.count.theta)
        weight = None if chunk.weight is None else chunk.weight.double()
        return self.count(Chunk(wide.copy_(chunk.x), weight, chunk.start))

    def moments(self, total: Raw, rows: Rows) -> Moments:
        return self.count.moments(total, rows)


def along_rows(x: Float[Tensor, "D N"]) -> Float[Tensor, "D N"]:
    """The same with the rows of each feature side by side in memory; whole features may lie anywhere."""
    return x if x.shape[1] < 2 or x.stride(1) == 1 else x.contiguous()


def by_features(mixture: Mixture, scratch: Scratch, dtype: torch.dtype, device: torch.device) -> Features:
    """The count by features that suits rows of a precision on a device best."""
    kind = Compiled if Compiled.serves(mixture, dtype, device) else Features
    return kind(mixture, scratch, dtype, device)
