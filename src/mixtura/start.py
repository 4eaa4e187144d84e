"""Starts: partitions of a sample, and the one turn of the ring that makes a mixture of a partition."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from mixtura.covariance.base import Covariance
from mixtura.draws import stream
from mixtura.em import Rule
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.moments import Moments
from mixtura.survey import Sample

LLOYD = 100
"""Most rounds of k-means."""

NARROW = 1e-6
"""A cluster narrower than this share of the pooled covariance in some direction is shrunk towards it."""


class Draw(NamedTuple):
    """What a start is drawn from.

    Attributes:
        sample: rows relative to the origin of the fit.
        components: K.
        seed: key of the random streams.
        restarts: R.
    """

    sample: Sample
    components: int
    seed: int
    restarts: int

    def uniforms(self, purpose: str, *shape: int) -> Float64[Tensor, "R ..."]:
        """Uniform numbers (R, *shape), each restart from its own stream."""
        each = [stream(self.seed, purpose, r).random(shape) for r in range(self.restarts)]
        return torch.from_numpy(np.stack(each))


def kmeans(draw: Draw) -> Float64[Tensor, "R K S"]:
    """k-means from a greedy k-means++ seeding."""
    return partition(lloyd(draw.sample, _seeds(draw)), draw.sample)


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


def random_responsibilities(draw: Draw) -> Float64[Tensor, "R K S"]:
    """Uniform random responsibilities: nearly equal components, as scikit-learn's ``random``."""
    r = draw.uniforms("random", len(draw.sample.x), draw.components).mT.contiguous()
    return r / r.sum(1, keepdim=True)


STARTS: dict[str, Callable[[Draw], Tensor]] = {
    "kmeans": kmeans,
    "k-means++": kmeans_plusplus,
    "random_from_data": random_from_data,
    "random": random_responsibilities,
}
"""Named starts: each gives responsibilities (R, K, S) on the sample."""


def squared_distances(x: Float64[Tensor, "S D"], centres: Float64[Tensor, "R K D"]) -> Float64[Tensor, "R K S"]:
    """|x − c|², without the cancellation of an expanded square."""
    return torch.cdist(centres, x.expand(len(centres), -1, -1), compute_mode="donot_use_mm_for_euclid_dist").square()


def partition(centres: Float64[Tensor, "R K D"], sample: Sample) -> Float64[Tensor, "R K S"]:
    """One-hot responsibilities of the nearest centre."""
    nearest = squared_distances(sample.x, centres).argmin(1)
    return torch.nn.functional.one_hot(nearest, centres.shape[1]).mT.to(torch.float64)


def _seeds(draw: Draw) -> Float64[Tensor, "R K D"]:
    trials = 2 + int(np.log(draw.components))
    return plusplus(draw.sample, draw.uniforms("k-means++", draw.components, trials))


def plusplus(sample: Sample, u: Float64[Tensor, "R K T"]) -> Float64[Tensor, "R K D"]:
    """Greedy k-means++ for all restarts together: of T candidates drawn by squared distance, the best is kept."""
    x, weight = sample
    restarts, components, _ = u.shape
    centres = x.new_empty(restarts, components, x.shape[1])
    nearest = x.new_ones(restarts, len(x))
    for k in range(components):
        mass = (nearest * weight).cumsum(1)
        candidates = torch.searchsorted(mass, u[:, k] * mass[:, -1:]).clamp_max(len(x) - 1)
        if k == 0:
            chosen, nearest = candidates[:, 0], torch.full_like(nearest, torch.inf)
        else:
            gap = squared_distances(x, x[candidates])
            cost = (torch.minimum(gap, nearest[:, None]) * weight).sum(-1)
            chosen = candidates.gather(1, cost.argmin(1, keepdim=True))[:, 0]
        centres[:, k] = x[chosen]
        nearest = torch.minimum(nearest, squared_distances(x, centres[:, k : k + 1])[:, 0])
    return centres


def lloyd(sample: Sample, centres: Float64[Tensor, "R K D"]) -> Float64[Tensor, "R K D"]:
    """k-means (Lloyd 1982) for all restarts together; a centre that loses its rows moves to the farthest row."""
    x, weight = sample
    labels: Int64[Tensor, "R S"] | None = None
    for _ in range(LLOYD):
        distance, found = squared_distances(x, centres).min(1)
        if labels is not None and torch.equal(found, labels):
            break
        labels = found
        member = torch.nn.functional.one_hot(labels, centres.shape[1]).mT.to(x) * weight
        count = member.sum(-1, keepdim=True)
        centres = torch.where(count > 0, (member @ x) / count.clamp_min(torch.finfo(x.dtype).tiny), centres)
        for r, k in (count[..., 0] == 0).nonzero().tolist():
            far = distance[r].argmax()
            centres[r, k], distance[r, far] = x[far], 0
    return centres


def mixture_from(r: Float64[Tensor, "R K S"], sample: Sample, unit: Covariance, rule: Rule) -> Mixture:
    """The mixture that a partition of the sample gives: one turn of the ring.

    Clusters with few rows, or flat ones, have their scatter shrunk towards the pooled one, so that no start is
    singular. Clusters without rows get no weight.
    """
    x, features = sample.x, sample.x.shape[1]
    weighted = r * sample.weight
    n = weighted.sum(-1)
    mean = (weighted @ x) / n.clamp_min(torch.finfo(x.dtype).tiny)[..., None]
    scatter = torch.stack([_scatter(w, x, m) for w, m in zip(weighted, mean, strict=True)])
    pooled = (scatter.sum(1) / n.sum(1)[:, None, None])[:, None]
    weak = (n < 2 * features + 2) | flat(scatter / n.clamp_min(1e-300)[..., None, None], pooled)
    pull = torch.where(weak, features + 2.0, 0.0)[..., None, None]
    count = n[..., None, None]
    scatter = count * (scatter + pull * pooled) / (count + pull)
    zero = torch.zeros_like(mean)
    blank = Mixture(torch.zeros_like(n), mean, unit, Gaussian())
    return rule.update(Moments(n.sum(1, keepdim=True), n, n, zero, unit.from_scatter(scatter), ()), blank)


def _scatter(weight: Float64[Tensor, "K S"], x: Float64[Tensor, "S D"], mean: Float64[Tensor, "K D"]) -> Tensor:
    return torch.stack([((x - m) * w[:, None]).mT @ (x - m) for w, m in zip(weight, mean, strict=True)])


def flat(sigma: Float64[Tensor, "R K D D"], pooled: Float64[Tensor, "R 1 D D"]) -> Tensor:
    """(R, K): the covariance is much narrower than the pooled one in some direction that varies at all."""
    sd = pooled.diagonal(dim1=-2, dim2=-1).sqrt().clamp_min(1e-300)
    scaled = sigma / (sd[..., :, None] * sd[..., None, :])
    return torch.linalg.eigvalsh(scaled.nan_to_num())[..., 0] < NARROW
