"""Frame: rows of arrays, lists and tensors, their columns named by index."""

from dataclasses import replace
from typing import Any

import numpy as np

from mixtura.data.array import Array
from mixtura.data.base import Source
from mixtura.data.columns import Wanted
from mixtura.data.stream import working


def open_source(data: Any, wanted: Wanted) -> Source:
    """A two-dimensional array in memory; nothing of it is copied unless columns are chosen.

    Raises:
        NoColumn: there is no such column.
        ValueError: it is not a table of real numbers.
    """
    x = working(data.detach()) if hasattr(data, "detach") else _array(data)
    shape = tuple(x.shape)
    if len(shape) != 2 or not all(shape):
        raise ValueError(f"the data have shape {shape}, expected (N, D): rows and columns, at least one of each")
    have = [str(j) for j in range(shape[1])]
    about = replace(wanted.of(have, "the array"), named=False)
    assert about.names is not None
    at = [int(name) for name in about.names]
    features = x if at == list(range(shape[1])) else x[:, at]
    weight = None if about.weight is None else x[:, int(about.weight)]
    named = None if about.id is None else x[:, int(about.id)]
    ids = None if named is None else np.asarray(named.cpu() if hasattr(named, "cpu") else named)
    return Array(features, weight, ids, about)


def _array(data: Any) -> Any:
    if hasattr(data, "__dlpack__") and not hasattr(data, "__array__"):
        import torch.utils.dlpack

        return working(torch.utils.dlpack.from_dlpack(data))
    x = np.asarray(data)
    if x.dtype.kind not in "fiub":
        raise ValueError(f"the data have dtype {x.dtype}, expected real numbers: convert them with astype(float)")
    return x if x.dtype in (np.float64, np.float32) else x.astype(np.float64)
