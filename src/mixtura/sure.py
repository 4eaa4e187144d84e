"""Sure: how far the parameters of a mixture would have come out otherwise, by the bootstrap."""

import warnings
from numbers import Real
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from mixtura.covariance import structure
from mixtura.draws import seed_of, stream
from mixtura.estimator import DegenerateWarning, GaussianMixture
from mixtura.inputs import check, whole
from mixtura.mixture import Mixture
from mixtura.plan import AUTO_PASSES, ground_of
from mixtura.record import Record
from mixtura.running import weighted_runs
from mixtura.sound import soundness
from mixtura.sourced import gathered
from mixtura.stop import Still

METHODS = ("rows", "weights")
"""Ways to draw: rows again, or weights of the rows."""

LEFT = 1e-6
"""Nats a row that a fit may leave to gain."""

BATCH = 2**24
"""Weights of rows that are held at a time."""


def bootstrap(
    model: Any,
    X: Any,
    sample_weight: Any = None,
    *,
    n_resamples: Any = 999,
    method: str = "rows",
    random_state: Any = None,
) -> "Bootstrap":
    """Standard errors and intervals of a mixture's parameters, by fits to rows drawn again (Efron 1979).

    Every resample is fitted from the mixture itself, so that component k stays component k. All of them run side by
    side in compiled code where that serves the structure.

    Args:
        model: a fitted :class:`GaussianMixture`, or a :class:`MixtureSearch`, whose best fit is taken.
        X: (N, D) the rows that it was fitted to; they are held in memory.
        sample_weight: (N,) their weights.
        n_resamples: how many.
        method: ``"rows"`` draws as many rows as there are, by their weights, with replacement; ``"weights"`` gives
            every row a weight from a Dirichlet distribution (the weighted likelihood bootstrap, Newton & Raftery 1994),
            which leaves no row out and so keeps small components alive.
        random_state: seed, generator or None, as in :class:`GaussianMixture`; None takes the model's own.

    Returns:
        :class:`Bootstrap`.

    Raises:
        NotFittedError: the model is not fitted.
        ValueError: an argument cannot be used, rows have missing entries, or no resample has a sound fit.

    Warns:
        DegenerateWarning: resamples whose fit is not sound are left out.

    References:
        Efron B (1979). Bootstrap methods: another look at the jackknife. The Annals of Statistics 7, 1–26.
        Newton MA, Raftery AE (1994). Approximate Bayesian inference with the weighted likelihood bootstrap. Journal of
        the Royal Statistical Society B 56, 3–48.

    Examples:
        >>> import numpy as np
        >>> from mixtura import GaussianMixture, bootstrap
        >>> draw = np.random.default_rng(0)
        >>> X = np.concatenate([draw.normal(0, 1, (300, 1)), draw.normal(8, 1, (100, 1))])
        >>> gm = GaussianMixture(2, random_state=0).fit(X)
        >>> drawn = bootstrap(gm, X, n_resamples=200)
        >>> drawn.standard_errors()["weights"].round(2).tolist()
        [0.02, 0.02]
    """
    check_is_fitted(model)
    model = getattr(model, "best_estimator_", model)
    many = whole("n_resamples", n_resamples, 2)
    if method not in METHODS:
        raise ValueError(f"method={method!r} is unknown: use 'rows' or 'weights'")
    checked = check(model, X, reset=False, sample_weight=sample_weight, gaps=False)
    seed = getattr(model, "seed_", 0) if random_state is None else seed_of(random_state)
    plan = model._planned(checked)._replace(seed=seed)
    land = model._land(checked, seed)
    ground = ground_of(land.facts, land.rows, plan).on_host
    x = torch.from_numpy(np.array(gathered(checked.source), dtype=np.float64)) - ground.origin
    weight = torch.ones(len(x)).double() if checked.weight is None else checked.weight.cpu().to(torch.float64)
    start = model.mixture_.shifted(-ground.origin)
    made = []
    each = max(1, BATCH // len(x))
    for at in range(0, many, each):
        drawn = weights(weight, range(at, min(at + each, many)), method, seed)
        which = np.arange(len(drawn))
        fits, _ = weighted_runs(start.take([0] * len(drawn)), which, x, drawn, ground.rule, AUTO_PASSES, Still(LEFT))
        sound = soundness(fits, fits.log_weight.exp() * drawn.sum(1, keepdim=True), land.facts).sound
        made.append(fits.take(sound.nonzero()[:, 0]))
    kept = Record.cat(made)
    if kept.shape[0] < 2:
        raise ValueError(f"No two of the {many} resamples have a sound fit: use fewer components")
    if kept.shape[0] < many:
        warnings.warn(
            f"Of {many} resamples {many - kept.shape[0]} have a fit that is not sound and are left out"
            + (": method='weights' keeps all rows in each." if method == "rows" else "."),
            DegenerateWarning,
            stacklevel=2,
        )
    return Bootstrap(model, kept.shifted(ground.origin), many)


def weights(weight: Float64[Tensor, "N"], numbers: range, method: str, seed: int) -> Float64[Tensor, "B N"]:
    """What each row weighs in some resamples: of the same sum, each drawn from a stream of its own."""
    total, p = float(weight.sum()), (weight / weight.sum()).numpy()
    drawn = []
    for b in numbers:
        generator = stream(seed, "bootstrap", b)
        if method == "rows":
            count = max(1, round(total))
            drawn.append(generator.multinomial(count, p) * (total / count))
        else:
            share = generator.standard_gamma(weight.numpy())
            drawn.append(share * (total / share.sum()))
    return torch.from_numpy(np.stack(drawn).astype(np.float64))


class Bootstrap:
    """Fits to resamples: what :func:`bootstrap` returns.

    Args:
        model: the fitted mixture.
        mixture: the fits, one restart each.
        drawn: how many resamples there were.

    Attributes:
        model_: the fitted mixture.
        n_resamples_: how many resamples were drawn; those whose fit is not sound are left out of what follows.
        weights_: (B, K).
        means_: (B, K, D).
        covariances_: (B, ...), in the shape that the model gives its own.
    """

    def __init__(self, model: GaussianMixture, mixture: Mixture, drawn: int) -> None:
        known, components = structure(model.covariance_type), mixture.shape[1]
        self.model_, self.n_resamples_ = model, drawn
        self.weights_ = mixture.log_weight.exp().numpy()
        self.means_ = mixture.mean.numpy()
        each = [mixture.take(slice(b, b + 1)).covariance for b in range(mixture.shape[0])]
        self.covariances_ = torch.stack([known.publish(one, components, "covariances") for one in each]).numpy()

    def standard_errors(self) -> dict[str, np.ndarray]:
        """Standard deviations over the resamples: ``weights`` (K,), ``means`` (K, D) and ``covariances``."""
        return {name: drawn.std(0, ddof=1) for name, drawn in self._each()}

    def intervals(self, level: Any = 0.95) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Percentile intervals: the lower and upper end for each parameter, by the same names.

        Args:
            level: share of the resamples within.

        Raises:
            ValueError: ``level`` is not between 0 and 1.
        """
        if not isinstance(level, Real) or not 0 < float(level) < 1:
            raise ValueError(f"level={level!r} is not usable: pass a number between 0 and 1, such as 0.95")
        ends = (1 - float(level)) / 2, (1 + float(level)) / 2
        return {name: (np.quantile(drawn, ends[0], 0), np.quantile(drawn, ends[1], 0)) for name, drawn in self._each()}

    def _each(self) -> list[tuple[str, np.ndarray]]:
        return [("weights", self.weights_), ("means", self.means_), ("covariances", self.covariances_)]

    def __repr__(self) -> str:
        components, features = self.means_.shape[1:]
        return f"Bootstrap({len(self.weights_)} resamples, {components} components, {features} features)"
