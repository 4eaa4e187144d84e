"""Shown: the rows, features and labels that a picture is made of, from whatever kind of table they come in."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mixtura.apps.plot.marginal import mixture_of

MOST = 20_000
"""Points that are drawn; of more rows a random sample of this size."""

Feature = int | str
Features = Sequence[Feature]
Called = Sequence[str] | Mapping[int, str]


class Shown(NamedTuple):
    """The rows of a picture.

    Attributes:
        part: the chosen rows in their own kind, as a model takes them.
        chosen: (n,) which of the rows they are.
        total: how many there are.
        names: (D,) of all features.
    """

    part: Any
    chosen: np.ndarray
    total: int
    names: list[str]

    def columns(self, at: Sequence[int]) -> np.ndarray:
        """(n, d) float64 of some features."""
        return np.stack([_numbers(_column(self.part, j), self.names[j]) for j in at], 1)

    @property
    def note(self) -> str:
        """What is said of a sample; empty when all rows are shown."""
        count = len(self.chosen)
        return f"{count:,} of {self.total:,} rows shown" if count < self.total else ""


class Group(NamedTuple):
    """The rows of one label.

    Attributes:
        name: in the key.
        component: number that gives it its look; −1 for noise.
        here: (n,) which rows.
    """

    name: str
    component: int
    here: np.ndarray


def show(X: Any, names: Sequence[str] | None, model: Any, *, most: int | None, seed: int) -> Shown:
    """Read the names of the features and choose the rows.

    Raises:
        ValueError: X is no table, is empty, or does not fit the names or the model.
    """
    if most is not None and most < 1:
        raise ValueError(f"most is {most}, expected at least 1: the number of points to draw")
    X, own = _table(X)
    total, features = (int(n) for n in X.shape)
    if not total or not features:
        raise ValueError(f"X has shape {(total, features)}, expected at least one row and one feature")
    if model is not None:
        model, mixture = mixture_of(model)
        own = own or getattr(model, "feature_names_in_", None)
        if mixture.shape[2] != features:
            raise ValueError(
                f"X has {features} features, expected the {mixture.shape[2]} that the model was fitted on: pass all "
                "of them and choose some with features="
            )
    given = own if names is None else names
    found = [f"x{j}" for j in range(features)] if given is None else [str(name) for name in given]
    if len(found) != features:
        raise ValueError(f"names has {len(found)} entries, expected {features}: one for each feature")
    if most is None or total <= most:
        return Shown(X, np.arange(total), total, found)
    # A generator of its own: the same rows every time, and nobody else's random numbers move.
    chosen = np.sort(np.random.default_rng(seed).choice(total, most, replace=False))
    return Shown(_rows(X, chosen), chosen, total, found)


def choose(features: Features, names: list[str], count: int | None = None) -> list[int]:
    """Positions of features given by index or name.

    Raises:
        ValueError: there is no such feature, it is not unique, or another number of them is needed.
    """
    if isinstance(features, str) or (count is not None and len(features) != count):
        raise ValueError(f"features is {features!r}, expected {count or 'several'} indices or names")
    return [position(feature, names) for feature in features]


def position(feature: Feature, names: list[str]) -> int:
    """Position of one feature given by index or name."""
    if isinstance(feature, str):
        if names.count(feature) != 1:
            what = "no feature" if feature not in names else "several features"
            shown = ", ".join(map(repr, names[:8])) + (", …" if len(names) > 8 else "")
            raise ValueError(
                f"features names {feature!r}, but {what} of X is called so: choose by index, or of {shown}"
            )
        return names.index(feature)
    if not 0 <= feature < len(names):
        raise ValueError(f"features names {feature}, expected indices from 0 to {len(names) - 1}")
    return int(feature)


def plane(features: Features, names: list[str]) -> list[int]:
    """Positions of the two features of a plane.

    Raises:
        ValueError: there is only one feature, or no such pair.
    """
    if len(names) < 2:
        raise ValueError("X has one feature, expected two or more: use plot.histogram for one")
    return choose(features, names, 2)


def labels_of(labels: Any, shown: Shown) -> np.ndarray:
    """The labels of the rows shown.

    Raises:
        ValueError: there is not one label for each row.
    """
    labels = array(labels)
    if labels.shape != (shown.total,):
        found = len(labels) if labels.ndim == 1 else f"shape {labels.shape}, not"
        raise ValueError(f"labels has {found} entries, expected {shown.total}: one for each row of X")
    return labels[shown.chosen]


def grouped(labels: np.ndarray, called: Called | None = None) -> list[Group]:
    """The rows of each label; labels that are no whole numbers are counted in sorted order.

    Raises:
        ValueError: a component has no name in ``called``.
    """
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.floor(labels)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind in "iu":
        numbers, inverse = np.unique(labels, return_inverse=True)
        return [Group(name_of(int(k), called), int(k), inverse == at) for at, k in enumerate(numbers)]
    missing = np.array([x is None or x != x for x in labels.tolist()], dtype=bool)
    text = np.where(missing, "", labels.astype(str))
    kinds = np.unique(text[~missing])
    groups = [Group(str(kind), at, (text == kind) & ~missing) for at, kind in enumerate(kinds)]
    return [Group("missing", -1, missing), *groups] if missing.any() else groups


def name_of(component: int, called: Called | None) -> str:
    """What a component is called.

    Raises:
        ValueError: it has no name in ``called``.
    """
    if component < 0 and not isinstance(called, Mapping):
        return "noise" if component == -1 else str(component)
    if called is None:
        return str(component)
    if isinstance(called, Mapping):
        return str(called.get(component, "noise" if component == -1 else component))
    if component >= len(called):
        raise ValueError(f"called has {len(called)} names, but there is a component {component}: give one for each")
    return str(called[component])


def array(x: Any) -> np.ndarray:
    """An array on the CPU of a tensor, a column or a list."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        # NumPy has no bfloat16.
        x = x.double() if x.is_floating_point() else x
    return np.asarray(x)


def _table(X: Any) -> tuple[Any, list[str] | None]:
    """X as something with two dimensions, and the names of its columns if it has any."""
    names = getattr(X, "column_names", None)
    names = getattr(X, "columns", None) if names is None else names
    if names is not None:
        return X, list(names)
    if not hasattr(X, "shape"):
        if hasattr(X, "__dlpack__") and not hasattr(X, "__array__"):
            import torch.utils.dlpack

            X = torch.utils.dlpack.from_dlpack(X)
        else:
            try:
                X = np.asarray(X)
            except ValueError as error:
                raise ValueError(f"X is no table ({error}): give rows of equal length") from None
    if hasattr(X, "toarray"):
        raise TypeError("X is sparse, expected dense rows: pass X.toarray()")
    if len(X.shape) == 1:
        called = getattr(X, "name", None)
        return array(X)[:, None], None if called in (None, "") else [str(called)]
    if len(X.shape) != 2:
        raise ValueError(f"X has shape {tuple(X.shape)}, expected (N, D): rows of features")
    return X, None


def _rows(X: Any, chosen: np.ndarray) -> Any:
    if hasattr(X, "iloc"):
        return X.iloc[chosen]
    if hasattr(X, "column_names"):
        return X.take(chosen)
    if hasattr(X, "detach"):
        import torch

        return X[torch.from_numpy(chosen).to(X.device)]
    return X[chosen]


def _column(X: Any, at: int) -> Any:
    if hasattr(X, "iloc"):
        return X.iloc[:, at]
    if hasattr(X, "column_names"):
        return X.column(at)
    return X.to_series(at) if hasattr(X, "to_series") else X[:, at]


def _numbers(column: Any, name: str) -> np.ndarray:
    try:
        return array(column).astype(np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"feature {name!r} is not numeric ({error}): choose others with features=") from None
