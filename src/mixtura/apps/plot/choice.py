"""Choice: an information criterion over the number of components, a curve for each structure."""

from typing import Any

import numpy as np

from mixtura.apps.plot.canvas import dress, key, new_axes, tell
from mixtura.apps.plot.palette import INK, look
from mixtura.apps.plot.shown import array

CRITERIA = {"bic": "BIC", "aic": "AIC", "icl": "ICL", "nec": "NEC", "cv": "−2 log likelihood of rows held out"}

SOUND = ("converged", "max_iter")
"""Statuses whose likelihood may be compared."""

NEAR = 2.0
"""Models this close to the best are hardly worse (Kass & Raftery 1995, JASA 90, 773–795, section 3.2)."""


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
    gaps in their curve and crosses at the upper edge.

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
    for turn, name in enumerate(names):
        here = structures == name
        order = np.argsort(components[here], kind="stable")
        _curve(ax, turn, len(names), name, components[here][order], np.where(sound, value, np.nan)[here][order])
    best = _best(ax, components, value, sound)
    label = CRITERIA.get(criterion, criterion)
    dress(ax, "number of components", f"{label} (lower is better)", title)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    ax.margins(y=0.1)
    if best is None:
        tell(ax, "no model is sound")
    else:
        tell(
            ax,
            f"best: {structures[best]} with {components[best]} components, {label} {value[best]:.1f}".replace(
                " -", " −"
            ),
        )
    if legend:
        key(ax, _handles(ax, best is not None, bool(sound.all())))
    return ax


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
    return (
        structures.astype(str),
        components.astype(int),
        value,
        np.isin(status.astype(str), SOUND) & np.isfinite(value),
    )


def _curve(ax: Any, turn: int, of: int, name: str, components: np.ndarray, value: np.ndarray) -> None:
    """A curve with gaps, and a cross at the upper edge for each of them."""
    from matplotlib.transforms import blended_transform_factory

    colour, marker, _ = seen = look(turn)
    ax.plot(
        components, value, color=colour, linestyle=seen.line, linewidth=1.4, marker=marker, markersize=4.5, label=name
    )
    gaps = components[np.isnan(value)]
    # Structures beside each other, so that none hides another.
    aside = 0.5 * (turn - (of - 1) / 2) / max(of, 4)
    where = blended_transform_factory(ax.transData, ax.transAxes)
    ax.plot(gaps + aside, np.full(len(gaps), 0.985), "x", color=colour, markersize=5, transform=where, gid="unsound")


def _best(ax: Any, components: np.ndarray, value: np.ndarray, sound: np.ndarray) -> int | None:
    """Mark the best cell and those near it."""
    if not sound.any():
        return None
    shown = np.where(sound, value, np.inf)
    best = int(shown.argmin())
    near = np.flatnonzero(shown <= shown[best] + NEAR)
    near = near[near != best]
    if len(near):
        ring = {"marker": "o", "markersize": 10, "markerfacecolor": "none", "markeredgecolor": INK, "zorder": 4}
        ax.plot(components[near], value[near], linestyle="", gid="near", **ring)
    star = {"marker": "*", "markersize": 14, "color": INK, "markeredgecolor": "white", "zorder": 5}
    ax.plot([components[best]], [value[best]], linestyle="", gid="best", **star)
    return best


def _handles(ax: Any, best: bool, sound: bool) -> list[Any]:
    from matplotlib.lines import Line2D

    handles = [line for line in ax.lines if not line.get_label().startswith("_")]
    if best:
        star: dict[str, Any] = {"marker": "*", "markersize": 9, "markeredgecolor": "white"}
        handles.append(Line2D([], [], color=INK, linestyle="", label="the best", **star))
    if any(line.get_gid() == "near" for line in ax.lines):
        ring: dict[str, Any] = {"marker": "o", "markersize": 8, "markerfacecolor": "none"}
        handles.append(Line2D([], [], color=INK, linestyle="", label=f"within {NEAR:g} of it", **ring))
    if not sound:
        handles.append(Line2D([], [], color=INK, linestyle="", marker="x", markersize=5, label="not sound"))
    return handles
