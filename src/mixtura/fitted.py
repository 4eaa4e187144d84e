"""Fitted: what every fitted mixture estimator can say about rows."""

from abc import ABC, abstractmethod
from functools import cache
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from mixtura import levels
from mixtura.criteria import Figures, aic, bic, icl
from mixtura.draws import seed_of
from mixtura.impute import imputed
from mixtura.inputs import Checked, Kind, check
from mixtura.mixture import Mixture
from mixtura.scoring import Scores
from mixtura.sourced import gathered


class FittedMixture(DensityMixin, BaseEstimator, ABC):
    """Methods of an estimator that holds ``mixture_`` and knows the kind of data it was fitted on."""

    mixture_: Mixture
    _kind: Kind
    n_features_in_: int
    seed_: int
    device: Any
    random_state: Any

    @classmethod
    @cache
    def _get_param_names(cls) -> list[str]:
        # scikit-learn reads the signature anew every time, which takes longer than a step of EM on few rows.
        return super()._get_param_names()

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "mixture_")

    @abstractmethod
    def _card(self) -> str:
        """What was fitted, in HTML."""

    @property
    @abstractmethod
    def _takes_gaps(self) -> bool:
        """NaN is a missing entry, not an error."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._takes_gaps
        return tags

    def _repr_html_inner(self) -> str:
        # scikit-learn's diagram, and what was fitted below it.
        diagram = super()._repr_html_inner()
        if not self.__sklearn_is_fitted__():
            return diagram
        before, end, after = diagram.rpartition("</body>")
        return f"{before}{self._card()}{end}{after}" if end else diagram + self._card()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/html": self._repr_html_inner()} if "text/html" in bundle else bundle

    def _scores(self, X: Any, sample_weight: Any = None) -> tuple[Scores, Checked]:
        check_is_fitted(self)
        checked = check(self, X, reset=False, sample_weight=sample_weight, gaps=self._takes_gaps)
        return self._score_checked(checked), checked

    def _score_checked(self, checked: Checked) -> Scores:
        device = place(self.device, checked.kind)
        return Scores(self.mixture_, checked.source, checked.kind.dtype, device, checked.gaps)

    def predict(self, X: Any) -> Any:
        """The component with the largest posterior probability, for each row.

        Args:
            X: (N, D) rows.

        Returns:
            (N,) integers 0 … K−1.
        """
        scores, checked = self._scores(X)
        return checked.kind.give_labels(scores.labels())

    def predict_proba(self, X: Any) -> Any:
        """Posterior probabilities of the components, for each row.

        Args:
            X: (N, D) rows.

        Returns:
            (N, K), rows sum to 1.
        """
        scores, checked = self._scores(X)
        return checked.kind.give(scores.posteriors())

    def score_samples(self, X: Any) -> Any:
        """Log density of each row, in nats.

        Args:
            X: (N, D) rows.

        Returns:
            (N,) log densities.
        """
        scores, checked = self._scores(X)
        return checked.kind.give(scores.log_density())

    def uncertainty(self, X: Any) -> Any:
        """1 − the largest posterior probability, for each row: 0 is certain.

        Args:
            X: (N, D) rows.

        Returns:
            (N,) numbers from 0 to 1 − 1/K.
        """
        scores, checked = self._scores(X)
        return checked.kind.give(0.0 - scores.log_best().expm1())

    def impute(self, X: Any) -> Any:
        """The rows with their gaps filled: by the mean of what is missing given what is observed.

        Σₖ p(k | observed) E[missing | observed, k]; needs ``missing="em"``, else there are no gaps. A row without any
        value gets the mean of the mixture.

        Args:
            X: (N, D) rows, NaN where an entry is missing.

        Returns:
            (N, D), what was observed as it is.

        Examples:
            >>> from mixtura import GaussianMixture
            >>> gm = GaussianMixture.from_parameters([0.5, 0.5], [[0, 0], [8, 6]], [[1, 1], [1, 1]], "diag")
            >>> gm.set_params(missing="em").impute([[0.1, float("nan")], [float("nan"), 6.2], [8.3, 5.9]]).round(3)
            array([[0.1, 0. ],
                   [8. , 6.2],
                   [8.3, 5.9]])
        """
        scores, checked = self._scores(X)
        return checked.kind.give(imputed(self.mixture_, checked.source, scores.rows.home))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Mean log density of the rows, in nats, weighted.

        Args:
            X: (N, D) rows.
            y: ignored.
            sample_weight: (N,) row weights; None counts every row once.
        """
        total, weight = self._log_likelihood(X, sample_weight)
        return total / weight

    def _log_likelihood(self, X: Any, sample_weight: Any) -> tuple[float, float]:
        scores, checked = self._scores(X, sample_weight)
        return weighed(scores.log_density(), checked.weight)

    @property
    def n_parameters_(self) -> int:
        """Free parameters: weights, means and covariances."""
        check_is_fitted(self)
        return self.mixture_.n_parameters()

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """Bayesian information criterion, −2 log L + p log n; lower is better (Schwarz 1978).

        Args:
            X: (N, D) rows.
            sample_weight: (N,) row weights; n is their sum.
        """
        total, weight = self._log_likelihood(X, sample_weight)
        return bic(Figures(total, self.n_parameters_, weight))

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Akaike information criterion, −2 log L + 2 p; lower is better (Akaike 1974).

        Args:
            X: (N, D) rows.
            sample_weight: (N,) row weights.
        """
        total, weight = self._log_likelihood(X, sample_weight)
        return aic(Figures(total, self.n_parameters_, weight))

    def icl(self, X: Any, sample_weight: Any = None) -> float:
        """Integrated completed likelihood, BIC − 2 Σ w log max p(k | x); lower is better (Biernacki et al. 2000).

        Args:
            X: (N, D) rows.
            sample_weight: (N,) row weights.
        """
        scores, checked = self._scores(X, sample_weight)
        weight = checked.weight
        total, rows = weighed(scores.log_density(), weight)
        best, _ = weighed(scores.log_best(), weight)
        return icl(Figures(total, self.n_parameters_, rows, best))

    def icl_entropy(self, X: Any, sample_weight: Any = None) -> float:
        """ICL in its soft form, BIC − 2 Σ w Σ p(k | x) log p(k | x); lower is better (Biernacki et al. 2000).

        Args:
            X: (N, D) rows.
            sample_weight: (N,) row weights.
        """
        scores, checked = self._scores(X, sample_weight)
        total, rows = weighed(scores.log_density(), checked.weight)
        doubt, _ = weighed(scores.entropy(), checked.weight)
        return bic(Figures(total, self.n_parameters_, rows)) + 2 * doubt

    def sample(self, n_samples: int = 1, random_state: Any = None, shuffle: bool = False) -> tuple[Any, Any]:
        """Random rows from the mixture.

        Args:
            n_samples: how many, at least 1.
            random_state: a seed or generator; None uses the estimator's ``random_state``.
            shuffle: return the rows in random order instead of sorted by component.

        Returns:
            (n_samples, D) rows and (n_samples,) labels.

        Raises:
            ValueError: ``n_samples`` is below 1.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample.")
        given = self.random_state if random_state is None else random_state
        generator = np.random.default_rng(seed_of(given))
        weight = self.mixture_.log_weight[0].exp().numpy()
        counts = generator.multinomial(n_samples, weight / weight.sum())
        labels = torch.from_numpy(np.repeat(np.arange(len(counts)), counts))
        if shuffle:
            labels = labels[torch.from_numpy(generator.permutation(n_samples))]
        noise = torch.from_numpy(generator.standard_normal((n_samples, self.mixture_.shape[2])))
        rows = self.mixture_.draw(labels, noise)
        return self._kind.give(rows), self._kind.give_labels(labels)

    def cdf(self, X: Any) -> Any:
        """P(X ≤ x) for every row, of a mixture of one feature.

        Args:
            X: (N, 1) rows.

        Returns:
            (N,) between 0 and 1.

        Raises:
            ValueError: the mixture has more than one feature.

        Examples:
            >>> from mixtura import GaussianMixture
            >>> gm = GaussianMixture.from_parameters([0.5, 0.5], [[-1.0], [1.0]], [1.0, 1.0], "spherical")
            >>> gm.cdf([[0.0]]).round(3).tolist()
            [0.5]
        """
        self._one_feature("cdf")
        checked = check(self, X, reset=False)
        x = torch.from_numpy(gathered(checked.source).astype(np.float64))[:, 0]
        return checked.kind.give(levels.below(self.mixture_, x))

    def quantile(self, probability: Any) -> Any:
        """The value that a share of a mixture of one feature lies below: the inverse of :meth:`cdf`.

        Args:
            probability: a number or an array of numbers, 0 … 1.

        Returns:
            Numbers in the same shape; −∞ of 0 and ∞ of 1.

        Raises:
            ValueError: the mixture has more than one feature, or a number is not within 0 and 1.

        Examples:
            >>> from mixtura import GaussianMixture
            >>> gm = GaussianMixture.from_parameters([0.5, 0.5], [[-1.0], [1.0]], [1.0, 1.0], "spherical")
            >>> gm.quantile([0.9, 0.975]).round(2).tolist()
            [1.85, 2.65]
        """
        self._one_feature("quantile")
        p = np.asarray(probability, dtype=np.float64)
        if not ((p >= 0) & (p <= 1)).all():
            raise ValueError(f"probability={probability!r} is not usable: give numbers between 0 and 1")
        found = (
            levels.quantile(self.mixture_, torch.from_numpy(np.atleast_1d(p).ravel().copy())).numpy().reshape(p.shape)
        )
        return found if p.ndim else float(found)

    def _one_feature(self, name: str) -> None:
        check_is_fitted(self)
        if (features := self.mixture_.shape[2]) != 1:
            raise ValueError(
                f"{name} is of one feature, but the mixture has {features}: fit a column alone, or use score_samples"
            )

    def highest_density(self, probability: Any = 0.95, n_samples: int = 100_000, random_state: Any = None) -> float:
        """The log density above which a share of the mixture lies: where its highest-density region ends.

        A row is within the region where ``score_samples`` is at least this. Found from random rows of the mixture
        (Hyndman 1996, The American Statistician 50, 120–126): the share that it leaves is within about
        √(p (1 − p) / n_samples) of what is asked for.

        Args:
            probability: share of the mixture within the region.
            n_samples: random rows to draw.
            random_state: a seed or generator; None uses the estimator's ``random_state``.

        Returns:
            The log density, in nats.

        Raises:
            ValueError: ``probability`` is not between 0 and 1, or ``n_samples`` is below 1.

        Examples:
            >>> from mixtura import GaussianMixture
            >>> gm = GaussianMixture.from_parameters([1.0], [[0.0]], [1.0], "spherical")
            >>> round(gm.highest_density(0.95, random_state=0), 1)  # the log density of N(0, 1) at ±1.96
            -2.8
        """
        if not 0 < probability < 1:
            raise ValueError(f"probability={probability!r} is not usable: pass a number between 0 and 1, such as 0.95")
        rows, _ = self.sample(n_samples, random_state)
        density = self.score_samples(rows)
        density = density.cpu().numpy() if isinstance(density, Tensor) else np.asarray(density)
        return float(np.quantile(density.astype(np.float64), 1 - probability))


def weighed(values: Tensor, weight: Tensor | None) -> tuple[float, float]:
    """Σ w v over rows of positive weight, and Σ w; float64, in nats where the values are."""
    values = values.cpu().to(torch.float64)
    if weight is None:
        return float(values.sum()), float(len(values))
    return float(values[weight > 0] @ weight[weight > 0]), float(weight.sum())


def place(device: Any, kind: Kind) -> torch.device:
    """Where to compute: as asked, else where the data are.

    Raises:
        ValueError: there is no such device.
    """
    if device is None:
        return kind.device or torch.device("cpu")
    if device == "auto":
        best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(best)
    try:
        found = torch.device(device)
        found = torch.empty(0, device=found).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={device!r} cannot be used here ({reason}); use None, 'auto' or 'cpu'") from None
    return found
