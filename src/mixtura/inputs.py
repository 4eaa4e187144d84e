"""Inputs: what users hand in becomes checked rows, and results go back in the same kind."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from os import PathLike
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.utils.dlpack
from sklearn.utils.validation import check_array, validate_data
from torch import Tensor

from mixtura.data.array import Array
from mixtura.data.base import About, Source
from mixtura.data.stream import working

LOG = logging.getLogger("mixtura")

FLOATS = (torch.float64, torch.float32)


class Kind(NamedTuple):
    """How results go back: as NumPy arrays or as tensors, with which dtype, on which device.

    Attributes:
        dtype: float64 or float32.
        device: where tensors live; None for NumPy.
    """

    dtype: torch.dtype
    device: torch.device | None

    def give(self, value: Tensor, *, frozen: bool = False) -> Any:
        """A float tensor as this kind; frozen arrays are read-only copies."""
        # An MPS device has no float64: narrow before moving there, widen after leaving it.
        on_mps = self.device is not None and self.device.type == "mps"
        return self._give((value if on_mps else value.to(self.device or "cpu")).to(self.dtype), frozen)

    def give_labels(self, value: Tensor) -> Any:
        """An integer tensor as this kind, as it is."""
        return self._give(value, False)

    def _give(self, value: Tensor, frozen: bool) -> Any:
        if self.device is not None:
            return value.to(self.device, copy=frozen)
        array = value.cpu().numpy()
        if frozen:
            array = array.copy()
            array.flags.writeable = False
        return array


class Checked(NamedTuple):
    """Rows that passed the checks, or are checked as they pass.

    Attributes:
        source: of N rows, float64 or float32, finite but for gaps.
        kind: how results go back.
        gaps: some entries are missing, or may be: they are NaN.
    """

    source: Any
    kind: Kind
    gaps: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        rows, features = self.source.shape
        return (self.source.counted() if rows is None else rows), features

    @property
    def weight(self) -> Tensor | None:
        """(N,) float64 on the CPU, or None for rows that all count once."""
        found: Tensor | None = self.source.weight
        return found


COLUMNS = ("n_features_in_", "feature_names_in_", "source_")
"""What an estimator remembers of the columns it was fitted on."""

HINTS = (
    ("could not convert", "Columns with text cannot be modelled: leave them out, or encode them as numbers."),
    ("Sparse data was passed", "A mixture needs dense rows: pass X.toarray(), or reduce the dimension first."),
    ("Found array with 0 sample", "There are no rows to fit: check how the data were read or filtered."),
    ("0 feature(s)", "There are no columns to fit: check how the data were read or selected."),
    ("Found array with 1 sample", "A mixture cannot be estimated from a single row."),
    ("features as input", "Pass the columns that the model was fitted on, in the same order."),
    ("Complex data", "Pass real numbers, for example the real and imaginary parts as two columns."),
)
"""What to try, by a piece of scikit-learn's sentence."""


def check(
    estimator: Any, x: Any, *, reset: bool, fitting: bool = False, sample_weight: Any = None, gaps: bool = False
) -> Checked:
    """Check rows for an estimator, and remember (``reset``) or compare their columns.

    Args:
        estimator: keeps ``n_features_in_``, ``feature_names_in_`` and ``source_``.
        x: (N, D): array, list, DataFrame, tensor, anything with ``__dlpack__``, or a ``Source``.
        reset: remember the columns (in ``fit``) instead of comparing them.
        fitting: the rows are to be fitted, which takes two of them, and many passes.
        sample_weight: (N,) row weights.
        gaps: NaN is taken for a missing entry instead of refused.

    Raises:
        ValueError: the shape, the dtype or a value is not usable; scikit-learn's sentence comes first, then what to
            try.
        TypeError: sparse rows, or rows of no numeric kind.
    """
    known = isinstance(x, (Tensor, np.ndarray))
    if not known and isinstance(x, Source):
        from mixtura.sourced import check_source

        return check_source(estimator, x, reset=reset, fitting=fitting, sample_weight=sample_weight, gaps=gaps)
    if not known and hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
        x = torch.utils.dlpack.from_dlpack(x)
    if isinstance(x, (str, PathLike)) or type(x).__name__ == "DataLoader":
        raise TypeError(f"X is a {type(x).__name__}, expected rows or a Source: pass mixtura.scan(X)")
    if reset:
        estimator.__dict__.pop("source_", None)
    x, kind = (_check_tensor if isinstance(x, Tensor) else _check_array)(estimator, x, reset, 2 if fitting else 1)
    found = Gaps(gaps)
    found.look(x)
    names = getattr(estimator, "feature_names_in_", None)
    found.refuse(len(x), names)
    about = About() if names is None else About(tuple(map(str, names)))
    return Checked(Array(x, check_weight(sample_weight, len(x)), about=about), kind, found.missing)


def _check_array(estimator: Any, x: Any, reset: bool, least_rows: int) -> tuple[np.ndarray, Kind]:
    try:
        x = validate_data(
            estimator,
            x,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_min_samples=least_rows,
            ensure_all_finite=False,
        )
    except (ValueError, TypeError) as error:
        raise with_hint(error) from None
    return x, Kind(torch.float32 if x.dtype == np.float32 else torch.float64, None)


def whole(name: str, value: Any, least: int, auto: int | None = None) -> int:
    """An integer argument; ``"auto"`` stands for ``auto`` where there is one.

    Raises:
        ValueError: it is none, or too small.
    """
    if value == "auto" and auto is not None:
        return auto
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        other = " or 'auto'" if auto is not None else ""
        raise ValueError(f"{name}={value!r} is not usable: pass an integer of at least {least}{other}")
    return int(value)


def columns_of(estimator: Any) -> dict[str, Any]:
    """What an estimator remembers of its columns."""
    return {name: getattr(estimator, name) for name in COLUMNS if hasattr(estimator, name)}


@contextmanager
def columns_kept(estimator: Any) -> Iterator[None]:
    """If the block fails, the estimator remembers the columns that it knew before."""
    before = columns_of(estimator)
    try:
        yield
    except BaseException:
        for name in COLUMNS:
            estimator.__dict__.pop(name, None)
        estimator.__dict__.update(before)
        raise


def with_hint(error: Exception) -> Exception:
    """The same error with what to try after its sentence."""
    message = str(error)
    for piece, hint in HINTS:
        if piece in message:
            return type(error)(f"{message.rstrip()} {hint}")
    return error


def _check_tensor(estimator: Any, x: Tensor, reset: bool, least_rows: int) -> tuple[Tensor, Kind]:
    name = type(estimator).__name__
    if x.layout != torch.strided:
        raise TypeError(f"Sparse data was passed for X, but dense data is required. Use X.to_dense(). {HINTS[1][1]}")
    if x.is_complex():
        raise with_hint(ValueError("Complex data not supported"))
    if x.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {x.ndim}D tensor instead: shape={tuple(x.shape)}. Reshape your data using "
            "X.reshape(-1, 1) if it has a single feature, or X.reshape(1, -1) if it is a single row."
        )
    for size, what, least in ((x.shape[0], "sample", least_rows), (x.shape[1], "feature", 1)):
        if size < least:
            shown = f"Found array with {size} {what}(s) (shape={tuple(x.shape)})"
            raise with_hint(ValueError(f"{shown} while a minimum of {least} is required by {name}."))
    if x.requires_grad:
        LOG.info("X requires grad and is detached: no gradient flows through a mixture estimator")
        x = x.detach()
    x = working(x)
    if reset:
        estimator.n_features_in_ = x.shape[1]
        if hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_
    elif x.shape[1] != estimator.n_features_in_:
        raise with_hint(
            ValueError(
                f"X has {x.shape[1]} features, but {name} is expecting {estimator.n_features_in_} features as input."
            )
        )
    return x, Kind(x.dtype, x.device)


class Gaps:
    """Where values are not finite, gathered from blocks of rows.

    Args:
        allowed: NaN is a missing entry, and only what is infinite is wrong.

    Attributes:
        missing: there were missing entries.
    """

    def __init__(self, allowed: bool = False) -> None:
        self.allowed, self.missing = allowed, False
        self.rows: list[int] = []
        self.count = 0
        self.columns: set[int] = set()
        self.nan = False
        self.dtype = ""

    def look(self, x: Any, start: int = 0) -> None:
        """Look at rows, the first of which is number ``start``."""
        # A finite sum proves finite values without an array of flags; only a suspicious one is looked at closely.
        with np.errstate(over="ignore", invalid="ignore"):
            if bool(np.isfinite(float(x.sum()))):
                return
        finite = np.isfinite(x) if isinstance(x, np.ndarray) else x.isfinite().cpu().numpy()
        if self.allowed:
            missing = np.isnan(x) if isinstance(x, np.ndarray) else x.isnan().cpu().numpy()
            self.missing |= bool(missing.any())
            finite |= missing
        if finite.all():
            return
        rows, columns = np.nonzero(~finite)
        self.nan |= any(bool(x[r, c] != x[r, c]) for r, c in zip(rows[:50], columns[:50], strict=True))
        several = np.unique(rows)
        self.count += len(several)
        self.rows += (several[: 6 - len(self.rows)] + start).tolist()
        self.columns |= set(columns.tolist())
        self.dtype = str(x.dtype).removeprefix("torch.")

    def refuse(self, total: int | str, names: Any) -> None:
        """Raise ValueError where there were any."""
        if not self.count:
            return
        what = "NaN" if self.nan else f"infinity or a value too large for {self.dtype}"
        where = sorted(self.columns)
        shown = [str(c) if names is None else repr(str(names[c])) for c in where[:5]]
        some_rows = ", ".join(map(str, self.rows[:5])) + (", ..." if self.count > 5 else "")
        some_columns = ", ".join(shown) + (", ..." if len(where) > 5 else "")
        raise ValueError(
            f"Input X contains {what}.\n{self.count} of {total} rows are affected (rows {some_rows}; columns "
            f"{some_columns}). Drop these rows or columns, or fill the gaps in first, for example with "
            f"sklearn.impute.SimpleImputer{', or fit with missing=' + repr('em') if self.nan else ''}."
        )


def check_weight(sample_weight: Any, rows: int) -> Tensor | None:
    """(N,) float64 on the CPU, or None for rows that all count once.

    Raises:
        ValueError: another length, a negative or a non-finite weight, or no positive one.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Tensor):
        sample_weight = sample_weight.detach().cpu().numpy()
    if np.isscalar(sample_weight) or getattr(sample_weight, "ndim", None) == 0:
        sample_weight = np.full(rows, sample_weight)
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight", ensure_non_negative=True
    )
    if weight.shape != (rows,):
        raise ValueError(
            f"sample_weight.shape == {weight.shape}, expected {(rows,)}: one weight for each of the {rows} rows of X"
        )
    if not (weight > 0).any():
        raise ValueError("sample_weight is zero for every row: at least one row must count")
    return torch.from_numpy(np.ascontiguousarray(weight))
