"""Draws: random numbers from counter-based streams, the same on every device, thread count and chunking."""

import secrets
import zlib
from typing import Any, cast

import numpy as np
import torch
from numpy.random.bit_generator import ISeedSequence

_WORD = 2**64
_PER_COUNT = 4  # Philox 4×64 yields four words a counter step


class _Key(ISeedSequence):
    """A key as it is: a generator that is given one by name also asks the system for entropy, which takes longer."""

    def __init__(self, *words: int) -> None:
        self.words = np.array(words, dtype=np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        return self.words


def stream(seed: int, purpose: str, start: int = 0, row: int = 0) -> np.random.Generator:
    """The generator keyed by (seed, purpose, start), placed at a row.

    One double is used per row: ``stream(s, p, r, row=a).random(n)`` is rows a … a+n of
    ``stream(s, p, r).random()``.
    """
    key = _Key(seed % _WORD, (zlib.crc32(purpose.encode()) << 32) | (start % 2**32))
    bits = np.random.Philox(cast("Any", key))
    generator = np.random.Generator(bits)
    if row:
        bits.advance(row // _PER_COUNT)
        generator.random(row % _PER_COUNT)
    return generator


def seed_of(random_state: Any) -> int:
    """A seed from what users pass as ``random_state``; a drawn one is below 2³², so that it can be passed again.

    Integers stand for themselves, generators (NumPy's two and torch's) give one draw, None gives fresh entropy.

    Raises:
        ValueError: anything else.
    """
    if random_state is None:
        return secrets.randbits(32)
    if isinstance(random_state, (int, np.integer)) and not isinstance(random_state, bool) and random_state >= 0:
        return int(random_state)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**32))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, torch.Generator):
        return int(torch.randint(2**32, (), generator=random_state, device=random_state.device))
    raise ValueError(
        f"random_state={random_state!r} cannot be used to seed a generator; "
        "pass a non-negative integer, a NumPy RandomState or Generator, a torch Generator, or None"
    )
