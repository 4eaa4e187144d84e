"""Scoring: log densities, labels and posteriors of new rows, in chunks."""

from collections.abc import Callable, Iterator
from copy import copy
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mixtura.data.base import ALL, Block, Source
from mixtura.e_step import Count, Whitened, scorer
from mixtura.missing import Marginal
from mixtura.mixture import Mixture
from mixtura.rows import Rows, Scratch


class Scorer:
    """A mixture made ready to score rows of one dtype on one device.

    Args:
        mixture: one restart, in the coordinates of the data, on the CPU.
        dtype: of the rows.
        device: where to compute.
    """

    def __init__(self, mixture: Mixture, dtype: torch.dtype, device: torch.device) -> None:
        weight = mixture.log_weight[0].exp()
        # Around the mixture's own centre, so that float32 rows far from 0 keep their digits.
        self.origin = ((weight @ mixture.mean[0]) / weight.sum()).to(dtype)
        self.dtype = torch.float32 if device.type == "mps" else dtype
        self.device = device
        home = torch.device("cpu") if device.type == "mps" else device
        self.mixture = mixture.shifted(-self.origin.to(torch.float64)).to(home)
        self._count = scorer(self.mixture, Scratch(), self.dtype, device)

    def count(self, scratch: Scratch) -> Count:
        """The count to read log densities from, with buffers of its own: several threads may score at once."""
        count = copy(self._count)
        count.scratch = scratch
        return count


_READY: "WeakKeyDictionary[Mixture, dict[Any, Scorer]]" = WeakKeyDictionary()


def ready(mixture: Mixture, dtype: torch.dtype, device: torch.device) -> Scorer:
    """The scorer of a mixture, kept as long as the mixture is."""
    # The precision of float32 products decides how a mixture is counted.
    key = (dtype, device, torch.get_float32_matmul_precision())
    kept = _READY.setdefault(mixture, {})
    if key not in kept:
        kept[key] = Scorer(mixture, dtype, device)
    return kept[key]


class Unweighted:
    """A source in which every row counts: what is said of a row does not depend on its weight.

    Args:
        source: where the rows come from.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.about = source, source.about

    @property
    def shape(self) -> tuple[int | None, int]:
        return self.source.shape

    def blocks(self, rows: int, part: tuple[int, int] = ALL, *, ids: bool = False) -> Iterator[Block]:
        for block in self.source.blocks(rows, part, ids=ids):
            yield block if block.weight is None else block._replace(weight=None)


class Said(NamedTuple):
    """What a mixture says of n rows, on the CPU.

    Attributes:
        label: (n,) the component with the largest posterior.
        posterior: (K, n) p(k | x).
        log_best: (n,) log max p(k | x).
        log_density: (n,) log p(x).
    """

    label: Int64[Tensor, "n"]
    posterior: Float[Tensor, "K n"]
    log_best: Float[Tensor, "n"]
    log_density: Float[Tensor, "n"]


class Scores:
    """What a mixture says of rows; every result is computed in chunks and a row's result depends on that row alone.

    Args:
        mixture: one restart, in the coordinates of the data, on the CPU.
        source: of N rows, float64 or float32.
        dtype: of the rows.
        device: where to compute.
        gaps: NaN stands for a missing entry: the density of a row is the marginal one of the others.
    """

    def __init__(
        self, mixture: Mixture, source: Source, dtype: torch.dtype, device: torch.device, gaps: bool = False
    ) -> None:
        scorer = ready(mixture, dtype, device)
        self.mixture = scorer.mixture
        self.rows = Rows(Unweighted(source), dtype=dtype, device=device, origin=scorer.origin, resident=0)
        self.count = scorer.count(self.rows.scratch)
        self.length, self.gaps = source.shape[0], gaps
        self.wide = torch.float64 if self.rows.home == self.rows.device else self.rows.dtype

    def _joints(self) -> Any:
        each = self.rows.within(self.count.bytes_per_row)
        for chunk in self.rows.chunks(each, reuse=True):
            lacking = chunk.x.isnan().any(0) if self.gaps else None
            if lacking is None or not bool(lacking.any()):
                joint = self._joint(chunk.x)
            else:
                joint = chunk.x.new_empty(self.mixture.shape[1], chunk.x.shape[1])
                joint[:, ~lacking] = self._joint(chunk.x[:, ~lacking])
                joint[:, lacking] = self._exact(Marginal, chunk.x[:, lacking])
            yield slice(chunk.start, chunk.start + chunk.x.shape[1]), joint

    def _joint(self, x: Float[Tensor, "D n"]) -> Float[Tensor, "K n"]:
        """log πₖ p(x | k) of rows without gaps."""
        joint = self.count.log_joint(x)[0][0]
        top = joint.amax(0)
        return joint if bool(top.isfinite().all()) else self._rescue(x, joint)

    def _exact(self, kind: type[Count], x: Float[Tensor, "D n"]) -> Float[Tensor, "K n"]:
        """The same by another count, in float64."""
        count = kind(self.mixture, self.rows.scratch, self.wide, self.rows.device)
        return count.log_joint(x.to(self.wide))[0][0].clamp_min(torch.finfo(x.dtype).min).to(x.dtype)

    def _rescue(self, x: Tensor, joint: Tensor) -> Tensor:
        """Rows so far out that float32 or the feature map overflows, by the definition in float64."""
        far = ~joint.amax(0).isfinite()
        joint = joint.clone()
        joint[:, far] = self._exact(Whitened, x[:, far])
        return joint

    def _all(self, read: Callable[[Tensor], Tensor]) -> Tensor:
        """What is read of the log joint (K, n) of each chunk, for all rows."""
        parts = ((at, read(joint)) for at, joint in self._joints())
        if self.length is None:
            return torch.cat([part for _, part in parts])
        out: Tensor | None = None
        for at, part in parts:
            if len(part) == self.length:
                return part
            out = part.new_empty(self.length, *part.shape[1:]) if out is None else out
            out[at] = part
        assert out is not None
        return out

    def log_density(self) -> Float[Tensor, "N"]:
        """log p(x)."""
        return self._all(lambda joint: joint.logsumexp(0))

    def labels(self) -> Int64[Tensor, "N"]:
        """The component with the largest posterior."""
        return self._all(lambda joint: joint.argmax(0))

    def posteriors(self) -> Float[Tensor, "N K"]:
        """p(k | x)."""
        return self._all(lambda joint: joint.softmax(0).T.contiguous())

    def log_best(self) -> Float[Tensor, "N"]:
        """log max p(k | x)."""
        return self._all(lambda joint: joint.amax(0) - joint.logsumexp(0))

    def entropy(self) -> Float[Tensor, "N"]:
        """−Σ p(k | x) log p(k | x), in float64."""

        def read(joint: Float[Tensor, "K n"]) -> Float[Tensor, "n"]:
            t = joint.to(self.wide).softmax(0)
            return -torch.special.xlogy(t, t).sum(0)

        return self._all(read)

    def every(self) -> Said:
        """All of it, from one look at the rows."""
        parts = []
        for _, joint in self._joints():
            log_density = joint.logsumexp(0)
            log_best = joint.amax(0) - log_density
            parts.append(Said(joint.argmax(0), joint.softmax(0), log_best, log_density))
        if len(parts) == 1:
            return Said(*(t.cpu() for t in parts[0]))
        return Said(*(torch.cat([part[i] for part in parts], -1).cpu() for i in range(len(Said._fields))))
