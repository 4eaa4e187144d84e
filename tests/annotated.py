"""AnnData of the tests."""

import numpy as np
import pandas as pd


def annotated(X: np.ndarray, names: list[str], **columns: object) -> "object":
    """An AnnData with X, columns of obs, and the names of its cells."""
    import anndata

    obs = pd.DataFrame(columns, index=pd.Index(names, dtype=object))
    var = pd.DataFrame(index=pd.Index(list("abcdefghijklmnopqrstuvwxyz")[: X.shape[1]], dtype=object))
    return anndata.AnnData(X, obs=obs, var=var)
