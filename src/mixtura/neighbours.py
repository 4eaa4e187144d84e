"""Neighbours: the models of a search that lend each other starts: a component more or less, or a simpler structure."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch

from mixtura.cells import Cell
from mixtura.covariance import structure
from mixtura.draws import stream
from mixtura.fitting import Land
from mixtura.local import GAIN, LocalSearch, Peak
from mixtura.mixture import Mixture
from mixtura.moves import View, removed, seen, split, without
from mixtura.plan import Found, Ground, Plan, ground_of
from mixtura.race import CLIMB, STANDARD
from mixtura.record import Record
from mixtura.start import mixture_from
from mixtura.survey import Sample
from mixtura.track import Track

WAYS = 3
"""How many starts a neighbour lends where it has one component more or less."""

LEVELS = "IEV"
"""mclust's letters from the poorest on: each set of matrices holds those of the letters before it."""

KINDS = ("fit", "simpler", "smaller", "larger")
"""What a start begins at: the model's own fit, or that of a simpler structure, or of one component less or more."""


class Lent(NamedTuple):
    """What a neighbour lends.

    Attributes:
        kind: one of ``KINDS``, but the first.
        mixture: its fit, in the coordinates of the data.
    """

    kind: str
    mixture: Mixture


# ---- who is a neighbour of whom


def below(one: str, other: str) -> bool:
    """One structure's matrices are all among another's, by their codes."""
    pairs = list(zip(one, other, strict=False))
    return one != other and len(one) == len(other) and all(LEVELS.index(a) <= LEVELS.index(b) for a, b in pairs)


def simpler(code: str, codes: Iterable[str]) -> list[str]:
    """Of some structures the richest that are poorer than one: none of them is below another."""
    under = [other for other in codes if below(other, code)]
    return [one for one in under if not any(below(one, other) for other in under)]


def neighbours(cell: Cell, cells: Iterable[Cell]) -> Iterator[tuple[str, Cell]]:
    """The cells whose fits make starts for one, and what they are to it."""
    cells, code, k = list(cells), structure(cell.covariance_type).code, cell.n_components
    if k == 1:
        return
    same = {structure(other.covariance_type).code: other for other in cells if other.n_components == k}
    yield from (("simpler", same[other]) for other in simpler(code, same))
    for kind, near in (("smaller", k - 1), ("larger", k + 1)):
        yield from ((kind, other) for other in cells if other == cell._replace(n_components=near))


# ---- what they lend


def begun(lent: Lent, sample: Sample, ground: Ground, key: int) -> Mixture | None:
    """The starts that a neighbour's fit makes for a model; None where it makes none."""
    view = seen(lent.mixture.shifted(-ground.origin), sample)
    ways = {"simpler": as_it_is, "smaller": with_one_more, "larger": with_one_less}[lent.kind](view, ground, key)
    return mixture_from(torch.stack(ways), sample, ground.unit, ground.rule) if ways else None


def as_it_is(view: View, ground: Ground, key: int) -> list[torch.Tensor]:
    """The shares themselves: what matrices are made of them is for the structure to say."""
    return [view.share]


def with_one_more(view: View, ground: Ground, key: int) -> list[torch.Tensor]:
    """Shares in which one component is split, for those of which that explains most."""
    draws = stream(ground.plan.seed, "neighbour", key).random((CLIMB.splits, len(view.share), 2))
    halves = split(view, torch.from_numpy(draws), CLIMB.settling, ground)
    best = halves.gain.argsort(descending=True, stable=True)[:WAYS].tolist()
    first = halves.first * view.share
    return [
        torch.cat([view.share.index_copy(0, torch.tensor([k]), first[k, None]), (view.share[k] - first[k])[None]])
        for k in best
        if halves.gain[k] > torch.finfo(torch.float64).min
    ]


def with_one_less(view: View, ground: Ground, key: int) -> list[torch.Tensor]:
    """Shares in which one component is gone, in the ways that cost least."""
    removals = removed(view, ground)
    best = removals.loss.argsort(stable=True)[:WAYS].tolist()
    every = torch.arange(len(view.share))
    return [without(view, removals.ways[o], removals.rest[o])[every != removals.ways[o].gone] for o in best]


def bettered(land: Land, plan: Plan, own: Mixture, lent: list[Lent]) -> Plan | None:
    """A plan that ends in a better optimum than a fit's, found from its neighbours'; None where they lead to none.

    Args:
        land: the data.
        plan: of the fit.
        own: where it ended, in the coordinates of the data.
        lent: its neighbours' fits.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    ground = ground_of(land.facts, land.rows, plan)
    sample = Sample(*(t.cpu() for t in ground.part(CLIMB.sample)))
    made = [(each.kind, begun(each, sample, ground.on_host, key)) for key, each in enumerate(lent)]
    starts = [(kind, model) for kind, model in made if model is not None]
    if not starts or not plan.passes:
        return None
    track, home = Track(ground, STANDARD.settled), ground.rows.home
    runners = track.enter(own.shifted(-ground.origin).to(home), ["fit"])
    peak = Peak(track.heat(runners, CLIMB.heats[-1].rows, plan.passes), track, CLIMB.sample)
    kinds = [kind for kind, model in starts for _ in range(model.shape[0])]
    several = track.enter(Record.cat([model for _, model in starts]).to(home), kinds)
    child = LocalSearch(track, CLIMB, 0).tried(several, peak)
    if track.interrupted:
        raise KeyboardInterrupt
    # A fit that had stopped on a ridge may have gone further by itself than any neighbour leads.
    best = peak if child is None else child
    if child is None and peak.bound <= float(peak.heat.standing.bounds[0, 0]) + GAIN:
        return None

    def search(_: Ground) -> Found:
        return track.home_stretch(best.heat.runners)

    return plan._replace(search=search)
