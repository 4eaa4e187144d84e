"""The compiled library: found, loaded and chosen for the processor once, or None with the reason."""

import ctypes
import logging
import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).parent / "libmixtura.so"

log = logging.getLogger("mixtura")


class Library(NamedTuple):
    """The library, or why there is none.

    Attributes:
        handle: its functions; None where it cannot be used.
        level: of the processor that they were compiled for: ``"v3"`` (x86-64 with AVX2 and FMA) or ``"base"``.
        reason: why there is none.
    """

    handle: ctypes.CDLL | None
    level: str
    reason: str

    def function(self, name: str) -> "ctypes._NamedFuncPointer":
        """The function of this name for this processor."""
        assert self.handle is not None
        return self.handle[f"mixtura_{name}_{self.level}"]

    def __str__(self) -> str:
        return f"compiled passes ({self.level})" if self.handle else f"PyTorch's operations ({self.reason})"


@cache
def library() -> Library:
    """The library of this process; looked for at the first call. ``MIXTURA_NATIVE=0`` leaves it out."""
    found = _found()
    if found.handle is None:
        log.info("mixtura counts by %s", found)
    return found


def _found() -> Library:
    if os.environ.get("MIXTURA_NATIVE") == "0":
        return Library(None, "", "MIXTURA_NATIVE=0")
    if not FILE.exists():
        return Library(None, "", "there was no C compiler when mixtura was installed")
    try:
        handle = ctypes.CDLL(str(FILE))
        handle.mixtura_level.restype = ctypes.c_char_p
        return Library(handle, handle.mixtura_level().decode(), "")
    except (OSError, AttributeError) as error:
        return Library(None, "", f"{FILE.name} cannot be used: {error}")
