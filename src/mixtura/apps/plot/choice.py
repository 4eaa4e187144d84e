"""Choice: an information criterion over the number of components, a curve for each structure."""

from typing import Any

import numpy as np

from mixtura.apps.plot.canvas import dress, key, new_axes, tell
from mixtura.apps.plot.palette import COLOURS, INK, NOISE, look
from mixtura.apps.plot.shown import array
from mixtura.criteria import LEVEL, OF_SIZE, P_VALUES, better, named

LABELS = {"cv": "−2 log likelihood of rows held out", "stability": "1 − Fowlkes–Mallows index"}
"""Words for the axis, where the name of a criterion says too little."""

SOUND = ("converged", "max_iter")
"""Statuses whose likelihood may be compared."""

NEAR = 2.0
"""Models this close to the best are hardly worse (Kass & Raftery 1995, JASA 90, 773–795, section 3.2)."""

REACH = 10.0
"""Models farther from the best have very strong evidence against them (the same)."""

FEWEST, MOST = 3, 6
"""Of more structures than there are colours so many have a name: those whose best model is within reach, best first."""


def criteria(
    table: Any,
    ax: Any = None,
    *,
    criterion: str = "bic",
    title: str | None = None,
    legend: bool = True,
) -> Any:
    """Draw a criterion over the number of components, one curve for each covariance structure; lower is better.

    The best cell has a star, and all within 2 of it a ring. Cells that are not sound, or whose value is not finite, are
    gaps in their curve and crosses at the upper edge. Of more than seven structures those that come near the best have
    a name, the others are thin and grey, and the axes end above the better half of all cells.

    Args:
        table: dict of columns, or a DataFrame, with ``covariance_type``, ``n_components``, ``status`` and the
            criterion, one row a model; or a fitted search that has such a ``table_``.
        ax: matplotlib axes; None makes a figure of its own.
        criterion: the column: ``"bic"``, ``"aic"``, ``"icl"`` or another whose lower values are better.
        title: of the axes.
        legend: name the structures beside the axes.

    Returns:
        The axes.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: a column is missing, or the columns differ in length.

    Examples:
        >>> from mixtura import plot
        >>> table = {"covariance_type": ["full"] * 3, "n_components": [1, 2, 3], "bic": [30.0, 21.0, 25.0],
        ...          "status": ["converged", "converged", "degenerate"]}
        >>> ax = plot.criteria(table)
        >>> ax.get_ylabel()
        'BIC (lower is better)'
    """
    table = getattr(table, "table_", table)
    structures, components, value, sound = _columns(table, criterion)
    ax = new_axes() if ax is None else ax
    from matplotlib.ticker import MaxNLocator

    names = list(dict.fromkeys(structures.tolist()))
    known = np.where(sound, value, np.nan)
    front = _named(names, structures, known)
    crowd = len(front) < len(names)
    for turn, name in enumerate(front if not crowd else [*front, *(n for n in names if n not in front)]):
        here = structures == name
        order = np.argsort(components[here], kind="stable")
        curve = components[here][order], known[here][order]
        _curve(ax, turn, len(names), name, *curve) if name in front else _behind(ax, turn, len(names), name, *curve)
    # Of tests in turn the last one decides.
    rank = -components.astype(np.float64) if criterion in P_VALUES else value
    best = _best(ax, components, value, np.where(sound, rank, np.inf), 0.0 if criterion in OF_SIZE else NEAR)
    if f"{criterion}_sd" in getattr(table, "columns", table):
        # Such a criterion is for one structure.
        _spread(ax, *(array(table[name]).astype(np.float64) for name in ("n_components", criterion, f"{criterion}_sd")))
    if criterion in P_VALUES:
        ax.axhline(LEVEL, color=NOISE, linewidth=1, linestyle=":", zorder=0, gid="level")
    label = LABELS.get(criterion, named(criterion))
    dress(ax, "number of components", f"{label} ({better(criterion)})", title)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    ax.margins(y=0.1)
    if best is None:
        tell(ax, "no model is sound")
    else:
        figure = f"{value[best]:.3g}" if criterion in OF_SIZE else f"{value[best]:.1f}"
        told = f"best: {structures[best]} with {components[best]} components, {label} {figure}".replace(" -", " −")
        tell(ax, told, _closer(ax, known) if crowd else "")
    if legend:
        key(ax, _handles(ax, best is not None, bool(sound.all()), len(names) - len(front)))
    return ax


def _named(names: list[str], structures: np.ndarray, known: np.ndarray) -> list[str]:
    """The structures that have a name: all, or of many those that come near the best, best first."""
    if len(names) <= len(COLOURS):
        return names
    each = [known[structures == name] for name in names]
    least = np.array([np.nanmin(value) if np.isfinite(value).any() else np.inf for value in each])
    near = int((least <= least.min() + REACH).sum()) if np.isfinite(least.min()) else 0
    return [names[i] for i in np.argsort(least, kind="stable")[: min(max(near, FEWEST), MOST)]]


def _closer(ax: Any, known: np.ndarray) -> str:
    """End the axes above the better half of all cells, and say how many are beyond."""
    low, middle, high = np.nanquantile(known, (0, 0.5, 1))
    room = 0.08 * (middle - low)
    if high <= middle + room:
        return ""
    ax.set_ylim(low - room, middle + room)
    return f"{int((known > middle + room).sum())} of {len(known)} models lie above"


def _columns(table: Any, criterion: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    columns = []
    for name in ("covariance_type", "n_components", criterion, "status"):
        try:
            columns.append(array(table[name]))
        except (KeyError, TypeError, LookupError):
            known = ", ".join(map(str, getattr(table, "columns", table if isinstance(table, dict) else ())))
            raise ValueError(f"table has no column {name!r}, expected one: its columns are {known}") from None
        except Exception as error:
            # polars has an error of its own for a column that is not there.
            raise ValueError(f"table has no column {name!r}: {error}") from None
    lengths = {len(column) for column in columns}
    if len(lengths) != 1 or not lengths.pop():
        raise ValueError(f"columns of table have {[len(c) for c in columns]} rows, expected one row a model in each")
    structures, components, value, status = columns
    value = value.astype(np.float64)
    if criterion in OF_SIZE and np.isfinite(value).any():
        # Of a sound model such a criterion may say nothing: one component, or a test that was not made.
        said = ~(np.isnan(value) & np.isin(status.astype(str), SOUND))
        structures, components, value, status = (column[said] for column in (structures, components, value, status))
    return (
        structures.astype(str),
        components.astype(int),
        value,
        np.isin(status.astype(str), SOUND) & np.isfinite(value),
    )


def _curve(ax: Any, turn: int, of: int, name: str, components: np.ndarray, value: np.ndarray) -> None:
    """A curve with gaps, and a cross at the upper edge for each of them."""
    colour, marker, _ = seen = look(turn)
    ax.plot(
        components, value, color=colour, linestyle=seen.line, linewidth=1.4, marker=marker, markersize=4.5, label=name
    )
    _gaps(ax, turn, of, colour, components[np.isnan(value)])


def _gaps(ax: Any, turn: int, of: int, colour: str, gaps: np.ndarray) -> None:
    from matplotlib.transforms import blended_transform_factory

    # Structures beside each other, so that none hides another.
    aside = 0.5 * (turn - (of - 1) / 2) / max(of, 4)
    where = blended_transform_factory(ax.transData, ax.transAxes)
    ax.plot(gaps + aside, np.full(len(gaps), 0.985), "x", color=colour, markersize=5, transform=where, gid="unsound")


def _behind(ax: Any, turn: int, of: int, name: str, components: np.ndarray, value: np.ndarray) -> None:
    """A curve that has no name, with its crosses."""
    ax.plot(components, value, color=NOISE, linewidth=0.7, alpha=0.7, zorder=1, label=f"_{name}", gid="other")
    _gaps(ax, turn, of, NOISE, components[np.isnan(value)])


def _spread(ax: Any, components: np.ndarray, value: np.ndarray, sd: np.ndarray) -> None:
    """A band of one standard deviation on either side of the curve."""
    order = np.argsort(components, kind="stable")
    low, high = (value + sd)[order], (value - sd)[order]
    ax.fill_between(components[order], low, high, color=look(0).colour, alpha=0.15, linewidth=0, gid="spread")


def _best(ax: Any, components: np.ndarray, value: np.ndarray, shown: np.ndarray, within: float) -> int | None:
    """Mark the best cell, the lowest of those shown, and those near it."""
    if not np.isfinite(shown).any():
        return None
    best = int(shown.argmin())
    near = np.flatnonzero(shown <= shown[best] + within) if within else np.array([], dtype=int)
    near = near[near != best]
    if len(near):
        ring = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgecolor": INK, "zorder": 4}
        ax.plot(components[near], value[near], linestyle="", gid="near", **ring)
    star = {"marker": "*", "markersize": 14, "color": INK, "markeredgecolor": "white", "zorder": 5}
    ax.plot([components[best]], [value[best]], linestyle="", gid="best", **star)
    return best


def _handles(ax: Any, best: bool, sound: bool, others: int) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [line for line in ax.lines if not line.get_label().startswith("_")]
    if others:
        handles.append(Line2D([], [], color=NOISE, linewidth=0.7, label=f"{others} others"))
    if best:
        star: dict[str, Any] = {"marker": "*", "markersize": 9, "markeredgecolor": "white"}
        handles.append(Line2D([], [], color=INK, linestyle="", label="the best", **star))
    if any(line.get_gid() == "near" for line in ax.lines):
        ring: dict[str, Any] = {"marker": "o", "markersize": 8, "markerfacecolor": "none"}
        handles.append(Line2D([], [], color=INK, linestyle="", label=f"within {NEAR:g} of it", **ring))
    if not sound:
        handles.append(Line2D([], [], color=INK, linestyle="", marker="x", markersize=5, label="not sound"))
    return handles
