"""Matrix: every pair of features at once, with a histogram of each on the diagonal."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from mixtura.apps.distinct import separation
from mixtura.apps.plot.bars import counted, draw_bars, draw_curves, edges_of
from mixtura.apps.plot.canvas import NOTE, ROWS, dress, literal, new_axes
from mixtura.apps.plot.marginal import Marginal, marginal, mixture_of
from mixtura.apps.plot.palette import GREY, INK
from mixtura.apps.plot.points import (
    component_labels,
    draw_ellipses,
    draw_numbers,
    draw_points,
    ellipse_note,
    point_handles,
    point_size,
    with_components,
)
from mixtura.apps.plot.shown import MOST, Called, Features, Group, Shown, choose, grouped, labels_of, show

MOST_FEATURES = 6
"""Features that are drawn when none are chosen."""


WIDE = 18
"""Letters of a name that fit beside one of the axes."""


def pairs(
    X: Any,
    model: Any = None,
    ax: Any = None,
    *,
    labels: Any = None,
    features: Features | None = None,
    most_features: int = MOST_FEATURES,
    deviations: Sequence[float | int] = (1, 2),
    sample_weight: Any = None,
    names: Sequence[str] | None = None,
    called: Called | None = None,
    title: str | None = None,
    size: float | int | None = None,
    most: int = MOST,
    seed: int = 0,
    legend: bool = True,
) -> Any:
    """Draw every pair of features below the diagonal, and the histogram of each feature with its components on it.

    The upper half is left empty for the key. When there are more features than ``most_features`` and none are chosen,
    those are drawn in which the components of the model differ most: where the variance between the means is the
    largest share of the variance of the mixture. Without a model the first ones are drawn. A note says so.

    Args:
        X: (N, D) rows; see :func:`scatter`.
        model: a fitted mixture estimator, or None for the rows alone.
        ax: (d, d) array of matplotlib axes; None makes a figure of its own.
        labels: (N,) the component of each row where it is known already; without a model, any label.
        features: indices or names of d features; None takes all, or ``most_features`` of them.
        most_features: largest number of features when none are chosen.
        deviations: how many standard deviations the ellipses are away.
        sample_weight: (N,) row weights, which the histograms count.
        names: (D,) names of the features; None takes those of the columns.
        called: (K,) names of the components in the key, or a dict of them; None calls them by number.
        title: of the figure.
        size: area of a point, in points²; None makes points smaller the more there are.
        most: largest number of points; of more rows a random sample is drawn, and a note says so.
        seed: of that sample.
        legend: name the components in the upper half.

    Returns:
        (d, d) array of axes; those above the diagonal are off.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        NotFittedError: the model is not fitted.
        ValueError: a shape does not fit, or there is no such feature.

    Examples:
        >>> from mixtura import GaussianMixture, plot
        >>> X = [[0, 0, 1], [1, 0, 2], [0, 1, 1], [9, 9, 2], [8, 9, 1], [9, 8, 2]]
        >>> axes = plot.pairs(X, names=["length", "width", "depth"])
        >>> axes.shape, axes[2, 0].get_xlabel(), axes[2, 0].get_ylabel()
        ((3, 3), 'length', 'depth')
    """
    whole = show(X, names, model, most=None, seed=seed)
    at, reason = _features(features, whole.names, model, most_features)
    shown = show(X, names, model, most=most, seed=seed)
    groups = _groups(labels, shown, model, called)
    axes = _axes(ax, len(at))
    area = 0.6 * point_size(len(shown.chosen)) if size is None else float(size)
    xy = shown.columns(at)
    lost = ""
    for i, j in ((up, across) for up in range(len(at)) for across in range(up)):
        lost = draw_points(axes[i, j], xy[:, [j, i]], groups, area) or lost
        if model is not None:
            flat = marginal(model, [at[j], at[i]])
            draw_ellipses(axes[i, j], flat, deviations, width=1.1)
            draw_numbers(axes[i, j], flat, size=6)
    limits = [_limits(xy[:, i], axes[i, :i], axes[i + 1 :, i]) for i in range(len(at))]
    for i, j in enumerate(at):
        x, weight, _ = counted(whole.columns([j])[:, 0], sample_weight)
        line = None if model is None else marginal(model, [j])
        _diagonal(axes[i, i], x, weight, line, limits[i])
    _dress(axes, [whole.names[j] for j in at], limits)
    told = [reason, "" if model is None else ellipse_note(deviations), shown.note, lost]
    _head(axes, title, "; ".join(line for line in told if line))
    if legend and groups is not None:
        known = groups if model is None else with_components(groups, marginal(model, [at[0]]), called)
        _key(axes, known, "label" if model is None else "component")
    return axes


def _features(features: Features | None, names: list[str], model: Any, most: int) -> tuple[list[int], str]:
    """Positions of the features to draw, and why these, if they are not all."""
    if len(names) < 2:
        raise ValueError("X has one feature, expected two or more: use plot.histogram for one")
    if features is not None:
        at = choose(features, names)
        if len(at) < 2:
            raise ValueError(f"features is {list(features)}, expected two or more")
        return at, ""
    if most < 2:
        raise ValueError(f"most_features is {most}, expected at least 2")
    if len(names) <= most:
        return list(range(len(names))), ""
    count = f"{most} of {len(names)} features"
    if model is None:
        return list(range(most)), f"{count}: the first"
    best = np.argsort(-separation(mixture_of(model)[0]), kind="stable")[:most]
    return sorted(best.tolist()), f"{count}: those in which the components differ most"


def _groups(labels: Any, shown: Shown, model: Any, called: Called | None) -> list[Group] | None:
    if model is not None:
        return grouped(component_labels(labels, shown, model), called)
    return None if labels is None else grouped(labels_of(labels, shown), called)


def _axes(ax: Any, count: int) -> np.ndarray:
    if ax is None:
        each = max(1.45, 5.2 / count)
        return new_axes(count, count, each, each)
    axes = np.asarray(ax, dtype=object)
    if axes.shape != (count, count):
        raise ValueError(f"ax has shape {axes.shape}, expected {(count, count)}: axes for each pair of features")
    return axes


def _limits(x: np.ndarray, beside: Any, below: Any) -> tuple[float, float]:
    """The range of one feature over the axes that have it up or across."""
    x = x[np.isfinite(x)]
    ranges = [ax.get_ylim() for ax in beside] + [ax.get_xlim() for ax in below]
    return min([*(low for low, _ in ranges), x.min()]), max([*(high for _, high in ranges), x.max()])


def _diagonal(ax: Any, x: np.ndarray, weight: np.ndarray, line: Marginal | None, limits: tuple[float, float]) -> None:
    tallest = draw_bars(ax, x, weight, edges_of(x, weight, "auto"))
    if line is not None:
        draw_curves(ax, line, *limits, None, tallest, width=1.1)


def _dress(axes: np.ndarray, names: list[str], limits: list[tuple[float, float]]) -> None:
    """Names and numbers at the left and at the foot only; the same range for a feature everywhere."""
    from matplotlib.ticker import MaxNLocator

    last = len(names) - 1
    for (i, j), ax in np.ndenumerate(axes):
        if j > i:
            ax.set_axis_off()
            continue
        dress(ax, broken(names[j]) if i == last else "", broken(names[i]) if j == 0 and i else "", None, size=8)
        ax.set_xlim(limits[j])
        ax.xaxis.set_major_locator(MaxNLocator(3))
        ax.tick_params(labelbottom=i == last, labelleft=j == 0 and i > 0)
        if i == j:
            ax.grid(False)
            ax.set_yticks([])
            ax.spines["left"].set_visible(False)
        else:
            ax.set_ylim(limits[i])
            ax.yaxis.set_major_locator(MaxNLocator(3))


def broken(name: str) -> str:
    """A long name on several lines, parted after a space, an underscore or a slash."""
    lines = [""]
    for piece in re.split(r"(?<=[ _/])", name):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > WIDE:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip(" ") for line in lines)


def _head(axes: np.ndarray, title: str | None, note: str) -> None:
    """The title of the figure, and the note at the top of the empty half."""
    figure = axes[0, 0].figure
    if title:
        figure.suptitle(title, fontsize=10, color=INK)
    if note:
        inches = figure.get_size_inches()[0] * (1 - 1 / len(axes))
        lines = textwrap.fill(note, max(24, int(inches * 18)))
        style: dict[str, Any] = {
            "ha": "right",
            "va": "top",
            "fontsize": 7,
            "color": GREY,
            "gid": NOTE,
            "parse_math": False,
        }
        text = axes[0, -1].text(1, 1.02, lines, transform=axes[0, -1].transAxes, **style)
        # Wider than its cell, for which the layout need not make room.
        text.set_in_layout(False)


def _key(axes: np.ndarray, groups: list[Group], title: str) -> None:
    """A legend in the empty upper half."""
    handles = point_handles(groups)
    columns = -(-len(handles) // min(ROWS, 4 * (len(axes) - 1)))
    style: dict[str, Any] = {"fontsize": 8, "title_fontsize": 8, "labelcolor": INK, "frameon": False}
    style |= {"title": title, "alignment": "left", "ncols": columns, "columnspacing": 1.0}
    legend = axes[0, -1].legend(handles=handles, loc="upper right", bbox_to_anchor=(1.02, 0.92), **style)
    literal(legend)
    legend.set_in_layout(False)
