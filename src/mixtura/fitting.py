"""Fitting: from rows to one fitted mixture, through survey, starts, EM and the choice of the best sound restart."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from mixtura.converge import Outcome
from mixtura.data.base import Source
from mixtura.em import turn
from mixtura.family import Gaussian
from mixtura.given import Given
from mixtura.kmeans import lloyd
from mixtura.mixture import Mixture
from mixtura.plan import Found, Ground, Plan, ground_of
from mixtura.rows import Rows
from mixtura.sound import Finding, Soundness, component_findings, data_findings, soundness, status
from mixtura.start import STARTS, Draw, mixture_from, partition
from mixtura.stop import rounding_noise
from mixtura.survey import Survey, survey

ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance "
    "caused by singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or "
    "scale the input data."
)


OVERFLOW = (
    "Every restart failed: the rows span more than {dtype} can hold when squared. Look for rows with absurd values and "
    "remove them, divide the columns by their spread, or use float64."
)


SAME = 1e-6
"""Nats by which the ends of two restarts may differ that have found the same optimum."""


class Fit(NamedTuple):
    """What a fit found.

    Attributes:
        mixture: one restart, in the coordinates of the data, on the CPU.
        loglik: Σ w log p(x) at the mixture.
        n: (K,), weighted counts of the components.
        passes: of the winning restart.
        still: it met the stopping test.
        bounds: (T,), its log likelihood at every pass.
        starts: what each start did and how it ended.
        winner: which of them was chosen.
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
    winner: int
    facts: Survey
    tests: Soundness
    findings: list[Finding]
    interrupted: bool

    @property
    def status(self) -> str:
        """``converged``, ``max_iter``, ``interrupted``, or ``degenerate`` where the fit is not sound."""
        return "interrupted" if self.interrupted else status(bool(self.tests.sound[0]), self.still)


class Land(NamedTuple):
    """Data that were surveyed and made ready to be counted: made once, however many mixtures are fitted to them.

    Attributes:
        facts: the survey.
        rows: all of them.
    """

    facts: Survey
    rows: Rows


def landed(source: Source, seed: int, dtype: torch.dtype | None, device: torch.device, gaps: bool = False) -> Land:
    """Survey a source and make its rows ready.

    Args:
        source: where the rows come from.
        seed: key of the sample's random stream.
        dtype: in which rows are counted; None is the source's.
        device: where rows are counted.
        gaps: NaN may stand for a missing entry.
    """
    facts = survey(source, seed, gaps)
    return Land(facts, Rows(source, dtype=dtype, device=device, origin=facts.mean, gaps=facts.gaps))


def fit(land: Land, plan: Plan, names: list[str]) -> Fit:
    """Fit a mixture to all rows.

    Args:
        land: the data.
        plan: what to fit and how.
        names: (D,) of the columns, for messages.

    Raises:
        ValueError: a covariance is not positive definite and nothing may raise it (``clip`` is off), or every restart
            failed.
    """
    facts, rows = land
    ground = ground_of(facts, rows, plan)
    found = plan.search(ground)
    outcome = found.outcome
    refuse_failed(outcome.turn.bound, rows, plan)
    tests = soundness(outcome.turn.model, outcome.turn.moments.n, facts)
    tell_ends(found, tests)
    best = choose(outcome, tests if plan.clip else None, rows.dtype)
    at = slice(best, best + 1)
    last, final = outcome.turn.take(at), Soundness(*(test[at] for test in tests))
    if plan.last_step and plan.passes:
        last = turn(last.next(), rows, ground.rule, last)
        refuse_failed(last.bound, rows, plan)
        final = soundness(last.model, last.moments.n, facts)
    mixture, n = last.model.to("cpu"), last.moments.n.to("cpu")
    if plan.ordered:
        order = by_weight(mixture)[0]
        mixture, n, final = mixture.pick(order), n[:, order], Soundness(*(test[:, order] for test in final))
    trace = outcome.bounds[:, best]
    return Fit(
        mixture=mixture.shifted(ground.origin),
        loglik=float(last.bound[0]),
        n=n[0],
        passes=int(outcome.passes[best]),
        still=bool(outcome.still[best]),
        bounds=trace[~trace.isnan()],
        starts=found.starts,
        winner=found.ends[best],
        facts=facts,
        tests=final,
        findings=data_findings(mixture, facts, names) + component_findings(final, n, facts, names),
        interrupted=outcome.interrupted,
    )


def refuse_failed(bound: Tensor, rows: Rows, plan: Plan) -> None:
    """Raise ValueError where nothing was fitted: every restart failed, or one did and nothing may mend it."""
    failed = bound.isnan()
    if not plan.clip and bool(failed.any()):
        raise ValueError(ILL_DEFINED)
    if bool(failed.all()):
        raise ValueError(OVERFLOW.format(dtype=str(rows.dtype).removeprefix("torch.")))


def tell_ends(found: Found, tests: Soundness) -> None:
    """Put what each restart reached, and how it ended, into what is told of the starts."""
    outcome = found.outcome
    each = zip(found.ends, outcome.turn.bound.tolist(), outcome.still.tolist(), tests.sound.tolist(), strict=True)
    for at, bound, still, sound in each:
        found.starts[at].update(loglik=bound, status=status(sound, still))


def choose(outcome: Outcome, tests: Soundness | None, dtype: torch.dtype) -> int:
    """The restart with the highest bound, among the sound ones if there are any.

    Restarts within rounding of the best, or ``SAME``, have found the same optimum: the first of them is taken, so that
    rounding does not decide which.
    """
    bound = outcome.turn.bound.cpu().nan_to_num(nan=-torch.inf)
    if tests is not None and bool(tests.sound.any()):
        bound = torch.where(tests.sound, bound, -torch.inf)
    best = bound.max()[None].numpy()
    weight = outcome.turn.moments.n.sum(1).cpu().nan_to_num(nan=0.0).max()[None].numpy()
    near = np.maximum(rounding_noise(best, weight, dtype), SAME)
    return int((bound.numpy() >= best - near).nonzero()[0][0])


def by_weight(mixture: Mixture) -> Int64[Tensor, "R K"]:
    """The order of components: decreasing weight, ties by the first mean coordinate; one feature: increasing mean."""
    first = mixture.mean[..., 0].argsort(dim=1, stable=True)
    if mixture.shape[2] == 1:
        return first
    return first.gather(1, mixture.log_weight.gather(1, first).argsort(dim=1, descending=True, stable=True))


def plain_starts(name: str, restarts: int) -> Callable[[Ground], Mixture]:
    """Restarts from one named kind of partition."""

    def make(ground: Ground) -> Mixture:
        r = STARTS[name](Draw(ground.sample, ground.plan.components, ground.plan.seed, restarts))
        return mixture_from(r, ground.sample, ground.unit, ground.rule)

    return make


def given_start(given: Given) -> Callable[[Ground], Mixture]:
    """One restart from given parameters; what is missing comes from k-means, begun at the given means if any."""

    def make(ground: Ground) -> Mixture:
        if given.all:
            return given.over(blank(ground), ground.origin)
        if given.means is None:
            return given.over(plain_starts("kmeans", 1)(ground).to("cpu"), ground.origin)
        begun = (given.means - ground.origin).to(ground.sample.x.device)
        r = partition(lloyd(ground.sample, begun[None]), ground.sample)
        return given.over(mixture_from(r, ground.sample, ground.unit, ground.rule).to("cpu"), ground.origin)

    return make


def continued(mixture: Mixture) -> Callable[[Ground], Mixture]:
    """One restart: a mixture fitted before."""
    return lambda ground: mixture.shifted(-ground.origin)


def blank(ground: Ground) -> Mixture:
    """A mixture whose every part is still to be put in."""
    mean = torch.zeros(1, ground.plan.components, len(ground.origin), dtype=torch.float64)
    return Mixture(mean[..., 0], mean, ground.unit.to("cpu"), Gaussian())
