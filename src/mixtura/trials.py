"""Trials: the models of a search, fitted one after the other on the same rows, and then from each other's fits."""

from collections.abc import Callable
from typing import Any

from mixtura.cells import Cell, Trial, failed, tell
from mixtura.criteria import Figures
from mixtura.draws import seed_of
from mixtura.estimator import GaussianMixture
from mixtura.fitted import weighed
from mixtura.fitting import Fit
from mixtura.inputs import Checked
from mixtura.neighbours import Lent, bettered, neighbours

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

    def run(self, cells: list[Cell], further: "Callable[[Tries], list[float]] | None" = None) -> None:
        """Fit every cell, go on from their neighbours, and find a further criterion; Ctrl-C keeps what is finished."""
        try:
            for cell in cells:
                self.trials.append(self.tried(cell))
                self._tell(self.trials[-1], f"{len(self.trials)} of {len(cells)}")
            if self.template.init_params == "auto" and self.template.reproduce is None:
                self.lend()
            if further is not None:
                values = further(self)
                self.trials = [
                    t._replace(further={self.criterion: v}) for t, v in zip(self.trials, values, strict=True)
                ]
        except KeyboardInterrupt:
            self.interrupted = True

    def tried(self, cell: Cell) -> Trial:
        """What comes of a cell by itself."""
        model = self._model(cell)
        try:
            return self._trial(cell, model, *model._find(self.checked, self.land))
        except (ValueError, RuntimeError, MemoryError) as error:
            return failed(cell, self.checked.shape[1], str(error) or type(error).__name__)

    # ---- from neighbours

    def lend(self) -> None:
        """Go on from neighbours' fits, from few parameters to many and back, until none leads to a better one."""
        at = {trial.cell: i for i, trial in enumerate(self.trials)}
        order = sorted(
            (i for i in at.values() if self.trials[i].model), key=lambda i: self.trials[i].figures.parameters
        )
        lent: set[tuple[int, int, float]] = set()
        upward, quiet = True, 0
        while quiet < 2:
            quiet += 1
            for i in order if upward else reversed(order):
                near = [
                    (kind, at[o]) for kind, o in neighbours(self.trials[i].cell, at) if (kind != "larger") == upward
                ]
                news = [(kind, o, self.trials[o]) for kind, o in near if self.trials[o].sound]
                news = [new for new in news if (i, new[1], new[2].figures.loglik) not in lent]
                lent |= {(i, o, trial.figures.loglik) for _, o, trial in news}
                if self._gained(i, [Lent(kind, trial.model.mixture_) for kind, _, trial in news]):
                    quiet = 0
            upward = not upward

    def _gained(self, at: int, lent: list[Lent]) -> bool:
        """What neighbours lend has led to a better fit of a cell, which takes the place of its first."""
        first = self.trials[at]
        if not lent:
            return False
        model = self._model(first.cell)
        try:
            plan = bettered(self.land, model._planned(self.checked), first.model.mixture_, lent)
            if plan is None:
                return False
            found = self._trial(first.cell, model, *model._find(self.checked, self.land, plan))
        except (ValueError, RuntimeError, MemoryError):
            # The first fit stands.
            return False
        if not found.sound or (first.sound and found.figures.loglik <= first.figures.loglik):
            return False
        model.starts_ = first.model.starts_ + model.starts_
        self.trials[at] = found
        self._tell(found, "from its neighbours")
        return True

    # ---- models

    def _model(self, cell: Cell) -> GaussianMixture:
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
