"""Canvas: axes of their own, and the dress of all axes: names, spines, notes, keys and credits."""

import textwrap
from collections.abc import Sequence
from typing import Any

from mixtura.apps.plot.palette import GREY, INK

NOTE = "mixtura: note"
"""Marks the text that says how a picture was made."""

ROWS = 20
"""Most entries in one column of a key."""

INSIDE = 8
"""Most entries of a key inside the axes, where there is no room beside them."""


def new_axes(columns: int = 1, rows: int = 1, width: float | int = 5.2, height: float | int = 4.2) -> Any:
    """Axes on a figure of their own (``ax.figure``), drawn without a display: one, or a (rows, columns) array.

    Args:
        columns: of axes.
        rows: of axes.
        width: of each, in inches.
        height: of each, in inches.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.

    Examples:
        >>> from mixtura import plot
        >>> before, after = plot.new_axes(columns=2)
        >>> before.figure is after.figure
        True
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ModuleNotFoundError('pictures need matplotlib: pip install "mixtura[plot]"') from None
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.subplots(rows, columns)


def credit(ax: Any, text: str) -> None:
    """Write where the data come from at the foot of the figure.

    Args:
        ax: any axes of the figure, or an array of them.
        text: one line.

    Examples:
        >>> from mixtura import plot
        >>> ax = plot.new_axes()
        >>> plot.credit(ax, "Data: Fisher (1936)")
    """
    first = ax.flat[0] if hasattr(ax, "flat") else ax
    first.figure.supxlabel(text, fontsize=6.5, color=GREY, x=0.995, ha="right", parse_math=False)


def dress(ax: Any, across: str, up: str, title: str | None, *, size: float | int = 9) -> None:
    """Name the axes, thin the frame, and put a quiet grid behind."""
    # Names come from files, where a dollar is a dollar: only titles may hold mathematics.
    ax.set_xlabel(across, fontsize=size, color=INK, parse_math=False)
    ax.set_ylabel(up, fontsize=size, color=INK, parse_math=False)
    if title:
        ax.set_title(title, fontsize=size + 1, color=INK)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        ax.spines[side].set(linewidth=0.7, color=GREY)
    ax.tick_params(labelsize=size - 1, width=0.7, length=3, color=GREY, labelcolor=INK)
    ax.grid(color="#E6E6E6", linewidth=0.5)
    ax.set_axisbelow(True)


def tell(ax: Any, *lines: str) -> None:
    """Add to the note above the axes that says how the picture was made; the title moves up."""
    said = [text for text in ax.texts if text.get_gid() == NOTE]
    told = "; ".join([*(" ".join(text.get_text().split()) for text in said), *(line for line in lines if line)])
    for text in said:
        text.remove()
    if not told:
        return
    inches = ax.figure.get_size_inches()[0] * ax.get_position().width
    wrapped = textwrap.wrap(told, max(24, int(inches * 20)))
    ax.annotate(
        "\n".join(wrapped),
        (0.5, 1),
        xycoords="axes fraction",
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=7,
        color=GREY,
        gid=NOTE,
        parse_math=False,
    )
    ax.set_title(ax.get_title(), fontsize=ax.title.get_fontsize(), color=INK, pad=7 + 8.5 * len(wrapped))


def noted(ax: Any) -> str:
    """The note above the axes, on one line."""
    return "; ".join(" ".join(text.get_text().split()) for text in ax.texts if text.get_gid() == NOTE)


def key(ax: Any, handles: Sequence[Any], title: str | None = None) -> None:
    """A legend beside the axes, where it covers nothing; inside only if the figure has no layout that makes room."""
    if not handles:
        return
    style: dict[str, Any] = {"fontsize": 8, "title_fontsize": 8, "labelcolor": INK, "handlelength": 2.2}
    style |= {"ncols": -(-len(handles) // ROWS), "columnspacing": 1.0, "title": title, "alignment": "left"}
    if ax.figure.get_layout_engine() is None and len(handles) <= INSIDE:
        legend = ax.legend(handles=handles, loc="best", framealpha=0.9, edgecolor="none", **style)
    else:
        legend = ax.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, borderaxespad=0.2, **style
        )
    literal(legend)


def literal(legend: Any) -> None:
    """Let the names in a legend stand as they are, with their dollar signs."""
    for text in legend.get_texts():
        text.set_parse_math(False)
