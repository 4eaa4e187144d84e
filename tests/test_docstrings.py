"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import inspect

import pytest

import mixtura

PUBLIC = [name for name in mixtura.__all__ if inspect.isclass(getattr(mixtura, name))]


@pytest.mark.parametrize(
    "module",
    [
        "mixtura.estimator",
        "mixtura.fitted",
        "mixtura.merging",
        "mixtura.published",
        "mixtura.ratio",
        "mixtura.select",
        "mixtura.sure",
        "mixtura.apps.store",
        "mixtura.apps.pack",
        "mixtura.apps.distinct",
        "mixtura.apps.doubt",
        "mixtura.apps.report.methods",
        "mixtura.apps.report.page",
        "mixtura.apps.annotate",
        "mixtura.scanpy.dropin",
        "mixtura.scanpy.pl",
        "mixtura.scanpy.results",
        "mixtura.scanpy.tl",
    ],
)
def test_examples_run(module):
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_is_described(name):
    assert {"GaussianMixture", "Mixture", "MixtureSearch", "DegenerateWarning"} <= set(PUBLIC)
    described = getattr(mixtura, name)
    assert inspect.getdoc(described)
    for method, value in vars(described).items():
        if not method.startswith("_") and callable(value):
            assert inspect.getdoc(value), f"{name}.{method}"
