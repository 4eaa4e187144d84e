"""Criteria: what a model's size costs against its likelihood, in scikit-learn's sign (lower is better)."""

import math
from collections.abc import Callable
from typing import NamedTuple


class Figures(NamedTuple):
    """What a criterion is made of.

    Attributes:
        loglik: Σ w log p(x), in nats.
        parameters: how many are free.
        weight: Σ w, the number of rows that count.
        log_best: Σ w log max p(k | x), in nats.
    """

    loglik: float
    parameters: int
    weight: float
    log_best: float = math.nan


def bic(f: Figures) -> float:
    """Bayesian information criterion, −2 log L + p log n (Schwarz 1978)."""
    return -2 * f.loglik + f.parameters * math.log(f.weight)


def aic(f: Figures) -> float:
    """Akaike information criterion, −2 log L + 2 p (Akaike 1974)."""
    return -2 * f.loglik + 2 * f.parameters


def icl(f: Figures) -> float:
    """Integrated completed likelihood, BIC − 2 Σ w log max p(k | x) (Biernacki, Celeux & Govaert 2000)."""
    return bic(f) - 2 * f.log_best


CRITERIA: dict[str, Callable[[Figures], float]] = {"bic": bic, "aic": aic, "icl": icl}
"""Criteria by the names that users give."""

OF_SIZE = ("nec", "stability", "lrt")
"""Criteria that are no nats, and compare numbers of components of one structure."""

LEVEL = 0.05
"""The p-value above which one component more is not asked for."""

P_VALUES = ("lrt",)
"""Criteria that are p-values of one component more: the first above ``LEVEL`` is best, and no other is."""

NAMES = {
    "bic": "BIC",
    "aic": "AIC",
    "icl": "ICL",
    "icl_entropy": "ICL (soft form)",
    "cv": "CV",
    "nec": "NEC",
    "stability": "1 − stability",
    "lrt": "p-value of one more",
}
"""What readers call each criterion that a search may be given."""


def better(criterion: str) -> str:
    """How a criterion is read."""
    return f"the first above {LEVEL} is best" if criterion in P_VALUES else "lower is better"


def named(criterion: str) -> str:
    """Its name, for readers."""
    return NAMES.get(criterion, criterion.upper())


def wins(criterion: str) -> str:
    """What the best model has."""
    name = named(criterion)
    return f"the first {name} above {LEVEL}" if criterion in P_VALUES else f"the lowest {name}"
