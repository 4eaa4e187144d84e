"""The programs that are compared, each behind the same four methods."""

import importlib
import importlib.metadata
import time
import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
import torch
from workloads import STRUCTURES, Start

RIDGE = 1e-6
"""Added to variances by every program that can."""


class Unavailable(Exception):
    """A program is not here; the message says why."""


class Run(NamedTuple):
    """Seconds of a fit, and where asked for the mean log likelihood of a row at its end, in nats."""

    seconds: float
    loglik: float | None


class Program(ABC):
    """EM for so many passes from a start that is given.

    Args:
        device: where to compute.
    """

    name: ClassVar[str]
    distribution: ClassVar[str]
    """What pip calls it."""
    modules: ClassVar[tuple[str, ...]]
    """What is imported before anything is timed."""
    structures: ClassVar[tuple[str, ...]] = STRUCTURES
    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64")
    peer: ClassVar[bool] = True
    """A peer on PyTorch, which the claims of the table of peers are about."""
    here: ClassVar[bool] = True
    """It computes in this process, whose memory is its."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)

    def version(self) -> str:
        """The version that is installed.

        Raises:
            Unavailable: it cannot be imported.
        """
        try:
            for module in self.modules:
                importlib.import_module(module)
            return importlib.metadata.version(self.distribution)
        except Exception as error:  # a peer's import may fail in any way
            raise Unavailable(f"{type(error).__name__}: {error}".splitlines()[0]) from error

    def run(self, x: Any, start: Start, passes: int, *, score: bool = False) -> Run:
        """Fit ``prepare``d rows; only the fit is timed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._wait()
            begun = time.perf_counter()
            model = self.fit(x, start, passes)
            self._wait()
            seconds = time.perf_counter() - begun
            return Run(seconds, self.loglik(model, x) if score else None)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @abstractmethod
    def prepare(self, x: np.ndarray) -> Any:
        """Rows (N, D), float32 or float64, as this program likes them best."""

    @abstractmethod
    def fit(self, x: Any, start: Start, passes: int) -> Any:
        """A fitted model."""

    @abstractmethod
    def loglik(self, model: Any, x: Any) -> float:
        """Mean log likelihood of a row, in nats."""


class Estimator(Program):
    """A program with scikit-learn's parameters."""

    peer = False

    @abstractmethod
    def make(self, components: int, **given: Any) -> Any:
        """The estimator."""

    def prepare(self, x: np.ndarray) -> Any:
        return x if self.device.type == "cpu" else torch.from_numpy(x).to(self.device)

    def fit(self, x: Any, start: Start, passes: int) -> Any:
        return self.make(
            len(start.weights),
            covariance_type=start.structure,
            tol=0,
            reg_covar=RIDGE,
            max_iter=passes,
            random_state=0,
            weights_init=start.weights,
            means_init=start.means,
            precisions_init=start.precisions,
        ).fit(x)

    def loglik(self, model: Any, x: Any) -> float:
        return float(model.score(x))


@final
class Mixtura(Estimator):
    name, distribution, modules = "mixtura", "mixtura", ("mixtura.estimator",)

    def make(self, components: int, *, max_iter: int, **given: Any) -> Any:
        from mixtura import GaussianMixture

        # An iteration here is a look at the rows: what the last one leads to is seen, and kept, by one more.
        return GaussianMixture(components, max_iter=max_iter + 1, acceleration=None, **given)


@final
class ScikitLearn(Estimator):
    name, distribution, modules = "scikit-learn", "scikit-learn", ("sklearn.mixture",)

    def make(self, components: int, **given: Any) -> Any:
        from sklearn.mixture import GaussianMixture

        return GaussianMixture(components, **given)
