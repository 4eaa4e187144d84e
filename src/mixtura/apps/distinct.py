"""Distinct: in which features a component differs from the others, and by how much."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixtura.apps.words import feature_names

LARGE = 0.8
"""A standardised difference of means from which one speaks of a large effect (Cohen 1988, section 2.2)."""

NAMED = 3
"""Most features that are named for a component."""


def distinct(model: Any) -> np.ndarray:
    """How far each component's mean lies from that of the others, feature by feature, in standard deviations.

    d(k, j) = (μ(k, j) − m(k, j)) / s(j), where m(k, j) is the mean of all other components by their weights, and
    s(j)² = Σₖ π(k) σ²(k, j) the variance within components, pooled. It is Cohen's d, the standardised difference of two
    means (Cohen 1988, Statistical Power Analysis for the Behavioral Sciences, 2nd ed., section 2.2), of a component
    against the rest, with the deviation within groups that an analysis of variance pools.

    Args:
        model: a fitted mixture estimator.

    Returns:
        (K, D); NaN for components of weight 0 and where there is nothing to compare with.

    Examples:
        >>> from mixtura import GaussianMixture
        >>> gm = GaussianMixture.from_parameters([0.5, 0.5], [[0.0, 1.0], [3.0, 1.0]], [1.0, 1.0], "spherical")
        >>> distinct(gm).tolist()
        [[-3.0, 0.0], [3.0, 0.0]]
    """
    weight, mean, within = parts(model)
    rest = 1 - weight
    compared = (weight > 0) & (rest > 1e-12)
    total = weight[:, None] * mean
    # Summed over the others themselves: taking one from the sum of all would cancel where it has almost all weight.
    others = np.stack([np.delete(total, k, axis=0).sum(0) for k in range(len(weight))])
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = mean - others / rest[:, None]
        found = np.where(difference == 0, 0.0, difference / np.sqrt(within))
    return np.where(compared[:, None], found, np.nan)


def separation(model: Any) -> np.ndarray:
    """(D,) the share of each feature's variance that lies between the means of the components, 0 to 1.

    The correlation ratio η² of an analysis of variance, at the parameters of the mixture.
    """
    weight, mean, within = parts(model)
    between = (weight[:, None] * (mean - weight @ mean) ** 2).sum(0)
    total = between + within
    return np.divide(between, total, out=np.zeros_like(between), where=total > 0)


def parts(model: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (K,), means (K, D), and the variances (D,) within components, pooled by weight."""
    mixture = model.mixture_.to("cpu")
    weight, mean = mixture.log_weight[0].exp().numpy(), mixture.mean[0].numpy()
    variances = np.broadcast_to(mixture.covariance.variances()[0].numpy(), mean.shape)
    return weight, mean, weight @ variances


def most_distinct(row: np.ndarray, most: int = NAMED, least: float | int = LARGE) -> list[int]:
    """The features in which a component differs most, at least by ``least``, the largest difference first."""
    size = np.abs(np.nan_to_num(row))
    order = np.argsort(-size, kind="stable")[:most]
    return [int(j) for j in order if size[j] >= least]


def said(row: np.ndarray, names: Sequence[str], most: int = NAMED) -> str:
    """What distinguishes a component, in words.

    Args:
        row: (D,) of :func:`distinct`.
        names: (D,) of the features.
        most: largest number of features to name.

    Examples:
        >>> said(np.array([3.14, 0.1, -1.2]), ["Y2-H", "V2-H", "B1-H"])
        'high Y2-H (+3.1 sd), low B1-H (−1.2 sd)'
    """
    if np.isnan(row).all():
        return "nothing to compare with"
    at = most_distinct(row, most)
    if at:
        return ", ".join(f"{'high' if row[j] > 0 else 'low'} {names[j]} ({signed(row[j])} sd)" for j in at)
    j = int(np.nanargmax(np.abs(row)))
    return f"close to the others in every feature, farthest in {names[j]} ({signed(row[j])} sd)"


def distinctions(model: Any, names: Sequence[str] | None = None) -> list[str]:
    """What distinguishes each component from the others, a phrase for each; ``empty`` for those of weight 0.

    Args:
        model: a fitted mixture estimator.
        names: (D,) of the features; None takes the model's.
    """
    known = feature_names(model) if names is None else names
    lines = zip(distinct(model), parts(model)[0], strict=True)
    return [said(row, known) if weight > 0 else "empty" for row, weight in lines]


def signed(value: float) -> str:
    """One decimal with its sign, as typeset; no decimals from 100."""
    text = f"{value:+.0f}" if abs(value) >= 100 else f"{value:+.1f}"
    return text.replace("-", "−")
