"""Room: how much memory the rows of a fit may take on a device."""

from typing import NamedTuple

import torch

BUDGET = 16 * 2**20
"""Bytes that one chunk's features and responsibilities may take together."""

RESIDENT = 48 * 2**20
"""Data sets up to this many bytes are kept centred and transposed; larger ones are read again in every pass."""

FEWEST, MOST = 512, 131072
"""Rows in a chunk."""

LARGEST, LONGEST = 2**29, 2**20
"""The budget, and most rows of a chunk, where a CUDA device has memory enough."""

SHARE, KEPT = 8, 4
"""Parts of a CUDA device's free memory, of which a chunk may take one, and rows that are kept between passes one."""


class Room(NamedTuple):
    """Memory on a device.

    Attributes:
        budget: bytes that one chunk's working arrays may take together.
        resident: bytes of the largest data set that is kept on the device between passes.
        most: rows in a chunk.
    """

    budget: int = BUDGET
    resident: int = RESIDENT
    most: int = MOST

    def rows(self, bytes_per_row: int) -> int:
        """How many rows to take at a time so that their working arrays stay within the budget."""
        return min(self.most, max(FEWEST, self.budget // max(1, bytes_per_row)))


def room_on(device: torch.device) -> Room:
    """What rows may take: a cache's worth on the CPU, on a CUDA device a share of what is free now.

    Few large operations keep a GPU busy, many small ones do not. The budget is a power of two, at most ``LARGEST``,
    which every device with 4 GiB free reaches: chunks, and with them rounding, do not change with what else runs there.
    """
    if device.type != "cuda":
        return Room()
    free, _ = torch.cuda.mem_get_info(device)
    budget = 1 << max(0, (free // SHARE).bit_length() - 1)
    # With little memory free, as little as a chunk on the CPU takes.
    budget = max(BUDGET, min(LARGEST, budget))
    return Room(budget, max(RESIDENT, free // KEPT), LONGEST)


def rows_within(budget: int, bytes_per_row: int) -> int:
    """The same for rows that are worked on where they are read, on the CPU."""
    return Room(budget).rows(bytes_per_row)
