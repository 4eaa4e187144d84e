"""Points: rows in the plane of two features, by label or by component with the ellipses of the model."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mixtura.apps.plot.canvas import dress, key, new_axes, tell
from mixtura.apps.plot.marginal import Marginal, marginal, mixture_of
from mixtura.apps.plot.palette import INK, darker, look
from mixtura.apps.plot.shown import MOST, Called, Features, Group, array, grouped, labels_of, name_of, plane, show

UNKNOWN = "#4D4D4D"
"""Colour of rows whose component is not known."""

RASTER = 2_000
"""More points than this are an image inside a vector file."""


def scatter(
    X: Any,
    labels: Any = None,
    ax: Any = None,
    *,
    features: Features = (0, 1),
    names: Sequence[str] | None = None,
    called: Called | None = None,
    title: str | None = None,
    size: float | int | None = None,
    most: int = MOST,
    seed: int = 0,
    legend: bool = True,
) -> Any:
    """Draw rows in two of their features, in one colour or by label.

    Args:
        X: (N, D) rows: array, list, DataFrame, table or tensor; column names become axis names.
        labels: (N,) any label of each row; whole numbers look like the component of that number, −1 is noise.
        ax: matplotlib axes; None makes a figure of its own, which no global state knows of.
        features: index or name of the features on the horizontal and the vertical axis.
        names: (D,) names of the features; None takes those of the columns.
        called: (K,) names of the labels 0 … K−1 in the key, or a dict of them; None calls them by number.
        title: of the axes.
        size: area of a point, in points²; None makes points smaller the more there are.
        most: largest number of points; of more rows a random sample is drawn, and a note says so.
        seed: of that sample.
        legend: name the labels beside the axes.

    Returns:
        The axes; ``ax.figure.savefig(path)`` writes them.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: a shape does not fit, or there is no such feature.

    Examples:
        >>> from mixtura import plot
        >>> ax = plot.scatter([[0, 1], [2, 3], [4, 4]], ["a", "b", "b"], names=["length", "width"])
        >>> ax.get_xlabel(), [text.get_text() for text in ax.get_legend().get_texts()]
        ('length', ['a', 'b'])
    """
    shown = show(X, names, None, most=most, seed=seed)
    at = plane(features, shown.names)
    groups = None if labels is None else grouped(labels_of(labels, shown), called)
    ax = new_axes() if ax is None else ax
    missing = draw_points(ax, shown.columns(at), groups, size)
    dress(ax, shown.names[at[0]], shown.names[at[1]], title)
    tell(ax, shown.note, missing)
    if legend and groups is not None:
        key(ax, point_handles(groups), "label")
    return ax


def clusters(
    X: Any,
    model: Any,
    ax: Any = None,
    *,
    labels: Any = None,
    features: Features = (0, 1),
    deviations: Sequence[float | int] = (1, 2),
    names: Sequence[str] | None = None,
    called: Called | None = None,
    title: str | None = None,
    size: float | int | None = None,
    most: int = MOST,
    seed: int = 0,
    legend: bool = True,
) -> Any:
    """Draw rows coloured by component, with each component's ellipses and its number at its mean.

    Ellipses are those of the marginal in the two features. A component that was dropped has none.

    Args:
        X: (N, D) rows, all features that the model was fitted on; see :func:`scatter`.
        model: a fitted mixture estimator.
        ax: matplotlib axes; None makes a figure of its own.
        labels: (N,) the component of each row where it is known already, −1 for noise; None asks ``model``.
        features: index or name of the features on the horizontal and the vertical axis.
        deviations: how many standard deviations (Mahalanobis distance in the plane) the ellipses are away.
        names: (D,) names of the features; None takes those of the columns.
        called: (K,) names of the components in the key, or a dict of them; None calls them by number.
        title: of the axes.
        size: area of a point, in points²; None makes points smaller the more there are.
        most: largest number of points; of more rows a random sample is drawn, and a note says so.
        seed: of that sample.
        legend: name the components beside the axes.

    Returns:
        The axes.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        NotFittedError: the model is not fitted.
        ValueError: a shape does not fit, there is no such feature, or a label is no component.

    Examples:
        >>> from mixtura import GaussianMixture, plot
        >>> X = [[0, 0], [1, 0], [0, 1], [1, 1], [9, 9], [8, 9], [9, 8], [8, 8]]
        >>> ax = plot.clusters(X, GaussianMixture(2, random_state=0).fit(X))
        >>> len(ax.patches)
        4
    """
    shown = show(X, names, model, most=most, seed=seed)
    at = plane(features, shown.names)
    found = component_labels(labels, shown, model)
    groups = grouped(found, called)
    ax = new_axes() if ax is None else ax
    missing = draw_points(ax, shown.columns(at), groups, size)
    flat = marginal(model, at)
    draw_ellipses(ax, flat, deviations)
    draw_numbers(ax, flat)
    dress(ax, shown.names[at[0]], shown.names[at[1]], title)
    tell(ax, ellipse_note(deviations), shown.note, missing)
    known = with_components(groups, flat, called)
    if legend and (len(known) > 1 or called is not None):
        key(ax, point_handles(known), "component")
    return ax


def component_labels(labels: Any, shown: Any, model: Any) -> np.ndarray:
    """(n,) the component of each row shown, given or predicted.

    Raises:
        ValueError: a label is no component of the model.
    """
    model, mixture = mixture_of(model)
    if labels is None:
        return array(model.predict(shown.part))
    found, components = labels_of(labels, shown), mixture.shape[1]
    if found.dtype.kind not in "iu" or not ((found >= -1) & (found < components)).all():
        raise ValueError(
            f"labels has other values than the model's components, expected integers from −1 (noise) to "
            f"{components - 1}: draw labels of other kinds with plot.scatter"
        )
    return found


def with_components(groups: list[Group], flat: Marginal, called: Called | None) -> list[Group]:
    """The groups, and those components that have no row among them."""
    none = np.zeros(0, dtype=bool)
    seen = {group.component for group in groups}
    more = [Group(name_of(int(k), called), int(k), none) for k in flat.number if int(k) not in seen]
    return sorted([*groups, *more], key=lambda group: group.component)


def draw_points(
    ax: Any, xy: np.ndarray, groups: list[Group] | None, size: float | int | None, *, quiet: bool = False
) -> str:
    """Points of each group, fainter where they lie over another picture; returns what is to be said of lost rows."""
    finite = np.isfinite(xy).all(1)
    area = point_size(len(xy)) if size is None else float(size)
    alpha = float(np.clip(10 / math.sqrt(len(xy)), 0.15, 0.6)) if quiet else 0.75 if area >= 10 else 0.6
    style: dict[str, Any] = {"s": area, "alpha": alpha, "edgecolors": "white", "zorder": 2}
    style |= {"linewidths": 0.3 if area >= 10 else 0.0, "rasterized": len(xy) > RASTER}
    if groups is None:
        ax.scatter(*xy[finite].T, color=UNKNOWN, **style)
    for group in groups or []:
        colour, marker, _ = look(group.component)
        ax.scatter(*xy[group.here & finite].T, color=colour, marker=marker, label=group.name, **style)
    lost = int((~finite).sum())
    return f"{lost:,} rows with missing or infinite values left out" if lost else ""


def point_size(count: int) -> float:
    """Area of a point, in points², when so many are drawn."""
    return float(np.clip(26 * math.sqrt(300 / count), 4, 26))


def point_handles(groups: list[Group]) -> list[Any]:
    """Entries of a key, large and opaque whatever the points are."""
    from matplotlib.lines import Line2D

    looks = [(group.name, look(group.component)) for group in groups]
    return [Line2D([], [], color=c, marker=m, linestyle="", markersize=5, label=name) for name, (c, m, _) in looks]


def ellipse(covariance: np.ndarray, deviations: float | int) -> tuple[float, float, float]:
    """Width, height and angle (degrees) of the curve at a number of standard deviations from a mean in the plane.

    Args:
        covariance: (2, 2).
        deviations: Mahalanobis distance of the curve.
    """
    value, vector = np.linalg.eigh(covariance)
    width, height = 2 * deviations * np.sqrt(np.maximum(value[::-1], 0))
    return float(width), float(height), math.degrees(math.atan2(vector[1, 1], vector[0, 1]))


def ellipse_note(deviations: Sequence[float | int]) -> str:
    """What is said of the ellipses."""
    return f"ellipses at {' and '.join(f'{d:g}' for d in deviations)} sd" if len(deviations) else ""


def draw_ellipses(ax: Any, flat: Marginal, deviations: Sequence[float | int], *, width: float | int = 1.5) -> None:
    """The ellipses of each component, thinner the farther out, on a white rim that shows over its points."""
    from matplotlib.patches import Ellipse
    from matplotlib.patheffects import withStroke

    for k, mean, covariance in zip(flat.number, flat.mean, flat.covariance, strict=True):
        seen = look(int(k))
        for turn, d in enumerate(sorted(deviations)):
            across, up, angle = ellipse(covariance, d)
            thick = width / (1 + 0.6 * turn)
            patch = Ellipse(tuple(mean), across, up, angle=angle, fill=False, zorder=3, linewidth=thick)
            patch.set(edgecolor=darker(seen.colour), linestyle=seen.line)
            patch.set_path_effects([withStroke(linewidth=thick + 1.4, foreground="white", alpha=0.8)])
            ax.add_patch(patch)
    ax.autoscale_view()


def draw_numbers(ax: Any, flat: Marginal, *, size: float | int = 8) -> None:
    """Each component's number at its mean: what colour-blind readers and copiers keep."""
    from matplotlib.patheffects import withStroke

    for k, mean in zip(flat.number, flat.mean, strict=True):
        text = ax.text(*mean, str(k), fontsize=size, color=INK, ha="center", va="center", zorder=4, clip_on=True)
        text.set(fontweight="bold", path_effects=[withStroke(linewidth=2.2, foreground="white")])
