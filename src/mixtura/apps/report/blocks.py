"""Blocks: what a page is made of, from a sentence to a section."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Paragraph:
    """Sentences.

    Attributes:
        text: plain text.
        style: ``answer``, ``warning``, ``fine`` or empty.
    """

    kind: ClassVar[str] = "paragraph"
    text: str
    style: str = ""


@dataclass(frozen=True)
class Listing:
    """Points, each with an optional term before it.

    Attributes:
        points: pairs of a term, which may be empty, and text.
        style: ``warnings``, ``references`` or empty.
    """

    kind: ClassVar[str] = "listing"
    points: Sequence[tuple[str, str]]
    style: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what it says.
        colour: of a swatch before it; empty for none.
    """

    text: str
    colour: str = ""


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows.

    Attributes:
        caption: what it holds.
        head: names of the columns; empty for a table of terms and values.
        body: rows of cells.
        words: how many columns after the first are words and stand at the left.
        strong: the row that is marked; −1 for none.
    """

    kind: ClassVar[str] = "table"
    caption: str
    head: Sequence[str]
    body: Sequence[Sequence[Cell]]
    words: int = 0
    strong: int = -1


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        uri: the picture itself, as a ``data:`` address.
        alt: what is to be seen.
        caption: what stands below.
        width: in CSS pixels.
        height: in CSS pixels.
    """

    kind: ClassVar[str] = "picture"
    uri: str
    alt: str
    caption: str
    width: int
    height: int


@dataclass(frozen=True)
class Details:
    """Blocks that are shown when asked for, and in print.

    Attributes:
        summary: what they are.
        blocks: themselves.
    """

    kind: ClassVar[str] = "details"
    summary: str
    blocks: Sequence["Block"]


Block = Paragraph | Listing | Table | Picture | Details


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    Attributes:
        anchor: its address within the page.
        title: its heading.
        blocks: what stands in it.
        parts: sections within it.
    """

    anchor: str
    title: str
    blocks: Sequence[Block] = ()
    parts: Sequence["Section"] = ()


def cells(*texts: str) -> list[Cell]:
    """A row of a table."""
    return [Cell(text) for text in texts]
