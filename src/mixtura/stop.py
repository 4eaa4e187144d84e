"""Stop: when a restart is still."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch


@runtime_checkable
class Stop(Protocol):
    """When a restart is still."""

    def __call__(self, bounds: list[np.ndarray], weight: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Which restarts may stop, from the last bounds (newest last), the sum of weights and the rounding noise.

        All are (R,) arrays of NumPy, whose calls on a few numbers are cheaper than torch's.
        """

    def enough(self, weight: Any) -> Any:
        """A gain of a pass, in nats, that is worth judging by: (R,), of the kind of ``weight``, NumPy's or a tensor."""


SWINGS = 12
"""Passes in which a bound that only swings is recognised."""


class Still(NamedTuple):
    """Stop when what is left to gain is negligible, by Aitken's extrapolation (Böhning et al. 1994).

    With gains g and their ratio a = g_t / g_{t−1}, EM converges linearly and has g a / (1 − a) left to gain. Both
    this and the last two gains must be within ``per_row`` nats a row: two, since with a ridge the bound may turn.
    Two passes that together move the bound no more than the rounding noise end a fit too, however it swings; and so do
    ``SWINGS`` passes that stay between the bounds of as many passes before: in single precision rounding may send a
    fit around in a circle.
    """

    per_row: float = 1e-7

    def enough(self, weight: Any) -> Any:
        return self.per_row * weight

    def __call__(self, bounds: list[np.ndarray], weight: np.ndarray, noise: np.ndarray) -> np.ndarray:
        if len(bounds) < 3:
            return np.zeros(len(weight), dtype=bool)
        first, second, third = bounds[-3:]
        gain, before, enough = third - second, second - first, self.per_row * weight
        quiet = np.abs(third - first) <= noise
        small = np.maximum(np.abs(gain), np.abs(before)) <= enough
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = gain / before
            left = np.where(ratio < 1, np.abs(gain * ratio / (1 - ratio)), np.inf)
        return quiet | (small & (left <= enough)) | swinging(bounds, noise)


def swinging(bounds: list[np.ndarray], noise: np.ndarray) -> np.ndarray:
    """Which of the last ``SWINGS`` bounds are neither above nor below as many before."""
    if len(bounds) < 2 * SWINGS:
        return np.zeros(len(noise), dtype=bool)
    before, last = np.stack(bounds[-2 * SWINGS : -SWINGS]), np.stack(bounds[-SWINGS:])
    return (last.max(0) <= before.max(0) + noise) & (last.min(0) >= before.min(0) - noise)


class Gain(NamedTuple):
    """scikit-learn's test: stop when the mean log likelihood changes by less than ``tol``.

    Attributes:
        tol: nats a row.
        previous: the mean log likelihood that an earlier fit ended with, compared with the first pass.
    """

    tol: float
    previous: float | None = None

    def enough(self, weight: Any) -> Any:
        return self.tol * weight

    def __call__(self, bounds: list[np.ndarray], weight: np.ndarray, noise: np.ndarray) -> np.ndarray:
        if len(bounds) > 1:
            before = bounds[-2] / weight
        else:
            before = np.full_like(weight, -np.inf if self.previous is None else self.previous)
        return np.abs(bounds[-1] / weight - before) < self.tol


def rounding_noise(bound: np.ndarray, weight: np.ndarray, dtype: torch.dtype) -> np.ndarray:
    """How far a bound of this size may jitter from rounding, in nats."""
    return torch.finfo(dtype).eps * (np.abs(bound) + weight)
