"""Given: parameters that users hand in, checked and made into one restart of a mixture."""

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float64
from sklearn.utils.validation import check_array
from torch import Tensor

from mixtura.covariance import Covariance, NotPositiveDefinite, OtherStructure, Structure
from mixtura.mixture import Mixture


class Given(NamedTuple):
    """Starting parameters, each None where it was not given.

    Attributes:
        weights: (K,), non-negative, summing to 1.
        means: (K, D), in the coordinates of the data.
        covariance: one restart.
    """

    weights: Float64[Tensor, "K"] | None
    means: Float64[Tensor, "K D"] | None
    covariance: Covariance | None

    @property
    def none(self) -> bool:
        """Nothing was given."""
        return all(value is None for value in self)

    @property
    def all(self) -> bool:
        """Everything was given."""
        return all(value is not None for value in self)

    def over(self, mixture: Mixture, origin: Float64[Tensor, "D"]) -> Mixture:
        """The mixture (R = 1, relative to ``origin``) with what was given put in."""
        if self.weights is not None:
            mixture = replace(mixture, log_weight=self.weights.log()[None])
        if self.means is not None:
            mixture = replace(mixture, mean=(self.means - origin)[None])
        if self.covariance is not None:
            mixture = replace(mixture, covariance=self.covariance)
        return mixture


def check_given(
    known: Structure,
    components: int,
    features: int,
    *,
    weights: Any,
    means: Any,
    covariances: Any,
    kind: Any,
) -> Given:
    """Check parameters from users.

    Args:
        known: the covariance structure.
        components: K.
        features: D.
        weights: (K,) or None.
        means: (K, D) or None.
        covariances: in the published shape of the structure, or None.
        kind: ``"covariances"`` or ``"precisions"``: what ``covariances`` holds.

    Raises:
        ValueError: a shape, a range or a matrix is not usable.
    """
    return Given(
        None if weights is None else _weights(weights, components),
        None if means is None else _array(means, (components, features), "means"),
        None if covariances is None else _covariance(known, covariances, components, features, kind),
    )


def _array(value: Any, shape: tuple[int, ...], name: str) -> Tensor:
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    array = np.asarray(
        check_array(np.atleast_1d(value), dtype=np.float64, ensure_2d=False, allow_nd=True, input_name=name)
    )
    array = array.reshape(np.shape(value))
    if array.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}: "
            "check n_components, covariance_type and the columns of X"
        )
    return torch.from_numpy(array.copy())


def _weights(value: Any, components: int) -> Tensor:
    weights = _array(value, (components,), "weights")
    low, high, total = float(weights.min()), float(weights.max()), float(weights.sum())
    if low < 0 or high > 1:
        raise ValueError(
            f"The parameter 'weights' should be in the range [0, 1], but got max value {high:.5f}, "
            f"min value {low:.5f}: they are shares, so divide them by their sum"
        )
    single = getattr(value, "dtype", None) in (np.float32, torch.float32)
    if not math.isclose(total, 1, rel_tol=0, abs_tol=1e-6 if single else 1e-8):
        raise ValueError(
            f"The parameter 'weights' should be normalized, but got sum(weights) = {total:.5f}: "
            "divide them by their sum"
        )
    return weights / weights.sum() if single else weights


def _covariance(known: Structure, value: Any, components: int, features: int, kind: Any) -> Covariance:
    what = f"{known.name} {'precision' if kind == 'precisions' else 'covariance'}"
    array = _array(value, known.published_shape(components, features), what)
    try:
        return known.adopt(array, components, features, kind)
    except NotPositiveDefinite as error:
        raise ValueError(f"'{what}' {error}: symmetrise it, or add a small multiple of the identity") from None
    except OtherStructure as error:
        raise ValueError(
            f"'{what}' {error}, {known.about}: pass such matrices, or use covariance_type='full', which holds any"
        ) from None
