"""One suite, any device and precision: ``pytest --device cuda --dtype float32``; ``lazy`` is a device that pretends."""

import os
from collections.abc import Iterator
from pathlib import Path

# Tests run side by side, one thread each: idle threads that spin would slow each other down many times over.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import jaxtyping
import pretend
import pytest
import torch

# Shapes in the annotations of mixtura are checked on every call while testing.
jaxtyping.install_import_hook("mixtura", "beartype.beartype")

UNCHECKED = (
    "comparison/test_mclust",
    "comparison/test_sklearn_blackbox",
    "comparison/test_sklearn_live",
    "test_cli",
    "test_commands",
    "test_convert",
    "test_device",
    "test_estimator",
    "test_examples",
    "test_h5ad",
    "test_hard",
    "test_impute",
    "test_inputs",
    "test_native_runs",
    "test_plot",
    "test_properties",
    "test_relabel",
    "test_sample",
    "test_scanpy",
    "test_select",
    "test_sklearn_contract",
    "test_store",
    "test_summary",
)
"""Suites that make hundreds of whole fits, which checks slow down severalfold; the others call every function."""


@pytest.fixture(autouse=True)
def _shapes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check shapes, but in the suites above."""
    here = request.path.relative_to(Path(__file__).parent).with_suffix("").as_posix()
    jaxtyping.config.update("jaxtyping_disable", here in UNCHECKED)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="device on which rows are counted")
    parser.addoption("--dtype", default="float64", choices=["float64", "float32"], help="working precision of rows")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> Iterator[torch.device]:
    name = request.config.getoption("--device")
    if name == pretend.NAME:
        with pretend.Pretend():
            yield torch.device(name, 0)
        return
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        pytest.skip(f"SKIPPED: device {name} is not here ({error})")
    yield torch.device(name)


@pytest.fixture(scope="session")
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return getattr(torch, request.config.getoption("--dtype"))
