"""Further: criteria that need more than a fit's likelihood: other fits, or rows that were held out."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mixtura.cells import Cell, Trial
from mixtura.data.array import Array
from mixtura.draws import stream
from mixtura.fitted import place, weighed
from mixtura.fitting import continued, fit, landed
from mixtura.ratio import tested
from mixtura.scoring import Scores
from mixtura.search import plain
from mixtura.sourced import gathered
from mixtura.stability import Stability
from mixtura.trials import Further, Tries

FOLDS = 10
"""Parts of the rows, each held out once."""


def icl_entropy(tries: Tries) -> list[dict[str, float]]:
    """BIC + 2 × the entropy of the clusters: ICL before it is taken at each row's best (Biernacki et al. 2000)."""
    return [
        {"icl_entropy": t.value("bic") + 2 * doubt(tries, t) if t.model is not None else math.nan} for t in tries.trials
    ]


def doubt(tries: Tries, trial: Trial) -> float:
    """−Σ w Σ p(k | x) log p(k | x) of a fit, nats."""
    return weighed(trial.model._score_checked(tries.checked).entropy(), tries.checked.weight)[0]


def nec(tries: Tries) -> list[dict[str, float]]:
    """Normalised entropy criterion: the entropy of K clusters over what they explain more than one, and 1 for K = 1.

    Celeux & Soromenho (1996); with the value for one cluster of Biernacki, Celeux & Govaert (1999), below which
    several clusters stand apart.
    """
    single: dict[str, float] = {
        t.cell.covariance_type: t.figures.loglik for t in tries.trials if t.cell.n_components == 1
    }
    found = []
    for trial in tries.trials:
        name = trial.cell.covariance_type
        if trial.model is None or trial.cell.n_components == 1:
            found.append(math.nan if trial.model is None else 1.0)
            continue
        if name not in single:
            single[name] = tries.tried(Cell(name, 1)).figures.loglik
        gain = trial.figures.loglik - single[name]
        found.append(doubt(tries, trial) / gain if gain > 0 else math.inf)
    return [{"nec": value} for value in found]


def cross_validated(tries: Tries) -> list[dict[str, float]]:
    """−2 Σ w log p(x) of rows that were held out, in ten parts, each by fits to the others (Smyth 2000).

    The fit to all rows is where the others begin, so that they come to the same optimum where their rows have it. Rows
    are held in memory.
    """
    checked, seed = tries.checked, tries.template.random_state
    x, weight = gathered(checked.source), checked.weight
    part = stream(seed, "folds").permutation(len(x)) % FOLDS
    total = np.zeros(len(tries.trials))
    for fold in range(min(FOLDS, len(x))):
        kept, held = (Array(x[at], None if weight is None else weight[at]) for at in (part != fold, part == fold))
        device = place(tries.template.device, checked.kind)
        land = landed(kept, seed, tries.land.rows.dtype, device, checked.gaps)
        for i, trial in enumerate(tries.trials):
            total[i] += _held_out(tries, trial, land, held, device)
    return [{"cv": value} for value in (-2 * total).tolist()]


def _held_out(tries: Tries, trial: Trial, land: Any, held: Array, device: torch.device) -> float:
    """Σ w log p(x) of some rows, by a fit of a cell to the others."""
    if trial.model is None:
        return math.nan
    plan = trial.model._planned(tries.checked)
    plan = plan._replace(search=plain(continued(trial.model.mixture_), "fit"), ordered=False)
    try:
        found = fit(land, plan, [repr(str(j)) for j in range(tries.checked.shape[1])])
    except ValueError:
        return math.nan
    if found.interrupted:
        raise KeyboardInterrupt
    scores = Scores(found.mixture, held, tries.checked.kind.dtype, device, tries.checked.gaps)
    return weighed(scores.log_density(), held.weight)[0]


FURTHER: dict[str, Callable[[], Further]] = {
    "icl_entropy": lambda: Further(icl_entropy),
    "nec": lambda: Further(nec),
    "cv": lambda: Further(cross_validated),
    "stability": Stability,
    "lrt": lambda: Further(tested),
}
"""Such criteria by the names that users give; NaN where one says nothing of a model."""
