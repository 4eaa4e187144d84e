"""Cells: which rows of an AnnData a fit sees, and how much each of them counts."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixtura.data.annotated import USUAL, obs_column, rows_of
from mixtura.data.base import Source
from mixtura.data.columns import Wanted


@dataclass(frozen=True)
class Batches:
    """To which batch each cell belongs.

    Attributes:
        names: (B,) of the batches.
        codes: (n,) the batch of each cell that is used.
    """

    names: list[str]
    codes: np.ndarray


@dataclass(frozen=True)
class Cells:
    """Cells of an AnnData, ready to be fitted.

    Attributes:
        total: how many the AnnData has.
        source: the rows of those that are used, with their weights.
        use: (total,) which are used; None is all.
        batches: of those that are used; None where none were named.
    """

    total: int
    source: Source
    use: np.ndarray | None
    batches: Batches | None

    def spread(self, values: np.ndarray, lacking: Any) -> np.ndarray:
        """Values of the cells that are used among all of them; ``lacking`` stands for the others."""
        if self.use is None:
            return values
        found = np.full((self.total, *values.shape[1:]), lacking, dtype=values.dtype)
        found[self.use] = values
        return found


def select(
    adata: Any,
    use_rep: str | None,
    n_dims: int | None = None,
    layer: str | None = None,
    mask_obs: Any = None,
    batch_key: str | None = None,
    sample_weight: Any = None,
    columns: Any = None,
) -> Cells:
    """The cells to fit; the arguments are those of :func:`mixtura.scanpy.tl.gaussian_mixture`, and names of columns.

    Raises:
        NoColumn: a matrix or a column is not there.
        ValueError: one cannot be used.
        TypeError: ``adata`` is no AnnData.
    """
    check_annotated(adata)
    # The usual matrix gives way to a layer, but one that was named does not.
    use_rep = None if layer is not None and use_rep == USUAL else use_rep
    wanted = Wanted(None if columns is None else tuple(columns), use_rep=use_rep, layer=layer, n_dims=n_dims)
    use = mask(adata, mask_obs)
    weight = given_weight(adata, sample_weight)
    if weight is not None and use is not None:
        weight = weight[use]
    batches = None if batch_key is None else batches_of(adata, batch_key, use)
    if batches is not None:
        weight = level(batches, np.ones(len(batches.codes)) if weight is None else weight)
    source = rows_of(adata, wanted, use=use, weight=weight)
    return Cells(int(adata.n_obs), source, use, batches)


def check_annotated(adata: Any) -> None:
    """Complain of what is no AnnData.

    Raises:
        TypeError: it is something else.
    """
    if not all(hasattr(adata, name) for name in ("obs", "obsm", "uns", "n_obs")):
        raise TypeError(f"adata is a {type(adata).__name__}, expected an AnnData: read one with anndata.read_h5ad")


def mask(adata: Any, mask_obs: Any) -> np.ndarray | None:
    """Which cells are used; None is all.

    Raises:
        ValueError: it is no mask, or leaves no cell.
    """
    if mask_obs is None:
        return None
    values = np.asarray(obs_column(adata, mask_obs, "mask_obs") if isinstance(mask_obs, str) else mask_obs)
    if values.dtype != bool or values.shape != (adata.n_obs,):
        raise ValueError(
            f"mask_obs has dtype {values.dtype} and shape {values.shape}, expected one truth value for each of the "
            f"{adata.n_obs} cells, or the name of such a column of obs"
        )
    if not values.any():
        raise ValueError("mask_obs leaves no cell to fit: at least two have to be true")
    return values


def given_weight(adata: Any, sample_weight: Any) -> np.ndarray | None:
    """(N,) weights from an array or a column of obs; their values are checked by the fit.

    Raises:
        ValueError: there is not one number for each cell.
    """
    if sample_weight is None:
        return None
    named = isinstance(sample_weight, str)
    values = obs_column(adata, sample_weight, "sample_weight") if named else sample_weight
    found = np.asarray(values)
    if found.dtype.kind not in "fiub" or found.shape != (adata.n_obs,):
        raise ValueError(
            f"sample_weight has dtype {found.dtype} and shape {found.shape}, expected one number for each of the "
            f"{adata.n_obs} cells, or the name of such a column of obs"
        )
    return found.astype(np.float64)


def batches_of(adata: Any, batch_key: str, use: np.ndarray | None) -> Batches:
    """The batch of each cell.

    Raises:
        ValueError: a cell has none.
    """
    import pandas as pd

    column = obs_column(adata, batch_key, "batch_key")
    codes, names = pd.factorize(column if use is None else column[use], sort=True)
    if (codes < 0).any():
        raise ValueError(
            f"batch_key={batch_key!r} has no value for {int((codes < 0).sum())} cells: fill it, or leave them out with "
            "mask_obs"
        )
    return Batches([str(name) for name in names], codes)


def level(batches: Batches, weight: np.ndarray) -> np.ndarray:
    """Weights that give every batch the same sum, and all together the sum they had."""
    each = np.bincount(batches.codes, weight, len(batches.names))
    counted = each > 0
    share = np.zeros_like(each)
    share[counted] = each.sum() / counted.sum() / each[counted]
    return weight * share[batches.codes]
