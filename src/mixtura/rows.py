"""Rows: the data as the ring sees it, cut into chunks, centred, cast and placed on a device."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mixtura.covariance.quadratic import Quadratic
from mixtura.data.base import Block, Source
from mixtura.feed import CudaLane, Feed
from mixtura.gaps import Group, grouped
from mixtura.record import Record
from mixtura.room import BUDGET, MOST, Room, room_on, rows_within

DERIVED = 16 * 2**20
"""Bytes of features that are kept from pass to pass; only those of small data fit."""

TOLERANCE = 1e-3
"""Nats of a log density that the feature map may lose to rounding before the whitened count takes over."""

COARSE = 0.05
"""The same where only the way to an optimum is looked for, in float32."""

PATIENCE = 8
"""Passes between two looks at a device that the host would have to wait for."""


T = TypeVar("T", bound=Record)


class Chunk(NamedTuple):
    """Some rows, ready for a count.

    Attributes:
        x: (D, N), working dtype, on the row device, relative to ``Rows.origin``; rows without gaps.
        weight: (N,), working dtype; None where every row counts once.
        start: index of the first row in the source.
        lasting: the same tensor comes back in every pass, so that what is derived from it may be kept.
        groups: rows with gaps.
    """

    x: Float[Tensor, "D N"]
    weight: Float[Tensor, "N"] | None
    start: int
    lasting: bool = False
    groups: tuple[Group, ...] = ()

    def sorted(self) -> "Chunk":
        """Rows with gaps put aside, sorted by what was observed of them."""
        lacking = self.x.isnan().any(0)
        if not bool(lacking.any()):
            return self
        kept, aside = ((self.x[:, at], None if self.weight is None else self.weight[at]) for at in (~lacking, lacking))
        return Chunk(*kept, self.start, groups=grouped(*aside))


class Scratch:
    """Buffers that outlive a chunk, so that a pass allocates nothing large."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}
        self._derived: dict[tuple[Any, ...], Tensor] = {}

    def take(self, name: str, shape: tuple[int, int], like: Tensor) -> Tensor:
        """An uninitialised (rows, columns) view with contiguous columns, with the dtype and device of ``like``."""
        kept = self._kept.get(name)
        if (
            kept is None
            or kept.shape[0] != shape[0]
            or kept.shape[1] < shape[1]
            or (kept.dtype, kept.device) != (like.dtype, like.device)
        ):
            kept = self._kept[name] = like.new_empty(shape)
        return kept[:, : shape[1]]

    def derived(self, key: tuple[Any, ...], make: Callable[[], Tensor]) -> Tensor:
        """What was made for this key before, else made now and kept; the oldest make room when they are too many."""
        found = self._derived.get(key)
        if found is None:
            found = make()
            size = found.numel() * found.itemsize
            while self._derived and size + sum(t.numel() * t.itemsize for t in self._derived.values()) > DERIVED:
                del self._derived[next(iter(self._derived))]
            self._derived[key] = found
        return found


class Rows:
    """Data for the ring.

    Args:
        source: where the rows come from.
        dtype: working dtype; None keeps the source's. float32 where the device has no float64.
        device: where chunks are placed.
        origin: (D,) subtracted from every row; None takes the weighted mean (one pass).
        budget: bytes that the working arrays of one chunk may take; None is what suits the device.
        resident: largest data set, in bytes, kept on the device between passes; None is what suits the device.
        tolerance: nats of a log density that the feature map may lose to rounding.
        gaps: NaN stands for a missing entry; without it, rows are not looked at for any.
        patience: passes that EM makes on these rows between two looks at what came out; None is 1 where parameters
            live on the CPU, since looking costs nothing there, else ``PATIENCE``.
    """

    def __init__(
        self,
        source: Source,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        origin: Tensor | None = None,
        budget: int | None = None,
        resident: int | None = None,
        tolerance: float = TOLERANCE,
        gaps: bool = False,
        patience: int | None = None,
    ) -> None:
        self.source, self.gaps = source, gaps
        self.tolerance = tolerance
        self._coarse: Rows | None = None
        self.device = torch.device(device)
        self.patience = patience or (1 if self.home.type == "cpu" else PATIENCE)
        room = room_on(self.device)
        self.room = Room(budget or room.budget, room.resident if resident is None else resident, room.most)
        self._feed: Feed | None = None
        self.scratch = Scratch()
        self._totals: dict[Quadratic, Tensor] = {}
        storage = next(iter(source.blocks(1))).x.dtype
        self.dtype = torch.float32 if self.device.type == "mps" else dtype or storage
        # Rounded to the storage dtype, so that x − origin is one correctly rounded subtraction.
        self.origin = (weighted_mean(source) if origin is None else origin).to("cpu", storage)
        n, d = source.shape
        kept = n is not None and n * d * self.dtype.itemsize <= self.room.resident
        self._resident = self._whole() if kept else None

    def coarse(self) -> "Rows":
        """The same rows in float32, which are counted faster: to find the way to an optimum, not to measure it."""
        if self._coarse is None:
            self._coarse = Rows(
                self.source,
                dtype=torch.float32,
                device=self.device,
                origin=self.origin,
                budget=self.room.budget,
                tolerance=COARSE,
                gaps=self.gaps,
                patience=self.patience,
            )
        return self._coarse

    @property
    def held(self) -> Chunk | None:
        """All rows as they are kept between passes; None where they are not, or where some have gaps."""
        return None if self._resident is None or self._resident.groups else self._resident

    @property
    def home(self) -> torch.device:
        """Where parameters and sums live: the row device, or the CPU where that has no float64."""
        return torch.device("cpu") if self.device.type == "mps" else self.device

    def _place(self, block: Block, out: Tensor | None = None, feed: Feed | None = None) -> Chunk:
        # In the wider of both dtypes: a float64 origin must not be rounded to the rows' float32, nor the other way.
        wide = torch.promote_types(block.x.dtype, self.dtype)
        x = torch.sub(block.x.to(wide).T, self.origin.to(block.x.device, wide)[:, None], out=out)
        both = [x] if block.weight is None else [x, block.weight]
        if feed is not None:
            both = feed.send(both, self.dtype)
        x, *weights = (t.to(self.device, self.dtype).contiguous() for t in both)
        if not weights:
            return Chunk(x, None, block.start)
        weight = weights[0]
        # A row that does not count may hold anything, also what overflows.
        return Chunk(torch.where(weight > 0, x, 0.0), weight, block.start)

    def _buffer(self, x: Tensor) -> Tensor | None:
        """Where centred rows can be written as they are needed, so that a pass allocates nothing large."""
        if x.dtype != self.dtype or x.device != self.device:
            return None
        return self.scratch.take("rows", (x.shape[1], len(x)), x)

    def _fed(self) -> Feed | None:
        """How chunks come to the device where they are copied beside the count: from the CPU to a CUDA device."""
        if self._feed is None and self.device.type == "cuda":
            self._feed = Feed(CudaLane(self.device))
        return self._feed

    def _whole(self) -> Chunk:
        parts = [self._place(block) for block in self.source.blocks(self.within(8 * len(self.origin)))]
        if len(parts) > 1:
            weights = [p.weight for p in parts if p.weight is not None]
            parts = [Chunk(torch.cat([p.x for p in parts], 1), torch.cat(weights) if weights else None, 0)]
        return parts[0].sorted() if self.gaps else parts[0]

    def chunks(self, rows: int = MOST, *, reuse: bool = False) -> Iterator[Chunk]:
        """All rows in order, at most ``rows`` at a time; with ``reuse`` a chunk lasts until the next one is taken.

        Rows with gaps come with the chunk that holds them, or all with the first where they are kept between passes.
        """
        if self._resident is None:
            for block in self.source.blocks(rows):
                feed = self._fed() if reuse and block.x.device.type == "cpu" else None
                chunk = self._place(block, self._buffer(block.x) if reuse else None, feed)
                yield chunk.sorted() if self.gaps else chunk
        else:
            x, weight, groups = self._resident.x, self._resident.weight, self._resident.groups
            for start in range(0, max(1, x.shape[1]), rows):
                part = slice(start, start + rows)
                yield Chunk(x[:, part], None if weight is None else weight[part], start, lasting=True, groups=groups)
                groups = ()

    def within(self, bytes_per_row: int) -> int:
        """How many rows to take at a time so that their working arrays stay within the budget."""
        return self.room.rows(bytes_per_row)

    def empty(self) -> Chunk:
        """No rows: counting it is the zero of any count."""
        x = torch.zeros(len(self.origin), 0, dtype=self.dtype, device=self.device)
        return Chunk(x, None, 0)

    def sum(self, count: Callable[[Chunk], T], bytes_per_row: int) -> T:
        """What ``count`` says of each chunk, cast to float64 at home and added up.

        ``bytes_per_row`` is what the count's working arrays take for one row: it and the budget decide how many rows a
        chunk has.
        """
        total: T | None = None
        for chunk in self.chunks(self.within(bytes_per_row), reuse=True):
            part = count(chunk).map(self._to_home)
            total = part if total is None else total + part
        return count(self.empty()).map(self._to_home) if total is None else total

    def _to_home(self, t: Tensor) -> Tensor:
        return t if t.dtype == torch.float64 else t.to(self.home).to(torch.float64)

    def total(self, quadratic: Quadratic) -> Float64[Tensor, "P"]:
        """Σ w · quadratic features over all rows without gaps, in float64; counted once and kept."""
        if quadratic not in self._totals:
            size = quadratic.size(len(self.origin))
            total = torch.zeros(size, dtype=torch.float64, device=self.home)
            for x, weight, *_ in self.chunks(self.within(8 * size)):
                x64 = x.to(self.home).to(torch.float64)
                features = self.scratch.take("quadratic", (size, x.shape[1]), x64)
                quadratic.write(x64, features)
                total += features.sum(1) if weight is None else features @ weight.to(self.home).to(torch.float64)
            self._totals[quadratic] = total
        return self._totals[quadratic]


def weighted_mean(source: Source) -> Float64[Tensor, "D"]:
    """The mean of the rows in float64, in one pass; NaN where a column has gaps."""
    total, weight = torch.zeros(source.shape[1], dtype=torch.float64), 0.0
    for block in source.blocks(rows_within(BUDGET, 8 * source.shape[1])):
        x = block.x.to("cpu", torch.float64)
        if block.weight is None:
            total, weight = total + x.sum(0), weight + len(x)
        else:
            w = block.weight.to("cpu", torch.float64)
            total, weight = total + w @ x, weight + float(w.sum())
    return total / weight
