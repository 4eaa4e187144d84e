"""Fitting: from rows to one fitted mixture, through survey, starts, EM and the choice of the best sound restart."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from mixtura.covariance import Structure
from mixtura.covariance.base import Covariance, Floor
from mixtura.data.base import Source
from mixtura.em import Likelihood, Outcome, Rule, Stop, Turn, converging, rounding_noise, turn
from mixtura.family import Gaussian
from mixtura.given import Given
from mixtura.mixture import Mixture
from mixtura.rows import Rows
from mixtura.sound import Finding, Soundness, component_findings, data_findings, soundness
from mixtura.start import STARTS, Draw, lloyd, mixture_from, partition
from mixtura.survey import Sample, Survey, survey

ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance "
    "caused by singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or "
    "scale the input data."
)


OVERFLOW = (
    "Every restart failed: the rows span more than {dtype} can hold when squared. Look for rows with absurd values and "
    "remove them, divide the columns by their spread, or use float64."
)


class Plan(NamedTuple):
    """What to fit and how.

    Attributes:
        structure: of the covariances.
        components: K.
        added: variance added to every diagonal; None clips only.
        clip: raise collapsed variances to the survey's floor.
        stop: when a restart is still.
        passes: most passes; 0 returns the start.
        starts: makes the starting restarts.
        last_step: end with the M-step after the last pass, as scikit-learn does.
        ordered: order the components by weight.
        seed: key of all random streams.
        device: where rows are counted.
        dtype: in which rows are counted; None is the source's.
        watch: told of every pass: the running restarts and their turn.
    """

    structure: Structure
    components: int
    added: float | None
    clip: bool
    stop: Stop
    passes: int
    starts: Callable[["Ground"], Mixture]
    last_step: bool
    ordered: bool
    seed: int
    device: torch.device
    dtype: torch.dtype | None = None
    watch: Callable[[Tensor, Turn], Any] | None = None


class Ground(NamedTuple):
    """What a start stands on.

    Attributes:
        facts: the survey of the data.
        sample: its rows relative to the origin of the fit.
        origin: (D,), float64.
        unit: identity matrices of the structure, for one restart.
        rule: the M-step.
        floor: of the M-step.
    """

    facts: Survey
    sample: Sample
    origin: Float64[Tensor, "D"]
    unit: Covariance
    rule: Rule
    floor: Floor


class Fit(NamedTuple):
    """What a fit found.

    Attributes:
        mixture: one restart, in the coordinates of the data, on the CPU.
        loglik: Σ w log p(x) at the mixture.
        n: (K,), weighted counts of the components.
        passes: of the winning restart.
        still: it met the stopping test.
        bounds: (T,), its log likelihood at every pass.
        starts: for every restart its log likelihood, passes and status.
        facts: the survey.
        tests: soundness of the winner.
        findings: what is wrong, in words.
        interrupted: EM was stopped by Ctrl-C; the fit is what it had reached.
    """

    mixture: Mixture
    loglik: float
    n: Float64[Tensor, "K"]
    passes: int
    still: bool
    bounds: Float64[Tensor, "T"]
    starts: list[dict[str, Any]]
    facts: Survey
    tests: Soundness
    findings: list[Finding]
    interrupted: bool

    @property
    def status(self) -> str:
        """``converged``, ``max_iter``, ``interrupted``, or ``degenerate`` where the fit is not sound."""
        return "interrupted" if self.interrupted else status(bool(self.tests.sound[0]), self.still)


def status(sound: bool, still: bool) -> str:
    """One word for how a restart ended."""
    return "degenerate" if not sound else "converged" if still else "max_iter"


def fit(source: Source, plan: Plan, names: list[str]) -> Fit:
    """Fit a mixture to all rows of a source.

    Raises:
        ValueError: a covariance is not positive definite and nothing may raise it (``clip`` is off), or every restart
            failed.
    """
    facts = survey(source, plan.seed)
    rows = Rows(source, dtype=plan.dtype, device=plan.device, origin=facts.mean)
    ground = ground_of(facts, rows, plan)
    rule = Likelihood(Floor(facts.least.to(rows.home) if plan.clip else None, ground.floor.added))
    model = plan.starts(ground).to(rows.home)
    outcome = run(model, rows, rule, plan) if plan.passes else untouched(model, rows, rule)
    refuse_failed(outcome.turn.bound, rows, plan)
    tests = soundness(outcome.turn.model, outcome.turn.moments.n, facts)
    best = choose(outcome, tests if plan.clip else None, rows.dtype)
    last = outcome.turn.take(slice(best, best + 1))
    if plan.last_step and plan.passes:
        last = turn(last.next(), rows, rule, last.fast)
        refuse_failed(last.bound, rows, plan)
    mixture, n = last.model.to("cpu"), last.moments.n.to("cpu")
    if plan.ordered:
        order = by_weight(mixture)
        mixture, n = mixture.pick(order), n[:, order]
    final = soundness(mixture, n, facts)
    trace = outcome.bounds[:, best]
    return Fit(
        mixture=mixture.shifted(ground.origin),
        loglik=float(last.bound[0]),
        n=n[0],
        passes=int(outcome.passes[best]),
        still=bool(outcome.still[best]),
        bounds=trace[~trace.isnan()],
        starts=describe_starts(outcome, tests),
        facts=facts,
        tests=final,
        findings=data_findings(mixture, facts, names) + component_findings(final, n, facts, names),
        interrupted=outcome.interrupted,
    )


def ground_of(facts: Survey, rows: Rows, plan: Plan) -> Ground:
    """What starts stand on, relative to the origin of the rows, on the CPU."""
    origin = rows.origin.to(torch.float64)
    floor = Floor(facts.least if plan.clip else None, plan.added or 0.0)
    unit = plan.structure.unit(1, plan.components, len(origin))
    sample = Sample(facts.sample.x - origin, facts.sample.weight)
    return Ground(facts, sample, origin, unit, Likelihood(floor), floor)


def refuse_failed(bound: Tensor, rows: Rows, plan: Plan) -> None:
    """Raise ValueError where nothing was fitted: every restart failed, or one did and nothing may mend it."""
    failed = bound.isnan()
    if not plan.clip and bool(failed.any()):
        raise ValueError(ILL_DEFINED)
    if bool(failed.all()):
        raise ValueError(OVERFLOW.format(dtype=str(rows.dtype).removeprefix("torch.")))


def describe_starts(outcome: Outcome, tests: Soundness) -> list[dict[str, Any]]:
    """What each restart reached and how it ended."""
    each = zip(outcome.turn.bound, outcome.passes, outcome.still, tests.sound, strict=True)
    return [
        {"loglik": float(bound), "n_iter": int(passes), "status": status(bool(sound), bool(still))}
        for bound, passes, still, sound in each
    ]


def run(model: Mixture, rows: Rows, rule: Rule, plan: Plan) -> Outcome:
    """Converge all restarts, telling the watcher of every pass."""
    steps = converging(model, rows, rule, plan.stop, plan.passes)
    try:
        try:
            while True:
                live, now = next(steps)
                if plan.watch is not None:
                    plan.watch(live, now)
        except KeyboardInterrupt:
            steps.throw(KeyboardInterrupt)
            raise
    except StopIteration as end:
        return end.value


def untouched(model: Mixture, rows: Rows, rule: Rule) -> Outcome:
    """The starts themselves, measured but not moved."""
    now = turn(model, rows, rule)
    restarts = len(now.bound)
    nothing = torch.zeros(restarts, dtype=torch.long)
    return Outcome(now, nothing, nothing.bool(), torch.empty(0, restarts, dtype=torch.float64))


def choose(outcome: Outcome, tests: Soundness | None, dtype: torch.dtype) -> int:
    """The restart with the highest bound, among the sound ones if there are any.

    Restarts within rounding of the best have found the same optimum: the first of them is taken.
    """
    bound = outcome.turn.bound.cpu().nan_to_num(nan=-torch.inf)
    if tests is not None and bool(tests.sound.any()):
        bound = torch.where(tests.sound, bound, -torch.inf)
    best = bound.max()
    weight = outcome.turn.moments.n.sum(1).cpu().nan_to_num(nan=0.0).max()
    return int((bound >= best - rounding_noise(best, weight, dtype)).nonzero()[0])


def by_weight(mixture: Mixture) -> Tensor:
    """The order of components: decreasing weight, ties by the first mean coordinate; one feature: increasing mean."""
    first = mixture.mean[0, :, 0]
    order = first.argsort(stable=True)
    if mixture.shape[2] == 1:
        return order
    return order[mixture.log_weight[0, order].argsort(descending=True, stable=True)]


def plain_starts(name: str, restarts: int, components: int, seed: int) -> Callable[[Ground], Mixture]:
    """Restarts from one named kind of partition."""

    def make(ground: Ground) -> Mixture:
        r = STARTS[name](Draw(ground.sample, components, seed, restarts))
        return mixture_from(r, ground.sample, ground.unit, ground.rule)

    return make


def given_start(given: Given, components: int, seed: int) -> Callable[[Ground], Mixture]:
    """One restart from given parameters; what is missing comes from k-means, begun at the given means if any."""

    def make(ground: Ground) -> Mixture:
        if given.all:
            return given.over(blank(ground, components), ground.origin)
        if given.means is None:
            r = STARTS["kmeans"](Draw(ground.sample, components, seed, 1))
        else:
            centres = lloyd(ground.sample, (given.means - ground.origin)[None])
            r = partition(centres, ground.sample)
        return given.over(mixture_from(r, ground.sample, ground.unit, ground.rule), ground.origin)

    return make


def continued(mixture: Mixture) -> Callable[[Ground], Mixture]:
    """One restart: a mixture fitted before."""
    return lambda ground: mixture.shifted(-ground.origin)


def blank(ground: Ground, components: int) -> Mixture:
    """A mixture whose every part is still to be put in."""
    mean = torch.zeros(1, components, len(ground.origin), dtype=torch.float64)
    return Mixture(mean[..., 0], mean, ground.unit, Gaussian())
