"""Search: how the optimum is looked for, by plain starts run to the end or by races and local searches."""

from collections.abc import Callable

from mixtura.local import WARM, LocalSearch, Peak
from mixtura.mixture import Mixture
from mixtura.plan import Found, Ground
from mixtura.race import EFFORTS, Effort, Race
from mixtura.running import entry, finish
from mixtura.track import Runners, Track, joined

__all__ = ["EFFORTS", "plain", "searches"]


def plain(starts: Callable[[Ground], Mixture], kind: str) -> Callable[[Ground], Found]:
    """Restarts that all run to the end."""

    def search(ground: Ground) -> Found:
        model = starts(ground).to(ground.rows.home)
        told = [entry(kind) for _ in range(model.shape[0])]
        return finish(model, told, list(range(len(told))), ground, ground.plan.passes)

    return search


def searches(
    effort: Effort, count: int | None = None, begun: Mixture | None = None, kind: str = "fit"
) -> Callable[[Ground], Found]:
    """Searches one after the other, each a local search from the leader of a race of its own or from a kick.

    Args:
        effort: how hard each of them looks.
        count: how many independent ones; None is as many searches as the effort says, ended when the best optimum was
            found often enough, and of these only some are independent: the others begin at a kick of the best optimum.
        begun: a fit, in the coordinates of the data, that the first of them goes on from instead of a race's leader:
            the only one, where the effort is satisfied with one.
        kind: what that is called among the starts.
    """
    races = effort.races if count is None else count
    single = begun is not None and effort.agree == 1
    most = 1 if single else effort.searches if count is None else count

    def search(ground: Ground) -> Found:
        track = Track(ground, effort.settled)
        ends: list[Runners] = []
        peaks: list[Peak] = []
        # Starts that do not run are all there is to find.
        for number in range(most if ground.plan.passes or count is not None else 1):
            track.search = number
            local = None if effort.climb is None else LocalSearch(track, effort.climb, number, peaks)
            easy = False
            if local is not None and peaks and number >= races:
                peaks += crossed(local, local.kicked(highest(peaks)), peaks, effort.children)
            else:
                if begun is not None and number == 0:
                    runners = track.enter(begun.shifted(-ground.origin).to(ground.rows.home), [kind])
                else:
                    runners, easy = led(track, effort, number)
                if local is None or not ground.plan.passes or easy or track.interrupted:
                    ends.append(runners)
                else:
                    peaks += crossed(local, climbed(local, runners, effort.children), peaks, effort.children)
            if track.interrupted or (count is None and (easy or found(peaks) >= effort.agree)):
                break
        # A search that comes to a known optimum gives it back.
        return track.home_stretch(joined([*ends, *(peak.heat.runners for peak in dict.fromkeys(peaks))]))

    return search


def led(track: Track, effort: Effort, number: int) -> tuple[Runners, bool]:
    """What a race sends on, and whether to leave it at that: where all starts agree a single search does."""
    race = Race(track, effort, number * effort.starts)
    runners = race.run()
    return runners, race.agreed and effort.agree == 1


def climbed(local: LocalSearch, runners: Runners, children: int) -> Peak:
    """The optimum that a race's leader leads to, or a better one from crossing it with the others that were sent on.

    One of those that has come further by then is searched on itself.
    """
    peak = local.run(runners.pick([0]))
    for i in range(1, len(runners.ids)):
        if not children or local.track.interrupted:
            break
        other = local.reached(runners.pick([i]), WARM)
        if peak.bettered(other) and peak.bettered(further := local.run(other.heat.runners)):
            peak, other = further, peak
        *_, peak = crossed(local, peak, [other], children)
    return peak


def crossed(local: LocalSearch, peak: Peak, before: list[Peak], children: int) -> list[Peak]:
    """Where a search has come to, and a better place where crossing that with the best so far leads to one."""
    if not (before and children) or local.track.interrupted:
        return [peak]
    best = highest(before)
    if best is peak or best.found(peak):
        return [peak]
    first, second = (peak, best) if best.bettered(peak) else (best, peak)
    child = local.crossed(first, second, children)
    return [peak] if child is first else [peak, child]


def highest(peaks: list[Peak]) -> Peak:
    """The best of some optima: those before others in which fewer components are not sound."""
    return max(peaks, key=lambda peak: (-peak.faulty, peak.bound))


def found(peaks: list[Peak]) -> int:
    """How many searches have come to the best of these optima; 0 where it is not sound."""
    if not peaks or not (best := highest(peaks)).sound:
        return 0
    return sum(peak.sound and best.found(peak) for peak in peaks)
