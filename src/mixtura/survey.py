"""Survey: what the rows say about themselves before any model, in one pass."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from mixtura.data.base import About, Block, Source
from mixtura.data.columns import listed
from mixtura.draws import stream
from mixtura.missing import filled
from mixtura.mixture import Mixture
from mixtura.pooled import pooled
from mixtura.room import BUDGET, rows_within

SAMPLE = 5000
"""Rows in the sample; data sets up to this size are sampled whole."""

CROWD, CROWD_BYTES = 32768, 16 * 2**20
"""Most rows in the crowd, and the bytes they may take; it is never smaller than the sample."""

CLIP = 1e-12
"""Variances below this share of a column's robust scale are raised to it."""

SAME = 8 * np.finfo(np.float64).eps
"""Values closer than this share of their size are one value when a column's grid is looked for."""

FINEST = 1e6
"""A column whose range has more steps than this counts as continuous."""


class Sample(NamedTuple):
    """Rows in canonical form: equal ones merged, their weights added, zero weights dropped, sorted.

    Attributes:
        x: (S, D), float64, as in the source: NaN where an entry is missing.
        weight: (S,), float64, positive.
    """

    x: Float64[Tensor, "S D"]
    weight: Float64[Tensor, "S"]


class Survey(NamedTuple):
    """Facts about a source.

    Attributes:
        rows: rows with positive weight.
        weight: the sum of all weights.
        mean: (D,), weighted.
        low: (D,), smallest value of each column.
        high: (D,), largest value.
        sample: all rows up to 5,000, else 5,000 drawn without replacement with probability by weight.
        crowd: more rows drawn so, in the order of the draw: any first part of them is a sample; up to 5,000 rows the
            sample itself.
        distinct: different rows in the sample.
        scale: (D,), squared interquartile range; where that is 0, the smallest positive one or the column's variance.
        covariance: (D, D), of the sample, maximum likelihood.
        white: (D, E), what makes its rows uncorrelated, of unit variance: E ≤ D directions in which they vary.
        step: (D,), the grid that a column is recorded on; 0 for a continuous or a constant one.
        gaussian: where rows have gaps, the one Gaussian that is likeliest for the sample; None where none has.
    """

    rows: int
    weight: float
    mean: Float64[Tensor, "D"]
    low: Float64[Tensor, "D"]
    high: Float64[Tensor, "D"]
    sample: Sample
    crowd: Sample
    distinct: int
    scale: Float64[Tensor, "D"]
    covariance: Float64[Tensor, "D D"]
    white: Float64[Tensor, "D E"]
    step: Float64[Tensor, "D"]
    gaussian: Mixture | None = None

    @property
    def complete(self) -> bool:
        """The sample holds every row."""
        return self.rows <= SAMPLE

    @property
    def constant(self) -> list[int]:
        """Columns with one value only."""
        return (self.low == self.high).nonzero()[:, 0].tolist()

    @property
    def least(self) -> Float64[Tensor, "D"]:
        """(D,), variances below which an M-step clips: never reached in a sound fit."""
        return CLIP * self.scale

    @property
    def gaps(self) -> bool:
        """Some rows have missing entries."""
        return self.gaussian is not None

    def whole(self, sample: Sample) -> Sample:
        """The same rows, what they lack being filled by what one Gaussian expects there given the rest."""
        if self.gaussian is None:
            return sample
        return sample._replace(x=filled(self.gaussian, sample.x.mT).mT.contiguous())


def survey(source: Source, seed: int, gaps: bool = False) -> Survey:
    """One pass over the rows, on the CPU in float64.

    Args:
        source: where the rows come from.
        seed: key of the sample's random stream.
        gaps: NaN may stand for a missing entry: facts are of the observed ones. Without it rows are not looked at
            for any.

    Raises:
        ValueError: no row has a positive weight, or a column has no value.
    """
    features = source.shape[1]
    columns = Columns(features, gaps)
    reservoir = Reservoir(features, seed, max(SAMPLE, min(CROWD, CROWD_BYTES // (8 * features))))
    for block in source.blocks(rows_within(BUDGET, 8 * features)):
        x, w = _present(block)
        if len(x):
            columns.add(x, w)
            reservoir.add(x, w)
    rows = reservoir.offered
    if not rows:
        raise ValueError("sample_weight is zero for every row: at least one row must count")
    refuse_empty(columns.low > columns.high, getattr(source, "about", None))
    crowd = reservoir.crowd()
    sample = canonical(Sample(*(t[:SAMPLE] for t in crowd)), drawn=rows > SAMPLE)
    mean, scale = columns.total / columns.present, robust_scale(sample)
    gaussian = likeliest(sample, mean, scale) if columns.lacking else None
    covariance = covariance_of(sample) if gaussian is None else gaussian.covariance.dense()[0, 0]
    return Survey(
        rows=rows,
        weight=columns.weight,
        mean=mean,
        low=columns.low,
        high=columns.high,
        sample=sample,
        crowd=crowd if rows > SAMPLE else sample,
        distinct=len(sample.x),
        scale=scale,
        covariance=covariance,
        white=whitening(covariance, 1e-13),
        step=torch.tensor([grid_step(column) for column in sample.x.T.numpy()], dtype=torch.float64),
        gaussian=gaussian,
    )


class Columns:
    """What the observed entries of each column add up to.

    Attributes:
        weight: of all rows.
        total: (D,) weighted sum.
        present: weight of the rows that have an entry: one number, or (D,) where some lack one.
        low: (D,), smallest entry.
        high: (D,), largest.
        lacking: some rows lack an entry.
    """

    def __init__(self, features: int, gaps: bool) -> None:
        self.gaps, self.lacking = gaps, False
        self.weight, self.total = 0.0, torch.zeros(features, dtype=torch.float64)
        self.present: float | Tensor = 0.0
        self.low, self.high = torch.full_like(self.total, torch.inf), torch.full_like(self.total, -torch.inf)

    def add(self, x: Float64[Tensor, "N D"], w: Float64[Tensor, "N"]) -> None:
        """Add rows."""
        mass = float(w.sum())
        self.weight += mass
        low = high = x
        if self.gaps and bool((missing := x.isnan()).any()):
            self.lacking = True
            self.present = self.present + w @ (~missing).to(w)
            low, x, high = (torch.where(missing, value, x) for value in (torch.inf, 0.0, -torch.inf))
        else:
            self.present = self.present + mass
        self.total += w @ x
        self.low, self.high = torch.minimum(self.low, low.amin(0)), torch.maximum(self.high, high.amax(0))


def refuse_empty(empty: Bool[Tensor, "D"], about: About | None) -> None:
    """Raise ValueError where columns have no value at all."""
    where = empty.nonzero()[:, 0].tolist()
    if where:
        names = about.names if about is not None and about.names is not None else range(len(empty))
        raise ValueError(
            f"X has no value in the columns {listed([str(names[j]) for j in where])}: every row lacks it, so leave "
            "them out"
        )


def covariance_of(sample: Sample) -> Float64[Tensor, "D D"]:
    """Of rows without gaps, maximum likelihood."""
    share = sample.weight / sample.weight.sum()
    centred = sample.x - share @ sample.x
    return (centred * share[:, None]).mT @ centred


def likeliest(sample: Sample, mean: Float64[Tensor, "D"], scale: Float64[Tensor, "D"]) -> Mixture:
    """The one Gaussian that is likeliest for rows with gaps, begun at uncorrelated columns."""
    seen = ~sample.x.isnan()
    weight = sample.weight[:, None] * seen
    squares = torch.where(seen, sample.x - mean, 0.0).square()
    variance = (weight * squares).sum(0) / weight.sum(0)
    return pooled(*sample, mean, torch.where(variance > 0, variance, scale), CLIP * scale)


def _present(block: Block) -> tuple[Tensor, Tensor]:
    # In one layout whatever that of the data, so that sums over rows round the same.
    x = block.x.to("cpu", torch.float64).contiguous()
    if block.weight is None:
        return x, x.new_ones(len(x))
    w = block.weight.to("cpu", torch.float64)
    return (x, w) if bool((w > 0).all()) else (x[w > 0], w[w > 0])


class Reservoir:
    """A weighted sample without replacement, whatever the size of the blocks (Efraimidis & Spirakis 2006).

    Each row draws an exponential of rate w keyed by its place among the rows offered; the smallest ones are kept.
    """

    def __init__(self, features: int, seed: int, size: int) -> None:
        self.seed, self.size = seed, size
        self.x = torch.empty(0, features, dtype=torch.float64)
        self.weight = torch.empty(0, dtype=torch.float64)
        self.key = torch.empty(0, dtype=torch.float64)
        self.offered = 0

    def add(self, x: Tensor, weight: Tensor) -> None:
        """Offer the next rows."""
        draws = stream(self.seed, "sample", row=self.offered).random(len(x))
        self.offered += len(x)
        key = torch.from_numpy(-np.log1p(-draws)) / weight
        if len(self.key) == self.size:
            better = key < self.key.max()
            x, weight, key = x[better], weight[better], key[better]
        self.x, self.weight = torch.cat([self.x, x]), torch.cat([self.weight, weight])
        self.key = torch.cat([self.key, key])
        if len(self.key) > self.size:
            at = self.key.topk(self.size, largest=False).indices
            self.x, self.weight, self.key = self.x[at], self.weight[at], self.key[at]

    def crowd(self) -> Sample:
        """The rows kept, in the order of the draw; a part of all rows has been drawn by weight: they weigh the same."""
        order = torch.from_numpy(np.argsort(self.key.numpy()))
        drawn = self.offered > self.size
        return Sample(self.x[order], torch.ones_like(self.weight) if drawn else self.weight[order])


def canonical(sample: Sample, drawn: bool) -> Sample:
    """Equal rows merged, their weights added, sorted; rows that were drawn by weight weigh the same."""
    x = sample.x.numpy()
    # A missing entry is a value like any other here: equal to itself, and the largest.
    key = np.where(np.isnan(x), np.inf, x)
    order, new = sorted_rows(key)
    x, weight = x[order], np.ones(len(x)) if drawn else sample.weight.numpy()[order]
    if not new.all():
        x, weight = x[new], np.add.reduceat(weight, new.nonzero()[0])
    return Sample(torch.from_numpy(x), torch.from_numpy(weight))


def sorted_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of rows by their first column, of equal ones by the next, and which of them differ from those before.

    Columns after the first are looked at for rows only that are equal so far.
    """
    order = np.argsort(x[:, 0], kind="stable")
    new = np.ones(len(x), dtype=bool)
    new[1:] = x[order[1:], 0] != x[order[:-1], 0]
    for j in range(1, x.shape[1]):
        if new.all():
            break
        equal = (~new | ~np.append(new[1:], True)).nonzero()[0]
        rows, run = order[equal], new.cumsum()[equal]
        order[equal] = rows = rows[np.lexsort((x[rows, j], run))]
        new[equal[1:]] |= (x[rows[1:], j] != x[rows[:-1], j]) | new[equal[1:]]
    return order, new


def whitening(covariance: Float64[Tensor, "D D"], least: float) -> Float64[Tensor, "D E"]:
    """A with Aᵀ Σ A = I, over the directions in which correlated columns of unit variance vary more than ``least``."""
    sd = covariance.diagonal().sqrt()
    sd = torch.where(sd > 0, sd, 1.0)
    value, vector = torch.linalg.eigh(covariance / (sd[:, None] * sd))
    varying = value > least * value[-1]
    return vector[:, varying] / value[varying].sqrt() / sd[:, None]


def robust_scale(sample: Sample) -> Float64[Tensor, "D"]:
    """(D,) squared interquartile ranges of the observed entries, positive wherever any column varies."""
    seen = ~sample.x.isnan()
    if bool(seen.all()):
        squared, variance = _spread(sample)
    else:
        # Column by column, for each has rows of its own.
        each = [Sample(sample.x[at, j : j + 1], sample.weight[at]) for j, at in enumerate(seen.mT) if bool(at.any())]
        squared, variance = (np.zeros(seen.shape[1]) for _ in range(2))
        squared[seen.any(0).numpy()], variance[seen.any(0).numpy()] = np.concatenate([_spread(s) for s in each], 1)
    varying = squared[squared > 0] if (squared > 0).any() else variance[variance > 0]
    smallest = varying.min() if len(varying) else 1.0
    scale = np.where(squared > 0, squared, np.where(variance > 0, np.minimum(variance, smallest), smallest))
    return torch.from_numpy(scale)


def _spread(sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """(D,) squared interquartile ranges and variances."""
    # NumPy sorts several times faster than torch.
    columns, share = np.ascontiguousarray(sample.x.T.numpy()), (sample.weight / sample.weight.sum()).numpy()
    if (share == share[0]).all():
        lower, upper = (int(at[0]) for at in reached(share.cumsum()[None]))
        ordered = np.sort(columns, axis=1)
        quartiles = [ordered[:, lower], ordered[:, upper]]
    else:
        order = columns.argsort(axis=1)
        places = reached(share[order].cumsum(axis=1))
        at = [np.take_along_axis(order, place[:, None], 1) for place in places]
        quartiles = [np.take_along_axis(columns, place, 1)[:, 0] for place in at]
    squared = (quartiles[1] - quartiles[0]) ** 2
    variance = (columns - (columns @ share)[:, None]) ** 2 @ share
    variance[columns.max(axis=1) == columns.min(axis=1)] = 0
    return squared, variance


def reached(below: np.ndarray) -> list[np.ndarray]:
    """Where running sums of shares (C, S) reach a quarter and three quarters, (C,) each."""
    return [(below < q * (1 - 1e-12)).sum(axis=1).clip(max=below.shape[1] - 1) for q in (0.25, 0.75)]


def grid_step(column: np.ndarray) -> float:
    """The step of the grid that a column is recorded on: 0 for a continuous or a constant one."""
    values = np.unique(column[~np.isnan(column)])
    gaps = np.diff(values)
    # The same value reached in two ways, 0.3 and 0.1 · 3, is one value.
    gaps = gaps[gaps > SAME * np.maximum(np.abs(values[1:]), np.abs(values[:-1]))]
    if not len(gaps):
        return 0.0
    step = float(gaps.min())
    if (values[-1] - values[0]) / step > FINEST:
        return 0.0
    steps = gaps / step
    return step if np.abs(steps - steps.round()).max() < 1e-3 else 0.0
