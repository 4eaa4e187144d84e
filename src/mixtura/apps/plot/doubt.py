"""Doubt: which rows a mixture is not sure of."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixtura.apps.plot.canvas import dress, key, new_axes, tell
from mixtura.apps.plot.marginal import marginal, mixture_of
from mixtura.apps.plot.palette import GREY, INK, look
from mixtura.apps.plot.points import RASTER, draw_ellipses, draw_numbers, ellipse_note, point_size
from mixtura.apps.plot.shown import MOST, Features, array, grouped, plane, show

QUANTILES = (0.75, 0.95)
"""Rows below the first are drawn faint, rows above the last bold."""


def uncertainty(
    X: Any,
    model: Any,
    ax: Any = None,
    *,
    features: Features = (0, 1),
    quantiles: tuple[float, float] = QUANTILES,
    names: Sequence[str] | None = None,
    title: str | None = None,
    size: float | int | None = None,
    most: int = MOST,
    seed: int = 0,
    legend: bool = True,
) -> Any:
    """Draw rows the larger and darker the less sure their component is.

    The uncertainty of a row is 1 − maxₖ p(k | x). Rows are drawn in three classes that two of its quantiles part; the
    key says where they lie and how many rows each class has (the idea is that of Fraley & Raftery's mclust).

    Args:
        X: (N, D) rows, all features that the model was fitted on; see :func:`scatter`.
        model: a fitted mixture estimator.
        ax: matplotlib axes; None makes a figure of its own.
        features: index or name of the features on the horizontal and the vertical axis.
        quantiles: of the uncertainties of the rows shown, between 0 and 1.
        names: (D,) names of the features; None takes those of the columns.
        title: of the axes.
        size: area of a point in the middle class, in points²; None makes points smaller the more there are.
        most: largest number of points; of more rows a random sample is drawn, and a note says so.
        seed: of that sample.
        legend: tell the classes beside the axes.

    Returns:
        The axes.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        NotFittedError: the model is not fitted.
        ValueError: a shape does not fit, or there is no such feature or quantile.

    Examples:
        >>> from mixtura import GaussianMixture, plot
        >>> gm = GaussianMixture.from_parameters([0.5, 0.5], [[0, 0], [4, 0]], [1.0, 1.0], "spherical")
        >>> ax = plot.uncertainty([[0, 0], [0, 1], [1, 1], [4, 0], [5, 0], [2, 0]], gm)
        >>> [text.get_text() for text in ax.get_legend().get_texts()][-1]
        'above 0.38 (1)'
    """
    low, high = quantiles
    if not 0 < low < high < 1:
        raise ValueError(f"quantiles is {quantiles}, expected two increasing numbers between 0 and 1")
    model, _ = mixture_of(model)
    shown = show(X, names, model, most=most, seed=seed)
    at = plane(features, shown.names)
    doubt = array(model.uncertainty(shown.part)).astype(np.float64)
    labels = array(model.predict(shown.part))
    edges = np.quantile(doubt, quantiles)
    xy = shown.columns(at)
    area = point_size(len(xy)) if size is None else float(size)
    ax = new_axes() if ax is None else ax
    flat = marginal(model, at)
    classes = _classes(doubt, edges, area)
    for turn, (_, here, style) in enumerate(classes):
        _draw(ax, xy, labels, here, {**style, "zorder": 2 + 0.1 * turn, "rasterized": len(xy) > RASTER})
    draw_ellipses(ax, flat, (1, 2), width=0.9)
    draw_numbers(ax, flat)
    dress(ax, shown.names[at[0]], shown.names[at[1]], title)
    told = f"sizes change at the {100 * low:g} and {100 * high:g} % quantiles"
    tell(ax, told, ellipse_note((1, 2)), shown.note)
    if legend:
        key(ax, _handles(classes), "uncertainty (rows)")
    return ax


def _classes(doubt: np.ndarray, edges: np.ndarray, area: float) -> list[tuple[str, np.ndarray, dict[str, Any]]]:
    """Name, rows and style of each class that has rows, from sure to unsure."""
    low, high = edges
    faint = {"s": 0.5 * area, "alpha": 0.3, "linewidths": 0.0, "edgecolors": "none"}
    middle = {"s": 1.1 * area, "alpha": 0.75, "linewidths": 0.0, "edgecolors": "none"}
    bold = {"s": 2.6 * area, "alpha": 1.0, "linewidths": 0.8, "edgecolors": INK}
    between = f"{_short(low)} to {_short(high)}"
    each = [
        (f"up to {_short(low)}", doubt <= low, faint),
        (between, (doubt > low) & (doubt <= high), middle),
        (f"above {_short(high)}", doubt > high, bold),
    ]
    return [(f"{name} ({here.sum():,})", here, style) for name, here, style in each if here.any()]


def _short(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-3 else f"{value:.0e}" if value > 0 else "0"


def _draw(ax: Any, xy: np.ndarray, labels: np.ndarray, here: np.ndarray, style: dict[str, Any]) -> None:
    for group in grouped(labels[here]):
        colour, marker, _ = look(group.component)
        ax.scatter(*xy[here][group.here].T, color=colour, marker=marker, **style)


def _handles(classes: list[tuple[str, np.ndarray, dict[str, Any]]]) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = []
    for name, _, style in classes:
        handle = Line2D([], [], marker="o", linestyle="", color=GREY, label=name, alpha=style["alpha"])
        handle.set(markersize=max(2.5, style["s"] ** 0.5), markeredgewidth=style["linewidths"])
        handle.set_markeredgecolor(style["edgecolors"])
        handles.append(handle)
    return handles
