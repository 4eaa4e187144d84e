"""Gaussian mixture models for PyTorch: clustering and density estimation on CPUs and GPUs."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Bootstrap": "mixtura.sure",
    "DegenerateWarning": "mixtura.estimator",
    "Fits": "mixtura.fits",
    "GaussianMixture": "mixtura.estimator",
    "LikelihoodRatio": "mixtura.ratio",
    "Merged": "mixtura.merging",
    "Mixture": "mixtura.mixture",
    "MixtureSearch": "mixtura.select",
    "bootstrap": "mixtura.sure",
    "fit_many": "mixtura.many",
    "likelihood_ratio_test": "mixtura.ratio",
    "load": "mixtura.apps.store",
    "merge": "mixtura.merging",
    "plot": "mixtura.apps",
    "scan": "mixtura.data.scan",
    "scanpy": "mixtura",
}

# Without "scanpy", which `import *` would put in the place of scanpy itself.
__all__ = [
    "Bootstrap",
    "DegenerateWarning",
    "Fits",
    "GaussianMixture",
    "LikelihoodRatio",
    "Merged",
    "Mixture",
    "MixtureSearch",
    "__version__",
    "bootstrap",
    "fit_many",
    "likelihood_ratio_test",
    "load",
    "merge",
    "plot",
    "scan",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use (PEP 562): `import mixtura` alone imports neither torch nor scikit-learn.
    if name not in _HOME:
        raise AttributeError(f"module 'mixtura' has no attribute {name!r}")
    home = import_module(_HOME[name])
    value = vars(home)[name] if name in vars(home) else import_module(f"{_HOME[name]}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
