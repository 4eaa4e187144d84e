"""Search: how the optimum is looked for, by plain starts run to the end or by races."""

from collections.abc import Callable
from itertools import accumulate

from mixtura.mixture import Mixture
from mixtura.plan import Found, Ground
from mixtura.race import EFFORTS, Effort, Race
from mixtura.running import entry, finish, joined

__all__ = ["EFFORTS", "plain", "races"]


def plain(starts: Callable[[Ground], Mixture], kind: str) -> Callable[[Ground], Found]:
    """Restarts that all run to the end."""

    def search(ground: Ground) -> Found:
        model = starts(ground).to(ground.rows.home)
        told = [entry(kind) for _ in range(model.shape[0])]
        return finish(model, told, list(range(len(told))), ground, ground.plan.passes)

    return search


def races(effort: Effort, count: int) -> Callable[[Ground], Found]:
    """Independent races, each with starts of its own."""

    def search(ground: Ground) -> Found:
        size = sum(effort.opening.values()) + sum(effort.racers.values())
        each: list[Found] = []
        for at in range(count):
            each.append(Race(ground, effort, at * size).run())
            if each[-1].outcome.interrupted:
                break
        firsts = list(accumulate((len(f.starts) for f in each), initial=0))
        ends = [first + i for first, found in zip(firsts, each, strict=False) for i in found.ends]
        return Found(joined([f.outcome for f in each]), [told for f in each for told in f.starts], ends)

    return search
