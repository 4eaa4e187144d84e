"""Bars: one feature as a histogram, under the densities of the components and their sum."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixtura.apps.plot.canvas import dress, key, new_axes, tell
from mixtura.apps.plot.marginal import Marginal, grid, marginal
from mixtura.apps.plot.palette import INK, darker, look
from mixtura.apps.plot.shown import Called, Feature, name_of, position, show

FEWEST, MANY = 5, 120
"""Bounds on the number of bars that is chosen when none is given."""

TALLEST = 2.5
"""A component too narrow for the bars may leave the axes above this many times the tallest one."""

Bins = int | str | Sequence[float | int] | np.ndarray


def histogram(
    X: Any,
    model: Any = None,
    ax: Any = None,
    *,
    feature: Feature = 0,
    sample_weight: Any = None,
    bins: Bins = "auto",
    names: Sequence[str] | None = None,
    called: Called | None = None,
    title: str | None = None,
    legend: bool = True,
) -> Any:
    """Draw one feature as a histogram of area 1, with the curves πₖ p(x | k) of the components and their sum.

    Of more than one feature the curves are those of the marginal, which is exact for a mixture. All rows count.

    Args:
        X: (N, D) rows, or (N,) values of the one feature; see :func:`scatter`.
        model: a fitted mixture estimator, or None for the bars alone.
        ax: matplotlib axes; None makes a figure of its own.
        feature: its index or name.
        sample_weight: (N,) row weights, as given to ``fit``; None counts every row once.
        bins: number of bars, or their edges; ``"auto"`` has the width of Freedman & Diaconis (1981), 2 IQR n^(−1/3),
            with weighted quartiles, but at least 2 n^(1/3) bars, so that clusters far apart keep their shape.
        names: (D,) names of the features; None takes those of the columns.
        called: (K,) names of the components in the key, or a dict of them; None calls them by number.
        title: of the axes.
        legend: name the curves beside the axes.

    Returns:
        The axes.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        NotFittedError: the model is not fitted.
        ValueError: a shape does not fit, there is no such feature, or no finite value has weight.

    Examples:
        >>> from mixtura import GaussianMixture, plot
        >>> gm = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [4.0]], [1.0, 1.0], "spherical")
        >>> ax = plot.histogram([0, 0.5, 1, 3.5, 4, 4.2], gm, names=["length"])
        >>> len(ax.lines), ax.get_xlabel()
        (3, 'length')
    """
    shown = show(X, names, model, most=None, seed=0)
    at = position(feature, shown.names)
    x, weight, lost = counted(shown.columns([at])[:, 0], sample_weight)
    edges = edges_of(x, weight, bins)
    ax = new_axes() if ax is None else ax
    tallest = draw_bars(ax, x, weight, edges)
    room = 0.04 * (edges[-1] - edges[0])
    low, high = edges[0] - room, edges[-1] + room
    handles = []
    if model is not None:
        handles = draw_curves(ax, marginal(model, [at]), low, high, called, tallest)
    ax.set_xlim(low, high)
    dress(ax, shown.names[at], "density", title)
    ax.grid(False, axis="x")
    tell(ax, f"{lost:,} rows with missing or infinite values left out" if lost else "")
    if legend and (len(handles) > 1 or called is not None):
        key(ax, handles, "component")
    return ax


def counted(x: np.ndarray, sample_weight: Any) -> tuple[np.ndarray, np.ndarray, int]:
    """Finite values that have weight, their weights, and how many values are not finite.

    Raises:
        ValueError: there are none, or the weights are not usable.
    """
    from mixtura.inputs import check_weight

    given = check_weight(sample_weight, len(x))
    weight = np.ones(len(x)) if given is None else given.numpy()
    finite = np.isfinite(x)
    kept = finite & (weight > 0)
    if not kept.any():
        raise ValueError("the feature has no finite value with weight: there is nothing to draw")
    return x[kept], weight[kept], int((~finite).sum())


def edges_of(x: np.ndarray, weight: np.ndarray, bins: Bins) -> np.ndarray:
    """The edges of the bars.

    Raises:
        ValueError: the number is below 1, or the edges do not increase or leave values out.
    """
    low, high = float(x.min()), float(x.max())
    if not isinstance(bins, (int, np.integer, str)):
        edges = np.asarray(bins, dtype=np.float64)
        if edges.ndim != 1 or len(edges) < 2 or not (np.diff(edges) > 0).all() or edges[0] > low or edges[-1] < high:
            raise ValueError(f"bins has other than increasing edges that hold all values, {low:g} to {high:g}")
        return edges
    if bins == "auto":
        bins = _how_many(x, weight, high - low)
    if isinstance(bins, str) or bins < 1:
        raise ValueError(f"bins is {bins!r}, expected 'auto', a number of at least 1, or edges")
    if high - low <= 1e-12 * abs(high):
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, int(bins) + 1)


def _how_many(x: np.ndarray, weight: np.ndarray, span: float) -> int:
    total = weight.sum()
    # Weights that sum to 1 still stand for many rows (Kish 1965).
    rows = max(total, total**2 / (weight**2).sum())
    order = np.argsort(x)
    share = np.cumsum(weight[order]) / total
    first, third = x[order][np.searchsorted(share, (0.25, 0.75)).clip(max=len(x) - 1)]
    width = 2 * (third - first) * rows ** (-1 / 3)
    narrow = span / width if width > 0 else 0.0
    return int(np.clip(np.ceil(max(narrow, 2 * rows ** (1 / 3))), FEWEST, MANY))


def draw_bars(ax: Any, x: np.ndarray, weight: np.ndarray, edges: np.ndarray) -> float:
    """Bars of total area 1; returns the height of the tallest."""
    height, edges = np.histogram(x, edges, weights=weight)
    height = height / (height.sum() * np.diff(edges))
    ax.bar(edges[:-1], height, np.diff(edges), align="edge", color="#D9D9D9", edgecolor="white", linewidth=0.6)
    return float(height.max())


def draw_curves(
    ax: Any, line: Marginal, low: float, high: float, called: Called | None, tallest: float, *, width: float = 1.6
) -> list[Any]:
    """The curve of each component, shaded below, and their sum; returns the entries of a key."""
    x = grid(low, high, line.mean[:, 0], line.sd[:, 0], 400)
    each = np.exp(line.log_joint(x[:, None]))
    handles = []
    for k, curve in zip(line.number, each, strict=True):
        seen = look(int(k))
        style: dict[str, Any] = {"color": darker(seen.colour, 0.15), "linestyle": seen.line, "linewidth": width}
        handles += ax.plot(x, curve, **style, label=name_of(int(k), called), zorder=3)
        ax.fill_between(x, curve, color=seen.colour, alpha=0.22, linewidth=0, zorder=2)
    total = each.sum(0)
    if len(each) > 1:
        handles += ax.plot(x, total, color=INK, linewidth=0.8 * width, label="sum", zorder=2.5)
    ax.set_ylim(0, 1.06 * max(tallest, min(float(total.max()), TALLEST * tallest)))
    return handles
