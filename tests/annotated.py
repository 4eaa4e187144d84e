"""AnnData of the tests: made, written and read where anndata and pandas know each other's strings."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import numpy as np
import pandas as pd


@contextmanager
def plain_strings() -> Iterator[None]:
    """Strings as objects: anndata before 0.13 does not write those of pandas 3."""
    old = tuple(map(int, version("anndata").split(".")[:2])) < (0, 13)
    if int(pd.__version__.split(".")[0]) < 3 or not old:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = pd.get_option("future.infer_string")
        pd.set_option("future.infer_string", False)
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pd.set_option("future.infer_string", before)


def annotated(X: np.ndarray, names: list[str], **columns: object) -> "object":
    """An AnnData with X, columns of obs, and the names of its cells."""
    import anndata

    obs = pd.DataFrame(columns, index=pd.Index(names, dtype=object))
    var = pd.DataFrame(index=pd.Index(list("abcdefghijklmnopqrstuvwxyz")[: X.shape[1]], dtype=object))
    return anndata.AnnData(X, obs=obs, var=var)
