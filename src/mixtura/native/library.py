"""The compiled library: found, loaded and chosen for the processor once, or None with the reason."""

import ctypes
import logging
import os
import struct
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

from mixtura.native.layout import SIZES

FILE = Path(__file__).parent / "libmixtura.so"

log = logging.getLogger("mixtura")


class Library(NamedTuple):
    """The library, or why there is none.

    Attributes:
        handle: its functions; None where it cannot be used.
        level: of the processor that they were compiled for: ``"v3"`` (x86-64 with AVX2 and FMA) or ``"base"``.
        reason: why there is none.
        expected: there should have been one.
    """

    handle: ctypes.CDLL | None
    level: str
    reason: str
    expected: bool = True

    def function(self, name: str) -> "ctypes._NamedFuncPointer":
        """The function of this name for this processor."""
        assert self.handle is not None
        return self.handle[f"mixtura_{name}_{self.level}"]

    def __str__(self) -> str:
        return f"compiled passes ({self.level})" if self.handle else f"PyTorch's operations ({self.reason})"


@cache
def library() -> Library:
    """The library of this process; looked for at the first call. ``MIXTURA_NATIVE=0`` leaves it out."""
    if os.environ.get("MIXTURA_NATIVE") == "0":
        return Library(None, "", "MIXTURA_NATIVE=0", expected=False)
    if not FILE.exists():
        reason = "none are built for Windows" if sys.platform == "win32" else "mixtura was installed without them"
        return Library(None, "", f"compiled passes: {reason}", expected=sys.platform != "win32")
    return opened(FILE)


@cache
def usable() -> bool:
    """There is a library; for who is about to count rows: where one was expected, its lack is said once a process."""
    found = library()
    if found.handle is None and found.expected:
        log.warning("mixtura counts rows by %s: results are the same, but come later", found)
    return found.handle is not None


def opened(file: Path) -> Library:
    """The library in a file."""
    try:
        if cut_short(file):
            raise OSError("the file is cut short")
        handle = ctypes.CDLL(str(file))
        handle.mixtura_level.restype = ctypes.c_char_p
        found = Library(handle, handle.mixtura_level().decode(), "")
        for name, sizes in SIZES.items():
            if tuple(found.function(name)(which) for which in range(len(sizes))) != sizes:
                raise OSError("it was compiled from other sources; `pip install` compiles them anew")
    except (OSError, AttributeError) as error:
        # Without directories: the reason stands in summaries.
        return Library(None, "", f"{file.name} cannot be used: {error}".replace(f"{file.parent}{os.sep}", ""))
    return found


def cut_short(file: Path) -> bool:
    """An ELF file that ends before its table of sections does: the loader would not see it, and end the process."""
    with file.open("rb") as stream:
        head = stream.read(64)
    if len(head) < 64 or head[:5] != b"\x7fELF\x02":
        return False
    (begin,), (size, count) = struct.unpack_from("=Q", head, 40), struct.unpack_from("=HH", head, 58)
    return bool(begin + size * count > file.stat().st_size)
