"""Otherwise: the models of a search that nearly won, and how many rows they would label otherwise than the best."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from mixtura.cells import UNSOUND, Trial, ranking
from mixtura.criteria import OF_SIZE
from mixtura.inputs import Checked

REACH = 10
"""Models farther from the best in BIC have very strong evidence against them (Kass & Raftery 1995)."""

MOST = 5
"""Most models that are set beside the best; of criteria that are ratios, which have no such reach, two."""


def rivals(columns: dict[str, np.ndarray], best: int, criterion: str) -> list[int]:
    """Rows of a search's table that nearly won, best first; of one component no other name of the same model."""
    value, size = columns[criterion], columns["n_components"]
    if columns["status"][best] in UNSOUND:
        return []
    same = (size == 1) & (size[best] == 1) & (columns["n_parameters"] == columns["n_parameters"][best])
    near = np.isfinite(value) & ~np.isin(columns["status"], UNSOUND) & ~same
    near &= True if criterion in OF_SIZE else value - value[best] <= REACH
    found = [i for i in ranking(columns, criterion) if near[i] and i != best]
    return found[: 2 if criterion in OF_SIZE else MOST]


def otherwise(
    trials: list[Trial], columns: dict[str, np.ndarray], best: int, criterion: str, checked: Checked
) -> list[float]:
    """For each model the share of the rows that it would label otherwise than the best; NaN but for its rivals.

    Components are paired one to one so that as many rows as possible are in a pair; the others are labelled otherwise.
    """
    found = np.full(len(trials), np.nan)
    beside = rivals(columns, best, criterion)
    if not beside:
        return found.tolist()
    weight = None if checked.weight is None else checked.weight.cpu().numpy()
    own, *theirs = (trials[i].model._score_checked(checked).labels().cpu().numpy() for i in (best, *beside))
    for i, labels in zip(beside, theirs, strict=True):
        shape = trials[best].cell.n_components, trials[i].cell.n_components
        together = np.bincount(own * shape[1] + labels, weight, shape[0] * shape[1]).reshape(shape)
        pairs = linear_sum_assignment(together, maximize=True)
        found[i] = max(0.0, 1 - together[pairs].sum() / together.sum())
    return found.tolist()
