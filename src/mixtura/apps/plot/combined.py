"""Combined: the entropy of clusters made of a mixture's components, against their number."""

from typing import Any

import numpy as np

from mixtura.apps.plot.canvas import dress, new_axes, tell
from mixtura.apps.plot.palette import INK, look
from mixtura.merging import two_lines


def merging(merged: Any, ax: Any = None, *, n_clusters: int | None = None, title: str | None = None) -> Any:
    """Draw the entropy of the rows for every number of clusters, and the two lines at whose meeting it bends.

    Left of the bend clusters are lost that stand apart, right of it parts of one cluster are told from each other
    (Baudry et al. 2010). A star marks the number that is used.

    Args:
        merged: what :func:`mixtura.merge` returned.
        ax: matplotlib axes; None makes a figure of its own.
        n_clusters: the number that is used; None where the entropy bends.
        title: of the axes.

    Returns:
        The axes.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        ValueError: ``merged`` has no entropies, or there are fewer components than clusters.

    Examples:
        >>> import numpy as np
        >>> from mixtura import GaussianMixture, merge, plot
        >>> X = np.random.default_rng(0).normal([[0, 0], [0, 0], [9, 9]] * 40)
        >>> ax = plot.merging(merge(GaussianMixture(3, effort="quick", random_state=0).fit(X), X))
        >>> ax.get_xlabel()
        'number of clusters'
    """
    entropy = getattr(merged, "entropy_", None)
    if entropy is None:
        raise ValueError(f"merged={type(merged).__name__} has no entropy_: pass what mixtura.merge(model, X) returned")
    count, bend = len(entropy), merged.n_clusters_
    chosen = bend if n_clusters is None else n_clusters
    if not 1 <= chosen <= count:
        raise ValueError(f"n_clusters={n_clusters!r} cannot be made of {count} components: give 1 to {count}")
    ax = new_axes() if ax is None else ax
    from matplotlib.ticker import MaxNLocator

    size, colour = np.arange(1, count + 1), look(0).colour
    if 2 <= bend < count:
        for turn, (n, line) in enumerate(two_lines(entropy, bend)):
            ax.plot(n, line, color=INK, linestyle="--", linewidth=1.0, gid=f"line {turn}")
    ax.plot(size, entropy, color=colour, marker="o", markersize=5, linewidth=1.4, gid="entropy")
    star = {"marker": "*", "markersize": 14, "color": INK, "markeredgecolor": "white", "zorder": 5}
    ax.plot([chosen], [entropy[chosen - 1]], linestyle="", gid="chosen", **star)
    dress(ax, "number of clusters", "entropy of the rows (nats)", title)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True))
    told = f"the entropy bends at {bend} of {count}" if count > 2 else f"{count} components: no bend to see"
    tell(ax, told, f"{chosen} used" if chosen != bend else "")
    return ax
