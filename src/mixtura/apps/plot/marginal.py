"""Marginal: what a fitted mixture says of one or two of its features, exactly."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from mixtura.family import Family
from mixtura.mixture import Mixture

NODES = 20_000
"""Points of equal probability from which masses are measured."""

NARROWEST = 12
"""Most components around which a grid is refined."""


class Marginal(NamedTuple):
    """The components that have weight, in d of the features.

    Attributes:
        number: (K,) which components they are; those that were dropped are left out.
        log_weight: (K,).
        mean: (K, d).
        covariance: (K, d, d).
        family: the density of a component.
    """

    number: np.ndarray
    log_weight: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    family: Family

    @property
    def sd(self) -> np.ndarray:
        """(K, d) standard deviations."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))

    def log_joint(self, x: np.ndarray) -> np.ndarray:
        """(K, n) log πₖ + log p(x | k) of x (n, d), in nats."""
        value, vector = np.linalg.eigh(self.covariance)
        value = np.maximum(value, np.finfo(float).tiny)
        root = vector / np.sqrt(value)[:, None, :]
        d2 = np.stack([(((x - mean) @ r) ** 2).sum(1) for mean, r in zip(self.mean, root, strict=True)])
        log_det = torch.from_numpy(np.log(value).sum(1))[None]
        log_density = self.family.log_density(torch.from_numpy(d2)[None], log_det, x.shape[1])[0].numpy()
        return log_density + self.log_weight[:, None]

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """(n,) log p(x) of x (n, d), in nats."""
        return np.logaddexp.reduce(self.log_joint(x), axis=0)

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Points (n, 2) and their masses (n,), which stand for the mixture in the plane.

        Each component has its points on a golden spiral, in rings of equal probability: |z|² = −2 log(1 − u).
        """
        each = max(400, NODES // len(self.mean))
        at = np.arange(each)
        radius = np.sqrt(-2 * np.log1p(-(at + 0.5) / each))
        angle = at * np.pi * (3 - np.sqrt(5))
        z = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        value, vector = np.linalg.eigh(self.covariance)
        factor = vector * np.sqrt(np.maximum(value, 0))[:, None, :]
        points = self.mean[:, None] + np.einsum("kij,nj->kni", factor, z)
        mass = np.repeat(np.exp(self.log_weight) / each, each)
        return points.reshape(-1, 2), mass / mass.sum()

    def level(self, masses: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log densities (M,) whose level sets hold the masses; and the nodes with their log densities.

        The set of smallest area that holds a mass is {p(x) ≥ c} (Hyndman 1996, The American Statistician 50, 120–126).
        """
        points, mass = self.nodes()
        height = self.log_density(points)
        order = np.argsort(-height)
        levels = np.interp(masses, np.cumsum(mass[order]), height[order])
        return levels, points, height


def mixture_of(model: Any) -> tuple[Any, Mixture]:
    """The fitted estimator, or the best one of a search, and its mixture.

    Raises:
        NotFittedError: it is not fitted.
        TypeError: it is no mixture estimator of this package.
    """
    from sklearn.utils.validation import check_is_fitted

    model = getattr(model, "best_estimator_", model)
    if not hasattr(model, "mixture_"):
        if hasattr(model, "fit"):
            check_is_fitted(model)
        raise TypeError(
            f"model is a {type(model).__name__}, expected a fitted mixtura.GaussianMixture: "
            "GaussianMixture.from_parameters makes one of known parameters"
        )
    return model, model.mixture_


def marginal(model: Any, at: Sequence[int]) -> Marginal:
    """The marginal in the features at these positions: their means, and their rows and columns of each Σₖ."""
    mixture = mixture_of(model)[1].to("cpu")
    index = list(at)
    log_weight = mixture.log_weight[0].numpy()
    mean = mixture.mean[0].numpy()[:, index]
    dense = mixture.covariance.dense()[0].numpy()[:, index][:, :, index]
    number = np.flatnonzero(np.isfinite(log_weight))
    # A structure shared by all components has one matrix.
    covariance = np.broadcast_to(dense, (len(mean), *dense.shape[1:]))
    return Marginal(number, log_weight[number], mean[number], covariance[number], mixture.family)


def grid(low: float | int, high: float | int, centre: np.ndarray, sd: np.ndarray, points: int) -> np.ndarray:
    """Positions from ``low`` to ``high``, closer together across components too narrow for equal steps."""
    even = np.linspace(low, high, points)
    narrow = np.flatnonzero(sd < 2 * (even[1] - even[0]))
    narrow = narrow[np.argsort(sd[narrow], kind="stable")][:NARROWEST]
    around = centre[narrow, None] + sd[narrow, None] * np.linspace(-4, 4, 25)
    return np.unique(np.concatenate([even, around[(around > low) & (around < high)]]))
