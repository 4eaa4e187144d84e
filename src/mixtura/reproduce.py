"""Reproduce: the starts of scikit-learn's mixture, from its own k-means and its own random stream."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from mixtura.covariance.base import Covariance, Floor
from mixtura.covariance.quadratic import VECH
from mixtura.family import Gaussian
from mixtura.given import Given
from mixtura.mixture import Mixture


def sklearn_start(
    x: np.ndarray,
    weight: Tensor | None,
    unit: Covariance,
    components: int,
    init_params: str,
    random_state: np.random.RandomState,
    floor: Floor,
    given: Given,
    origin: Float64[Tensor, "D"],
) -> Mixture:
    """One start as scikit-learn 1.9 makes it, relative to ``origin``.

    With ``k-means++`` and ``random_from_data`` its responsibilities are those of K rows only, so that weights sum to
    K/N and covariances are nearly the ridge: that is theirs, and reproduced.
    """
    if given.all:
        features = x.shape[1]
        blank = Mixture(
            torch.zeros(1, components).double(), torch.zeros(1, components, features).double(), unit, Gaussian()
        )
        return given.over(blank, origin)
    if weight is not None:
        x, weight = x[weight.numpy() > 0], weight[weight > 0]
    r = torch.from_numpy(_responsibilities(x, weight, components, init_params, random_state))
    if weight is not None:
        r = r * weight[:, None]
    n = r.sum(0) + 10 * float(np.finfo(np.float64).eps)
    rows = torch.from_numpy(x.astype(np.float64))
    mean = (r.mT @ rows) / n[:, None]
    scatter = torch.stack([((rows - m) * r[:, k : k + 1]).mT @ (rows - m) for k, m in enumerate(mean)])
    if unit.shared:
        # Their shared scatter takes all rows for granted: XᵀX − Σ n μ μᵀ, whatever the responsibilities add up to.
        every = rows if weight is None else rows * weight[:, None]
        whole = every.mT @ rows - (n[:, None] * mean).mT @ mean
        scatter = scatter.clone()
        scatter[0] += whole - scatter.sum(0)
    elif unit.quadratic is not VECH:
        # Their variances are E x² − μ², rounding included: it matters for the variances of single rows.
        scatter = torch.diag_embed(r.mT @ rows.square() - n[:, None] * mean.square())
    covariance = unit.maximise(n[None], unit.from_scatter(scatter[None]), floor)
    total = len(x) if weight is None else float(weight.sum())
    mixture = Mixture((n / total).log()[None], (mean - origin)[None], covariance, Gaussian())
    return given.over(mixture, origin)


def _responsibilities(x: np.ndarray, weight: Any, components: int, init_params: str, random_state: Any) -> np.ndarray:
    from sklearn.cluster import KMeans, kmeans_plusplus  # takes as long to import as everything of ours

    rows = len(x)
    weights = None if weight is None else weight.numpy()
    if init_params == "random":
        r = random_state.uniform(size=(rows, components))
        return np.asarray(r / r.sum(axis=1)[:, None])
    r = np.zeros((rows, components))
    if init_params == "kmeans":
        found = KMeans(components, n_init=1, random_state=random_state).fit(x, sample_weight=weights)
        r[np.arange(rows), found.labels_] = 1
    elif init_params == "random_from_data":
        r[random_state.choice(rows, size=components, replace=False), np.arange(components)] = 1
    elif init_params == "k-means++":
        r[
            kmeans_plusplus(x, components, sample_weight=weights, random_state=random_state)[1], np.arange(components)
        ] = 1
    else:
        raise ValueError(
            f"init_params={init_params!r} is not a start of scikit-learn, whose numbers reproduce='sklearn' asks for: "
            "use 'kmeans', 'k-means++', 'random_from_data' or 'random', or leave reproduce=None"
        )
    return r
