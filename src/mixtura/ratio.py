"""Ratio: whether a mixture needs one component more, by a likelihood ratio whose distribution is simulated."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch

from mixtura.cells import UNSOUND, Cell, Trial
from mixtura.covariance import structure
from mixtura.criteria import LEVEL
from mixtura.draws import stream
from mixtura.estimator import GaussianMixture
from mixtura.grouped import packed_of
from mixtura.inputs import check, columns_of, whole
from mixtura.many import fits_of
from mixtura.mixture import Mixture
from mixtura.plan import AUTO_PASSES
from mixtura.trials import Tries, template_of

STARTS = 8
"""Starts of each fit to simulated rows."""

RESAMPLES = 199
"""Sets that are simulated for each number of components of a search."""

BATCH = 2**24
"""Numbers that are simulated at a time."""


class LikelihoodRatio(NamedTuple):
    """What :func:`likelihood_ratio_test` found.

    Attributes:
        n_components: K: K components were tested against K + 1.
        statistic: 2 (log L with K + 1 − log L with K); 0 where no fit with K + 1 is sound: nothing speaks for it.
        p_value: share of statistics at least as large, the observed one counted among them.
        null: (B,) the same of rows simulated from the fit with K; sets without a sound fit with K are left out.
        smaller: the fit with K components.
        larger: the fit with K + 1.
    """

    n_components: int
    statistic: float
    p_value: float
    null: np.ndarray
    smaller: GaussianMixture
    larger: GaussianMixture

    def __repr__(self) -> str:
        about = f"{self.n_components} against {self.n_components + 1}: {self.statistic:.5g}, p = {self.p_value:.3g}"
        return f"LikelihoodRatio({about}, {len(self.null)} resamples)"


def likelihood_ratio_test(
    X: Any,
    n_components: Any = 1,
    covariance_type: Any = "full",
    sample_weight: Any = None,
    *,
    n_resamples: Any = 999,
    estimator: GaussianMixture | None = None,
    random_state: Any = None,
) -> LikelihoodRatio:
    """Test K components against K + 1 by the parametric bootstrap (McLachlan 1987).

    Twice the difference of the log likelihoods has no χ² distribution here: with K components the further one has no
    weight, or is anywhere. So its distribution is simulated: as many rows as there are, from the fit with K, again and
    again, each set fitted with K and with K + 1 (side by side, :func:`mixtura.fit_many`).

    Args:
        X: (N, D) rows.
        n_components: K.
        covariance_type: the structure of both.
        sample_weight: (N,) row weights: the simulated sets have as many rows as these add up to.
        n_resamples: how many sets are simulated.
        estimator: a :class:`GaussianMixture` whose other parameters the two fits to ``X`` take; None takes the
            defaults.
        random_state: seed, generator or None, as in :class:`GaussianMixture`.

    Returns:
        :class:`LikelihoodRatio`.

    Raises:
        ValueError: an argument cannot be used, or the fit with K is not sound.

    References:
        McLachlan GJ (1987). On bootstrapping the likelihood ratio test statistic for the number of components in a
        normal mixture. Applied Statistics 36, 318–324.

    Examples:
        >>> import numpy as np
        >>> from mixtura import likelihood_ratio_test
        >>> draw = np.random.default_rng(0)
        >>> X = np.concatenate([draw.normal(0, 1, (80, 1)), draw.normal(6, 1, (80, 1))])
        >>> likelihood_ratio_test(X, 1, n_resamples=99, random_state=0).p_value
        0.01
        >>> likelihood_ratio_test(X, 2, n_resamples=99, random_state=0).p_value > 0.05
        True
    """
    k, many = whole("n_components", n_components, 1), whole("n_resamples", n_resamples, 1)
    if not isinstance(covariance_type, str):
        raise ValueError(f"covariance_type={covariance_type!r} is no name: models are tested within one structure")
    structure(covariance_type)  # refuses names that there are not
    template = template_of(estimator, random_state)
    checked = check(template, X, reset=True, fitting=True, sample_weight=sample_weight, gaps=False)
    tries = Tries(template, checked, columns_of(template), "lrt", None)
    tries.run([Cell(covariance_type, c) for c in (k, k + 1)])
    if tries.interrupted:
        raise KeyboardInterrupt
    one, more = tries.trials
    for trial, usable in ((one, one.sound), (more, more.model is not None)):
        if not usable:
            reason = trial.reason or trial.model.diagnose()[0].message
            raise ValueError(
                f"n_components={n_components}: the fit with {trial.cell.n_components} is not sound, so its likelihood "
                f"cannot be compared. {reason}"
            )
    return against(one, more, many, template.random_state)


def against(one: Trial, more: Trial, many: int, seed: int) -> LikelihoodRatio:
    """The test of a sound fit against that with one component more."""
    statistic = gained(one.figures.loglik, more.figures.loglik, more.sound)
    null = simulated(one.model, round(one.model._weight), many, seed)
    p = (1 + int((null >= statistic).sum())) / (1 + len(null))
    return LikelihoodRatio(one.cell.n_components, float(statistic), p, null, one.model, more.model)


def tested(tries: Tries) -> list[dict[str, float]]:
    """The p-value of each number of components against one more, from the fewest on, up to the first above 0.05.

    The numbers after it are not tested: NaN.

    Raises:
        ValueError: rows have gaps, for simulated ones have none.
    """
    if tries.checked.gaps:
        raise ValueError("criterion='lrt' simulates rows without gaps: use missing='error', or another criterion")
    by_size = {trial.cell.n_components: trial for trial in tries.trials}
    name, found = tries.trials[0].cell.covariance_type, dict.fromkeys(by_size, math.nan)
    for k in sorted(by_size):
        more = by_size[k + 1] if k + 1 in by_size else tries.tried(Cell(name, k + 1))
        if not by_size[k].sound or more.model is None:
            continue
        found[k] = against(by_size[k], more, RESAMPLES, tries.template.random_state).p_value
        if found[k] > LEVEL:
            break
    return [{"lrt": found[trial.cell.n_components]} for trial in tries.trials]


def gained(smaller: Any, larger: Any, sound: Any) -> Any:
    """2 (log L of K + 1 − log L of K): 0 where that is negative, or where the larger fit is not sound."""
    return np.where(sound, np.maximum(0.0, 2 * (larger - smaller)), 0.0)[()]


def simulated(smaller: GaussianMixture, rows: int, many: int, seed: int, starts: int = STARTS) -> np.ndarray:
    """The statistics of sets of rows drawn from a fit; those that have no sound fit like it are left out."""
    k, kind = smaller.n_components, smaller.covariance_type
    each = max(1, BATCH // (rows * smaller.mixture_.shape[2]))
    null = []
    for at in range(0, many, each):
        sets = [drawn(smaller.mixture_, rows, seed, b) for b in range(at, min(at + each, many))]
        packed, name = packed_of(sets, None, None), structure(kind).name
        one, more = (fits_of(packed, name, c, starts, seed, AUTO_PASSES) for c in (k, k + 1))
        usable, sound = (~np.isin(fits.status_, UNSOUND) for fits in (one, more))
        null.append(gained(one.loglik_, more.loglik_, sound)[usable])
    return np.concatenate(null)


def drawn(mixture: Mixture, rows: int, seed: int, number: int) -> np.ndarray:
    """Rows drawn from a mixture, from a stream of their own."""
    generator = stream(seed, "likelihood ratio", number)
    weight = mixture.log_weight[0].exp().numpy()
    labels = generator.choice(len(weight), size=rows, p=weight / weight.sum())
    noise = torch.from_numpy(generator.standard_normal((rows, mixture.shape[2])))
    return mixture.draw(torch.from_numpy(labels), noise).numpy()
