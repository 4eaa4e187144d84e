"""Subject: the fit that a report is about, and what is known of it."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mixtura.apps import words
from mixtura.apps.clusters import Clusters
from mixtura.apps.doubt import Doubt
from mixtura.apps.plot.shown import array, show
from mixtura.apps.summary import versions
from mixtura.apps.words import Choice


@dataclass(frozen=True, eq=False)
class Fitted:
    """One fit to report.

    ``told`` is what ``summary.json`` holds. All of its keys may be missing; where the model knows better than nothing,
    it is asked. Read are ``input`` (``file``, ``bytes``, ``sha256``), ``rows``, ``columns``, ``columns_left_out``,
    ``id``, ``steps`` (dicts with a ``name``) or ``transform``, ``counts``, ``loglik``, ``bic``, ``aic``, ``icl``,
    ``status``, ``findings``, ``seed``, ``device``, ``threads``, ``counting``, ``versions``, ``call`` (the command or
    the Python call, as text), ``doubt`` (as :meth:`mixtura.apps.doubt.Doubt.told`), ``merging`` (the model's own, with
    ``counts`` and ``doubt`` of the merged clusters) and ``selection``: of a search over models ``criterion``, ``best``
    (a row of the table) and ``table`` (dict of lists); None where the number of components was set beforehand.

    Attributes:
        name: heading.
        model: a fitted or loaded :class:`mixtura.GaussianMixture`.
        told: the summary.
        sample: (n, D) rows as they were fitted, drawn evenly, at most 20,000 or so; pictures are made of them.
        labels: (n,) the component of each of them.
        total: how many rows there are in all.
        notes: how the rows were read, and warnings, a sentence each.
        credit: where the data come from, for every picture; None where nothing need be said.

    Raises:
        ValueError: sample, labels and model do not fit together.
    """

    name: str
    model: Any
    told: dict[str, Any]
    sample: Any
    labels: np.ndarray
    total: int
    notes: Sequence[str] = ()
    credit: str | None = None

    def __post_init__(self) -> None:
        shape, features = tuple(np.shape(self.sample)), self.model.mixture_.shape[2]
        if len(shape) != 2 or shape[1] != features or not shape[0]:
            raise ValueError(f"sample has shape {shape}, expected (n, {features}): rows as the model was fitted to")
        if np.shape(self.labels) != (shape[0],):
            raise ValueError(
                f"labels has shape {np.shape(self.labels)}, expected ({shape[0]},): one for each sample row"
            )
        if self.total < shape[0]:
            raise ValueError(f"total is {self.total}, expected at least the {shape[0]} rows of the sample")

    @cached_property
    def facts(self) -> "Facts":
        """What is known of it."""
        return Facts(self.model, self.told, self.total)

    @cached_property
    def rows(self) -> np.ndarray:
        """(n, D) the sample as an array."""
        shown = show(self.sample, None, None, most=None, seed=0)
        return shown.columns(range(self.facts.features))

    @cached_property
    def unnamed(self) -> Any:
        """The model without the names of its features, so that it takes rows that have none."""
        model = copy.copy(self.model)
        vars(model).pop("feature_names_in_", None)
        return model

    @cached_property
    def doubt(self) -> tuple[dict[str, Any], bool]:
        """The sums of :class:`mixtura.apps.doubt.Doubt`, and whether they are of the sample alone."""
        told = self.told.get("doubt")
        if told is not None:
            return told, False
        found = array(self.unnamed.uncertainty(self.rows))
        return Doubt.of(found).told(), len(found) < self.total


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of a fit: what its summary tells, else what the model knows.

    Attributes:
        model: the fitted estimator.
        told: the summary, which may be empty.
        total: number of rows; None takes the summary's, or the model's.
    """

    model: Any
    told: dict[str, Any]
    total: int | None = None

    @property
    def components(self) -> int:
        """K."""
        return int(self.model.mixture_.shape[1])

    @property
    def features(self) -> int:
        """D."""
        return int(self.model.mixture_.shape[2])

    @property
    def rows(self) -> float | None:
        """How many rows were fitted, if that is known."""
        told, fitted = self.told.get("rows"), getattr(self.model, "_weight", None)
        same = fitted is None or self.told.get("fitted_weight", fitted) == self.told.get("weight", fitted)
        known = told if told is not None and same else fitted
        known = self.total if known is None else known
        return None if known is None else float(known)

    @cached_property
    def names(self) -> list[str]:
        """(D,) names of the features."""
        told = self.told.get("columns")
        return [str(name) for name in told] if told else words.feature_names(self.model)

    @cached_property
    def weights(self) -> list[float]:
        """(K,) shares of the components."""
        found: list[float] = self.model.mixture_.log_weight[0].exp().tolist()
        return found

    @cached_property
    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """(K, D) means and standard deviations; NaN for components of weight 0, whose last place says nothing."""
        mixture = self.model.mixture_.to("cpu")
        mean = mixture.mean[0].numpy().copy()
        sd = np.broadcast_to(mixture.covariance.variances()[0].sqrt().numpy(), mean.shape).copy()
        empty = np.asarray(self.weights) == 0
        mean[empty] = sd[empty] = np.nan
        return mean, sd

    @cached_property
    def counts(self) -> list[float] | None:
        """(K,) rows of each component, if that is known."""
        told = self.told.get("counts")
        if told is not None and len(told) >= self.components:
            return [float(count) for count in told[: self.components]]
        return None if self.rows is None else [weight * self.rows for weight in self.weights]

    @property
    def steps(self) -> list[dict[str, Any]]:
        """What was done to the values before they were fitted."""
        one = self.told.get("transform")
        return list(self.told.get("steps") or ([one] if one else []))

    @cached_property
    def cofactors(self) -> list[float | None]:
        """(D,) c of the features that are fitted as asinh(x / c)."""
        found: list[float | None] = [None] * self.features
        for step in self.steps:
            if step.get("name") == "asinh":
                of = step.get("columns") or self.names
                found = [float(step["cofactor"]) if n in of else c for n, c in zip(self.names, found, strict=True)]
        return found

    @cached_property
    def choice(self) -> Choice | None:
        """The search that the model was chosen by."""
        told = self.told.get("selection")
        return None if told is None else Choice.read(told)

    @cached_property
    def merged(self) -> Clusters | None:
        """The clusters that components were merged into."""
        return Clusters.known(self.model)

    @cached_property
    def findings(self) -> list[dict[str, Any]]:
        """What is wrong with the fit or its data: kind, component, message."""
        told = self.told.get("findings")
        if told is not None:
            return list(told)
        return [finding._asdict() for finding in self.model.diagnose()]

    @property
    def starts(self) -> list[dict[str, Any]]:
        """What every start did; empty where that is not known."""
        return list(getattr(self.model, "starts_", None) or [])

    @property
    def estimated(self) -> bool:
        """The parameters were estimated, and not given."""
        return hasattr(self.model, "loglik_") or hasattr(self.model, "lower_bound_")

    @property
    def status(self) -> str:
        """How the fit ended."""
        return str(self.told.get("status", self.model.status_))

    @property
    def seed(self) -> int | None:
        """The seed of all random draws, if it is known."""
        found = self.told.get("seed", getattr(self.model, "seed_", None))
        return None if found is None else int(found)

    @property
    def versions(self) -> dict[str, str]:
        """The software that made the fit; that at hand where the summary does not tell."""
        return dict(self.told.get("versions") or versions())

    def figure(self, name: str) -> float | None:
        """A number of the summary, if it is there, or of the model."""
        known = {"n_parameters": self.model.n_parameters_, "loglik": getattr(self.model, "loglik_", None)}
        found = self.told.get(name, known.get(name))
        return None if found is None else float(found)
