"""The counts: what one chunk of rows without gaps adds to the moments, in two ways that agree."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from mixtura.covariance.base import home
from mixtura.mixture import Mixture
from mixtura.moments import Moments
from mixtura.record import Record
from mixtura.rows import DERIVED, TOLERANCE, Chunk, Rows, Scratch

LEAST_LOG = -78.0
"""Logarithm below which a share is as good as this in float32."""

FEW = 4096
"""Rows below which a logarithm each is cheaper than the calls that save it."""

PARTS, LONG, THIN = 4, 8192, 64
"""Parts that an inner product over at least ``LONG`` rows is cut into where at most ``THIN`` of them are wanted."""


class Count(ABC):
    """A way of counting one mixture: ``count(chunk)`` gives something additive, ``moments`` reads the sum."""

    bytes_per_row: int
    mixture: Mixture
    scratch: Scratch

    @abstractmethod
    def __init__(self, mixture: Mixture, scratch: Scratch, dtype: torch.dtype, device: torch.device) -> None: ...

    @abstractmethod
    def log_joint(self, x: Float[Tensor, "D N"]) -> tuple[Float[Tensor, "R K N"], Tensor | None]:
        """log πₖ p(x | k) and the family's row weights (None for 1); may live in a buffer that the next call reuses."""

    @abstractmethod
    def __call__(self, chunk: Chunk) -> Record:
        """What the chunk adds."""

    @abstractmethod
    def moments(self, total: Any, rows: Rows) -> Moments:
        """The moments about the means of the mixture that was counted."""


def share(
    log_joint: Float[Tensor, "R K N"], weight: Float[Tensor, "N"] | None, scratch: Scratch
) -> Float[Tensor, "R 1"]:
    """Σ w log p(x) per restart; overwrites ``log_joint`` with weighted responsibilities.

    The sum is made in float64 where the device has it.
    """
    restarts, _, n = log_joint.shape
    top = scratch.take("top", (restarts, n), log_joint)[:, None]
    total = scratch.take("total", (restarts, n), log_joint)[:, None]
    torch.amax(log_joint, 1, keepdim=True, out=top)
    log_joint.sub_(top)
    if log_joint.dtype == torch.float32:
        # Shares below 1e-34 are nothing: as subnormal numbers they would make processors many times slower.
        torch.nn.functional.threshold(log_joint, LEAST_LOG, -torch.inf, inplace=True)
    log_joint.exp_()
    torch.sum(log_joint, 1, keepdim=True, out=total)
    wide = torch.float32 if top.device.type == "mps" else torch.float64
    if weight is None:
        log_joint.div_(total)
        return top.sum(-1, dtype=wide) + sum_of_logs(total, wide)
    log_joint.mul_(weight / total)
    return (top + total.log_()).to(wide) @ weight.to(wide)


def sum_of_logs(t: Float[Tensor, "R 1 N"], wide: torch.dtype) -> Tensor:
    """Σ log t, with one logarithm for eight factors: each is between 1 and the number of components."""
    if t.shape[-1] < FEW:
        return t.log().sum(-1, dtype=wide)
    eighth = t.shape[-1] // 8
    product = t[..., : 8 * eighth]
    for half in (4 * eighth, 2 * eighth, eighth):
        product = product[..., :half] * product[..., half:]
    return product.log_().sum(-1, dtype=wide) + t[..., 8 * eighth :].log().sum(-1, dtype=wide)


def over_rows(r: Float[Tensor, "M N"], phi: Float[Tensor, "P N"]) -> Float[Tensor, "M P"]:
    """r Φᵀ. A few long rows are cut into parts, which threads share better than one long inner product."""
    long = r.shape[1] - r.shape[1] % PARTS
    if long < LONG or len(r) > THIN:
        return r @ phi.mT
    parts = [t[:, :long].view(len(t), PARTS, -1).transpose(0, 1) for t in (r, phi)]
    total = torch.bmm(parts[0], parts[1].mT).sum(0)
    return total if long == r.shape[1] else total + r[:, long:] @ phi[:, long:].mT


@dataclass(frozen=True, eq=False)
class Raw(Record):
    """Weighted sums of features about the rows' origin."""

    loglik: Tensor  # (R, 1)
    n: Tensor  # (R, K)
    features: Tensor  # (R, K, P)
    extra: tuple[Tensor, ...]


class Features(Count):
    """The fast count: a Gaussian's log density is linear in features of x, and so are its moments.

    With Φ = [quadratic features, x, 1] of a chunk, the E-step is Θ Φ and the M-step's sums are ρ Φᵀ: one product
    each, for all components of all restarts together. Where all components share the quadratic term (and the family
    is affine in it) it cancels from the responsibilities: Φ = [x, 1], and what it adds is a constant of the data.
    """

    def __init__(
        self, mixture: Mixture, scratch: Scratch, dtype: torch.dtype, device: torch.device, *, share: bool = True
    ) -> None:
        restarts, components, features = mixture.shape
        family, (quadratic, linear, constant) = mixture.family, mixture.natural
        self.shared = share and quadratic.shape[1] == 1 and components > 1 and family.affine
        own = () if self.shared else (quadratic.expand(restarts, components, -1),)
        theta = torch.cat([*own, -2 * linear, constant[..., None]], -1)
        self.log_det = mixture.covariance.log_det()
        theta = family.natural(theta, mixture.log_weight, self.log_det, features)
        self.theta = theta.flatten(0, 1).to(dtype).to(device)
        self.precision = quadratic
        self.mixture = mixture
        self.scratch = scratch
        self.quadratics = 0 if self.shared else quadratic.shape[-1]
        self.bytes_per_row = (self.theta.shape[1] + len(self.theta)) * self.theta.itemsize

    def phi(self, chunk: Chunk) -> Float[Tensor, "P N"]:
        """The features of a chunk: kept where they last and are few, else in a buffer."""
        shape = (self.theta.shape[1], chunk.x.shape[1])
        if chunk.lasting and shape[0] * shape[1] * chunk.x.itemsize <= DERIVED:
            key = (self.mixture.covariance.quadratic, shape, chunk.start)
            return self.scratch.derived(key, lambda: self._written(chunk.x, chunk.x.new_empty(shape)))
        return self._written(chunk.x, self.scratch.take("phi", shape, chunk.x))

    def _written(self, x: Float[Tensor, "D N"], phi: Float[Tensor, "P N"]) -> Float[Tensor, "P N"]:
        q = self.quadratics
        if q:
            self.mixture.covariance.quadratic.write(x, phi[:q])
        phi[q : q + len(x)] = x
        phi[-1] = 1
        return phi

    def _log_joint(self, phi: Tensor) -> tuple[Tensor, Tensor | None]:
        product = self.scratch.take("joint", (len(self.theta), phi.shape[1]), phi)
        torch.mm(self.theta, phi, out=product)
        product = product.view(*self.mixture.shape[:2], phi.shape[1])
        return self.mixture.family.read(product, self.mixture.log_weight, self.log_det, self.mixture.shape[2])

    def log_joint(self, x: Float[Tensor, "D N"]) -> tuple[Float[Tensor, "R K N"], Tensor | None]:
        return self._log_joint(self.phi(Chunk(x, None, 0)))

    def __call__(self, chunk: Chunk) -> Raw:
        phi = self.phi(chunk)
        r, u = self._log_joint(phi)
        loglik = share(r, chunk.weight, self.scratch)
        extra = self.mixture.family.extra(r, u, self.mixture.shape[2])
        weighted = r if u is None else r * u
        features = over_rows(weighted.flatten(0, 1), phi).view(*r.shape[:2], -1)
        return Raw(loglik, features[..., -1] if u is None else r.sum(-1), features, extra)

    def moments(self, total: Raw, rows: Rows) -> Moments:
        covariance, mean, q = self.mixture.covariance, self.mixture.mean, self.quadratics
        s0, s1 = total.features[..., -1], total.features[..., q:-1]
        loglik = total.loglik
        if self.shared:
            second = rows.total(covariance.quadratic)
            loglik = loglik - 0.5 * (self.precision[:, 0] @ second)[:, None]
            s2 = covariance.from_second(second.expand(len(mean), 1, -1))
        else:
            s2 = covariance.from_second(total.features[..., :q])
        moved = covariance.move(s2, s0, s1, mean)
        return Moments(loglik, total.n, s0, s1 - s0[..., None] * mean, moved, total.extra)


class Whitened(Count):
    """The definition: distances and scatter in whitened coordinates, precise where the feature map is not.

    Restarts are counted one after the other, so that whitened rows exist for the components of one only.
    """

    def __init__(self, mixture: Mixture, scratch: Scratch, dtype: torch.dtype, device: torch.device) -> None:
        self.mixture, self.scratch = mixture, scratch
        self.single = [mixture.take(slice(r, r + 1)) for r in range(mixture.shape[0])]
        _, components, features = mixture.shape
        self.bytes_per_row = (4 * components * features + mixture.shape[0] * components) * dtype.itemsize

    def log_joint(self, x: Float[Tensor, "D N"]) -> tuple[Float[Tensor, "R K N"], Tensor | None]:
        joint = [whitened_joint(mixture, x)[0] for mixture in self.single]
        return torch.cat(joint), None

    def __call__(self, chunk: Chunk) -> Moments:
        return Record.cat([whitened_moments(mixture, chunk, self.scratch) for mixture in self.single])

    def moments(self, total: Moments, rows: Rows) -> Moments:
        return total


def whitened_joint(mixture: Mixture, x: Float[Tensor, "D N"]) -> tuple[Tensor, Tensor, Tensor | None]:
    """log πₖ p(x | k) (R, K, N), the whitened rows (R, K, E, N) and the family's row weights."""
    z = mixture.covariance.whiten(x, mixture.mean)
    d2 = z.square().sum(-2)
    density = mixture.family.log_density(d2, mixture.covariance.log_det(), len(x))
    return density + mixture.log_weight.to(x)[..., None], z, mixture.family.row_weight(d2, len(x))


def whitened_moments(mixture: Mixture, chunk: Chunk, scratch: Scratch) -> Moments:
    """The moments of a chunk by the definition."""
    r, z, u = whitened_joint(mixture, chunk.x)
    loglik = share(r, chunk.weight, scratch)
    weighted = r if u is None else r * u
    s1, s2 = mixture.covariance.moment(z, weighted)
    extra = mixture.family.extra(r, u, len(chunk.x))
    return Moments(home(loglik, s1), home(r.sum(-1), s1), home(weighted.sum(-1), s1), s1, s2, extra)


def risk(mixture: Mixture, dtype: torch.dtype) -> Float64[Tensor, "R"]:
    """Nats that the feature map may lose to rounding in a log density, per restart.

    ½ ε |θ| · φ(|μ| + 3 sd), for the worst component: an estimate from the parameters alone, so that it needs no rows
    and is the same wherever the rows are.
    """
    (restarts, components, features), (quadratic, linear, constant) = mixture.shape, mixture.natural
    far = mixture.mean.abs() + 3 * mixture.covariance.variances().sqrt()
    flat = far.view(-1, features).T.contiguous()
    second = flat.new_empty(quadratic.shape[-1], flat.shape[1])
    mixture.covariance.quadratic.write(flat, second)
    second = second.T.view(restarts, components, -1)
    terms = torch.linalg.vecdot(quadratic.abs(), second) + 2 * torch.linalg.vecdot(linear.abs(), far) + constant.abs()
    return 0.5 * roundoff(dtype) * terms.nan_to_num(nan=torch.inf, posinf=torch.inf).amax(1)


def roundoff(dtype: torch.dtype) -> float:
    """Relative error of a product: larger where the user lets float32 products be made in TF32 or bfloat16."""
    if dtype == torch.float32:
        return {"highest": 2**-24, "high": 2**-11, "medium": 2**-8}[torch.get_float32_matmul_precision()]
    return torch.finfo(dtype).eps / 2


def fast(mixture: Mixture, dtype: torch.dtype) -> Bool[Tensor, "R"]:
    """The restarts that the feature map serves well."""
    return risk(mixture, dtype) < TOLERANCE


def scorer(mixture: Mixture, scratch: Scratch, dtype: torch.dtype, device: torch.device) -> Count:
    """The count to read log densities of new rows from: chosen by the model alone, never by the rows."""
    if bool(fast(mixture, dtype).all()):
        return Features(mixture, scratch, dtype, device, share=False)
    return Whitened(mixture, scratch, dtype, device)
