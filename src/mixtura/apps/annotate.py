"""Annotate: what a fit says of cells, in the plain types and under the keys that an AnnData keeps."""

import colorsys
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixtura import __version__
from mixtura.apps.plot.palette import COLOURS, NOISE
from mixtura.covariance import structure
from mixtura.criteria import Figures, aic, bic, icl
from mixtura.data.annotated import embedding_names
from mixtura.estimator import GaussianMixture
from mixtura.published import published

FORMAT = 1
"""Version of the layout of a record; raised when a key changes its meaning or goes."""

POSTERIOR_BYTES = 2**30
"""Posteriors that take more are not kept."""

NOISE_NAME = "noise"
"""The category of label −1."""

LARGEST_INT = 2**63 - 1


def check_key(key: Any, argument: str = "key_added") -> str:
    """A key under which results can be written to h5ad.

    Raises:
        ValueError: it is no text, empty, or has a slash.
    """
    if not isinstance(key, str) or not key.strip() or "/" in key:
        raise ValueError(
            f"{argument}={key!r} cannot be a key of an AnnData: give a text without '/', which h5ad takes for a group, "
            "such as 'gmm'"
        )
    return key


def category_names(components: int, noise: bool = False) -> list[str]:
    """What the components are called in obs: ``"0"``, ``"1"``, …, and ``"noise"`` last."""
    return [*map(str, range(components)), *([NOISE_NAME] if noise else [])]


def colours(names: Sequence[str]) -> list[str]:
    """A colour for each category, which hangs on its name alone.

    The first seven are those of the pictures; from there on their colours are darker, then lighter, and then go
    round the circle by the golden section.

    Examples:
        >>> colours(["0", "1", "noise"])
        ['#0072B2', '#E69F00', '#8C8C8C']
    """
    number = {name: turn for turn, name in enumerate(n for n in names if n != NOISE_NAME)}
    return [NOISE if name == NOISE_NAME else _colour(int(name) if name.isdigit() else number[name]) for name in names]


def _colour(turn: int) -> str:
    count = len(COLOURS)
    if turn >= 3 * count:
        hue = (0.61803398875 * turn) % 1
        parts = colorsys.hls_to_rgb(hue, (0.35, 0.5, 0.65)[turn % 3], 0.6)
        return "#" + "".join(f"{round(255 * part):02X}" for part in parts)
    base = COLOURS[turn % count]
    aim, by = ((0, 0.0), (0, 0.42), (255, 0.5))[turn // count]
    mixed = [int(base[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(part + by * (aim - part)):02X}" for part in mixed)


def plain(value: Any) -> Any:
    """The same value in types that h5ad holds: numbers, texts, arrays of them, and dicts; None and the rest go.

    Examples:
        >>> plain({"a": None, "b": ("x", "y"), "c": {"d": [1, 2]}, "e": print})
        {'b': array(['x', 'y'], dtype=object), 'c': {'d': array([1, 2])}}
    """
    if isinstance(value, Mapping):
        inner = {str(key): plain(v) for key, v in value.items()}
        return {key: v for key, v in inner.items() if v is not None}
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, Path | torch.device):
        return str(value)
    if isinstance(value, bool | str | float | np.bool_ | np.floating):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, int | np.integer):
        return int(value) if abs(int(value)) <= LARGEST_INT else str(int(value))
    if isinstance(value, list | tuple | range | np.ndarray):
        return _array(np.asarray(value))
    return None


def _array(value: np.ndarray) -> Any:
    if value.ndim == 0:
        return plain(value.item())
    if value.dtype.kind in "biuf":
        return value
    if value.size and all(v is None or isinstance(v, int | float) for v in value.ravel()):
        return value.astype(np.float64)  # None is no number
    return np.array([str(v) for v in value.ravel()], dtype=object).reshape(value.shape)


def record(
    model: Any, params: Mapping[str, Any], *, log_best: float, matrix: str, columns: Sequence[str], **more: Any
) -> dict[str, Any]:
    """Everything about a fit that its AnnData should keep, and from which :func:`rebuilt` makes the model again.

    Args:
        model: a fitted mixture.
        params: how it was called.
        log_best: Σ w log max p(k | x) of the rows that were fitted.
        matrix: which matrix these are.
        columns: (D,) what its columns are called.
        **more: further entries.
    """
    known = published(model.mixture_, structure(model.covariance_type))
    loglik, weight = getattr(model, "loglik_", math.nan), getattr(model, "_weight", math.nan)
    figures = Figures(loglik, model.n_parameters_, weight, log_best)
    known_fit = not math.isnan(loglik)
    found: dict[str, Any] = plain(
        {
            "format_version": FORMAT,
            "version": __version__,
            "params": params,
            "matrix": matrix,
            "columns": columns,
            "model": {
                "covariance_type": model.covariance_type,
                "n_components": model.n_components,
                **{name: known[f"{name}_"] for name in ("weights", "means", "covariances")},
            },
            "criteria": {
                "n_parameters": figures.parameters,
                **({"loglik": loglik, "n": weight, "bic": bic(figures), "aic": aic(figures)} if known_fit else {}),
                **({"icl": icl(figures)} if known_fit and not math.isnan(log_best) else {}),
            },
            "status": model.status_,
            "n_iter": model.n_iter_,
            "seed": getattr(model, "seed_", None),
            "findings": np.array([finding.message for finding in model.diagnose()], dtype=object),
            "selection": getattr(model, "selection_", None),
            **more,
        }
    )
    return found


def rebuilt(told: Any, place: str) -> GaussianMixture:
    """The fitted estimator of a record.

    Args:
        told: what :func:`record` made, or what came back of it from a file.
        place: where it stands, for messages.

    Raises:
        ValueError: it is no such record.
    """
    try:
        version, kept = int(told["format_version"]), told["model"]
        weights, means, matrices = (np.asarray(kept[name], np.float64) for name in ("weights", "means", "covariances"))
        name, matrix, columns = str(kept["covariance_type"]), str(told["matrix"]), [str(c) for c in told["columns"]]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"{place} holds no mixture that mixtura wrote ({error}): fit one with tl.gaussian_mixture"
        ) from None
    if version > FORMAT:
        raise ValueError(f"{place} was written by a newer mixtura ({told.get('version')}): upgrade mixtura")
    model = GaussianMixture.from_parameters(weights, means, matrices, name)
    model.status_, model.converged_ = str(told["status"]), str(told["status"]) == "converged"
    model.n_iter_, model.missing = int(told["n_iter"]), str(told["params"].get("missing", "error"))
    if "seed" in told:
        model.seed_ = int(told["seed"])
    if "loglik" in told["criteria"]:
        model.loglik_, model._weight = float(told["criteria"]["loglik"]), float(told["criteria"]["n"])
    if model.n_features_in_ == len(columns):
        model.source_ = {"columns": columns, "steps": [], "matrix": matrix}
        # Genes have names, which new cells must have, too; the columns of an embedding are counted.
        if columns != embedding_names(matrix.partition("/")[2], len(columns)):
            model.feature_names_in_ = np.array(columns, dtype=object)
    return model
