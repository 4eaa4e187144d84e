"""One suite, any device and precision: ``pytest --device cuda --dtype float32``."""

import importlib.util
import os

# Tests run side by side, one thread each: idle threads that spin would slow each other down many times over.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import pytest
import torch

# Shapes in the annotations of mixtura are checked on every call while testing.
if importlib.util.find_spec("beartype") is not None:
    from jaxtyping import install_import_hook

    install_import_hook("mixtura", "beartype.beartype")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="device on which rows are counted")
    parser.addoption("--dtype", default="float64", choices=["float64", "float32"], help="working precision of rows")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    name = request.config.getoption("--device")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        pytest.skip(f"SKIPPED: device {name} is not here ({error})")
    return torch.device(name)


@pytest.fixture(scope="session")
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return getattr(torch, request.config.getoption("--dtype"))
