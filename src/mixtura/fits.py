"""Fits: what fitting many mixtures gives, as arrays over all and as one estimator each."""

import math
from collections.abc import Hashable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixtura.covariance import structure
from mixtura.criteria import Figures, aic, bic
from mixtura.estimator import GaussianMixture
from mixtura.inputs import Kind
from mixtura.mixture import Mixture
from mixtura.sound import Finding


class Fits:
    """Many fitted mixtures with the same number of components, structure and features.

    ``fits[3]`` or ``fits["name"]`` is one of them as a fitted :class:`GaussianMixture`; iteration gives all.

    Attributes:
        names: (G,), what each group is called: its key, or its place.
        n_components: K.
        covariance_type: the structure.
        mixture_: the immutable :class:`Mixture` of all groups, one restart each.
        loglik_: (G,), Σ w log p(x) of each group's rows, in nats; NaN where the fit failed.
        weight_: (G,), sum of row weights: the number of rows where none are given.
        n_iter_: (G,), iterations.
        converged_: (G,).
        status_: (G,), ``"converged"``, ``"max_iter"``, ``"degenerate"`` or ``"failed"``.
        weights_: (G, K).
        means_: (G, K, D).
    """

    def __init__(
        self,
        names: list[Any],
        covariance_type: str,
        mixture: Mixture,
        loglik: np.ndarray,
        weight: np.ndarray,
        passes: np.ndarray,
        still: np.ndarray,
        status: np.ndarray,
        findings: dict[int, list[Finding]],
        kind: Kind,
        labels: np.ndarray | None,
    ) -> None:
        self.names, self.covariance_type = names, covariance_type
        self.n_components = mixture.shape[1]
        self.mixture_, self._findings, self._kind, self._labels = mixture, findings, kind, labels
        self.loglik_, self.weight_, self.n_iter_, self.converged_, self.status_ = loglik, weight, passes, still, status
        self.weights_ = kind.give(mixture.log_weight.exp(), frozen=True)
        self.means_ = kind.give(mixture.mean, frozen=True)

    @cached_property
    def covariances_(self) -> Any:
        """(G, ...), in the shape that :class:`GaussianMixture` gives this structure."""
        known = structure(self.covariance_type)
        each = [known.publish(self._one(i).covariance, self.n_components, "covariances") for i in range(len(self))]
        return self._kind.give(torch.stack(each), frozen=True)

    @cached_property
    def _places(self) -> dict[Any, int]:
        return {name: i for i, name in enumerate(self.names)}

    def _one(self, i: int) -> Mixture:
        return self.mixture_.take(slice(i, i + 1))

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[GaussianMixture]:
        return (self._model(i) for i in range(len(self)))

    def __getitem__(self, key: Any) -> GaussianMixture:
        """The fit of one group, by its name or, where there are no names, by its place."""
        if isinstance(key, Hashable) and key in self._places:
            return self._model(self._places[key])
        if isinstance(key, int | np.integer) and self.names == list(range(len(self))) and -len(self) <= key < len(self):
            return self._model(int(key) % len(self))
        raise KeyError(f"{key!r} is no group: names has {len(self)}, from {self.names[0]!r} to {self.names[-1]!r}")

    def _model(self, i: int) -> GaussianMixture:
        if self.status_[i] == "failed":
            raise ValueError(f"the fit of group {self.names[i]!r} failed: it has too few rows, or nothing fits them")
        model = GaussianMixture(self.n_components, covariance_type=self.covariance_type)
        model.n_features_in_ = self.mixture_.shape[2]
        if self._labels is not None:
            model.feature_names_in_ = self._labels
        model._publish(self._one(i), self._kind, self.covariance_type)
        model._findings, model._weight = self._findings.get(i, []), float(self.weight_[i])
        model.loglik_ = model.bound_ = float(self.loglik_[i])
        model.lower_bound_ = model.loglik_ / model._weight
        model.n_iter_, model.converged_ = int(self.n_iter_[i]), bool(self.converged_[i])
        model.status_ = str(self.status_[i])
        return model

    def bic(self) -> np.ndarray:
        """(G,), the Bayesian information criterion of each fit on its own rows; lower is better (Schwarz 1978)."""
        return self._criterion(bic)

    def aic(self) -> np.ndarray:
        """(G,), the Akaike information criterion of each fit on its own rows; lower is better (Akaike 1974)."""
        return self._criterion(aic)

    def _criterion(self, criterion: Any) -> np.ndarray:
        parameters = self.mixture_.n_parameters()
        each = zip(self.loglik_.tolist(), self.weight_.tolist(), strict=True)
        return np.array([criterion(Figures(b, parameters, w)) if w > 0 else math.nan for b, w in each])

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row for each group: rows, log-likelihood, criteria, status, weights and means.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("to_frame needs pandas: pip install pandas") from None
        columns: dict[str, Any] = {
            "n": self.weight_,
            "loglik": self.loglik_,
            "bic": self.bic(),
            "aic": self.aic(),
            "status": self.status_,
            "n_iter": self.n_iter_,
        }
        weights, means = (t.cpu().numpy() if isinstance(t, Tensor) else t for t in (self.weights_, self.means_))
        labels = range(means.shape[2]) if self._labels is None else self._labels
        for k in range(self.n_components):
            columns[f"weight_{k}"] = weights[:, k]
            for j, label in enumerate(labels):
                columns[f"mean_{k}_{label}"] = means[:, k, j]
        return pandas.DataFrame(columns, index=pandas.Index(self.names, name="group"))

    def __repr__(self) -> str:
        count = ", ".join(f"{int((self.status_ == s).sum())} {s}" for s in sorted(set(self.status_.tolist())))
        return (
            f"Fits({len(self)} groups, {self.n_components} components, {self.mixture_.shape[2]} features, "
            f"{self.covariance_type}: {count})"
        )
