"""Merging: components that overlap become one cluster, step by step, by what that takes off the entropy."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from mixtura.fitted import FittedMixture


def merge(model: FittedMixture, X: Any, sample_weight: Any = None) -> "Merged":
    """Merge components of a fitted mixture into clusters by entropy (Baudry et al. 2010).

    BIC counts components until the density is right, and a cluster that is not Gaussian takes several. From all K on,
    the two clusters go together whose union leaves the rows least in doubt: the entropy −Σ w Σ t log t of the clusters'
    posteriors t falls most. The density stays as it is. Where the entropy against the number of clusters bends, what is
    merged before are parts of one cluster and what is merged after are clusters of their own.

    Args:
        model: a fitted :class:`GaussianMixture`, or a :class:`MixtureSearch`, whose best fit is taken.
        X: (N, D) rows: those that it was fitted to, as a rule. They are read once for every step and not kept.
        sample_weight: (N,) row weights.

    Returns:
        :class:`Merged`, with clusters at every level from K to one.

    Raises:
        NotFittedError: the model is not fitted.
        ValueError: the rows cannot be used.

    References:
        Baudry J-P, Raftery AE, Celeux G, Lo K, Gottardo R (2010). Combining mixture components for clustering. Journal
        of Computational and Graphical Statistics 19, 332–353.

    Examples:
        A cluster of two halves and a cluster by itself.

        >>> import numpy as np
        >>> from mixtura import GaussianMixture, merge
        >>> draw = np.random.default_rng(0)
        >>> X = np.concatenate([draw.normal(m, 1, (100, 1)) for m in (0, 1.5, 20)])
        >>> gm = GaussianMixture.from_parameters([1 / 3] * 3, [[0.0], [1.5], [20.0]], [1.0] * 3, "spherical")
        >>> merged = merge(gm, X)
        >>> merged.components(2).tolist()
        [0, 0, 1]
        >>> merged.predict([[1.0], [19.0]], 2).tolist()
        [0, 1]
    """
    check_is_fitted(model)
    weights = model.mixture_.log_weight[0].exp().numpy()
    levels = [list(range(len(weights)))]
    entropy = []
    while True:
        level = levels[-1]
        doubt = pairs(model, X, sample_weight, level)
        entropy.append(float(-doubt.diagonal().sum()))
        count = len(doubt)
        if count == 1:
            break
        # What the union takes off: h(tᵢ + tⱼ) − h(tᵢ) − h(tⱼ), h(t) = t log t.
        gain = doubt - doubt.diagonal()[:, None] - doubt.diagonal()
        gain.fill_diagonal_(-torch.inf)
        kept, gone = sorted(divmod(int(gain.argmax()), count))
        levels.append([kept if c == gone else c - (c > gone) for c in level])
    return Merged(model, [numbered(level, weights) for level in levels], np.array(entropy))


def pairs(model: FittedMixture, X: Any, sample_weight: Any, level: list[int]) -> Float64[Tensor, "C C"]:
    """Σ w h(tᵢ + tⱼ) for pairs of clusters and Σ w h(tᵢ) on the diagonal, h(t) = t log t, in nats."""
    count = max(level) + 1
    total = torch.zeros(count, count, dtype=torch.float64)
    for t, w in posteriors(model, X, sample_weight, level):
        for i in range(count):
            both = t[i] + t
            both[i] = t[i]
            total[i] += torch.special.xlogy(both, both) @ w
    return total


def posteriors(model: FittedMixture, X: Any, sample_weight: Any, level: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Posteriors (C, n) of clusters, and weights (n,), of some rows after the other; float64, on the CPU."""
    scores, checked = model._scores(X, sample_weight)
    into = torch.nn.functional.one_hot(torch.tensor(level)).T.to(torch.float64)
    weight = checked.weight  # once: a source may read a pass for it
    for at, joint in scores._joints():
        t = joint.cpu().to(torch.float64).softmax(0)
        yield into @ t, t.new_ones(t.shape[1]) if weight is None else weight[at].cpu().to(torch.float64)


def numbered(level: list[int], weights: np.ndarray) -> np.ndarray:
    """The same clusters, numbered by decreasing weight, ties by their first component."""
    order = np.argsort(-np.bincount(level, weights=weights), kind="stable")
    return np.argsort(order)[level]


def bend(entropy: np.ndarray) -> int:
    """The number of clusters at which two straight lines through the entropies meet best; all where there are two."""
    count = len(entropy)
    if count < 3:
        return count
    misfit = [sum(((entropy[n - 1] - line) ** 2).sum() for n, line in two_lines(entropy, c)) for c in range(2, count)]
    return 2 + int(np.argmin(misfit))


def two_lines(entropy: np.ndarray, bend: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Numbers of clusters up to the bend and from there on, and the straight line through the entropies of each."""
    size = np.arange(1, len(entropy) + 1)
    parts = size[:bend], size[bend - 1 :]
    return [(n, np.polyval(np.polyfit(n, entropy[n - 1], 1), n)) for n in parts]


class Merged:
    """Clusters made of a mixture's components, at every level: what :func:`merge` returns.

    Args:
        model: the fitted mixture.
        levels: for K, K − 1, … 1 clusters the cluster of each component.
        entropy: of the rows with as many clusters, in nats.

    Attributes:
        model_: the fitted mixture.
        entropy_: (K,) entropy −Σ w Σ t log t of the rows with 1, 2, … K clusters, in nats.
        n_clusters_: where the entropies bend: the number that is used where none is named. With one or two components
            there is nothing to see, and it is their number.
    """

    def __init__(self, model: FittedMixture, levels: list[np.ndarray], entropy: np.ndarray) -> None:
        self.model_, self.entropy_ = model, entropy[::-1].copy()
        self.n_clusters_ = bend(self.entropy_)
        self._levels = levels

    def components(self, n_clusters: Any = None) -> np.ndarray:
        """The cluster of each component.

        Args:
            n_clusters: how many clusters, 1 … K; None takes ``n_clusters_``.

        Returns:
            (K,) integers 0 … n_clusters − 1, the cluster of the largest weight first.

        Raises:
            ValueError: there are fewer components.
        """
        most = len(self._levels)
        wanted = self.n_clusters_ if n_clusters is None else n_clusters
        if isinstance(wanted, bool) or not isinstance(wanted, int | np.integer) or not 1 <= wanted <= most:
            raise ValueError(f"n_clusters={n_clusters!r} cannot be made of {most} components: give 1 to {most}")
        return self._levels[most - int(wanted)].copy()

    def predict_proba(self, X: Any, n_clusters: Any = None) -> Any:
        """Posterior probabilities of the clusters: sums of their components'.

        Args:
            X: (N, D) rows.
            n_clusters: how many clusters; None takes ``n_clusters_``.

        Returns:
            (N, n_clusters).
        """
        level = self.components(n_clusters)
        posterior = self.model_.predict_proba(X)
        if isinstance(posterior, Tensor):
            into = torch.as_tensor(level, device=posterior.device)
            return posterior.new_zeros(len(posterior), level.max() + 1).index_add_(1, into, posterior)
        return posterior @ np.eye(level.max() + 1, dtype=posterior.dtype)[level]

    def predict(self, X: Any, n_clusters: Any = None) -> Any:
        """The cluster with the largest posterior probability, for each row: not always that of the best component.

        Args:
            X: (N, D) rows.
            n_clusters: how many clusters; None takes ``n_clusters_``.

        Returns:
            (N,) integers 0 … n_clusters − 1.
        """
        return self.predict_proba(X, n_clusters).argmax(1)

    def plot(self, ax: Any = None) -> Any:
        """The entropy against the number of clusters, with the two lines that show its bend.

        Args:
            ax: axes to draw on; None makes a figure.

        Returns:
            The axes.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        from mixtura.apps import plot

        return plot.merging(self, ax=ax)

    def __repr__(self) -> str:
        return f"Merged({len(self._levels)} components, {self.n_clusters_} clusters)"
