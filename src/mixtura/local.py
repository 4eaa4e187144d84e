"""Local search: from a race's leader, one component is taken away and another one split, where the rows ask for it."""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from mixtura.cross import children
from mixtura.draws import stream
from mixtura.kick import kick
from mixtura.mixture import Mixture
from mixtura.moves import HOPELESS, Move, Removals, View, chosen, removed, seen, split, started
from mixtura.record import Record
from mixtura.running import heat
from mixtura.shake import shaken
from mixtura.sound import soundness
from mixtura.survey import Sample
from mixtura.track import AGREE, AGREE_NATS, Heat, Round, Runners, Track, twins

GAIN = 0.5
"""Nats by which a move must be better to be made."""

MOST = 64
"""Most moves that are tried in a round."""

PLAIN = 5
"""Features up to which moves may be short by what the rounds say; of few rows, by more where there are more."""

WARM = 5
"""Passes that a race's others run before the leader's optimum is crossed with them."""

TURNS = 2
"""Most times that two optima are crossed: the parents, then the best child and the better parent."""


class Climb(NamedTuple):
    """How a local search goes on.

    Attributes:
        misses: rounds in a row without gain that end it.
        sample: how many rows moves are made from.
        splits: in how many ways each component is split.
        settling: passes that the two halves of a component run alone.
        moves: how many are tried in a round, for each component.
        shakes: how many are tried where moves gain nothing, of tables whose rows such a sample has all.
        heats: what they run, on more and more rows, the last on those on which optima are compared.
    """

    misses: int
    sample: int
    splits: int
    settling: int
    moves: int
    shakes: int
    heats: tuple[Round, ...]


class Peak:
    """An optimum that moves are made from, and what is worked out of it once.

    Args:
        heat: what measured it, on the rows on which optima are compared.
        track: where it was found.
        sample: how many rows moves are made from.
    """

    def __init__(self, heat: Heat, track: Track, sample: int) -> None:
        self.heat, self.track, self.sample = heat, track, sample
        self.bound = track.level(heat)
        self._levels: dict[tuple[int, int, int], float] = {}

    @property
    def sound(self) -> bool:
        """It can be believed."""
        return not self.faulty

    @cached_property
    def faulty(self) -> int:
        """How many components cannot be believed."""
        standing = self.heat.standing
        return int(soundness(standing.model, standing.n, self.track.ground.facts).faulty[0])

    @cached_property
    def view(self) -> View:
        """What it says of a sample, on the CPU."""
        return self.seen_by(Sample(*(t.cpu() for t in self.track.ground.part(self.sample, self.track.lot))))

    def seen_by(self, sample: Sample) -> View:
        """What it says of these rows, on the CPU."""
        return seen(self.heat.runners.model.to("cpu"), sample)

    @cached_property
    def removals(self) -> Removals:
        """What its components are worth."""
        return removed(self.view, self.track.ground.on_host)

    def level(self, now: Round, other: Heat) -> float:
        """What it comes to on the rows of another heat, in as many passes, nats."""
        if other.field.size == self.heat.field.size:
            return float(self.heat.standing.bound[0])
        key = (now.rows, now.passes, self.track.lot)
        if key not in self._levels:
            model, ground = self.heat.runners.model, self.track.ground
            there = heat(model, other.field.rows, ground, self.track.settled, min(now.passes, ground.plan.passes))
            self._levels[key] = float(there.bound[0])
        return self._levels[key]

    def same(self, other: Heat) -> Bool[Tensor, "R"]:
        """Which runners of another heat are at the same place."""
        both = Record.cat([self.heat.runners.model, other.runners.model])
        return twins(both, self.track.ground.facts, AGREE)[0, 1:]

    def found(self, other: "Peak") -> bool:
        """The other is the same optimum."""
        return abs(self.bound - other.bound) <= AGREE_NATS and bool(self.same(other.heat)[0])

    def bettered(self, other: "Peak") -> bool:
        """The other is sound, and higher by what makes a difference; or fewer of its components are not sound."""
        return other.faulty < self.faulty or (other.sound and other.bound > self.bound + GAIN)


class LocalSearch:
    """Moves of one component, many in one batch, until a number of rounds gains nothing.

    Split and merge (Ueda, Nakano, Ghahramani & Hinton 2000), where each half of a move is priced before any is made:
    what two halves explain better in the rows of a component, found by EM on these rows alone, and what is lost without
    a component, or with two joined, after an M-step of the others. The moves that promise most run for some passes, on
    a part of the rows and then on all, as long as they keep up with the optimum that they were made of; the best of
    them is kept if it is better and sound.

    Args:
        track: where moves run.
        climb: how many.
        key: number that keys the random draws.
        known: optima from which moves have been made: a search that comes to one of them ends there.

    Attributes:
        rounds: how many rounds of moves were made.
    """

    def __init__(self, track: Track, climb: Climb, key: int, known: Sequence[Peak] = ()) -> None:
        self.track, self.climb, self.key, self.known = track, climb, key, known
        self.rounds = 0

    def run(self, runners: Runners) -> Peak:
        """From a leader to an optimum that no move has bettered; Ctrl-C ends it with the best so far."""
        return self.onward(self.reached(runners, self.track.ground.plan.passes))

    def reached(self, runners: Runners, passes: int) -> Peak:
        """Where one runner has come to after some passes on the rows on which optima are compared."""
        *_, last = self.climb.heats
        return Peak(self.track.heat(runners, last.rows, passes), self.track, self.climb.sample)

    def kicked(self, peak: Peak) -> Peak:
        """From an optimum of which several components have been moved at once to one that no move has bettered."""
        ground, climb, components = self.track.ground.on_host, self.climb, peak.heat.runners.model.shape[1]
        random = stream(ground.plan.seed, "kick", self.key)
        draws = torch.from_numpy(random.random((climb.splits, components, 2)))
        halves = split(peak.view, draws, climb.settling, ground)
        model = kick(peak.view, halves, torch.from_numpy(random.random(components)), random.random(), ground)
        if model is None:
            return peak
        return self.run(self.entered(model, "kick", peak))

    def onward(self, peak: Peak) -> Peak:
        """From an optimum to one that neither moves nor shakes have bettered, be it a known one."""
        better: Peak | None = peak
        while better is not None:
            peak = self.moved(better)
            better = None if any(peak is old for old in self.known) else self.shaken(peak)
        return peak

    def moved(self, peak: Peak) -> Peak:
        """From an optimum to one that no move has bettered, or that is a known one."""
        tried: set[Move] = set()
        misses = 0
        while misses < self.climb.misses and not self.track.interrupted:
            if not misses and (old := self.recalled(peak)) is not None:
                return old
            self.track.lot += 1
            moves, model = self.moves(peak, tried)
            if model is None:
                break
            best = self.tried(self.entered(model, "move", peak), peak)
            if best is None or self.track.interrupted:
                misses, tried = misses + 1, tried | set(moves)
            else:
                peak, tried, misses = best, set(), 0
        return peak

    def shaken(self, peak: Peak) -> Peak | None:
        """A better optimum from the same one with rows weighed anew.

        None where there is none, where rows are many, and where all components stand far apart.
        """
        ground, many = self.track.ground.on_host, self.climb.shakes
        few = ground.facts.rows <= self.climb.sample and peak.heat.runners.model.shape[1] > 1
        if not (few and many) or self.track.interrupted:
            return None
        view = peak.view
        if bool((peak.removals.loss > HOPELESS * float(view.sample.weight.sum())).all()):
            return None
        random = stream(ground.plan.seed, "shake", self.key, self.rounds)
        draws = torch.from_numpy(random.random((many, len(view.sample.x))))
        return self.tried(self.entered(shaken(view, draws, ground), "shake", peak), peak)

    def crossed(self, best: Peak, other: Peak, many: int) -> Peak:
        """From children of two optima to one that no move has bettered: the first optimum where no child betters it."""
        peak, ground = best, self.track.ground.on_host
        components = best.heat.runners.model.shape[1]
        for turn in range(TURNS):
            draws = stream(ground.plan.seed, "cross", self.key, turn).random((many, components))
            model = children(peak.view, other.seen_by(peak.view.sample), torch.from_numpy(draws), ground)
            child = None if model is None else self.tried(self.entered(model, "cross", peak), peak)
            if child is None or self.track.interrupted:
                break
            peak, other = child, peak
        return best if peak is best else self.onward(peak)

    def recalled(self, peak: Peak) -> Peak | None:
        """The known optimum that this one is, if any."""
        old = next((old for old in self.known if old.found(peak)), None)
        if old is not None:
            self.track.told[peak.heat.runners.ids[0]]["same_as"] = old.heat.runners.ids[0]
        return old

    def entered(self, model: Mixture, kind: str, parent: Peak) -> Runners:
        """What was made of an optimum, where the rows are counted."""
        home = self.track.ground.rows.home
        return self.track.enter(model.to(home), [kind] * model.shape[0], parent.heat.runners.ids[0])

    def moves(self, peak: Peak, tried: set[Move]) -> tuple[list[Move], Mixture | None]:
        """The moves that promise most, and where they lead; None where none is worth trying."""
        ground, climb, components = self.track.ground.on_host, self.climb, peak.heat.runners.model.shape[1]
        if components < 2:
            return [], None
        view, removals = peak.view, peak.removals
        draws = stream(ground.plan.seed, "split", self.key, self.rounds).random((climb.splits, components, 2))
        self.rounds += 1
        halves = split(view, torch.from_numpy(draws), climb.settling, ground)
        rows = float(view.sample.weight.sum())
        moves = chosen(halves, removals, min(MOST, climb.moves * components), rows, tried)
        return moves, started(view, halves, removals, moves, ground) if moves else None

    def short(self, now: Round) -> float:
        """Nats a row by which moves may be short after a heat.

        Of few rows components are small, and the more features they have, the further EM has to bring back a move.
        """
        facts = self.track.ground.facts
        return now.short * (max(1.0, len(facts.mean) / PLAIN) if facts.complete else 1.0)

    def tried(self, runners: Runners, peak: Peak) -> Peak | None:
        """The best of some moves, after all heats; None where none betters the peak."""
        for now in self.climb.heats:
            heat = self.track.heat(runners, now.rows, now.passes, leave=True)
            if self.track.interrupted:
                return None
            heat = self.away(heat, peak, peak.level(now, heat), self.short(now))
            if not heat.ids:
                return None
            heat = heat.pick(self.track.leaders(heat, now.keep))
            runners = heat.runners
        best = Peak(heat, self.track, self.climb.sample)
        return best if peak.bettered(best) else None

    def away(self, heat: Heat, peak: Peak, level: float, short: float) -> Heat:
        """Those that have neither come back to where they were made nor fallen behind it by more than allowed."""
        bound = heat.standing.bound.cpu()
        # Near an unsound optimum there may be a sound one.
        least = level - short * heat.field.weight if peak.sound else -math.inf
        heat = heat.pick((bound.isfinite() & (bound >= least)).nonzero()[:, 0].tolist())
        # What has come back is no success, unless that was on a ridge and this is further on: it must not lead, for
        # others may still be on their way.
        doubtful = heat.standing.bound.cpu() <= level + GAIN
        if not (peak.sound and bool(doubtful.any())):
            return heat
        return heat.pick((~(peak.same(heat) & doubtful)).nonzero()[:, 0].tolist())
