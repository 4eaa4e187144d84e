"""Search: how the optimum is looked for, by plain starts run to the end or by races and local searches."""

from collections.abc import Callable

import torch

from mixtura.local import LocalSearch
from mixtura.mixture import Mixture
from mixtura.plan import Found, Ground
from mixtura.race import EFFORTS, Effort, Race
from mixtura.record import Record
from mixtura.running import entry, finish
from mixtura.sound import soundness
from mixtura.survey import Survey
from mixtura.track import AGREE, AGREE_NATS, Heat, Runners, Track, joined, twins

__all__ = ["EFFORTS", "plain", "searches"]


def plain(starts: Callable[[Ground], Mixture], kind: str) -> Callable[[Ground], Found]:
    """Restarts that all run to the end."""

    def search(ground: Ground) -> Found:
        model = starts(ground).to(ground.rows.home)
        told = [entry(kind) for _ in range(model.shape[0])]
        return finish(model, told, list(range(len(told))), ground, ground.plan.passes)

    return search


def searches(effort: Effort, count: int | None = None) -> Callable[[Ground], Found]:
    """Independent searches, each a race with starts of its own and a local search from its leader.

    Args:
        effort: how hard each of them looks.
        count: how many; None is as many as the effort says, ended when the best optimum was found often enough.
    """

    def search(ground: Ground) -> Found:
        track = Track(ground, effort.settled)
        ends: list[Runners] = []
        peaks: list[Heat] = []
        for number in range(effort.searches if count is None else count):
            track.search = number
            race = Race(track, effort, number * effort.starts)
            runners = race.run()
            # Where all starts agree, a single search leaves it at that; several look on.
            easy = race.agreed and effort.searches == 1
            if effort.climb is not None and ground.plan.passes and not (easy or track.interrupted):
                peaks.append(LocalSearch(track, effort.climb, number).run(runners.pick([0])))
                runners = peaks[-1].runners
            ends.append(runners)
            if track.interrupted or (count is None and found(peaks, ground.facts) >= effort.agree):
                break
        return track.home_stretch(joined(ends))

    return search


def found(peaks: list[Heat], facts: Survey) -> int:
    """How many searches have come to the best of these optima; 0 where it is not sound."""
    if not peaks:
        return 0
    bound = torch.cat([peak.standing.bound.cpu() for peak in peaks])
    sound = torch.cat([soundness(peak.standing.model, peak.standing.n, facts).sound for peak in peaks])
    best = int(torch.where(sound, bound, -torch.inf).argmax())
    near = sound & ((bound - bound[best]).abs() <= AGREE_NATS)
    alike = twins(Record.cat([peak.runners.model for peak in peaks]), facts, AGREE)[best]
    return int((near & alike).sum())
