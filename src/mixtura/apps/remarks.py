"""Remarks: what deserves a word about the columns of a table before a fit to them is believed."""

import numpy as np

from mixtura.data.base import Source
from mixtura.data.columns import listed
from mixtura.data.steps import feature_names

APART = 1e3
"""Spreads of columns that differ by more than this factor are worth a word."""

TAILED = 2.0
"""Skewness above which a column of positive numbers has a long tail; an exponential distribution has 2."""


def remarks(sample: np.ndarray, source: Source) -> list[str]:
    """Sentences about columns whose spreads lie orders of magnitude apart, and about columns that look logarithmic.

    Args:
        sample: (n, D) rows as they were fitted.
        source: where they come from.
    """
    names = feature_names(source)
    return [*_apart(sample, names), *_tailed(sample, names)]


def spreads(sample: np.ndarray) -> np.ndarray:
    """(D,) interquartile ranges; standard deviations where those are 0."""
    lower, upper = np.nanquantile(sample, (0.25, 0.75), axis=0)
    return np.where(upper > lower, upper - lower, np.nanstd(sample, axis=0))


def _apart(sample: np.ndarray, names: list[str]) -> list[str]:
    spread = spreads(sample)
    varying = np.flatnonzero(spread > 0)
    if len(varying) < 2:
        return []
    small, large = varying[spread[varying].argmin()], varying[spread[varying].argmax()]
    if spread[large] < APART * spread[small]:
        return []
    return [
        f"The columns' spreads lie far apart: {names[large]!r} varies by about {spread[large]:.3g}, {names[small]!r} "
        f"by {spread[small]:.3g}. Spherical components see the widest column only: use one with a variance for each "
        "column, or bring the columns to one scale."
    ]


def _tailed(sample: np.ndarray, names: list[str]) -> list[str]:
    found = [names[j] for j, column in enumerate(sample.T) if looks_logarithmic(column)]
    if not found:
        return []
    many = len(found) > 1
    return [
        f"{listed(found)} {'look' if many else 'looks'} logarithmic (no value below 0, a long tail above): "
        f"{'their logarithms' if many else 'its logarithm'}, or the transform asinh with a cofactor near the smallest "
        "values that matter, may be closer to Gaussian."
    ]


def looks_logarithmic(column: np.ndarray) -> bool:
    """No value is negative, the tail is long, and it is much shorter for the logarithm of the positive ones."""
    column = column[~np.isnan(column)]
    positive = column[column > 0]
    if not len(positive) or column.min() < 0 or len(positive) < max(10, 0.9 * len(column)):
        return False
    long = _skewness(positive)
    return long > TAILED and abs(_skewness(np.log(positive))) < long / 2


def _skewness(x: np.ndarray) -> float:
    centred = x - x.mean()
    deviation = np.sqrt((centred**2).mean())
    return float((centred**3).mean() / deviation**3) if deviation > 0 else 0.0
