"""Pictures of mixtures with matplotlib: points coloured by component and the ellipses of a fitted model."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
"""The colour-blind-safe palette of Okabe and Ito (2008); its black is kept for ellipses and text."""

MARKERS = ("o", "^", "s", "D", "v", "P", "X")
"""One round of colours with each marker: 49 components look different."""

NOISE = "#999999"
"""Colour of rows that belong to no component (label −1)."""

INK = "#222222"

MOST = 20_000
"""Points that are drawn; of more rows a random sample of this size."""


class Look(NamedTuple):
    """How the points of one component look."""

    colour: str
    marker: str


def look(component: int) -> Look:
    """The colour and marker of a component; grey for label −1."""
    if component < 0:
        return Look(NOISE, ".")
    turn, at = divmod(component, len(COLOURS))
    return Look(COLOURS[at], MARKERS[turn % len(MARKERS)])


def scatter(
    X: Any,
    labels: Any = None,
    model: Any = None,
    ax: Any = None,
    *,
    features: tuple[int, int] = (0, 1),
    names: Sequence[str] | None = None,
    called: Sequence[str] | None = None,
    title: str | None = None,
    size: float | int = 30,
    most: int = MOST,
    seed: int = 0,
    legend: bool = True,
) -> Any:
    """Draw rows in two of their features, coloured by component, with the ellipses of a fitted model.

    Ellipses are 1 and 2 standard deviations of each component's marginal in these features.

    Args:
        X: (N, D) rows: array, DataFrame or tensor; a DataFrame's column names become axis names.
        labels: (N,) a component, or any other label, of each row; None asks ``model``, or draws one colour.
        model: a fitted mixture estimator, or None.
        ax: matplotlib axes; None makes a figure of its own, which no global state knows of.
        features: indices of the features on the horizontal and the vertical axis.
        names: (D,) names of the features.
        called: (K,) names of the components in the legend; None calls them by number.
        title: of the axes.
        size: of a point, in points².
        most: largest number of points; of more rows a random sample is drawn, and the title says so.
        seed: of that sample.
        legend: name the components in a legend.

    Returns:
        The axes; ``ax.figure.savefig(path)`` writes them.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: a shape does not fit, or there is no such feature.
    """
    rows, names = _rows(X, names)
    _check(rows, labels, features)
    ax = new_axes() if ax is None else ax
    total = len(rows)
    chosen = np.arange(total)
    if total > most:
        chosen = np.sort(np.random.default_rng(seed).choice(total, most, replace=False))
    if labels is not None:
        shown = np.asarray(labels)[chosen]
    elif model is not None:
        shown = _array(model.predict(_part(X, chosen, total)))
    else:
        shown = None
    _points(ax, rows[chosen][:, list(features)], shown, size, called)
    if model is not None:
        _ellipses(ax, model, features)
        ax.autoscale_view()
    _dress(ax, [names[j] for j in features], title, total, len(chosen))
    if legend and shown is not None:
        _legend(ax)
    return ax


def new_axes(columns: int = 1, rows: int = 1, width: float = 5.2, height: float = 4.6) -> Any:
    """Axes on a figure of their own (``ax.figure``), drawn without a display: one, or a (rows, columns) array.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise ModuleNotFoundError('pictures need matplotlib: pip install "mixtura[plot]"') from None
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.subplots(rows, columns)


def ellipse(covariance: np.ndarray, deviations: float) -> tuple[float, float, float]:
    """Width, height and angle (degrees) of the curve at a number of standard deviations from a mean in the plane.

    Args:
        covariance: (2, 2).
        deviations: Mahalanobis distance of the curve.
    """
    value, vector = np.linalg.eigh(covariance)
    width, height = 2 * deviations * np.sqrt(np.maximum(value[::-1], 0))
    return float(width), float(height), math.degrees(math.atan2(vector[1, 1], vector[0, 1]))


def _rows(X: Any, names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    given = getattr(X, "column_names", None) or getattr(X, "columns", None) if names is None else names
    rows = _array(X)
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise ValueError(f"X has shape {rows.shape}, expected rows with two features or more: use a histogram for one")
    found = [f"x{j}" for j in range(rows.shape[1])] if given is None else [str(name) for name in given]
    if len(found) != rows.shape[1]:
        raise ValueError(f"names has {len(found)} entries, expected {rows.shape[1]}: one for each feature")
    return rows, found


def _array(x: Any) -> np.ndarray:
    return np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)


def _part(X: Any, chosen: np.ndarray, total: int) -> Any:
    if len(chosen) == total:
        return X
    if hasattr(X, "iloc"):
        return X.iloc[chosen]
    return X.take(chosen) if hasattr(X, "column_names") else X[chosen]


def _check(rows: np.ndarray, labels: Any, features: tuple[int, int]) -> None:
    if labels is not None and len(labels) != len(rows):
        raise ValueError(f"labels has {len(labels)} entries, expected {len(rows)}: one for each row of X")
    for feature in features:
        if not 0 <= feature < rows.shape[1]:
            raise ValueError(f"features names {feature}, expected indices from 0 to {rows.shape[1] - 1}")


def _groups(labels: np.ndarray, called: Sequence[str] | None) -> Iterator[tuple[str, int, np.ndarray]]:
    """Name, component and rows of each label; labels that are no integers are counted in sorted order."""
    kinds = np.unique(labels)
    numbered = np.issubdtype(labels.dtype, np.integer)
    for at, kind in enumerate(kinds):
        component = int(kind) if numbered else at
        name = str(kind)
        if numbered:
            name = "noise" if component < 0 else f"component {component}" if called is None else called[component]
        yield name, component, labels == kind


def _points(
    ax: Any, xy: np.ndarray, labels: np.ndarray | None, size: float | int, called: Sequence[str] | None
) -> None:
    style = {"s": size, "alpha": 0.75, "edgecolors": "white", "linewidths": 0.3 if size >= 10 else 0.0}
    if labels is None:
        ax.scatter(xy[:, 0], xy[:, 1], color="#555555", **style)
        return
    for name, component, here in _groups(labels, called):
        colour, marker = look(component)
        ax.scatter(xy[here, 0], xy[here, 1], color=colour, marker=marker, label=name, **style)


def _ellipses(ax: Any, model: Any, features: tuple[int, int]) -> None:
    from matplotlib.patches import Ellipse

    at = list(features)
    mixture = model.mixture_
    means = _array(mixture.mean[0])[:, at]
    dense = _array(mixture.covariance.dense()[0])[:, at][:, :, at]
    for k, mean in enumerate(means):
        # A structure shared by all components has one matrix.
        covariance = dense[k if len(dense) > 1 else 0]
        for deviations, line in ((1.0, "-"), (2.0, "--")):
            width, height, angle = ellipse(covariance, deviations)
            ax.add_patch(
                Ellipse(mean, width, height, angle=angle, fill=False, edgecolor=INK, linewidth=1.2, linestyle=line)
            )
    ax.scatter(means[:, 0], means[:, 1], marker="+", s=60, color=INK, linewidths=1.4, zorder=3)


def _dress(ax: Any, names: list[str], title: str | None, total: int, shown: int) -> None:
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    lines = [title] if title else []
    if shown < total:
        lines.append(f"{shown:,} of {total:,} rows shown")
    if lines:
        ax.set_title("\n".join(lines))
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)


def _legend(ax: Any) -> None:
    handles, names = ax.get_legend_handles_labels()
    if 1 < len(handles) <= 16:
        legend = ax.legend(handles, names, fontsize="small", framealpha=0.9)
        for handle in legend.legend_handles:
            handle.set_sizes([30.0])
            handle.set_alpha(1.0)
