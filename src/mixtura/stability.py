"""Stability: how far refits with neighbouring numbers of components agree on clusters."""

import math
from itertools import combinations, product
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64

from mixtura.cells import Cell
from mixtura.fitted import place
from mixtura.mixture import Mixture
from mixtura.plan import ground_of
from mixtura.race import QUICK
from mixtura.scoring import Scores
from mixtura.search import searches
from mixtura.stop import Still
from mixtura.track import Round
from mixtura.trials import Further, Tries

REFITS = 10
"""How often each number of components is fitted, from starts of its own."""

REFIT = QUICK._replace(per_row=1e-2, opening={"kmeans": 3, "whitened": 2}, rounds=(Round(2000, 8, 1),))
"""How each is fitted: the best of few starts goes on until few labels still change."""


Labels = Int64[np.ndarray, "R N"]
"""Of every refit."""


class Stability(Further):
    """How far clusters with K components are from those with K − 1 and K + 1, over refits; 0 is the same.

    Each number of components is fitted ten times, all refits of a number in one batch, and every refit with K is
    compared with every one with K − 1 and with K + 1 by the index of Fowlkes & Mallows (1983), as Varrone et al. (2024)
    do. The value is 1 less the mean index; ``stability_sd`` is the standard deviation over pairs, and
    ``stability_same`` 1 less the mean index of refits with K among themselves. One component leaves nothing to compare:
    NaN. The best refit is where the fit of a model begins.
    """

    def __init__(self) -> None:
        super().__init__(self.compared)
        self.alike: dict[int, list[float]] = {}
        self.same: dict[int, list[float]] = {}

    def begin(self, tries: Tries, cells: list[Cell]) -> dict[Cell, Mixture]:
        """Make all refits: the best one of each cell."""
        sizes = {cell.n_components for cell in cells if cell.n_components > 1}
        weight = None if tries.checked.weight is None else tries.checked.weight.numpy()
        begun: dict[Cell, Mixture] = {}
        before: tuple[int, Labels | None] = (0, None)
        for k in sorted({k + step for k in sizes for step in (-1, 0, 1)}):
            cell = cells[0]._replace(n_components=k)
            labels, best = refitted(tries, cell)
            if best is not None:
                begun[cell] = best
            if labels is not None and before[1] is not None and before[0] == k - 1:
                self.alike[k] = [fowlkes_mallows(*pair, weight) for pair in product(before[1], labels)]
            if labels is not None and k in sizes:
                self.same[k] = [fowlkes_mallows(*pair, weight) for pair in combinations(labels, 2)]
            before = k, labels
        return begun

    def compared(self, tries: Tries) -> list[dict[str, float]]:
        """The value and its spread, for each trial."""
        found = []
        for trial in tries.trials:
            k, fitted = trial.cell.n_components, trial.model is not None and trial.cell.n_components > 1
            near = self.alike.get(k, []) + self.alike.get(k + 1, []) if fitted else []
            same = self.same.get(k, []) if fitted else []
            values = {"stability": 1 - mean(near), "stability_sd": math.nan, "stability_same": 1 - mean(same)}
            found.append(values | ({"stability_sd": float(np.std(near))} if near else {}))
        return found


def mean(values: list[float]) -> float:
    """NaN where there are none."""
    return math.fsum(values) / len(values) if values else math.nan


def refitted(tries: Tries, cell: Cell) -> tuple[Labels | None, Mixture | None]:
    """The labels of every refit of a cell, and the likeliest of them; None where there is none."""
    checked, land = tries.checked, tries.land
    if cell.n_components == 1:
        return np.zeros((1, int(checked.shape[0])), dtype=np.int64), None
    model: Any = tries.model(cell)
    try:
        plan = model._planned(checked)
        if tries.free:
            plan = plan._replace(search=searches(REFIT, REFITS), stop=Still(REFIT.per_row))
        found = plan.search(ground_of(land.facts, land.rows, plan))
    except (ValueError, RuntimeError, MemoryError):
        return None, None
    if found.outcome.interrupted:
        raise KeyboardInterrupt
    bound = found.outcome.turn.bound.cpu()
    mixtures = found.outcome.turn.model.to("cpu").shifted(land.rows.origin.to("cpu", torch.float64))
    device = place(tries.template.device, checked.kind)
    each = [mixtures.take(slice(r, r + 1)) for r in bound.isfinite().nonzero()[:, 0].tolist()]
    labels = [Scores(m, checked.source, checked.kind.dtype, device, checked.gaps).labels().cpu().numpy() for m in each]
    best = int(bound.nan_to_num(nan=-torch.inf).argmax())
    return (np.stack(labels), mixtures.take(slice(best, best + 1))) if labels else (None, None)


def fowlkes_mallows(
    one: Int64[np.ndarray, "N"], other: Int64[np.ndarray, "N"], weight: "Float64[np.ndarray, 'N'] | None" = None
) -> float:
    """Pairs of rows together in both partitions, over the geometric mean of those together in each.

    A row of weight w counts as w rows.
    """
    columns = int(other.max()) + 1
    both = np.bincount(one * columns + other, weight, (int(one.max()) + 1) * columns).reshape(-1, columns)
    rows = both.sum()
    together, first, second = (float((n * (n - 1)).sum()) for n in (both, both.sum(1), both.sum(0)))
    return together / math.sqrt(first * second) if rows > 1 and first > 0 and second > 0 else 0.0
