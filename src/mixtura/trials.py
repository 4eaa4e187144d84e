"""Trials: the models of a search, fitted one after the other on the same rows, and then from each other's fits."""

import math
from collections.abc import Callable
from typing import Any

from mixtura.cells import Cell, Trial, failed, tell
from mixtura.criteria import CRITERIA, Figures
from mixtura.draws import seed_of
from mixtura.estimator import GaussianMixture
from mixtura.fitted import weighed
from mixtura.fitting import Fit
from mixtura.inputs import Checked
from mixtura.local import GAIN
from mixtura.mixture import Mixture
from mixtura.neighbours import Lent, bettered, neighbours
from mixtura.plan import Plan
from mixtura.race import EFFORTS, Effort
from mixtura.search import searches

REFIT = "refit"
"""What starts are called where a criterion says that fits begin."""

REACH = 20.0
"""How far a criterion may lie behind the best, at least, and its model be searched on."""

STARTING = ("weights_init", "means_init", "precisions_init")
"""Parameters that belong to one number of components."""


def template_of(estimator: GaussianMixture | None, random_state: Any) -> GaussianMixture:
    """An estimator with the parameters that all cells share, its seed drawn.

    Args:
        estimator: whose parameters; None takes the defaults. It is not changed.
        random_state: where the seed comes from; None takes the estimator's.

    Raises:
        ValueError: a parameter cannot be used, or belongs to one number of components.
    """
    base = GaussianMixture() if estimator is None else estimator
    given = [name for name in STARTING if getattr(base, name) is not None]
    if given:
        raise ValueError(
            f"estimator sets {', '.join(given)}, which fits one number of components: leave it out to search, or "
            "fit GaussianMixture itself"
        )
    seed = seed_of(base.random_state if random_state is None else random_state)
    template = type(base)(**{**base.get_params(deep=False), "random_state": seed})
    template._validate_params()
    return template


class Further:
    """A criterion that needs more than a fit's likelihood.

    Args:
        values: columns of the table, for each trial of the cells that were tried.
    """

    def __init__(self, values: "Callable[[Tries], list[dict[str, float]]]") -> None:
        self.values = values

    def begin(self, tries: "Tries", cells: list[Cell]) -> dict[Cell, Mixture]:
        """What is to be done before any cell is fitted: mixtures where the fits of some cells begin."""
        return {}


class Tries:
    """What comes of cells.

    Args:
        template: an estimator with the parameters that all share, its seed drawn.
        checked: the rows.
        columns: what estimators know of the columns.
        criterion: the one that is told of.
        say: is given a line for everything that was fitted.

    Attributes:
        trials: what came of the cells, in their order, as far as they were tried.
        interrupted: Ctrl-C ended it.
    """

    def __init__(
        self,
        template: GaussianMixture,
        checked: Checked,
        columns: dict[str, Any],
        criterion: str,
        say: Callable[[str], Any] | None,
    ) -> None:
        self.template, self.checked, self.columns, self.criterion, self.say = template, checked, columns, criterion, say
        self.land = template._land(checked, template.random_state)
        self.trials: list[Trial] = []
        self.interrupted = False
        self.first: Effort | None = None
        self.begun: dict[Cell, Mixture] = {}
        self._lent: set[tuple[int, int, float]] = set()

    @property
    def free(self) -> bool:
        """How the optimum is looked for is left to the library."""
        return self.template.init_params == "auto" and self.template.reproduce is None

    def run(self, cells: list[Cell], further: Further | None = None) -> None:
        """Fit every cell, go on from their neighbours, and find a further criterion; Ctrl-C keeps what is finished."""
        try:
            self.first = self._first(len(cells))
            self.begun = {} if further is None else further.begin(self, cells)
            for cell in cells:
                self.trials.append(self.tried(cell))
                self._tell(self.trials[-1], f"{len(self.trials)} of {len(cells)}")
            if self.free and not self.begun:
                self.lend()
            if self.first is not None:
                self.climb()
            if further is not None:
                each = zip(self.trials, further.values(self), strict=True)
                self.trials = [trial._replace(further=values) for trial, values in each]
        except KeyboardInterrupt:
            self.interrupted = True

    def tried(self, cell: Cell) -> Trial:
        """What comes of a cell by itself."""
        model = self.model(cell)
        try:
            plan = model._planned(self.checked)
            begun = self.begun.get(cell)
            if self.first is not None or begun is not None:
                plan = plan._replace(search=searches(self.first or EFFORTS[model.effort], begun=begun, kind=REFIT))
            return self._trial(cell, model, *model._find(self.checked, self.land, plan))
        except (ValueError, RuntimeError, MemoryError) as error:
            return failed(cell, self.checked.shape[1], str(error) or type(error).__name__)

    # ---- from neighbours

    def lend(self) -> None:
        """Go on from neighbours' fits, from few parameters to many and back, until none leads to a better one."""
        at = {trial.cell: i for i, trial in enumerate(self.trials)}
        fitted = (i for i in at.values() if self.trials[i].model)
        order = sorted(fitted, key=lambda i: self.trials[i].figures.parameters)
        near = {i: [(kind, at[o]) for kind, o in neighbours(self.trials[i].cell, at)] for i in order}
        upward, quiet = True, 0
        while quiet < 2:
            quiet += 1
            for i in order if upward else reversed(order):
                there = [(kind, o) for kind, o in near[i] if (kind != "larger") == upward]
                news = [(kind, o, self.trials[o]) for kind, o in there if self.trials[o].sound]
                news = [new for new in news if (i, new[1], new[2].figures.loglik) not in self._lent]
                self._lent |= {(i, o, trial.figures.loglik) for _, o, trial in news}
                if self._gained(i, [Lent(kind, trial.model.mixture_) for kind, _, trial in news]):
                    quiet = 0
            upward = not upward

    def _gained(self, at: int, lent: list[Lent]) -> bool:
        """What neighbours lend has led to a better fit of a cell, which takes the place of its first."""
        own = self.trials[at].model.mixture_
        return bool(lent) and self._bettered(
            at, lambda plan: bettered(self.land, plan, own, lent), "from its neighbours"
        )

    # ---- from itself

    def _first(self, many: int) -> Effort | None:
        """How hard all models are looked for before some are searched on; None where each is searched by itself."""
        template = self.template
        together = self.free and template.n_init == "auto" and many > 1
        effort = EFFORTS[template.effort]
        # Other criteria compare neighbouring sizes: each of them counts.
        if not together or effort.climb is None or self.criterion not in CRITERIA:
            return None
        return effort._replace(climb=None, searches=1, agree=1, children=0)

    def climb(self) -> None:
        """Search on from the fits that may win: those that lie no further behind than searches have gained.

        What is not sound is more likely than what is: it does not win, but a sound fit may be found from there.
        """
        reach, searched = REACH, set()
        while True:
            value = {i: t.value(self.criterion) for i, t in enumerate(self.trials) if t.model is not None}
            least = min((value[i] for i in value if self.trials[i].sound), default=math.inf)
            near = [i for i in sorted(value, key=value.__getitem__) if i not in searched and value[i] <= least + reach]
            if not near:
                return
            for i in near:
                searched.add(i)
                sound = self.trials[i].sound
                if self._searched(i) and sound:
                    reach = max(reach, value[i] - self.trials[i].value(self.criterion))
            self.lend()

    def _searched(self, at: int) -> bool:
        """A search that goes on from a fit has led to a better one, which takes its place."""
        effort, own = EFFORTS[self.template.effort], self.trials[at].model.mixture_
        return self._bettered(at, lambda plan: plan._replace(search=searches(effort, begun=own)), "searched on")

    # ---- models

    def _bettered(self, at: int, replan: Callable[[Plan], Plan | None], where: str) -> bool:
        """Another fit of a cell is sound and better, and takes the place of its first; either tells of all starts."""
        first = self.trials[at]
        model = self.model(first.cell)
        try:
            plan = replan(model._planned(self.checked))
            if plan is None:
                return False
            found = self._trial(first.cell, model, *model._find(self.checked, self.land, plan))
        except (ValueError, RuntimeError, MemoryError):
            # The first fit stands.
            return False
        starts = first.model.starts_ + after(model.starts_, len(first.model.starts_))
        better = found.sound and not (first.sound and found.figures.loglik <= first.figures.loglik + GAIN)
        if better:
            self.trials[at] = found
            self._tell(found, where)
        self.trials[at].model.starts_ = starts
        return better

    def model(self, cell: Cell) -> GaussianMixture:
        """An estimator of a cell, to be fitted."""
        model = type(self.template)(**{**self.template.get_params(deep=False), **cell._asdict()})
        model.__dict__.update(self.columns)
        return model

    def _trial(self, cell: Cell, model: GaussianMixture, found: Fit, seed: int) -> Trial:
        """What came of a cell, whose model takes over what was found."""
        if found.interrupted:
            raise KeyboardInterrupt
        model._adopt(self.checked.kind, found, seed)
        log_best, _ = weighed(model._score_checked(self.checked).log_best(), self.checked.weight)
        figures = Figures(model.loglik_, model.n_parameters_, found.facts.weight, log_best)
        return Trial(cell, figures, model.status_, model)

    def _tell(self, trial: Trial, where: str) -> None:
        if self.say is not None:
            self.say(tell(trial, self.criterion, where))


def after(starts: list[dict[str, Any]], many: int) -> list[dict[str, Any]]:
    """What is told of starts that come after others: the places it names are those among all."""
    placed = ("parent", "same_as")
    return [{**start, **{key: start[key] + many for key in placed if start[key] is not None}} for start in starts]
