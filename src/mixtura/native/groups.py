"""Groups: many small data sets, each with starts and a fit of its own, in the compiled library."""

import ctypes
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from mixtura.covariance.base import Covariance, Floor
from mixtura.draws import stream
from mixtura.family import Gaussian
from mixtura.mixture import Mixture
from mixtura.native.count import ALIGN
from mixtura.native.layout import Begin, Field
from mixtura.native.library import library, usable
from mixtura.native.runs import HANDED_BACK, STILL, Runs, Settings, known, spare_of, unpacked
from mixtura.native.starts import STEP
from mixtura.rows import TOLERANCE
from mixtura.sound import counted
from mixtura.stop import Still

SHORT, SETTLED = 5, 1e-5
"""Passes after which a group's starts are compared, and nats a row that one may leave to gain by then."""

ROUNDS = 6
"""Rounds of k-means; EM goes on from there."""

APART = 0.05
"""Nats by which the second-best start of a group must differ from the best to run to the end as well."""

NEVER = Still(0.0)
"""Plain EM for all passes."""

BATCH = 2**22
"""Numbers of all runs' states in one batch of groups."""


class Groups(NamedTuple):
    """Many small data sets, one after the other; the library reads them where they are.

    Attributes:
        x: (D, N), each group about its own mean.
        weight: (N,), positive, or None.
        sizes: (G,) rows of each group, at least one.
        least: (G, D) floor of variances.
        seen: (G,) the number by which each group's random draws are keyed.
    """

    x: Float[Tensor, "D N"]
    weight: Float[Tensor, "N"] | None
    sizes: np.ndarray
    least: Float64[Tensor, "G D"]
    seen: np.ndarray

    def part(self, at: slice) -> "Groups":
        """Some groups next to each other."""
        ends = np.concatenate([[0], self.sizes.cumsum()])
        start, stop, _ = at.indices(len(self.sizes))
        rows = slice(int(ends[start]), int(ends[stop]))
        weight = None if self.weight is None else self.weight[rows]
        return Groups(self.x[:, rows], weight, self.sizes[at], self.least[at], self.seen[at])


class Fits(NamedTuple):
    """How the groups were fitted.

    Attributes:
        model: G mixtures, each about its group's mean.
        loglik: (G,) Σ w log p(x).
        n: (G, K) weighted counts.
        passes: (G,).
        still: (G,) met the stopping test.
        calm: (G,) the library could fit it; else the rest says nothing.
    """

    model: Mixture
    loglik: np.ndarray
    n: np.ndarray
    passes: np.ndarray
    still: np.ndarray
    calm: np.ndarray


def serves(unit: Covariance, features: int, dtype: torch.dtype) -> bool:
    """The library is there and knows such mixtures."""
    zero = torch.zeros(1, 1, features, dtype=torch.float64)
    return known(Mixture(zero[..., 0], zero, unit, Gaussian()), dtype, torch.device("cpu")) and usable()


def fit(groups: Groups, unit: Covariance, components: int, starts: int, seed: int, stop: Still, passes: int) -> Fits:
    """Fit every group: k-means on its rows, as they are and whitened in turn; short runs; the best to the end.

    Args:
        groups: the data.
        unit: identity matrices of the structure, for one restart.
        components: K.
        starts: of each group.
        seed: key of the random streams.
        stop: the stopping test.
        passes: most of a run.
    """
    features = len(groups.x)
    batch = max(1, BATCH // (starts * (8 + 4 * components * (1 + features + features * features))))
    cuts = [slice(at, at + batch) for at in range(0, len(groups.sizes), batch)]
    each = [_fit(groups.part(cut), unit, components, starts, seed, stop, passes) for cut in cuts]
    if len(each) == 1:
        return each[0]
    arrays = (np.concatenate(parts) for parts in zip(*(f[1:] for f in each), strict=True))
    return Fits(Mixture.cat([f.model for f in each]), *arrays)


def _fit(groups: Groups, unit: Covariance, components: int, starts: int, seed: int, stop: Still, passes: int) -> Fits:
    count, features = len(groups.sizes), len(groups.x)
    restarts = count * starts
    zero = torch.zeros(restarts, components, features, dtype=torch.float64)
    template = Mixture(zero[..., 0], zero, unit.take([0] * restarts), Gaussian())
    settings = Settings(Still(SETTLED), min(SHORT, passes), False, TOLERANCE, groups.x.dtype)
    totals = totals_of(groups, unit)
    runs = Runs(template, fields_of(groups, totals), np.tile(np.arange(count), starts), settings)
    begin(runs, groups, starts, seed)
    finish(runs)
    score = standing(runs, groups).reshape(starts, count)
    order = np.argsort(-score, axis=0, kind="stable")
    first, every = order[0], np.arange(count)
    chosen = [first * count + every]
    if starts > 1:
        best, second = score[first, every], score[order[1], every]
        chosen.append((order[1] * count + every)[np.isfinite(second) & (second < best - APART)])
    onward = settings._replace(stop=stop, passes=passes, squarem=True, begin=SHORT)
    ahead = runs.take(np.concatenate(chosen)).onward(onward)
    finish(ahead)
    return best_of(ahead, groups)


def run(
    model: Mixture,
    which: np.ndarray,
    x: Float64[Tensor, "N D"],
    weight: Float64[Tensor, "G N"],
    floor: Floor,
    passes: int,
    stop: Still = NEVER,
) -> tuple[Mixture, Float64[Tensor, "R"], np.ndarray]:
    """EM from given starts, as :func:`mixtura.running.weighted_runs` has it: by SQUAREM where a test may end it.

    Returns:
        Where the runs have come to, Σ w log p(x) there, and (R,) those that the library could take so far; of the
        others the rest says nothing.
    """
    group, row = (weight > 0).nonzero().unbind(1)
    sizes = (weight > 0).sum(1)
    centre = (weight @ x) / weight.sum(1, keepdim=True).clamp_min(1e-300)
    least = x.new_zeros(len(weight), x.shape[1]) if floor.least is None else floor.least.repeat(len(weight), 1)
    some = Groups((x[row] - centre[group]).mT.contiguous(), weight[group, row], sizes.numpy(), least, np.empty(0))
    about = centre[torch.from_numpy(which)][:, None]
    settings = Settings(stop, passes, stop.per_row > 0, TOLERANCE, x.dtype, floor.added)
    totals = totals_of(some, model.covariance)
    runs = Runs(replace(model, mean=model.mean - about), fields_of(some, totals), which, settings)
    finish(runs)
    last = np.maximum(runs.passes - 1, 0)
    bound = torch.from_numpy(runs.bounds[np.arange(len(last)), last])
    calm = (runs.ended == STILL) | ((runs.ended != HANDED_BACK) & (runs.passes == passes))
    moved = unpacked(runs.part("now"), runs.model)
    return replace(moved, mean=moved.mean + about), bound, calm


def finish(runs: Runs) -> None:
    """Run to the end."""
    for _ in runs.go():
        pass


def totals_of(groups: Groups, unit: Covariance) -> Float64[Tensor, "G P"] | None:
    """Σ w · quadratic features of each group, where all components share a matrix."""
    if not unit.shared:
        return None
    x = groups.x.to(torch.float64)
    out = x.new_empty(unit.quadratic.size(len(x)), x.shape[1])
    unit.quadratic.write(x, out)
    if groups.weight is not None:
        out *= groups.weight
    return torch.from_numpy(added(out.numpy().T, groups.sizes))


def added(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(G, ...), values of rows (N, ...) added up over each group; 0 for a group without rows."""
    whole = np.zeros((len(sizes), *values.shape[1:]))
    some = sizes > 0
    if some.any():
        whole[some] = np.add.reduceat(values, (sizes.cumsum() - sizes)[some])
    return whole


def fields_of(groups: Groups, totals: Tensor | None) -> list[Field]:
    """The groups as the library sees them."""
    size, width = groups.x.itemsize, groups.least.stride(0) * 8
    begins = np.concatenate([[0], groups.sizes.cumsum()[:-1]]).tolist()
    x, least = groups.x.data_ptr(), groups.least.data_ptr()
    weight = None if groups.weight is None else groups.weight.data_ptr()
    total, stride = None if totals is None else totals.data_ptr(), groups.x.stride(0)
    step = 0 if totals is None else 8 * totals.stride(0)
    return [
        Field(
            x + at * size,
            None if weight is None else weight + at * size,
            None if total is None else total + i * step,
            least + i * width,
            rows,
            stride,
        )
        for i, (at, rows) in enumerate(zip(begins, groups.sizes.tolist(), strict=True))
    ]


def begin(runs: Runs, groups: Groups, starts: int, seed: int) -> None:
    """Write the start of every run: of a group's starts every second one measures distances on whitened rows."""
    _, components, features = runs.model.shape
    trials = 2 + int(np.log(components))
    each = components * trials
    uniforms = np.empty((starts, len(groups.sizes), each))
    low, high = int(groups.seen.min()), int(groups.seen.max())
    for start in range(starts):
        drawn = stream(seed, "many", start, low * each).random((high - low + 1, each))
        uniforms[start] = drawn[groups.seen - low]
    white = np.repeat((np.arange(starts) % 2).astype(np.int32), len(groups.sizes))
    own, longest = runs.model.covariance.quadratic.size(features), int(groups.sizes.max())
    stride = -(-longest // STEP) * STEP
    tables = (features + 6) * stride + (2 * features + 1) * longest
    numbers = tables + components * (3 * features + own + 3) + features * features + features + spare_of(runs.model)
    room = -(-8 * numbers // ALIGN) * ALIGN
    job = runs.job()
    work = torch.empty(job.parts * room, dtype=torch.uint8)
    asked = Begin(
        *(ctypes.addressof(job), uniforms.ctypes.data, white.ctypes.data, work.data_ptr(), room),
        *(trials, ROUNDS, job.parts, 0, 0),
    )
    library().function("begin")(ctypes.byref(asked))


def counts_of(runs: Runs, groups: Groups) -> np.ndarray:
    """(R, K) weighted counts of the pass that was last."""
    if groups.weight is None:
        weight = groups.sizes.astype(np.float64)
    else:
        weight = added(groups.weight.to(torch.float64).numpy(), groups.sizes)
    share: np.ndarray = np.exp(runs.part("after")[:, : runs.model.shape[1]])
    return share * weight[runs.which][:, None]


def standing(runs: Runs, groups: Groups) -> np.ndarray:
    """(R,), the bounds by which starts are compared: those without enough rows in every component come after others."""
    bound = runs.bounds[np.arange(len(runs.passes)), np.maximum(runs.passes - 1, 0)]
    bound = np.where((runs.ended == HANDED_BACK) | ~np.isfinite(bound), -np.inf, bound)
    sound = counted(runs.model, torch.from_numpy(counts_of(runs, groups))).all(1).numpy()
    return np.where(sound, bound, bound - 1e100)


def best_of(runs: Runs, groups: Groups) -> Fits:
    """Of each group's runs the one that stands best."""
    score = standing(runs, groups)
    order = np.lexsort((-score, runs.which))
    _, firsts = np.unique(runs.which[order], return_index=True)
    best = runs.take(order[firsts])
    bound = best.bounds[np.arange(len(best.passes)), np.maximum(best.passes - 1, 0)]
    return Fits(
        unpacked(best.part("now"), best.model),
        bound,
        counts_of(best, groups),
        best.passes.astype(np.int64),
        best.ended == STILL,
        (best.ended != HANDED_BACK) & (best.passes > 0),
    )
