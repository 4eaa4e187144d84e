"""Convert: fitted mixtures from scikit-learn's estimator and back."""

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from sklearn.mixture import BayesianGaussianMixture
from sklearn.mixture import GaussianMixture as Theirs
from sklearn.utils.validation import check_is_fitted

from mixtura.covariance import Floor, Structure, structure
from mixtura.estimator import GaussianMixture
from mixtura.mixture import Mixture
from mixtura.published import published

G = TypeVar("G", bound=GaussianMixture)

THEIR_STARTS = ("kmeans", "k-means++", "random", "random_from_data")
"""What scikit-learn knows as ``init_params``."""

REPORTED = ("n_features_in_", "feature_names_in_", "converged_", "n_iter_", "lower_bound_", "lower_bounds_")
"""Attributes that mean the same on both sides, where they are there."""


def from_sklearn(model: Any, cls: type[G]) -> G:
    """A fitted estimator of class ``cls``; see :meth:`GaussianMixture.from_sklearn`."""
    if isinstance(model, BayesianGaussianMixture):
        raise TypeError(
            "model is a BayesianGaussianMixture, expected a GaussianMixture: it is a posterior over mixtures, not "
            "one mixture. For that of its point estimates use GaussianMixture.from_parameters(model.weights_, "
            "model.means_, model.covariances_, model.covariance_type)"
        )
    if not isinstance(model, Theirs):
        raise TypeError(f"model is a {type(model).__name__}, expected a fitted sklearn.mixture.GaussianMixture")
    check_is_fitted(model)
    ours = cls.from_parameters(model.weights_, model.means_, model.covariances_, model.covariance_type)
    known = set(cls._get_param_names())
    ours.set_params(**{name: value for name, value in model.get_params(deep=False).items() if name in known})
    ours.set_params(reproduce="sklearn")
    _copy_reports(model, ours)
    ours.status_ = "converged" if ours.converged_ else "max_iter"
    return ours


def to_sklearn(model: GaussianMixture) -> Theirs:
    """A fitted estimator of scikit-learn's; see :meth:`GaussianMixture.to_sklearn`."""
    check_is_fitted(model)
    own = structure(model._structure)
    theirs = structure(own.within)
    mixture = model.mixture_ if theirs.code == own.code else widened(model.mixture_, theirs)
    out = Theirs(**{**their_params(model), "n_components": mixture.shape[1], "covariance_type": theirs.name})
    if theirs.name != own.name:
        out.set_params(precisions_init=None)
    for name, value in published(mixture, theirs).items():
        setattr(out, name, value.numpy().copy())
    _copy_reports(model, out)
    return out


def widened(mixture: Mixture, known: Structure) -> Mixture:
    """The same densities with the matrices of a structure that holds them."""
    restarts, components, features = mixture.shape
    dense = mixture.covariance.dense().expand(-1, components, -1, -1)
    n = torch.ones(restarts, components, dtype=torch.float64)
    unit = known.unit(restarts, components, features)
    return replace(mixture, covariance=unit.nearest(n, dense, Floor()))


def their_params(model: GaussianMixture) -> dict[str, Any]:
    """The parameters that scikit-learn knows, with values that it takes."""
    ours = model.get_params(deep=False)
    known = {name: _numpy(ours[name]) for name in Theirs._get_param_names() if name in ours}
    known = {name: value for name, value in known.items() if not isinstance(value, str) or value != "auto"}
    if known.get("init_params") not in THEIR_STARTS:
        known.pop("init_params", None)
    if isinstance(known["random_state"], np.random.Generator | torch.Generator):
        known["random_state"] = getattr(model, "seed_", None)
    return known


def _numpy(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def _copy_reports(source: Any, target: Any) -> None:
    for name in REPORTED:
        if hasattr(source, name):
            value = getattr(source, name)
            setattr(target, name, value.copy() if isinstance(value, np.ndarray | list) else value)
