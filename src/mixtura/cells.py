"""Cells: the models that a search tries, what came of each, and which of them is best."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mixtura.covariance import structure
from mixtura.criteria import CRITERIA, OF_SIZE, P_VALUES, Figures, named
from mixtura.sound import Finding

UNDECIDED = 2e-7
"""Criteria closer than this for each row are equal: EM leaves about half as many nats to gain."""


FALLEN = 0.5
"""Nats by which a larger model may be less likely before it is said that its optimum was missed."""

UNSOUND = ("degenerate", "failed")
"""Statuses of fits whose likelihood must not be compared with others."""


class Cell(NamedTuple):
    """One model to try.

    Attributes:
        covariance_type: name of the structure.
        n_components: K.
    """

    covariance_type: str
    n_components: int

    def __str__(self) -> str:
        return f"{self.covariance_type} with {self.n_components} component{'s' if self.n_components > 1 else ''}"

    def parameters(self, features: int) -> int:
        """Free parameters: weights, means and covariances."""
        k = self.n_components
        return k - 1 + k * features + structure(self.covariance_type).unit(1, k, features).n_parameters()


class Trial(NamedTuple):
    """What came of a cell.

    Attributes:
        cell: the model.
        figures: what the criteria are made of; NaN where it failed.
        status: as ``status_``, or ``failed``.
        model: the fitted estimator; None where it failed.
        reason: why it failed.
        further: criteria that are not made of the figures, by name.
    """

    cell: Cell
    figures: Figures
    status: str
    model: Any = None
    reason: str = ""
    further: Mapping[str, float] = MappingProxyType({})

    def value(self, criterion: str) -> float:
        """What a criterion says of it: lower is better, NaN where it says nothing."""
        if criterion in CRITERIA:
            return CRITERIA[criterion](self.figures)
        return self.further.get(criterion, math.nan)

    @property
    def sound(self) -> bool:
        """Its likelihood can be compared."""
        return self.status not in UNSOUND


def failed(cell: Cell, features: int, reason: str) -> Trial:
    """A cell that could not be fitted."""
    return Trial(cell, Figures(math.nan, cell.parameters(features), math.nan), "failed", reason=reason)


def table(trials: list[Trial]) -> dict[str, np.ndarray]:
    """Columns with one entry for each trial."""
    return {
        "covariance_type": np.array([t.cell.covariance_type for t in trials]),
        "n_components": np.array([t.cell.n_components for t in trials]),
        "loglik": np.array([t.figures.loglik for t in trials]),
        "n_parameters": np.array([t.figures.parameters for t in trials]),
        **{name: np.array([t.value(name) for t in trials]) for name in CRITERIA},
        "status": np.array([t.status for t in trials]),
        **{name: np.array([t.value(name) for t in trials]) for name in trials[0].further},
    }


def selection(
    columns: dict[str, np.ndarray], best: int, criterion: str, otherwise: list[float], told: list[Finding]
) -> dict[str, Any]:
    """A finished search in plain types, to be kept with the model that it chose.

    Args:
        columns: of its table.
        best: the row that was chosen.
        criterion: the column that it was chosen by.
        otherwise: for each row the share of the data that it would label otherwise; NaN where that is not known.
        told: what deserves a word about the search.
    """
    return {
        "criterion": criterion,
        "best": int(best),
        "table": {**{name: column.tolist() for name, column in columns.items()}, "otherwise": otherwise},
        "findings": [finding._asdict() for finding in told],
    }


def tell(trial: Trial, criterion: str, where: str) -> str:
    """What came of a cell, in a line."""
    value = trial.value(criterion)
    figure = "" if math.isnan(value) else f", {named(criterion)} {value:.{4 if criterion in OF_SIZE else 2}f}"
    return f"{where}: {trial.cell}{figure}, {trial.status}"


def ranking(columns: dict[str, np.ndarray], criterion: str) -> list[int]:
    """The rows of a table, best first: sound ones before others, failed ones last."""
    value, sound = columns[criterion], ~np.isin(columns["status"], UNSOUND)
    if criterion in P_VALUES:
        # All that were tested before the last one ask for a component more.
        value = np.where(np.isnan(value), np.nan, -columns["n_components"])
    return sorted(range(len(value)), key=lambda i: (not sound[i], math.isnan(value[i]), value[i]))


def best_of(trials: list[Trial], criterion: str) -> int:
    """The best trial, among the sound ones if there are any; of those that are equally good the simplest.

    Raises:
        ValueError: no model could be fitted.
    """
    columns = table(trials)
    value, first = columns[criterion], ranking(columns, criterion)[0]
    if math.isnan(value[first]):
        reasons = "; ".join(f"{trial.cell}: {trial.reason}" for trial in trials[:3])
        raise ValueError(f"None of the {len(trials)} models could be fitted. {reasons}")
    if criterion in P_VALUES:
        return first
    undecided = UNDECIDED * (abs(value[first]) if criterion in OF_SIZE else trials[first].figures.weight)
    equal = [i for i, t in enumerate(trials) if t.sound == trials[first].sound and value[i] - value[first] <= undecided]
    return min(equal, key=lambda i: (trials[i].figures.parameters, trials[i].cell.n_components, i))


def fallen(columns: dict[str, np.ndarray]) -> list[str]:
    """Sentences about fits that are less likely than one with fewer components: they missed their optimum."""
    found = []
    sound = ~np.isin(columns["status"], UNSOUND)
    for name in dict.fromkeys(columns["covariance_type"].tolist()):
        best, smaller = -math.inf, 0
        rows = [i for i in np.argsort(columns["n_components"]) if sound[i] and columns["covariance_type"][i] == name]
        for i in rows:
            loglik, k = float(columns["loglik"][i]), int(columns["n_components"][i])
            if loglik < best - FALLEN:
                found.append(
                    f"The {name} fit with {k} components is less likely than that with {smaller}, so it missed its "
                    "optimum: its criteria say too little for it. Try another seed."
                )
            if loglik > best:
                best, smaller = loglik, k
    return found


def at_the_edge(k: int, criterion: str) -> str:
    """A sentence about a best number of components that is the largest tried, and what to try."""
    icl = "" if criterion in ("icl", *OF_SIZE) else "choose by ICL, or "
    return (
        f"The best number of components, {k}, is the largest that was tried: try more, or count clusters instead: "
        f"{icl}merge components that overlap (mixtura.merge, --merge)."
    )


def not_compared(trials: list[Trial]) -> str:
    """A sentence about structures of which no fit is sound, with what is wrong with the first; empty where none is."""
    names = dict.fromkeys(t.cell.covariance_type for t in trials)
    sound = {t.cell.covariance_type for t in trials if t.sound}
    lost = [name for name in names if name not in sound]
    wrong = [t for t in trials if t.cell.covariance_type in lost and t.model is not None]
    if not wrong:
        return ""
    said = wrong[0].model.diagnose()
    why = f" Of {wrong[0].cell}: {said[0]}" if said else ""
    return f"Not compared, for no fit of theirs is sound: {', '.join(lost)}.{why}"


def findings(trials: list[Trial], best: int, untried: list[Cell], criterion: str) -> list[Finding]:
    """What deserves a word about a search: limits that its choice ran into, and models that could not be fitted."""
    found = []
    k = trials[best].cell.n_components
    largest = max(t.cell.n_components for t in trials)
    larger = [t for t in trials if t.cell.n_components > k]
    if k == largest > min(t.cell.n_components for t in trials):
        found.append(Finding("largest_tried", None, at_the_edge(k, criterion)))
    elif larger and trials[best].sound and not any(t.sound for t in larger):
        message = f"No fit with more components than {k} is sound: the data may hold too few rows to tell."
        found.append(Finding("larger_not_sound", None, message))
    crowded = [f for t in trials for f in getattr(t.model, "_findings", ()) if f.kind == "few_distinct_rows"]
    if crowded and trials[best].sound:
        found.append(crowded[0])
    if (message := not_compared(trials)) and trials[best].sound:
        found.append(Finding("structures_not_sound", None, message))
    for trial in trials:
        if trial.model is None:
            found.append(Finding("not_fitted", None, f"Not fitted: {trial.cell}. {trial.reason}"))
    found += [Finding("less_likely", None, message) for message in fallen(table(trials))]
    if untried:
        message = f"The search was interrupted: {len(untried)} of {len(trials) + len(untried)} models were not tried."
        found.append(Finding("interrupted", None, message))
    return found
