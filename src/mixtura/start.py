"""Starts: partitions of a sample, and the one turn of the ring that makes a mixture of a partition."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from mixtura.covariance.base import Covariance, scaled
from mixtura.covariance.quadratic import VECH
from mixtura.draws import stream
from mixtura.em import Rule
from mixtura.family import Gaussian
from mixtura.hierarchy import Groups, agglomerate
from mixtura.kmeans import LLOYD, lloyd, nearest, one_hot, plusplus
from mixtura.mixture import Mixture
from mixtura.moments import Moments
from mixtura.record import Record
from mixtura.sound import exceeds
from mixtura.survey import Sample, whitening

NARROW = 1e-6
"""A cluster narrower than this share of the pooled covariance in some direction is shrunk towards it."""

CANCELS = 1e-8
"""Share of its second moment about the origin below which a cluster's variance is not made from it."""

ROUNDS = 12
"""Rounds of k-means in a race; EM goes on from there."""

GROUPS, GROUPING = 256, 10
"""Groups of rows that the hierarchical start joins, and the rounds of k-means that make them."""

COMPACT = 0.3
"""Variance that small groups are pulled to, as a share of what K clusters without gaps would have."""

ENTRIES = 2**21
"""Numbers that the working arrays of a start may hold."""


class Draw(NamedTuple):
    """What a start is drawn from.

    Attributes:
        sample: rows relative to the origin of the fit.
        components: K.
        seed: key of the random streams.
        restarts: R.
        first: index of the first of these restarts among all.
        rounds: most rounds of k-means.
    """

    sample: Sample
    components: int
    seed: int
    restarts: int
    first: int = 0
    rounds: int = LLOYD

    def uniforms(self, purpose: str, *shape: int) -> Float64[Tensor, "R ..."]:
        """Uniform numbers (R, *shape), each restart from its own stream, drawn on the CPU."""
        each = [stream(self.seed, purpose, self.first + r).random(shape) for r in range(self.restarts)]
        return torch.from_numpy(np.stack(each)).to(self.sample.x.device)


def kmeans(draw: Draw) -> Float64[Tensor, "R K S"]:
    """k-means from a greedy k-means++ seeding."""
    return partition(lloyd(draw.sample, _seeds(draw), draw.rounds), draw.sample)


def whitened(draw: Draw) -> Float64[Tensor, "R K S"]:
    """k-means on rows made uncorrelated, with the same variance in every direction: it sees long thin clusters."""
    return kmeans(draw._replace(sample=whiten(draw.sample)))


def kmeans_plusplus(draw: Draw) -> Float64[Tensor, "R K S"]:
    """Rows to the nearest of greedy k-means++ seeds (Arthur & Vassilvitskii 2007)."""
    return partition(_seeds(draw), draw.sample)


def random_from_data(draw: Draw) -> Float64[Tensor, "R K S"]:
    """Rows to the nearest of K different rows drawn by weight."""
    x, weight = draw.sample
    key = -torch.log1p(-draw.uniforms("random_from_data", len(x))) / weight
    at = key.topk(min(draw.components, len(x)), largest=False).indices
    at = torch.cat([at, at[:, :1].expand(-1, draw.components - at.shape[1])], 1)
    return partition(x[at], draw.sample)


def hierarchical(draw: Draw) -> Float64[Tensor, "R K S"]:
    """Model-based agglomeration (Banfield & Raftery 1993; Fraley 1998) of whitened rows.

    Up to ``GROUPS`` rows are joined one by one; of more, k-means first makes as many groups, whose counts, means and
    scatters say all that the criterion asks of them.
    """
    x, weight = whiten(draw.sample)
    restarts, components, features = draw.restarts, draw.components, x.shape[1]
    size = min(len(x), max(GROUPS, components))
    if size == len(x):
        near = torch.arange(size, device=x.device).repeat(restarts, 1)
    else:
        leaves = draw._replace(sample=Sample(x, weight), components=size)
        seeds = plusplus(leaves.sample, leaves.uniforms("hierarchical", size, 1))
        near = nearest(x, lloyd(leaves.sample, seeds, rounds=GROUPING))[1]
    # Whitened rows are near the origin on the scale of the data, so that little cancels here.
    phi = x.new_ones(VECH.size(features) + features + 1, len(x))
    phi[:features] = x.mT
    VECH.write(phi[:features], phi[features:-1])
    first, second, n = totals(phi * weight, near, size).tensor_split([features, len(phi) - 1], dim=-1)
    mean, n = first / n.clamp_min(1e-300), n[..., 0]
    spread = VECH.unpack(second, features) - n[..., None, None] * mean[..., :, None] * mean[..., None, :]
    # K clusters that fill the space of the rows have this variance, those that stand apart have less.
    prior = COMPACT * components ** (-2 / features)
    return one_hot(agglomerate(Groups(n, mean, spread), components, prior).gather(1, near), components)


def totals(phi: Float64[Tensor, "P S"], labels: Int64[Tensor, "R S"], groups: int) -> Float64[Tensor, "R M P"]:
    """What the columns of each group add up to."""
    restarts, size = len(labels), len(phi)
    if phi.device.type != "cpu":
        # Elsewhere rows are added up by index in an order that changes from call to call.
        return (one_hot(labels, groups).flatten(0, 1) @ phi.mT).view(restarts, groups, size)
    at = labels + groups * torch.arange(restarts)[:, None]
    each = phi.mT.contiguous().repeat(restarts, 1)
    return phi.new_zeros(restarts * groups, size).index_add_(0, at.flatten(), each).view(restarts, groups, size)


def random_responsibilities(draw: Draw) -> Float64[Tensor, "R K S"]:
    """Uniform random responsibilities: nearly equal components, as scikit-learn's ``random``."""
    r = draw.uniforms("random", len(draw.sample.x), draw.components).mT.contiguous()
    return r / r.sum(1, keepdim=True)


Start = Callable[[Draw], Tensor]

STARTS: dict[str, Start] = {
    "kmeans": kmeans,
    "k-means++": kmeans_plusplus,
    "random_from_data": random_from_data,
    "random": random_responsibilities,
    "whitened": whitened,
    "hierarchical": hierarchical,
}
"""Starts by the names that users give: each makes responsibilities (R, K, S) on the sample."""


def partition(centres: Float64[Tensor, "R K D"], sample: Sample) -> Float64[Tensor, "R K S"]:
    """One-hot responsibilities of the nearest centre."""
    return one_hot(nearest(sample.x, centres)[1], centres.shape[1])


def _seeds(draw: Draw) -> Float64[Tensor, "R K D"]:
    trials = 2 + int(np.log(draw.components))
    return plusplus(draw.sample, draw.uniforms("k-means++", draw.components, trials))


def centred(sample: Sample) -> Float64[Tensor, "S D"]:
    """Rows relative to their mean."""
    return sample.x - (sample.weight @ sample.x) / sample.weight.sum()


def whiten(sample: Sample) -> Sample:
    """The same rows in coordinates in which they are uncorrelated and have unit variance; flat directions go."""
    x = centred(sample)
    white = whitening((x * (sample.weight / sample.weight.sum())[:, None]).mT @ x, 1e-10)
    return Sample(x @ white, sample.weight) if white.shape[1] else sample


def mixture_from(
    r: Float64[Tensor, "R K S"],
    sample: Sample,
    unit: Covariance,
    rule: Rule,
    table: Float64[Tensor, "S P"] | None = None,
) -> Mixture:
    """The mixture that a partition of the sample gives: one turn of the ring.

    Clusters with few rows, or flat ones, have their scatter shrunk towards the pooled one, so that no start is
    singular. Clusters without rows get no weight. The ``table`` is that of :func:`columns`, where it is known.
    """
    return mixture_of(r @ (columns(sample, unit) if table is None else table), lambda: r, sample, unit, rule)


def mixture_of(
    sums: Float64[Tensor, "R K P"],
    r: Callable[[], Float64[Tensor, "R K S"]],
    sample: Sample,
    unit: Covariance,
    rule: Rule,
) -> Mixture:
    """The same from what the sample's :func:`columns` add up to; the partition is asked for where these cancel."""
    features = sample.x.shape[1]
    n, mean, s2 = statistics(sums, r, sample, unit)
    if not unit.shared:
        pooled = tuple(t.sum(1, keepdim=True) / scaled(n.sum(1, keepdim=True), t) for t in s2)
        weak = n < 2 * features + 2
        some = shrunk(s2, n, pooled, weak, features)
        narrow = flat(some, n, pooled) & ~weak
        s2 = shrunk(s2, n, pooled, weak | narrow, features) if bool(narrow.any()) else some
    blank = Mixture(torch.zeros_like(n), mean, unit, Gaussian())
    return rule.update(Moments(n.sum(1, keepdim=True), n, n, torch.zeros_like(mean), s2, ()), blank)


def columns(sample: Sample, unit: Covariance) -> Float64[Tensor, "S P"]:
    """What is summed over rows: the structure's quadratic features, x, x² and 1, by the weight of the row."""
    x, weight = sample
    features, quadratics = x.shape[1], unit.quadratic.size(x.shape[1])
    phi = x.new_ones(quadratics + 2 * features + 1, len(x))
    second, first, about, _ = torch.split(phi, [quadratics, features, features, 1])
    first.copy_(x.mT)
    unit.quadratic.write(first, second)
    torch.mul(first, first, out=about)
    return (phi * weight).mT


@dataclass(frozen=True, eq=False)
class Second(Record):
    """Second-order statistics of one or more restarts."""

    s2: tuple[Tensor, ...]


def statistics(
    sums: Float64[Tensor, "R K P"], r: Callable[[], Float64[Tensor, "R K S"]], sample: Sample, unit: Covariance
) -> tuple[Float64[Tensor, "R K"], Float64[Tensor, "R K D"], tuple[Tensor, ...]]:
    """Counts, means and the structure's second-order statistics about them: from the sums where little cancels."""
    x, weight = sample
    features, quadratics = x.shape[1], unit.quadratic.size(x.shape[1])
    seconds, firsts, squares, count = torch.split(sums, [quadratics, features, features, 1], dim=-1)
    n, mean = count[..., 0], firsts / count.clamp_min(1e-300)
    variance = squares - count * mean.square()
    if bool(((variance < CANCELS * squares) & (count >= 2 * features + 2)).any()):
        return n, mean, scatter(r() * weight, mean, x, unit)
    return n, mean, unit.move(unit.from_second(seconds), n, count * mean, mean)


def scatter(
    weighted: Float64[Tensor, "R K S"], mean: Float64[Tensor, "R K D"], x: Float64[Tensor, "S D"], unit: Covariance
) -> tuple[Tensor, ...]:
    """The same by the definition: nothing cancels, unlike in Σ w xxᵀ."""
    restarts, components, features = mean.shape
    rows = max(1, min(len(x), ENTRIES // (components * features)))
    batch = max(1, ENTRIES // (components * features * rows))

    def some(w: Float64[Tensor, "R K S"], m: Float64[Tensor, "R K D"]) -> Second:
        cuts = [slice(at, at + rows) for at in range(0, len(x), rows)]
        parts = [Second(unit.moment(unit.whiten(x[cut].mT, m), w[..., cut])[1]) for cut in cuts]
        return sum(parts[1:], parts[0])

    groups = [slice(at, at + batch) for at in range(0, restarts, batch)]
    return Record.cat([some(weighted[group], mean[group]) for group in groups]).s2


def shrunk(
    s2: tuple[Tensor, ...],
    n: Float64[Tensor, "R K"],
    pooled: tuple[Tensor, ...],
    weak: Bool[Tensor, "R K"],
    features: int,
) -> tuple[Tensor, ...]:
    """The statistics with D + 2 rows' worth of the pooled ones mixed into those of weak clusters."""
    if not bool(weak.any()):
        return s2
    pull = weak.to(n) * (features + 2)
    keep = n / (n + pull).clamp_min(1e-300)
    return tuple(scaled(keep, t) * (t + scaled(pull, t) * p) for t, p in zip(s2, pooled, strict=True))


def flat(s2: tuple[Tensor, ...], n: Float64[Tensor, "R K"], pooled: tuple[Tensor, ...]) -> Bool[Tensor, "R K"]:
    """Clusters that are much narrower than the pooled ones in some direction that varies at all."""
    own, whole = s2[0] / scaled(n.clamp_min(1e-300), s2[0]), pooled[0]
    if own.ndim < 4:
        share = own / whole.clamp_min(1e-300)
        return (share if own.ndim < 3 else share.amin(-1)) < NARROW
    sd = whole.diagonal(dim1=-2, dim2=-1).clamp_min(1e-300).sqrt()
    correlation = own / (sd[..., :, None] * sd[..., None, :])
    return ~exceeds(correlation.nan_to_num(), NARROW)
