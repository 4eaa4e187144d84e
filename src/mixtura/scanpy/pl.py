"""Pictures of what ``tl`` has written: cells in an embedding, criteria, posteriors, entropies."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from mixtura.apps import plot
from mixtura.apps.annotate import NOISE_NAME
from mixtura.apps.plot.canvas import dress, tell
from mixtura.apps.plot.canvas import key as legend_of
from mixtura.apps.plot.palette import GREY, INK, MARKERS
from mixtura.apps.plot.points import RASTER, point_size
from mixtura.apps.plot.shown import MOST
from mixtura.data.annotated import dense
from mixtura.scanpy.results import told_under

UNLABELLED = "#D9D9D9"
"""Colour of cells that were left out of the fit."""

DOUBT = ("#BFD3E4", "#E69F00", "#7A1500")
"""From sure to unsure: all of them show on white, in grey, and to the colour-blind."""

NAMED = 12
"""Most categories whose share is written into its square."""


def embedding(
    adata: Any,
    basis: str = "X_umap",
    key: str = "gmm",
    ax: Any = None,
    *,
    dimensions: tuple[int, int] = (0, 1),
    title: str | None = None,
    size: float | int | None = None,
    most: int = MOST,
    seed: int = 0,
    legend: bool = True,
    show: bool | None = None,
    save: Any = None,
) -> Any:
    """Draw cells in an embedding: by cluster, and by how unsure their cluster is.

    Args:
        adata: an AnnData that was fitted or labelled.
        basis: the embedding, a key of ``adata.obsm``; ``"umap"`` also finds ``"X_umap"``.
        key: of the results.
        ax: a pair of axes for clusters and uncertainty, or one for clusters alone; None makes a figure of two.
        dimensions: which columns of the embedding are drawn.
        title: over the clusters.
        size: area of a point, in points²; None makes points smaller the more there are.
        most: largest number of points; of more cells a random sample is drawn, and a note says so.
        seed: of that sample.
        legend: name the clusters beside the axes.
        show: True shows the figure by pyplot, and returns None.
        save: a path to write the figure to.

    Returns:
        The axes.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: there are no results under ``key``, or no such embedding.

    Examples:
        >>> import anndata, numpy as np
        >>> import mixtura.scanpy as mx
        >>> draw = np.random.default_rng(0)
        >>> cells = anndata.AnnData(obsm={"X_pca": draw.normal(size=(60, 2)) + 9 * (np.arange(60)[:, None] < 20)})
        >>> mx.tl.gaussian_mixture(cells, 2, covariance_type="tied")
        >>> left, right = mx.pl.embedding(cells, "pca")
        >>> left.get_xlabel(), right.get_title()
        ('pca 1', 'uncertainty')
    """
    xy, name = coordinates(adata, basis, dimensions)
    labels = categorical(adata, key)
    chosen = sample(len(xy), most, seed)
    axes = figure_of(ax, 2, show=show)
    area = point_size(len(chosen)) if size is None else float(size)
    draw_clusters(axes[0], xy[chosen], labels[chosen], colours_of(adata, key), area, legend=legend)
    note = f"{len(chosen):,} of {len(xy):,} cells shown" if len(chosen) < len(xy) else ""
    across, up = (f"{name} {j + 1}" for j in dimensions)
    dress(axes[0], across, up, key if title is None else title)
    tell(axes[0], note)
    if len(axes) > 1:
        doubt = np.asarray(adata.obs[f"{key}_uncertainty"], dtype=np.float64)[chosen]
        draw_doubt(axes[1], xy[chosen], doubt, area)
        dress(axes[1], across, up, "uncertainty")
        tell(axes[1], note)
    return finished(axes, ax, show=show, save=save)


def criteria(
    adata: Any,
    key: str = "gmm",
    ax: Any = None,
    *,
    criterion: str | None = None,
    title: str | None = None,
    legend: bool = True,
    show: bool | None = None,
    save: Any = None,
) -> Any:
    """Draw the criterion of a search over the number of components, one curve for each structure.

    Args:
        adata: an AnnData in which ``tl.search`` has written.
        key: of the results.
        ax: matplotlib axes; None makes a figure.
        criterion: a column of the table; None is what the search chose by.
        title: of the axes.
        legend: name the structures beside the axes.
        show: True shows the figure by pyplot, and returns None.
        save: a path to write the figure to.

    Returns:
        The axes.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: there is no search under ``key``, or no such criterion.
    """
    told = told_under(adata, key)
    if "selection" not in told:
        raise ValueError(f"key={key!r} is of one fit, not of a search: use tl.search, which compares several")
    (axes,) = figure_of(ax, 1, show=show)
    by = str(told["selection"]["criterion"]) if criterion is None else criterion
    plot.criteria(dict(told["selection"]["table"]), axes, criterion=by, title=title, legend=legend)
    return finished([axes], ax, show=show, save=save)


def posteriors(
    adata: Any,
    key: str = "gmm",
    ax: Any = None,
    *,
    title: str | None = None,
    show: bool | None = None,
    save: Any = None,
) -> Any:
    """Draw how sure cells are: the mean posterior of every component over the cells of each cluster.

    A square off the diagonal tells which other component the cells of a row might belong to.

    Args:
        adata: an AnnData that was fitted or labelled.
        key: of the results.
        ax: matplotlib axes; None makes a figure.
        title: of the axes.
        show: True shows the figure by pyplot, and returns None.
        save: a path to write the figure to.

    Returns:
        The axes.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: there are no results under ``key``, or their posteriors were too large to keep.
    """
    labels = categorical(adata, key)
    if f"{key}_posterior" not in adata.obsm:
        raise ValueError(f"obsm has no {key + '_posterior'!r}: it took more than 1 GiB, or was taken away; fit again")
    names = [name for name in map(str, labels.categories) if name != NOISE_NAME]
    posterior = np.asarray(adata.obsm[f"{key}_posterior"], dtype=np.float64)
    codes = np.asarray(labels.codes)
    mean = np.full((len(names), posterior.shape[1]), np.nan)
    for k in range(len(names)):
        if (codes == k).any():
            mean[k] = posterior[codes == k].mean(0)
    (axes,) = figure_of(ax, 1, show=show)
    image = axes.imshow(mean, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    axes.figure.colorbar(image, ax=axes, shrink=0.8).set_label("mean posterior", fontsize=8, color=INK)
    if len(names) <= NAMED:
        for (row, column), share in np.ndenumerate(mean):
            if share >= 0.005:
                ink = "white" if share > 0.5 else INK
                axes.text(column, row, f"{share:.2f}", ha="center", va="center", fontsize=7, color=ink)
    dress(axes, "component", "cells of cluster", key if title is None else title)
    axes.grid(visible=False)
    count = [f"{name} ({int((codes == k).sum()):,})" for k, name in enumerate(names)]
    axes.set_yticks(range(len(names)), count, fontsize=7)
    axes.set_xticks(range(len(names)), names, fontsize=7)
    return finished([axes], ax, show=show, save=save)


def merging(
    adata: Any,
    key: str = "gmm_merged",
    ax: Any = None,
    *,
    title: str | None = None,
    show: bool | None = None,
    save: Any = None,
) -> Any:
    """Draw the entropy of the cells for every number of clusters that ``tl.merge`` made, and where it bends.

    Args:
        adata: an AnnData in which ``tl.merge`` has written.
        key: of its results.
        ax: matplotlib axes; None makes a figure.
        title: of the axes.
        show: True shows the figure by pyplot, and returns None.
        save: a path to write the figure to.

    Returns:
        The axes.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: nothing was merged under ``key``.
    """
    told = told_under(adata, key)
    if "entropy" not in told:
        raise ValueError(f"key={key!r} is of no merging: use tl.merge, which writes 'gmm_merged'")
    (axes,) = figure_of(ax, 1, show=show)
    merged = SimpleNamespace(entropy_=np.asarray(told["entropy"]), n_clusters_=int(told["bend"]))
    plot.merging(merged, axes, title=title)
    return finished([axes], ax, show=show, save=save)


def coordinates(adata: Any, basis: str, dimensions: Sequence[int]) -> tuple[np.ndarray, str]:
    """(N, 2) of an embedding, and its name.

    Raises:
        ValueError: there is none, or it is too narrow.
    """
    found = next((name for name in (basis, f"X_{basis}") if name in adata.obsm), None)
    if found is None:
        known = ", ".join(map(repr, adata.obsm.keys())) or "none"
        raise ValueError(f"basis={basis!r} is not in obsm, expected one of {known}: compute it, or name another")
    x = dense(adata.obsm[found])
    if len(dimensions) != 2 or not all(0 <= j < x.shape[1] for j in dimensions):
        raise ValueError(f"dimensions={tuple(dimensions)} cannot be drawn: {found} has columns 0 to {x.shape[1] - 1}")
    return x[:, list(dimensions)].astype(np.float64), found.removeprefix("X_")


def categorical(adata: Any, key: str) -> Any:
    """The labels under a key.

    Raises:
        ValueError: there are none.
    """
    if key not in adata.obs or not hasattr(adata.obs[key], "cat"):
        raise ValueError(f"key={key!r} is no categorical column of obs: fit with tl.gaussian_mixture")
    return adata.obs[key].array


def colours_of(adata: Any, key: str) -> list[str]:
    """The colours of the categories, as scanpy keeps them.

    Raises:
        ValueError: there is not one for each.
    """
    found, count = list(map(str, adata.uns.get(f"{key}_colors", ()))), len(adata.obs[key].cat.categories)
    if len(found) < count:
        raise ValueError(f"uns[{key + '_colors'!r}] has {len(found)} colours for {count} categories: fit again")
    return found


def sample(count: int, most: int, seed: int) -> np.ndarray:
    """Which cells are drawn, in random order, so that no cluster lies over all others."""
    return np.random.default_rng(seed).permutation(count)[:most]


def draw_clusters(ax: Any, xy: np.ndarray, labels: Any, colours: Sequence[str], area: float, *, legend: bool) -> None:
    """Points in the colours of their categories, those without one in grey below, and each name in the middle."""
    from matplotlib.lines import Line2D
    from matplotlib.patheffects import withStroke

    codes = np.asarray(labels.codes)
    painted = np.array([*colours, UNLABELLED])[codes]
    raster = len(xy) > RASTER
    for here, order in ((codes < 0, 1), (codes >= 0, 2)):
        ax.scatter(*xy[here].T, c=painted[here], s=area, linewidths=0, alpha=0.85, zorder=order, rasterized=raster)
    names = list(map(str, labels.categories))
    for k, name in enumerate(names):
        if (codes == k).any() and name != NOISE_NAME:
            text = ax.text(*middle(xy[codes == k]), name, fontsize=8, color=INK, ha="center", va="center", zorder=4)
            text.set(fontweight="bold", path_effects=[withStroke(linewidth=2.2, foreground="white")])
    if legend:
        dots = [
            Line2D([], [], color=c, marker=MARKERS[0], linestyle="", markersize=5, label=n)
            for n, c in zip(names, colours, strict=False)
        ]
        legend_of(ax, dots)


def middle(xy: np.ndarray) -> np.ndarray:
    """The point nearest to the medians of all: a name stands among its own, even where these lie in several places."""
    found: np.ndarray = xy[((xy - np.median(xy, 0)) ** 2).sum(1).argmin()]
    return found


def draw_doubt(ax: Any, xy: np.ndarray, doubt: np.ndarray, area: float) -> None:
    """Points the darker and the higher up the less sure they are; a bar tells how much."""
    from matplotlib.colors import LinearSegmentedColormap

    ramp = LinearSegmentedColormap.from_list("doubt", DOUBT)
    known = np.isfinite(doubt)
    raster = len(xy) > RASTER
    ax.scatter(*xy[~known].T, c=UNLABELLED, s=area, linewidths=0, zorder=1, rasterized=raster)
    order = np.argsort(doubt[known], kind="stable")
    top = max(float(doubt[known].max(initial=0)), 1e-3)
    shown = {"c": doubt[known][order], "cmap": ramp, "vmin": 0, "vmax": top, "s": area, "linewidths": 0}
    points = ax.scatter(*xy[known][order].T, zorder=2, rasterized=raster, **shown)
    bar = ax.figure.colorbar(points, ax=ax, shrink=0.8)
    bar.set_label("1 − largest posterior", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, color=GREY)


def figure_of(ax: Any, most: int, *, show: bool | None) -> list[Any]:
    """The axes to draw on: those given, else new ones; pyplot's where they are to be shown.

    Raises:
        ValueError: there are more axes than pictures.
    """
    if ax is not None:
        axes = list(np.ravel(np.asarray(ax, dtype=object)))
        if not 1 <= len(axes) <= most:
            raise ValueError(f"ax has {len(axes)} axes, expected {'one or two' if most > 1 else 'one'}")
        return axes
    if show:
        from matplotlib import pyplot

        return list(np.ravel(pyplot.subplots(1, most, figsize=(5.2 * most, 4.2), layout="constrained")[1]))
    return list(np.ravel(plot.new_axes(columns=most)))


def finished(axes: list[Any], given: Any, *, show: bool | None, save: Any) -> Any:
    """Write and show the figure as asked, and give the axes back in the kind they were given."""
    if save is not None:
        axes[0].figure.savefig(save, bbox_inches="tight")
    if show:
        from matplotlib import pyplot

        pyplot.show()
        return None
    return axes[0] if len(axes) == 1 and (given is None or not isinstance(given, list | tuple | np.ndarray)) else axes
