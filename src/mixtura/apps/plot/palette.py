"""Palette: the colour, the marker and the line style that a component has in every picture."""

from typing import Any, NamedTuple

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#882255")
"""Six colours of Okabe and Ito (2008), which the colour-blind can tell apart, and for their yellow, which is lost on
white, the wine of Tol (2021); their black is kept for text and sums."""

MARKERS = ("o", "^", "s", "D", "v", "P", "X", "h")

DASHES: tuple[tuple[float | int, ...], ...] = (
    (),
    (5, 1.6),
    (1.2, 1.2),
    (6, 1.6, 1.2, 1.6),
    (9, 2.4),
    (6, 1.6, 1.2, 1.6, 1.2, 1.6),
    (2.6, 1.4),
    (9, 1.6, 2.6, 1.6),
)
"""Lengths of line and gap, in line widths; the empty one is a solid line."""

NOISE = "#8C8C8C"
"""Colour of rows that belong to no component (label −1)."""

INK = "#222222"
"""Text, sums and rows of which no component is known."""

GREY = "#6B6B6B"
"""Notes, and what stands behind."""


class Look(NamedTuple):
    """How one component looks.

    Attributes:
        colour: of points, curves and ellipses.
        marker: of points.
        dashes: of curves, as lengths of line and gap in line widths; empty is solid.
    """

    colour: str
    marker: str
    dashes: tuple[float | int, ...]

    @property
    def line(self) -> Any:
        """The line style as matplotlib takes it."""
        return 0.0, self.dashes or None


def look(component: int) -> Look:
    """How a component looks in every picture; grey dots for label −1.

    Seven colours and eight markers go round at once, so neighbours differ in both, and 56 components are all different.

    Examples:
        >>> from mixtura import plot
        >>> plot.look(1).colour, plot.look(1).marker, plot.look(8).marker
        ('#E69F00', '^', 'o')
    """
    if component < 0:
        return Look(NOISE, ".", (1.2, 1.2))
    turn = component % len(MARKERS)
    return Look(COLOURS[component % len(COLOURS)], MARKERS[turn], DASHES[turn])


def darker(colour: str, by: float = 0.35) -> str:
    """A colour mixed with black, for lines over points of that colour."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(part * (1 - by)):02X}" for part in parts)
