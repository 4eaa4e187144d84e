"""Feed: rows on their way to a CUDA device, copied while the device counts those before them."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Lane(Protocol):
    """A second stream of work on a device, beside the one in which rows are counted.

    An event is a place in a stream: what was launched before it has run when it has passed.
    """

    def pinned(self, size: int, dtype: torch.dtype) -> Tensor:
        """Memory of the host, (size,), from which the device copies by itself."""

    def room(self, size: int, dtype: torch.dtype) -> Tensor:
        """Memory of the device, (size,)."""

    def mark(self) -> Any:
        """An event in the stream in which rows are counted, after all that was launched there so far."""

    def copy(self, source: Sequence[Tensor], target: Sequence[Tensor], after: Any) -> Any:
        """Copy in the second stream once the event ``after`` has passed; gives the event of its end."""

    def follow(self, event: Any) -> None:
        """What is launched from now on where rows are counted waits for the event."""

    def wait(self, event: Any) -> None:
        """The host waits for the event."""


class CudaLane:
    """The lane of a CUDA device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def pinned(self, size: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(size, dtype=dtype, pin_memory=True)

    def room(self, size: int, dtype: torch.dtype) -> Tensor:
        return torch.empty(size, dtype=dtype, device=self.device)

    def mark(self) -> torch.cuda.Event:
        return torch.cuda.current_stream(self.device).record_event()

    def copy(self, source: Sequence[Tensor], target: Sequence[Tensor], after: torch.cuda.Event) -> torch.cuda.Event:
        with torch.cuda.stream(self.side):
            self.side.wait_event(after)
            for a, b in zip(source, target, strict=True):
                b.copy_(a, non_blocking=True)
            return self.side.record_event()

    def follow(self, event: torch.cuda.Event) -> None:
        torch.cuda.current_stream(self.device).wait_event(event)

    def wait(self, event: torch.cuda.Event) -> None:
        event.synchronize()


class Slot:
    """One of the two places on the way: memory on both sides, and who still uses it.

    Attributes:
        copied: the event after which the host's memory may be written again.
        used: the event after which the device's memory may be.
    """

    def __init__(self) -> None:
        self.here: list[Tensor] = []
        self.there: list[Tensor] = []
        self.copied: Any = None
        self.used: Any = None

    def fits(self, tensors: Sequence[Tensor], dtype: torch.dtype) -> bool:
        """What it has is enough for these."""
        sizes = [len(t) for t in self.here]
        return len(sizes) >= len(tensors) and all(
            t.numel() <= size and kept.dtype == dtype for t, size, kept in zip(tensors, sizes, self.here, strict=False)
        )


class Feed:
    """Rows to a device through two slots: one is filled and copied while what came through the other is counted.

    The host waits only for the copy before the last, whose memory it needs, and the copies for the chunk before the
    last to be counted: so the host is never more than two chunks ahead, and memory does not grow with the rows.

    Args:
        lane: the device's second stream.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.slots = (Slot(), Slot())
        self.at = 0

    def send(self, tensors: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
        """The tensors on the device in this dtype, contiguous; they last until the next ones are taken."""
        lane = self.lane
        # Who asks for more has launched all that uses what came last.
        self.slots[self.at].used = lane.mark()
        self.at = 1 - self.at
        slot = self.slots[self.at]
        if slot.copied is not None:
            lane.wait(slot.copied)
        if not slot.fits(tensors, dtype):
            slot.here = [lane.pinned(t.numel(), dtype) for t in tensors]
            slot.there = [lane.room(t.numel(), dtype) for t in tensors]
            # New memory may be what others have given back and still use in the stream that counts.
            slot.used = lane.mark()
        here = [kept[: t.numel()].view(t.shape) for kept, t in zip(slot.here, tensors, strict=False)]
        there = [kept[: t.numel()].view(t.shape) for kept, t in zip(slot.there, tensors, strict=False)]
        for kept, t in zip(here, tensors, strict=True):
            kept.copy_(t)
        slot.copied = lane.copy(here, there, slot.used)
        lane.follow(slot.copied)
        return there
