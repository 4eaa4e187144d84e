"""Moves: one component less and another one split, priced by what the rows of a sample say of a mixture."""

from collections import defaultdict
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from mixtura.e_step import scorer
from mixtura.mixture import Mixture
from mixtura.plan import Ground
from mixtura.record import Record
from mixtura.rows import Scratch
from mixtura.running import weighted_runs
from mixtura.sound import counted
from mixtura.start import ENTRIES, columns, mixture_from, mixture_of
from mixtura.survey import Sample

HOPELESS = 1.0
"""Nats a row that a move may be expected to lose and still be tried: EM often brings back more than was lost."""

LEAST = 1e-3
"""Share below which a row does not count when a component is split."""

FEW = 64
"""Most components, and pairs, of which it is worked out what their going costs."""

ANEW = 0.005
"""Nats a row by which the gains of two splits of a component differ where they are not the same. A move that was tried
succeeds with another split as often as a new one does, with the same one hardly ever."""

SHARE = 4
"""No component is split, and none is taken away, in more than this part of a round's moves: a quarter."""


class Way(NamedTuple):
    """A way to have one component less.

    Attributes:
        gone: the component that is taken away.
        into: the one that it joins; −1 divides its rows among all others.
    """

    gone: int
    into: int


class Move(NamedTuple):
    """One component less, another one split.

    Attributes:
        way: to have one less.
        split: the component that is split.
        gain: nats that its halves explain more of its rows.
    """

    way: Way
    split: int
    gain: float


class View(NamedTuple):
    """What one mixture says of the rows of a sample.

    Attributes:
        model: the mixture.
        sample: the rows.
        joint: (K, S), log πₖ p(x | k).
        density: (S,), log p(x).
        share: (K, S), p(k | x).
        columns: (S, P), what is summed over rows for an M-step.
        sums: (K, P), what they add up to by the shares.
    """

    model: Mixture
    sample: Sample
    joint: Float64[Tensor, "K S"]
    density: Float64[Tensor, "S"]
    share: Float64[Tensor, "K S"]
    columns: Float64[Tensor, "S P"]
    sums: Float64[Tensor, "K P"]


class Halves(NamedTuple):
    """The best split of every component that was found.

    Attributes:
        first: (K, S), what part of a row's share in the component the first half takes.
        gain: (K,), nats that the two halves explain more of the component's rows.
    """

    first: Float64[Tensor, "K S"]
    gain: Float64[Tensor, "K"]


class Removals(NamedTuple):
    """Ways to have one component less.

    Attributes:
        ways: (O,) of them.
        loss: (O,), nats that each costs, after the others' M-step.
        rest: (O, S), the log density of which the others take their shares.
        sums: (O, K, P), what the columns add up to by the shares that are left to the others.
    """

    ways: list[Way]
    loss: Float64[Tensor, "O"]
    rest: Float64[Tensor, "O S"]
    sums: Float64[Tensor, "O K P"]


# ---- what the rows say of a mixture


def log_joint(model: Mixture, sample: Sample) -> Float64[Tensor, "R K S"]:
    """log πₖ p(x | k) of the rows of a sample."""
    x = sample.x.mT.contiguous()
    return scorer(model, Scratch(), torch.float64, x.device).log_joint(x)[0]


def seen(model: Mixture, sample: Sample) -> View:
    """What a mixture, one restart, says of the rows of a sample."""
    joint = log_joint(model, sample)[0]
    density = joint.logsumexp(0)
    share, table = (joint - density).exp(), columns(sample, model.covariance)
    return View(model, sample, joint, density, share, table, share @ table)


# ---- one component more


def split(view: View, draws: Float64[Tensor, "M K 2"], settling: int, ground: Ground) -> Halves:
    """Split every component: rows to the nearer of two of its rows, then EM with two components on its rows alone.

    Args:
        view: the mixture and the rows.
        draws: uniform numbers that choose the two rows, by their share.
        settling: passes of EM.
        ground: for the structure and the M-step.
    """
    ways, components, _ = draws.shape
    batch = max(1, ENTRIES // (2 * ways * len(view.density)))
    each = [
        _split(view, list(range(at, min(at + batch, components))), draws[:, at : at + batch], settling, ground)
        for at in range(0, components, batch)
    ]
    return Halves(*(torch.cat(parts) for parts in zip(*each, strict=True)))


def _split(view: View, at: list[int], draws: Float64[Tensor, "M k 2"], settling: int, ground: Ground) -> Halves:
    sample, ways = view.sample, len(draws)
    share = view.share[at]
    unit = ground.plan.structure.unit(1, 2, sample.x.shape[1])
    part = (nearer(view, at, draws) * share[:, None]).flatten(0, 1)
    weight = torch.where(share > LEAST, share * sample.weight, 0.0)
    alone = (weight * (view.joint[at] - view.model.log_weight[0, at, None])).sum(1)
    start = mixture_from(part, sample, unit, ground.rule, view.columns)
    # Halves without the rows that make a component sound are not followed.
    rows = (part @ sample.weight) * (ground.facts.weight / float(sample.weight.sum()))
    worth = counted(start, rows).all(1).nonzero()[:, 0]
    gain, moved = alone.new_full((len(part),), -torch.inf), start
    if len(worth):
        which = (worth % len(at)).numpy()
        how = (start.take(worth), which, sample.x, weight, ground.rule, settling)
        some, bound = weighted_runs(*how, leave=True)
        gain[worth] = bound - alone.repeat(ways)[worth]
        moved = start.put(worth, some)
    gain, best = gain.view(ways, -1).nan_to_num(nan=-torch.inf).max(0)
    chosen = moved.take(best * len(at) + torch.arange(len(at)))
    joint = log_joint(chosen, sample)
    return Halves((joint[:, 0] - joint.logsumexp(1)).exp(), gain)


def nearer(view: View, at: list[int], draws: Float64[Tensor, "M k 2"]) -> Float64[Tensor, "M k 2 S"]:
    """Which of two of its rows each row is nearer to, by the component's own distance: 1 for that one, else 0."""
    sample, ways = view.sample, len(draws)
    below = (view.share[at] * sample.weight).cumsum(1)
    # 1 − 1e-9: rounding must not choose a row beyond the last one.
    chance = (draws * below[:, -1:] * (1 - 1e-9)).transpose(0, 1).flatten(1).contiguous()
    rows = torch.searchsorted(below, chance).clamp_max(len(sample.x) - 1)
    ends = sample.x[rows].view(len(at), ways, 2, -1).transpose(0, 1)
    # This is one linear function of x.
    across = view.model.pick(at).take([0] * ways).covariance.solve(ends[..., 1, :] - ends[..., 0, :])
    level = (across * ends.mean(2)).sum(-1)
    first = (across @ sample.x.mT < level[..., None]).to(below)
    return torch.stack([first, 1 - first], 2)


# ---- one component less


def removed(view: View, ground: Ground) -> Removals:
    """Components that may go, and of the pairs that overlap most one that joins the other: few of many."""
    share, weight = view.share, view.sample.weight
    # Without component k the density of a row is (1 − p(k | x)) p(x) / (1 − πₖ), while the others stay as they are.
    scale = (1 - view.model.log_weight[0].exp()).clamp_min(1e-300).log() * weight.sum()
    cost = scale - (1 - share).clamp_min(1e-300).log() @ weight
    alone = cost.argsort(stable=True)[:FEW].tolist()
    ways = [Way(k, -1) for k in alone] + overlapping(share, weight)[:FEW]
    solo = others(view.joint)
    rest = torch.stack([view.density if way.into >= 0 else solo[way.gone] for way in ways])
    sums = torch.stack([left(view, *each) for each in zip(ways, rest, strict=True)])
    batch = max(1, ENTRIES // share.numel())
    cuts = [slice(at, at + batch) for at in range(0, len(ways), batch)]
    levels = torch.cat([level(view, ways[cut], rest[cut], sums[cut], ground) for cut in cuts])
    return Removals(ways, view.density @ weight - levels, rest, sums)


def level(
    view: View, ways: list[Way], rest: Float64[Tensor, "O S"], sums: Float64[Tensor, "O K P"], ground: Ground
) -> Float64[Tensor, "O"]:
    """The log likelihood of the sample with one component less."""
    components, sample = len(view.share), view.sample
    kept = torch.tensor([[k for k in range(components) if k != way.gone] for way in ways])[..., None]

    def shares() -> Float64[Tensor, "O k S"]:
        each = [without(view, *both) for both in zip(ways, rest, strict=True)]
        return torch.stack(each).take_along_dim(kept, 1)

    unit = ground.plan.structure.unit(1, components - 1, sample.x.shape[1])
    model = mixture_of(sums.take_along_dim(kept, 1), shares, sample, unit, ground.rule)
    return log_joint(model, sample).logsumexp(1) @ sample.weight


def others(joint: Float64[Tensor, "K S"]) -> Float64[Tensor, "K S"]:
    """The log of what all components but one add up to, for each of them."""
    (first, second), (best, _) = joint.topk(2, 0)
    whole = 1 - torch.eye(len(joint), dtype=joint.dtype)
    # Relative to the largest of the others, which is the second largest of all where the largest is left out.
    each = first + (whole @ (joint - first).exp()).log()
    behind = (joint - second).exp().scatter(0, best[None], 0.0).sum(0)
    return each.scatter(0, best[None], (second + behind.log())[None])


def overlapping(share: Float64[Tensor, "K S"], weight: Float64[Tensor, "S"]) -> list[Way]:
    """As many pairs of components as there are components: those whose shares are most alike, by their cosine."""
    alike = cosines(share, share, weight)
    first, second = torch.triu_indices(len(share), len(share), 1)
    order = alike[first, second].argsort(descending=True, stable=True)[: len(share)]
    return [Way(*pair) for pair in zip(second[order].tolist(), first[order].tolist(), strict=True)]


def cosines(
    one: Float64[Tensor, "K S"], other: Float64[Tensor, "M S"], weight: Float64[Tensor, "S"]
) -> Float64[Tensor, "K M"]:
    """How alike components are in the shares that they take of rows: 1 for the same, 0 for none in common."""
    length = [((share * weight) * share).sum(1).sqrt().clamp_min(1e-300) for share in (one, other)]
    return ((one * weight) @ other.mT) / (length[0][:, None] * length[1])


def without(view: View, way: Way, rest: Float64[Tensor, "S"]) -> Float64[Tensor, "K S"]:
    """The shares of the others in the ``rest`` where a component has gone, whose own are 0."""
    if way.into < 0:
        return (view.joint - rest).exp().index_fill(0, torch.tensor(way.gone), 0.0)
    share = view.share.clone()
    share[way.into] += share[way.gone]
    share[way.gone] = 0
    return share


def left(view: View, way: Way, rest: Float64[Tensor, "S"]) -> Float64[Tensor, "K P"]:
    """What the columns add up to by these shares."""
    if way.into < 0:
        return without(view, way, rest) @ view.columns
    sums = view.sums.clone()
    sums[way.into] += sums[way.gone]
    sums[way.gone] = 0
    return sums


# ---- both together


def chosen(halves: Halves, removals: Removals, most: int, rows: float, tried: set[Move]) -> list[Move]:
    """The moves that promise most, of different kinds, but for hopeless ones.

    None that was ``tried``, either, unless its component is split in another way now.
    """
    components = len(halves.gain)
    price = (halves.gain - removals.loss[:, None]).nan_to_num(nan=-torch.inf).flatten()
    gains, before = halves.gain.tolist(), defaultdict(list)
    for old in tried:
        before[old.way, old.split].append(old.gain)
    moves: list[Move] = []
    splits, goings = [0] * components, [0] * components
    worth = price.tolist()
    for place in price.argsort(descending=True, stable=True).tolist():
        if len(moves) == most or worth[place] < -HOPELESS * rows:
            break
        way, half = removals.ways[place // components], place % components
        if half in way or max(splits[half], goings[way.gone]) >= max(1, most // SHARE):
            continue
        if any(abs(gains[half] - gain) < ANEW * rows for gain in before[way, half]):
            continue
        moves.append(Move(way, half, gains[half]))
        splits[half] += 1
        goings[way.gone] += 1
    return moves


def made_of(view: View, halves: Halves, removals: Removals, move: Move) -> Float64[Tensor, "K S"]:
    """The shares that a move gives the components: the second half takes the place of the one that is gone."""
    share = without(view, move.way, removals.rest[removals.ways.index(move.way)])
    first = halves.first[move.split] * share[move.split]
    share[move.way.gone] = share[move.split] - first
    share[move.split] = first
    return share


def started(view: View, halves: Halves, removals: Removals, moves: list[Move], ground: Ground) -> Mixture:
    """Where moves lead: the mixtures that their shares give."""
    batch = max(1, ENTRIES // view.share.numel())
    cuts = [slice(at, at + batch) for at in range(0, len(moves), batch)]
    return Record.cat([_started(view, halves, removals, moves[cut], ground) for cut in cuts])


def _started(view: View, halves: Halves, removals: Removals, moves: list[Move], ground: Ground) -> Mixture:
    # The sums are those of the way to have one less, but for the component that is split.
    at = [removals.ways.index(move.way) for move in moves]
    sums = removals.sums[at]
    half, gone = [move.split for move in moves], [move.way.gone for move in moves]
    share = (view.joint[half] - removals.rest[at]).exp()
    first = halves.first[half] * share
    every = torch.arange(len(moves))
    sums[every, half], sums[every, gone] = first @ view.columns, (share - first) @ view.columns

    def shares() -> Float64[Tensor, "M K S"]:
        return torch.stack([made_of(view, halves, removals, move) for move in moves])

    return mixture_of(sums, shares, view.sample, ground.unit, ground.rule)
