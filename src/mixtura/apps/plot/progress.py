"""Progress: the likelihood of every start of a fit, pass by pass."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from mixtura.apps.plot.canvas import dress, key, new_axes, tell
from mixtura.apps.plot.marginal import mixture_of
from mixtura.apps.plot.palette import GREY, INK, darker, look
from mixtura.apps.sought import lineage, made, tries

ENDS = {"converged": "o", "max_iter": "^", "degenerate": "X", "interrupted": "s", "dropped": "|"}
"""Marker at the end of a start, by its status."""

LONG = 60
"""More passes than this are drawn on a logarithmic scale."""

NUMBERED = 12
"""Most starts of one kind that are named one by one."""

SAME = 0.05
"""Log likelihoods this close, in nats, are the same optimum."""


def starts(model: Any, ax: Any = None, *, title: str | None = None, legend: bool = True) -> Any:
    """Draw the mean log likelihood of every start of a fit by pass, with the winner on top.

    Lines look alike by kind of start (by start where there is one kind), and end in a marker that says how the start
    ended. Passes over a sample of the rows are thin and faint: their likelihood is that of the sample, so a line may
    jump where the rows change. Starts that were dropped before their first pass have no line; the note counts them.
    Moves of local search begin where the mixture stood that they were made of, and the winner's line goes back through
    these to the start that raced.

    Args:
        model: a fitted mixture estimator.
        ax: matplotlib axes; None makes a figure of its own.
        title: of the axes.
        legend: name the kinds of starts and their ends beside the axes.

    Returns:
        The axes.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        NotFittedError: the model is not fitted.
        ValueError: the model was made from parameters and knows of no starts.

    Examples:
        >>> from mixtura import GaussianMixture, plot
        >>> X = [[0], [1], [2], [7], [8], [9]]
        >>> ax = plot.starts(GaussianMixture(2, n_init=3, init_params="kmeans", random_state=0).fit(X))
        >>> ax.get_ylabel()
        'mean log likelihood (nats a row)'
    """
    model, _ = mixture_of(model)
    told = getattr(model, "starts_", None)
    if not told:
        raise ValueError("model has no starts_: it was made from parameters, not fitted to rows")
    ax = new_axes() if ax is None else ax
    turns = looks_of(told)
    rows = max((size for start in told for size, _ in start["stages"]), default=0)
    best = winner(told)
    line = [] if best is None else lineage(told, best)
    for at, start in enumerate(told):
        _draw(ax, start, turns[at], rows, at in line, f"start {at}")
    if best is not None:
        _star(ax, told[best], turns[best], f"start {best} end")
    dress(ax, "pass", "mean log likelihood (nats a row)", title)
    _scale(ax, max(start.get("begins", 0) + start["n_iter"] for start in told))
    tell(ax, *_said(told, best))
    if legend:
        key(ax, _handles(told, turns, best), "starts")
    return ax


def looks_of(told: list[dict[str, Any]]) -> list[int]:
    """The number that each start takes its look from: its kind's, or its own where there is one kind."""
    kinds = {kind: turn for turn, kind in enumerate(dict.fromkeys(start["kind"] for start in told))}
    return list(range(len(told))) if len(kinds) == 1 else [kinds[start["kind"]] for start in told]


def winner(told: list[dict[str, Any]]) -> int | None:
    """The start with the highest likelihood at its end, among the sound ones if there are any."""
    ended = [i for i, start in enumerate(told) if math.isfinite(start["loglik"])]
    sound = [i for i in ended if told[i]["status"] != "degenerate"]
    best = max((told[i]["loglik"] for i in sound or ended), default=math.nan)
    # Ends within rounding of each other are the same optimum, of which a fit keeps the first.
    return next((i for i in sound or ended if told[i]["loglik"] >= best - 1e-9 * abs(best)), None)


def _scale(ax: Any, longest: int) -> None:
    """Whole passes across, on a logarithmic scale where some starts take many; plain numbers up."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if longest > LONG:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.ticklabel_format(axis="y", style="plain", useOffset=False)


def _said(told: list[dict[str, Any]], best: int | None) -> Iterator[str]:
    ended = [start for start in told if math.isfinite(start["loglik"])]
    tried = sum(map(made, told))
    if best is not None and tried:
        yield f"local search: {len(lineage(told, best)) - 1} of {tried} {tries(told)} led to the best"
    if best is not None:
        top, count = told[best], len(ended)
        near = sum(abs(start["loglik"] - top["loglik"]) <= SAME for start in ended if start["status"] == top["status"])
        reached = f"{top['loglik']:.2f} nats".replace("-", "−")
        yield (
            f"{near} of {count} starts run to the end reached the best, {reached}" if count > 1 else f"best: {reached}"
        )
    idle = sum(not start["lower_bounds"] for start in told)
    if idle:
        yield f"{idle} of {len(told)} starts had no pass"


def pieces(start: dict[str, Any], rows: int) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Passes, bounds, and whether all rows were looked at, for each run of stages on as many rows."""
    bound = np.asarray(start["lower_bounds"], dtype=np.float64)
    at, begun, before = 0, 0, start.get("begins", 0)
    stages = start["stages"] or [(rows, len(bound))]
    for turn, (size, passes) in enumerate(stages):
        at += passes
        if turn + 1 == len(stages):
            at = len(bound)
        elif stages[turn + 1][0] == size:
            continue
        if at > begun:
            yield np.arange(before + begun + 1, before + at + 1), bound[begun:at], size >= rows
        begun = at


def _draw(ax: Any, start: dict[str, Any], kind: int, rows: int, leading: bool, gid: str) -> None:
    from matplotlib.patheffects import withStroke

    colour, _, _ = seen = look(kind)
    for passes, bound, whole in pieces(start, rows):
        (line,) = ax.plot(passes, bound, color=colour, linestyle=seen.line, gid=gid)
        line.set(linewidth=1.1 if whole else 0.7, alpha=0.85 if whole else 0.55)
        if leading:
            line.set(linewidth=2.4 if whole else 1.4, alpha=1.0, color=darker(colour), zorder=4)
            line.set_path_effects([withStroke(linewidth=4.2, foreground="white")])
    if start["lower_bounds"] and not leading:
        mark = ENDS.get(start["status"], ".")
        ax.plot(*_end(start), linestyle="", marker=mark, markersize=5, color=colour, zorder=3, gid=f"{gid} end")


def _star(ax: Any, start: dict[str, Any], kind: int, gid: str) -> None:
    """Mark where the winner ended."""
    if start["lower_bounds"]:
        how = {"marker": "*", "markersize": 13, "markeredgecolor": "white", "color": darker(look(kind).colour)}
        ax.plot(*_end(start), linestyle="", zorder=5, gid=gid, **how)


def _end(start: dict[str, Any]) -> tuple[int, float]:
    """The pass at which a line ends, and its bound there."""
    return start.get("begins", 0) + len(start["lower_bounds"]), start["lower_bounds"][-1]


def _handles(told: list[dict[str, Any]], turns: list[int], best: int | None) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = []
    if best is not None:
        colour = darker(look(turns[best]).colour)
        handles.append(Line2D([], [], color=colour, linewidth=2.4, marker="*", markersize=9, label="the winner"))
    counts = Counter(start["kind"] for start in told)
    named = {turns[i]: f"{kind} ({counts[kind]})" for kind in counts for i in _first(told, kind)}
    if len(counts) == 1 and 1 < len(told) <= NUMBERED:
        named = {i: f"{start['kind']} {i}" for i, start in enumerate(told)}
    for turn, name in named.items():
        handles.append(Line2D([], [], color=look(turn).colour, linestyle=look(turn).line, label=name))
    for status, count in Counter(start["status"] for start in told).items():
        mark = ENDS.get(status, ".")
        handles.append(Line2D([], [], color=GREY, marker=mark, markersize=5, linestyle="", label=f"{status} ({count})"))
    if any(len({size for size, _ in start["stages"]}) > 1 for start in told):
        handles.append(Line2D([], [], color=INK, linewidth=0.7, alpha=0.55, label="on a sample"))
    return handles


def _first(told: list[dict[str, Any]], kind: str) -> list[int]:
    return [i for i, start in enumerate(told) if start["kind"] == kind][:1]
