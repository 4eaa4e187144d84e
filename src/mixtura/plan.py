"""Plan: what to fit and how, and the ground that a search for the optimum stands on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from mixtura.converge import Outcome, Pacing, Steps
from mixtura.covariance import Structure
from mixtura.covariance.base import Covariance, Floor
from mixtura.data.array import Array
from mixtura.draws import stream
from mixtura.e_step import risk
from mixtura.em import Likelihood, Rule
from mixtura.mixture import Mixture
from mixtura.rows import COARSE, Rows
from mixtura.stop import Stop
from mixtura.survey import SAMPLE, Sample, Survey

AUTO_PASSES = 2000
"""Most passes of a restart where ``max_iter`` is not given."""

WIDEST = 1e12
"""Distance from the mean within which float32 holds squares, and sums of many of them."""


class Found(NamedTuple):
    """What a search ended with.

    Attributes:
        outcome: the restarts that ran to the end, on all rows.
        starts: one dict for every start, as ``starts_`` shows them.
        ends: for each of these restarts, its place in ``starts``.
    """

    outcome: Outcome
    starts: list[dict[str, Any]]
    ends: list[int]


Search = Callable[["Ground"], Found]
"""A way of looking for the optimum."""


class Plan(NamedTuple):
    """What to fit and how.

    Attributes:
        structure: of the covariances.
        components: K.
        added: variance added to every diagonal; None clips only.
        clip: raise collapsed variances to the survey's floor.
        stop: when a restart is still.
        passes: most passes of a run; 0 returns the start.
        search: how the optimum is looked for.
        last_step: end with the M-step after the last pass, as scikit-learn does.
        ordered: order the components by weight.
        seed: key of all random streams.
        device: where rows are counted.
        dtype: in which rows are counted; None is the source's.
        pace: how restarts go from turn to turn.
        watch: told of every pass: the running restarts and their bounds.
    """

    structure: Structure
    components: int
    added: float | None
    clip: bool
    stop: Stop
    passes: int
    search: Search
    last_step: bool
    ordered: bool
    seed: int
    device: torch.device
    dtype: torch.dtype | None = None
    pace: Pacing = Steps
    watch: Callable[[Tensor, Tensor], Any] | None = None


class Field(NamedTuple):
    """Rows to race on.

    Attributes:
        rows: some of them, or all.
        size: how many.
        weight: the sum of their weights.
    """

    rows: Rows
    size: int
    weight: float


class Ground(NamedTuple):
    """What a search stands on; parameters are relative to ``origin`` and live where the rows are counted.

    Attributes:
        plan: what was asked for.
        facts: the survey of the data.
        rows: all of them.
        sample: rows of the survey relative to the origin of the fit, without gaps: those are filled by what one
            Gaussian expects there (:meth:`Survey.whole`), so that a start sees complete rows.
        origin: (D,), float64, on the CPU.
        unit: identity matrices of the structure, for one restart.
        floor: of the M-step.
        rule: the M-step.
    """

    plan: Plan
    facts: Survey
    rows: Rows
    sample: Sample
    origin: Float64[Tensor, "D"]
    unit: Covariance
    floor: Floor
    rule: Rule

    @property
    def on_host(self) -> "Ground":
        """The same, all but the rows on the CPU: for many small steps, which a device would only wait for."""
        floor = self.floor._replace(least=None if self.floor.least is None else self.floor.least.cpu())
        sample = Sample(*(t.cpu() for t in self.sample))
        return self._replace(sample=sample, unit=self.unit.to("cpu"), floor=floor, rule=Likelihood(floor))

    def part(self, size: int, lot: int = 0, *, whole: bool = True) -> Sample:
        """At most ``size`` rows of the survey, drawn by weight: others for each ``lot``.

        A smaller part is the beginning of a larger one. Gaps are filled, as a start needs it (``whole``), or not.
        """
        x, weight = self.facts.crowd
        if self.facts.rows <= SAMPLE and size >= len(x):
            if whole or not self.facts.gaps:
                return self.sample
            chosen = self.facts.sample
        elif size >= len(x):
            chosen = Sample(x, weight)
        elif self.facts.rows > SAMPLE and not lot:
            chosen = Sample(x[:size], torch.ones_like(weight[:size]))
        else:
            draws = torch.from_numpy(stream(self.plan.seed, "part", lot).random(len(x)))
            at = (-torch.log1p(-draws) / weight).topk(size, largest=False).indices
            chosen = Sample(x[at], torch.ones_like(weight[at]))
        chosen = self.facts.whole(chosen) if whole else chosen
        return Sample((chosen.x - self.origin).to(self.rows.home), chosen.weight.to(self.rows.home))

    def coarsely(self, model: Mixture) -> bool:
        """Float32 is enough to see where these mixtures go."""
        if self.rows.dtype != torch.float64:
            return False
        spread = float(torch.maximum(self.facts.high - self.facts.mean, self.facts.mean - self.facts.low).max())
        return spread < WIDEST and bool((risk(model, torch.float32) < COARSE).all())

    def field(self, size: int, coarse: bool, lot: int = 0) -> Field:
        """Rows to race on: of few data the survey's canonical ones, of many a part, at most the crowd, or all."""
        facts = self.facts
        if facts.rows > SAMPLE and size >= facts.rows:
            return Field(self.rows.coarse() if coarse else self.rows, facts.rows, facts.weight)
        x, weight = self.part(size, lot, whole=False)
        rows = Rows(
            Array(x, weight),
            dtype=self.rows.dtype,
            device=self.rows.device,
            origin=torch.zeros_like(self.origin),
            gaps=facts.gaps,
        )
        return Field(rows.coarse() if coarse else rows, len(x), float(weight.sum()))


def ground_of(facts: Survey, rows: Rows, plan: Plan) -> Ground:
    """What a search stands on."""
    origin, home = rows.origin.to(torch.float64), rows.home
    floor = Floor(facts.least.to(home) if plan.clip else None, plan.added or 0.0)
    unit = plan.structure.unit(1, plan.components, len(origin)).to(home)
    x, weight = facts.whole(facts.sample)
    sample = Sample((x - origin).to(home), weight.to(home))
    return Ground(plan, facts, rows, sample, origin, unit, floor, Likelihood(floor))
