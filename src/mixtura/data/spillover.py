"""Spillover: how much of each dye every detector sees, from the keywords of an FCS file, and its removal.

A row of the matrix is a dye, a column a detector ($SPILLOVER in the Flow Cytometry Standard 3.1; Bagwell & Adams,
Annals of the New York Academy of Sciences 677, 167, 1993): seen = true · S.
"""

from dataclasses import dataclass

import numpy as np

from mixtura.data.columns import listed
from mixtura.data.fcs_text import Text

KEYWORDS = ("spillover", "spill", "comp")
"""Where a matrix is looked for, the standard's own keyword first; each with or without its ``$``."""

WORST = 1e8
"""Condition number from which a matrix is called singular: errors of 1e-7 in single precision would fill the result."""

RAW = "compensate=False reads the values as they are"


@dataclass(frozen=True)
class Spillover:
    """A spillover matrix.

    Attributes:
        keyword: where it was found, in capitals.
        names: (n,) ``$PnN`` of its channels.
        matrix: (n, n), a row for each dye.
        also: other keywords that hold a matrix, which are not used.
    """

    keyword: str
    names: tuple[str, ...]
    matrix: np.ndarray
    also: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """There is no spillover."""
        return bool((self.matrix == np.eye(len(self.names))).all())

    def removed(self, x: np.ndarray) -> np.ndarray:
        """(N, n) of what the detectors saw, without what came from other dyes."""
        return np.linalg.solve(self.matrix.T, x.T).T


def find_spillover(text: Text) -> Spillover | None:
    """The matrix that an FCS file holds; None where it holds none.

    Raises:
        ValueError: there is one, but it cannot be used.
    """
    there = [key for key in KEYWORDS if text.keywords.get(key, "").strip()]
    if not there:
        return None
    keyword = there[0].upper()
    cells = [cell.strip() for cell in text.keywords[there[0]].split(",")]
    size = int(cells[0]) if cells[0].isdecimal() else 0
    if size < 1:
        raise _unusable(text, keyword, f"begins with {cells[0][:40]!r}, expected the number of its channels")
    names = _names(text, keyword, cells[1 : size + 1])
    matrix = _matrix(text, keyword, size, cells[size + 1 :])
    return Spillover(keyword, names, matrix, tuple(key.upper() for key in there[1:]))


def _names(text: Text, keyword: str, given: list[str]) -> tuple[str, ...]:
    found = [text.find(name) for name in given]
    if unknown := [name for name, here in zip(given, found, strict=True) if here is None]:
        have = [channel.name for channel in text.channels]
        raise _unusable(text, keyword, f"names the channels {listed(unknown)}, but there are {listed(have, 40)}")
    names = tuple(name for name in found if name is not None)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _unusable(text, keyword, f"names {listed(twice)} more than once")
    return names


def _matrix(text: Text, keyword: str, size: int, cells: list[str]) -> np.ndarray:
    if len(cells) != size * size:
        raise _unusable(text, keyword, f"has {len(cells)} numbers for {size} channels, expected {size} × {size}")
    try:
        matrix = np.array([float(cell) for cell in cells]).reshape(size, size)
    except ValueError as error:
        raise _unusable(text, keyword, f"has a cell that is no number ({error})") from None
    if not np.isfinite(matrix).all():
        raise _unusable(text, keyword, "has cells that are not finite")
    if not np.linalg.cond(matrix) < WORST:
        raise _unusable(text, keyword, "is singular: two of its dyes cannot be told apart")
    return matrix


def _unusable(text: Text, keyword: str, reason: str) -> ValueError:
    return ValueError(f"{text.place} holds a spillover matrix that cannot be used: {keyword} {reason}; {RAW}")
