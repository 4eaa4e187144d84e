"""Contours: the density of a mixture over the plane of two features."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixtura.apps.plot.canvas import dress, new_axes, tell
from mixtura.apps.plot.marginal import Marginal, grid, marginal, mixture_of
from mixtura.apps.plot.palette import INK
from mixtura.apps.plot.points import draw_numbers, draw_points, point_size
from mixtura.apps.plot.shown import MOST, Features, plane, show

SHADES = ("#F4F8FB", "#C5DCEC", "#8DBAD9", "#4C8FBF")
"""From the edge to the peak: light enough for points and letters to be read on all of them."""

STYLES: tuple[Any, ...] = ("-", (0, (7, 2)), (0, (4, 2)), (0, (1.5, 1.5)))
"""Of the lines, from the innermost outwards."""

LABELLED = 5
"""With more components there is no room for letters on the lines; the bar names them."""

SHADED = 0.995
"""Mass of the part of the plane that is shaded."""


def density(
    X: Any,
    model: Any,
    ax: Any = None,
    *,
    features: Features = (0, 1),
    levels: Sequence[float | int] = (0.5, 0.8, 0.95),
    names: Sequence[str] | None = None,
    title: str | None = None,
    size: float | int | None = None,
    most: int = MOST,
    seed: int = 0,
    colorbar: bool = True,
) -> Any:
    """Draw the density of a mixture over two features: shades of log density, and lines that hold given masses.

    Of more than two features it is the marginal, which is exact for a mixture. A line that holds 80 % bounds the
    smallest region with that probability (Hyndman 1996, The American Statistician 50, 120–126).

    Args:
        X: (N, D) rows to draw over it, or None for the density alone; see :func:`scatter`.
        model: a fitted mixture estimator.
        ax: matplotlib axes; None makes a figure of its own.
        features: index or name of the features on the horizontal and the vertical axis.
        levels: probabilities between 0 and 1 that the lines hold.
        names: (D,) names of the features; None takes those of the columns.
        title: of the axes.
        size: area of a point, in points²; None makes points smaller the more there are.
        most: largest number of points; of more rows a random sample is drawn, and a note says so.
        seed: of that sample.
        colorbar: say beside the axes which shade is which log density, in nats.

    Returns:
        The axes.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        NotFittedError: the model is not fitted.
        ValueError: a shape does not fit, there is no such feature, or a level is no probability.

    Examples:
        >>> from mixtura import GaussianMixture, plot
        >>> gm = GaussianMixture.from_parameters([0.5, 0.5], [[0, 0], [4, 4]], [1.0, 1.0], "spherical")
        >>> ax = plot.density(None, gm, levels=[0.9], names=["height", "width"])
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('height', 'width')
    """
    wanted = sorted(set(levels), reverse=True)
    if not wanted or not 0 < wanted[-1] <= wanted[0] < 1:
        raise ValueError(f"levels is {list(levels)}, expected probabilities between 0 and 1 such as [0.5, 0.95]")
    model, mixture = mixture_of(model)
    shown = None if X is None else show(X, names, model, most=most, seed=seed)
    known = _names(model, names, mixture.shape[2]) if shown is None else shown.names
    at = plane(features, known)
    flat = marginal(model, at)
    xy = np.empty((0, 2)) if shown is None else shown.columns(at)
    ax = new_axes() if ax is None else ax
    drawn = draw_density(ax, flat, wanted, xy)
    missing = ""
    if shown is not None:
        missing = draw_points(ax, xy, None, 0.35 * point_size(len(xy)) if size is None else size, quiet=True)
    draw_numbers(ax, flat)
    dress(ax, known[at[0]], known[at[1]], title)
    ax.grid(False)
    held = ", ".join(f"{100 * level:g} %" for level in wanted[::-1])
    tell(ax, f"lines hold {held} of the probability", "" if shown is None else shown.note, missing)
    if colorbar:
        draw_bar(ax, *drawn)
    return ax


def draw_density(ax: Any, flat: Marginal, masses: list[float], xy: np.ndarray) -> tuple[Any, Any, dict]:
    """Shades, lines and the names of their levels, over the part of the plane that holds the masses and the rows."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    levels, nodes, height = flat.level([max(SHADED, *masses), *masses])
    inside = np.concatenate([nodes[height >= levels[0]], xy[np.isfinite(xy).all(1)]])
    low, high = inside.min(0), inside.max(0)
    room = np.maximum(0.04 * (high - low), 1e-12 + 1e-9 * np.abs(high))
    low, high = low - room, high + room
    across, up = (grid(low[i], high[i], flat.mean[:, i], flat.sd[:, i], 160) for i in (0, 1))
    surface = _surface(flat, across, up)
    top = max(float(surface.max()), float(height.max()))
    steps = np.asarray(MaxNLocator(9).tick_values(levels[0], top))
    colours = LinearSegmentedColormap.from_list("mixtura", SHADES)
    shades = ax.contourf(across, up, surface, levels=steps, cmap=colours, zorder=0)
    thick = 0.9 if len(flat.mean) <= LABELLED else 0.6
    lines = ax.contour(across, up, surface, levels=levels[1:], colors=INK, linewidths=thick, zorder=3)
    lines.set_linestyles([STYLES[min(turn, len(STYLES) - 1)] for turn in range(len(masses))][::-1])
    names = {level: f"{100 * mass:g} %" for level, mass in zip(lines.levels, masses, strict=True)}
    if len(flat.mean) <= LABELLED:
        for text in ax.clabel(lines, fmt=names, fontsize=7, inline_spacing=3):
            text.set_zorder(5)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return shades, lines, names


def draw_bar(ax: Any, shades: Any, lines: Any, names: dict) -> None:
    """Which shade is which log density, and where the lines lie."""
    bar = ax.figure.colorbar(shades, ax=ax, shrink=0.85, pad=0.06, aspect=24)
    bar.set_label("log density (nats)", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, width=0.5, length=2)
    bar.outline.set_linewidth(0.5)
    for (level, name), style in zip(names.items(), lines.get_linestyles(), strict=True):
        bar.ax.axhline(level, color=INK, linewidth=0.9, linestyle=style)
        bar.ax.annotate(
            name,
            (0, level),
            xycoords=("axes fraction", "data"),
            xytext=(-3, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=7,
            color=INK,
        )


def _surface(flat: Marginal, across: np.ndarray, up: np.ndarray) -> np.ndarray:
    # Row by row: K × all points of the plane at once is large for many components.
    return np.stack([flat.log_density(np.stack([across, np.full_like(across, y)], 1)) for y in up])


def _names(model: Any, names: Sequence[str] | None, features: int) -> list[str]:
    given = getattr(model, "feature_names_in_", None) if names is None else names
    found = [f"x{j}" for j in range(features)] if given is None else [str(name) for name in given]
    if len(found) != features:
        raise ValueError(f"names has {len(found)} entries, expected {features}: one for each feature")
    return found
