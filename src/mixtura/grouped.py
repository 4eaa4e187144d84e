"""Grouped: many small data sets from users, checked and laid one after the other."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mixtura.inputs import Kind
from mixtura.native.groups import added


class Packed(NamedTuple):
    """Groups laid one after the other, rows without weight left out.

    Attributes:
        names: what each group is called.
        x: (N, D) float64.
        weight: (N,) float64, positive, or None.
        sizes: (G,), rows of each group.
        kind: how results go back.
        labels: what columns are called, or None.
    """

    names: list[Any]
    x: np.ndarray
    weight: np.ndarray | None
    sizes: np.ndarray
    kind: Kind
    labels: np.ndarray | None

    @property
    def begins(self) -> np.ndarray:
        """(G,), the first row of each group."""
        ends: np.ndarray = self.sizes.cumsum()
        return np.concatenate([[0], ends[:-1]])

    @property
    def columns(self) -> list[str]:
        """What columns are called in messages."""
        names = range(self.x.shape[1]) if self.labels is None else self.labels
        return [repr(str(name)) for name in names]

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(G, ...), values of rows (N, ...) added up over each group; 0 for a group without rows."""
        return added(values, self.sizes)

    def rows(self, i: int) -> slice:
        """The rows of one group."""
        begin = int(self.begins[i])
        return slice(begin, begin + int(self.sizes[i]))


def packed_of(groups: Any, by: Any, sample_weight: Any) -> Packed:
    """Groups in any of the forms of :func:`mixtura.fit_many`, checked.

    Raises:
        TypeError, ValueError: as there.
    """
    names, parts, weights = _listed(groups, sample_weight) if by is None else _split(groups, by, sample_weight)
    if not parts:
        raise ValueError("groups is empty: pass at least one data set")
    tensor = isinstance(parts[0], Tensor)
    device = parts[0].device if tensor else None
    titled = groups if by is not None else parts[0]
    labels = np.asarray(titled.columns, dtype=object) if hasattr(titled, "columns") else None
    tables = [_table(part, name) for part, name in zip(parts, names, strict=True)]
    width = tables[0].shape[1]
    for table, name in zip(tables, names, strict=True):
        if table.shape[1] != width:
            raise ValueError(
                f"groups: {name!r} has {table.shape[1]} columns, {names[0]!r} has {width}: all need the same columns"
            )
    x = np.concatenate(tables)
    sizes = np.array([len(t) for t in tables])
    _refuse(~np.isfinite(x).all(1), sizes, names, "groups", "NaN or infinite entries", "remove or fill these rows")
    packed = Packed(names, x, None, sizes, Kind(torch.float64, device), labels)
    return packed if weights is None else _weighed(packed, weights)


def _listed(groups: Any, sample_weight: Any) -> tuple[list[Any], list[Any], list[Any] | None]:
    """The data sets of a mapping or a sequence."""
    named = isinstance(groups, Mapping)
    if not named and (
        hasattr(groups, "columns") or isinstance(groups, str | bytes) or not isinstance(groups, Iterable)
    ):
        raise TypeError(
            f"groups is a {type(groups).__name__}, expected a sequence or mapping of data sets; to split one table, "
            "pass by= with the group of each row"
        )
    parts = list(groups.values()) if named else list(groups)
    names = list(groups) if named else list(range(len(parts)))
    return names, parts, _weights_of(sample_weight, names, named)


def _refuse(bad: np.ndarray, sizes: np.ndarray, names: list[Any], argument: str, found: str, hint: str) -> None:
    if bad.any():
        at = int(np.searchsorted(sizes.cumsum(), int(bad.nonzero()[0][0]), side="right"))
        raise ValueError(f"{argument}: {names[at]!r} has {found}; {hint}")


def _table(part: Any, name: Any) -> np.ndarray:
    part = part.detach().cpu() if isinstance(part, Tensor) else part
    try:
        table = np.asarray(part, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"groups: {name!r} cannot be read as numbers ({error})") from None
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim != 2 or not table.shape[1]:
        raise ValueError(
            f"groups: {name!r} has shape {table.shape}, expected (rows, columns), or (rows,) for one column"
        )
    return table


def _split(table: Any, by: Any, sample_weight: Any) -> tuple[list[Any], list[Any], list[Any] | None]:
    """One table as groups, in the order of their names."""
    labels = np.asarray(by)
    if labels.ndim != 1 or len(labels) != len(table):
        raise ValueError(f"by has shape {labels.shape}, expected ({len(table)},): the group of each row")
    names, code = np.unique(labels, return_inverse=True)
    order, ends = np.argsort(code, kind="stable"), np.bincount(code).cumsum()[:-1]

    def parted(values: Any) -> list[Any]:
        if isinstance(values, Tensor):
            return list(values[torch.from_numpy(order).to(values.device)].tensor_split(torch.from_numpy(ends)))
        return np.split(np.asarray(values)[order], ends)

    weights = None if sample_weight is None else parted(np.asarray(sample_weight, dtype=np.float64))
    return names.tolist(), parted(table), weights


def _weights_of(sample_weight: Any, names: list[Any], named: bool) -> list[Any] | None:
    if sample_weight is None:
        return None
    if named != isinstance(sample_weight, Mapping) or len(sample_weight) != len(names):
        form = "a mapping with the same names as groups" if named else f"{len(names)} arrays, one for each group"
        raise ValueError(f"sample_weight is a {type(sample_weight).__name__}, expected {form}")
    return [sample_weight[name] for name in names] if named else list(sample_weight)


def _weighed(packed: Packed, weights: list[Any]) -> Packed:
    """The same groups with weights; rows of weight 0 are left out."""
    flat = [np.asarray(w, dtype=np.float64) for w in weights]
    for w, size, name in zip(flat, packed.sizes, packed.names, strict=True):
        if w.shape != (size,):
            raise ValueError(f"sample_weight: {name!r} has shape {w.shape}, expected ({size},): one for each row")
    weight = np.concatenate(flat)
    bad = ~(np.isfinite(weight) & (weight >= 0))
    _refuse(bad, packed.sizes, packed.names, "sample_weight", "negative or non-finite weights", "weights count rows")
    counts = weight > 0
    sizes = packed.sums(counts.astype(np.float64)).astype(np.int64)
    return packed._replace(x=packed.x[counts], weight=weight[counts], sizes=sizes)
