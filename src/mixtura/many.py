"""Many: one mixture for each of many small data sets, fitted together."""

import math
import warnings
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from mixtura.covariance import structure
from mixtura.data.array import Array
from mixtura.draws import seed_of
from mixtura.estimator import DegenerateWarning, GaussianMixture
from mixtura.family import Gaussian
from mixtura.fits import Fits
from mixtura.fitting import by_weight
from mixtura.grouped import Packed, packed_of
from mixtura.inputs import whole
from mixtura.mixture import Mixture
from mixtura.native import groups as compiled
from mixtura.plan import AUTO_PASSES
from mixtura.sound import NARROWEST, Finding, component_findings, counted, exceeds, soundness
from mixtura.stop import Still
from mixtura.survey import CLIP, grid_step, survey

STARTS = 4
"""Starts of each group where ``n_init`` is ``"auto"``."""

LEFT = 1e-6
"""Nats a row that a fit may leave to gain."""


def fit_many(
    groups: Any,
    n_components: int,
    covariance_type: str = "full",
    *,
    by: Any = None,
    sample_weight: Any = None,
    n_init: "int | str" = "auto",
    max_iter: "int | str" = "auto",
    random_state: Any = None,
) -> Fits:
    """Fit one mixture to each of many small data sets: genes, wells, pixels, users.

    What :class:`GaussianMixture` would do for each with a few k-means starts, without its cost for every call: all
    groups run side by side in compiled code, each until it is still. Groups may have different numbers of rows.

    Args:
        groups: a sequence of data sets, each (N_g, D) or, for one feature, (N_g,); a mapping from names to these; or
            one table (N, D) whose rows ``by`` assigns to groups. Arrays, lists, DataFrames or tensors.
        n_components: K, the same for all.
        covariance_type: the structure, as in :class:`GaussianMixture`.
        by: (N,) the group of each row, where ``groups`` is one table; groups are sorted.
        sample_weight: row weights: one array for each group in the same form as ``groups``, or (N,) with ``by``.
        n_init: starts of each group; ``"auto"`` is 4. They are compared after a few iterations, the best goes on. A
            group whose components collapse, or any where there is no compiled code, is fitted on its own by the race of
            ``effort="quick"`` instead, which has starts of its own.
        max_iter: most iterations of a run; ``"auto"`` is 2,000.
        random_state: seed, generator or None, as in :class:`GaussianMixture`. A group's draws depend on its place
            alone, so that adding groups at the end changes nothing.

    Returns:
        :class:`Fits`: arrays over all groups, and each one as a fitted :class:`GaussianMixture`.

    Raises:
        ValueError: a group has NaN or infinite entries, groups have different numbers of columns, or an argument is
            out of range. Groups with fewer rows than components are no error: their ``status_`` is ``"failed"``.

    Warns:
        DegenerateWarning: fits that are not sound, or failed, with their number.

    Examples:
        Which of these genes are bimodal? Compare BIC with one component and with two.

        >>> import numpy as np
        >>> draw = np.random.default_rng(0)
        >>> genes = {"A": draw.normal(size=200), "B": np.append(draw.normal(size=120), draw.normal(6, 1, size=90))}
        >>> one, two = (fit_many(genes, k, random_state=0) for k in (1, 2))
        >>> (two.bic() < one.bic()).tolist()
        [False, True]
        >>> two["B"].means_.round(1).ravel().tolist()
        [-0.2, 6.0]
    """
    known = structure(covariance_type)
    starts = whole("n_init", n_init, 1, STARTS)
    passes = whole("max_iter", max_iter, 1, AUTO_PASSES)
    components = whole("n_components", n_components, 1)
    packed = packed_of(groups, by, sample_weight)
    seed = seed_of(random_state)
    found = fits_of(packed, known.name, components, starts, seed, passes)
    bad = found.status_ == "degenerate"
    failed = found.status_ == "failed"
    if bad.any() or failed.any():
        first = found.names[int((bad | failed).nonzero()[0][0])]
        warnings.warn(
            f"Of {len(found)} fits {int(bad.sum())} are not sound and {int(failed.sum())} failed, the first of them of "
            f"group {first!r}: see status_, and leave their likelihoods out of comparisons.",
            DegenerateWarning,
            stacklevel=2,
        )
    return found


# ---- the fits


class About(NamedTuple):
    """What the rows of each group say before any model.

    Attributes:
        weight: (G,) sum of row weights.
        mean: (G, D).
        covariance: (G, D, D), maximum likelihood.
        x: (N, D), rows about their group's mean.
    """

    weight: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    x: np.ndarray


def _about(packed: Packed) -> About:
    w = np.ones(len(packed.x)) if packed.weight is None else packed.weight
    weight = packed.sums(w)
    share = np.maximum(weight, np.finfo(float).tiny)[:, None]
    mean = packed.sums(packed.x * w[:, None]) / share
    x = packed.x - np.repeat(mean, packed.sizes, axis=0)
    # Once more, so that rows far from the origin keep their digits.
    rest = packed.sums(x * w[:, None]) / share
    x -= np.repeat(rest, packed.sizes, axis=0)
    features = x.shape[1]
    covariance = np.empty((len(weight), features, features))
    for i in range(features):
        covariance[:, i, : i + 1] = packed.sums(x[:, : i + 1] * (x[:, i] * w)[:, None]) / share
        covariance[:, : i + 1, i] = covariance[:, i, : i + 1]
    return About(weight, mean + rest, covariance, x)


def fits_of(packed: Packed, name: str, components: int, starts: int, seed: int, passes: int) -> Fits:
    """The fits of packed groups: what :func:`fit_many` returns, without its warning."""
    count, features = len(packed.sizes), packed.x.shape[1]
    unit, about = structure(name).unit(1, components, features), _about(packed)
    zero = torch.full((count, components, features), math.nan, dtype=torch.float64)
    covariance = unit.map(lambda t: torch.full((count, *t.shape[1:]), math.nan, dtype=t.dtype))
    found = Found(
        Mixture(zero[..., 0].clone(), zero, covariance, Gaussian()),
        np.full(count, math.nan),
        np.zeros(count, dtype=np.int64),
        np.zeros(count, dtype=bool),
        np.full(count, "failed", dtype="<U10"),
        {},
    )
    waiting = packed.sizes >= max(2, components)
    if waiting.any() and compiled.serves(unit, features, torch.float64):
        at = waiting.nonzero()[0]
        fits = compiled.fit(_groups(packed, about, at), unit, components, starts, seed, Still(LEFT), passes)
        _adopt(found, at, fits, about, packed)
        waiting[at] = ~fits.calm
    for i in waiting.nonzero()[0].tolist():
        _alone(found, i, packed, name, components, seed, passes)
    loglik, taken, still, status, findings = found[1:]
    return Fits(
        *(packed.names, name, found.model, loglik, about.weight, taken, still, status, findings),
        *(packed.kind, packed.labels),
    )


class Found(NamedTuple):
    """Fits while they come in, as :class:`Fits` has them."""

    model: Mixture
    loglik: np.ndarray
    passes: np.ndarray
    still: np.ndarray
    status: np.ndarray
    findings: dict[int, list[Finding]]

    def put(self, at: np.ndarray, model: Mixture, *values: Any) -> None:
        """Write some fits."""
        where = torch.from_numpy(at)
        for to, value in zip(self.model.leaves(), model.leaves(), strict=True):
            to[where] = value
        for array, value in zip((self.loglik, self.passes, self.still, self.status), values, strict=True):
            array[at] = value


def _groups(packed: Packed, about: About, at: np.ndarray) -> compiled.Groups:
    """The groups at these places, as the compiled library reads them."""
    chosen = np.zeros(len(packed.sizes), dtype=bool)
    chosen[at] = True
    rows = slice(None) if chosen.all() else np.repeat(chosen, packed.sizes)
    variance = np.diagonal(about.covariance, axis1=1, axis2=2)[at]
    return compiled.Groups(
        torch.from_numpy(np.ascontiguousarray(about.x[rows].T)),
        None if packed.weight is None else torch.from_numpy(packed.weight[rows]),
        packed.sizes[at],
        torch.from_numpy(CLIP * variance),
        at,
    )


def _adopt(found: Found, at: np.ndarray, fits: compiled.Fits, about: About, packed: Packed) -> None:
    """Write what the compiled library found: components in order, in the coordinates of the data."""
    order = by_weight(fits.model)
    model = fits.model.map(lambda t: t if t.shape[1] == 1 else t[torch.arange(len(t))[:, None], order])
    n = np.take_along_axis(fits.n, order.numpy(), 1)
    sound = _plainly_sound(model, n, about.covariance[at])
    # Equal values somewhere: columns may be recorded on a grid, on which nothing may be narrower than its step.
    for j in range(packed.x.shape[1]):
        if len(np.unique(packed.x[:, j])) < len(packed.x):
            variance = model.covariance.variances()[..., j].amin(1).numpy()
            for place, i in enumerate(at.tolist()):
                step = grid_step(packed.x[packed.rows(i), j])
                sound[place] &= variance[place] >= step**2 / 12 * (1 - 1e-9)
    model = replace(model, mean=model.mean + torch.from_numpy(about.mean[at])[:, None])
    for place in (fits.calm & ~sound).nonzero()[0].tolist():
        sound[place] = _judged(found, int(at[place]), packed, model.take([place]), n[place : place + 1])
    status = np.where(sound, np.where(fits.still, "converged", "max_iter"), "degenerate")
    places = np.where(fits.calm)[0]
    found.put(
        at[places],
        model.take(torch.from_numpy(places)),
        *(values[places] for values in (fits.loglik, fits.passes, fits.still, status)),
    )


def _plainly_sound(model: Mixture, n: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """(G,), the first two tests of :func:`mixtura.sound.soundness`, for all groups at once.

    Nothing is floored in what the library fits, so that only grids are left.
    """
    enough = counted(model, torch.from_numpy(n)).all(1)
    dense, whole = model.covariance.dense(), torch.from_numpy(covariance)
    sd = whole.diagonal(dim1=-2, dim2=-1).sqrt()
    sd = torch.where(sd > 0, sd, 1.0)
    value, vector = torch.linalg.eigh(whole / (sd[..., :, None] * sd[..., None, :]))
    varying = value > 1e-13 * value[..., -1:]
    white = torch.where(varying, value, 1.0).rsqrt()[..., None, :] * vector * varying[..., None, :] / sd[..., None]
    # A direction in which nothing varies says nothing: its eigenvalue here is 1.
    inside = white[:, None].mT @ dense @ white[:, None] + torch.diag_embed((~varying).to(dense))[:, None]
    return (enough & exceeds(inside.nan_to_num(), NARROWEST).all(1)).numpy()


def _judged(found: Found, i: int, packed: Packed, model: Mixture, n: np.ndarray) -> bool:
    """Whether a fit that is in doubt is sound; what is wrong with it is kept."""
    rows, counts = packed.rows(i), torch.from_numpy(n)
    facts = survey(Array(packed.x[rows], None if packed.weight is None else packed.weight[rows]), 0)
    tests = soundness(model, counts, facts)
    found.findings[i] = component_findings(tests, counts, facts, packed.columns)
    return bool(tests.sound[0])


def _alone(found: Found, i: int, packed: Packed, name: str, components: int, seed: int, passes: int) -> None:
    """Fit one group on its own: where the compiled library is absent, or handed it back."""
    rows = packed.rows(i)
    model = GaussianMixture(components, covariance_type=name, effort="quick", max_iter=passes, random_state=seed)
    weight = None if packed.weight is None else packed.weight[rows]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(packed.x[rows], sample_weight=weight)
    except ValueError:
        return
    found.findings[i] = model.diagnose()
    found.put(np.array([i]), model.mixture_, model.loglik_, model.n_iter_, model.converged_, model.status_)
