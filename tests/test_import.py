"""Importing is cheap, and nothing optional is needed for the core."""

import subprocess
import sys

import pytest

import mixtura


def loaded(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    script = f"import sys; before = set(sys.modules); {statement}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_the_package_alone_loads_no_library() -> None:
    assert not loaded("import mixtura") & {"torch", "sklearn", "numpy", "scipy", "jaxtyping"}
    assert not loaded("import mixtura; mixtura.__version__; dir(mixtura)") & {"torch", "sklearn", "numpy"}


OPTIONAL = [
    "matplotlib",
    "pandas",
    "pyarrow",
    "polars",
    "anndata",
    "scanpy",
    "h5py",
    "zarr",
    "flowio",
    "beartype",
    "tqdm",
]


def test_the_estimator_loads_nothing_optional() -> None:
    # scikit-learn itself imports pandas where it is installed, and pandas pyarrow. Saving models loads safetensors.
    theirs = loaded("import torch, sklearn.base, sklearn.cluster")
    assert not (loaded("from mixtura import GaussianMixture") - theirs) & {*OPTIONAL, "safetensors"}


def test_nothing_optional_is_needed() -> None:
    script = f"""
import sys
sys.modules.update(dict.fromkeys({OPTIONAL}))  # any import of them fails now
from mixtura import GaussianMixture
model = GaussianMixture(2).fit([[0.0], [0.1], [0.3], [5.0], [5.2], [5.3]] * 5)
assert model.predict([[0.2], [5.1]]).tolist() == [0, 1]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_serves_anndata_loads_neither_it_nor_scanpy() -> None:
    theirs = loaded("import torch, sklearn.base, sklearn.cluster")
    assert not (loaded("import mixtura; mixtura.scanpy.tl, mixtura.scanpy.mclust_R") - theirs) & set(OPTIONAL)


def test_names() -> None:
    assert set(mixtura.__all__) <= set(dir(mixtura))
    for name in mixtura.__all__:
        assert getattr(mixtura, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Gausian'"):
        mixtura.Gausian  # noqa: B018


@pytest.mark.slow
def test_seconds_of_an_import(capsys: pytest.CaptureFixture) -> None:
    """Prints what the package adds to torch and scikit-learn; a time is never asserted."""

    def seconds(statement: str) -> float:
        script = f"from time import perf_counter as t; a = t(); {statement}; print(t() - a)"
        command = [sys.executable, "-c", script]
        return min(float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(3))

    base, whole = seconds("import torch, sklearn.base"), seconds("from mixtura import GaussianMixture")
    with capsys.disabled():
        print(f"\nimport: torch and sklearn.base {base:.2f} s, GaussianMixture adds {whole - base:.2f} s")  # noqa: T201
