"""Nothing global changes: random states, threads, precision flags, warnings, default dtype."""

import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comparison.sets import load

import mixtura
from mixtura import GaussianMixture, MixtureSearch


def state() -> dict[str, Any]:
    """What a library could change behind the user's back."""
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "numpy": (name, keys.tolist(), position, has_gauss, cached),
        "torch": torch.random.get_rng_state().tolist(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "matmul precision": torch.get_float32_matmul_precision(),
        "tf32": (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "benchmark": torch.backends.cudnn.benchmark,
        "dtype": torch.get_default_dtype(),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "warnings": list(warnings.filters),
        "errors": np.geterr(),
        "print": np.get_printoptions(),
    }


def model(**params: Any) -> GaussianMixture:
    return GaussianMixture(2, **{"random_state": 0, "n_init": 2, **params})


X = load("faithful")

WORK: dict[str, Callable[[], Any]] = {
    "fit": lambda: model().fit(X),
    "fit without a seed": lambda: model(random_state=None).fit(X),
    "fit a tensor": lambda: model().fit(torch.tensor(X, dtype=torch.float32)),
    "fit from random rows": lambda: model(init_params="random_from_data", random_state=None).fit(X),
    "fit as scikit-learn": lambda: GaussianMixture.sklearn_defaults(2, random_state=0).fit(X),
    "predict": lambda: model().fit(X).predict_proba(X),
    "score": lambda: model().fit(X).bic(X),
    "search": lambda: MixtureSearch((1, 2), "tied", estimator=model(random_state=None, init_params="kmeans")).fit(X),
    "relabel": lambda: model().fit(X).relabel(like=model(covariance_type="diag").fit(X)),
    "summary": lambda: model().fit(X).summary() + model().fit(X)._repr_html_(),
    "sample": lambda: model(random_state=None).fit(X).sample(10, shuffle=True),
    "sample with a seed": lambda: model().fit(X).sample(10, random_state=3),
    "save and load": lambda: saved(),
    "scikit-learn's and back": lambda: GaussianMixture.from_sklearn(model().fit(X).to_sklearn()),
    "a degenerate fit": lambda: model().fit(np.ones((20, 2))),
    "a failing fit": lambda: failing(),
}


def saved() -> None:
    with tempfile.TemporaryDirectory() as directory:
        model().fit(X).save(Path(directory) / "m.safetensors")
        mixtura.load(Path(directory) / "m.safetensors").predict(X)


def failing() -> None:
    with pytest.raises(ValueError, match="NaN"):
        model().fit(np.full((9, 2), np.nan))


@pytest.mark.parametrize("name", WORK)
@pytest.mark.filterwarnings("ignore")
def test_work_leaves_global_state_alone(name: str) -> None:
    WORK[name]()  # what torch and scikit-learn set up once is theirs
    before = state()
    WORK[name]()
    assert state() == before


@pytest.mark.parametrize("name", ["fit", "predict", "sample with a seed"])
def test_global_state_changes_nothing(name: str) -> None:
    def result() -> np.ndarray:
        found = WORK[name]()
        return found.means_ if name == "fit" else found[0] if isinstance(found, tuple) else found

    want, threads = result(), torch.get_num_threads()
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(result(), want)
    torch.set_default_dtype(torch.float64)
    try:
        np.testing.assert_array_equal(result(), want)
        with torch.inference_mode():
            np.testing.assert_array_equal(result(), want)
        torch.set_num_threads(1)
        # Sums may be split over threads in another way.
        np.testing.assert_allclose(result(), want, rtol=1e-9, atol=1e-12)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)


def test_import_leaves_global_state_alone() -> None:
    script = """
import warnings, logging
import numpy as np, torch, sklearn.base, sklearn.mixture
def state():
    return (np.random.get_state()[1].tolist(), np.random.get_state()[2], torch.random.get_rng_state().tolist(),
            torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.get_default_dtype(),
            torch.backends.cuda.matmul.allow_tf32, list(warnings.filters), np.geterr(), logging.getLogger().level,
            len(logging.getLogger().handlers))
before = state()
from mixtura import GaussianMixture, Mixture
import mixtura.covariance
assert state() == before
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
