"""Summary: what a command found, as plain numbers for ``summary.json``."""

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch

from mixtura import __version__
from mixtura.apps import words
from mixtura.apps.labels import Tally
from mixtura.criteria import Figures, aic, bic, icl
from mixtura.data.base import Source
from mixtura.data.steps import feature_names
from mixtura.fitted import place
from mixtura.inputs import Kind
from mixtura.native.library import library

FORMAT = 1
"""Version of the layout of ``summary.json``; raised when a key changes its meaning or goes."""


def summary(model: Any, source: Source, tally: Tally, *, device: str | None) -> dict[str, Any]:
    """What a fit found and how it was made, in types that JSON knows; numbers that are not finite become None.

    ``summary.schema.json`` beside this file says what each key means.

    Args:
        model: fitted.
        source: the rows.
        tally: what was counted of them.
        device: where they were counted.
    """
    # The criteria are of the rows that were fitted, which may be others than these.
    fitted, loglik = getattr(model, "_weight", math.nan), getattr(model, "loglik_", math.nan)
    own = math.isclose(fitted, tally.weight) and math.isclose(tally.loglik, loglik, rel_tol=1e-5)
    figures = Figures(loglik, model.n_parameters_, fitted, tally.log_best if own else math.nan)
    about = source.about
    told = {
        "device": str(place(device, Kind(torch.float64, None))),
        "threads": torch.get_num_threads(),
        "counting": counting(place(device, Kind(torch.float64, None))),
        "rows": tally.rows,
        "weight": tally.weight,
        "fitted_weight": fitted,
        "columns": feature_names(source),
        "columns_left_out": about.left_out,
        "id": about.id,
        "weight_column": about.weight,
        "steps": about.steps,
        "told": about.told,
        "counts": tally.counts,
        "doubt": tally.doubt.told(),
        "icl": icl(figures),
        "merging": merging(tally),
    }
    return {**of_model(model), **plain(told)}


def of_model(model: Any) -> dict[str, Any]:
    """What a model tells of itself, without its rows, in the words of :func:`summary`."""
    known = getattr(model, "source_", None)
    figures = Figures(getattr(model, "loglik_", math.nan), model.n_parameters_, getattr(model, "_weight", math.nan))
    told = {
        "format_version": FORMAT,
        "versions": versions(),
        "seed": getattr(model, "seed_", None),
        "rows": getattr(model, "_weight", None),
        "columns": words.feature_names(model) if known is None else known["columns"],
        "steps": [] if known is None else known["steps"],
        **parameters(model),
        "loglik": figures.loglik,
        "bic": bic(figures),
        "aic": aic(figures),
        "n_parameters": figures.parameters,
        "selection": getattr(model, "selection_", None),
        "merging": getattr(model, "merging_", None),
    }
    found: dict[str, Any] = plain(told)
    return found


def parameters(model: Any) -> dict[str, Any]:
    """What was estimated, and how that ended."""
    return {
        "covariance_type": model.covariance_type,
        "n_components": model.n_components,
        "weights": model.weights_,
        "means": model.means_,
        "covariances": model.covariances_,
        "status": model.status_,
        "n_iter": model.n_iter_,
        "converged": model.converged_,
        "findings": [{"kind": f.kind, "component": f.component, "message": f.message} for f in model.diagnose()],
        "starts": getattr(model, "starts_", []),
    }


def merging(tally: Tally) -> dict[str, Any] | None:
    """The clusters that components were merged into, with their rows; None where they were not."""
    if tally.clusters is None:
        return None
    return {**tally.clusters.told(), "counts": tally.merged_counts, "doubt": tally.merged_doubt.told()}


def counting(device: torch.device) -> str:
    """What counts rows on a device: the last bits of sums depend on it."""
    return str(library()) if device.type == "cpu" else "PyTorch's operations"


def file_facts(path: Path) -> dict[str, Any]:
    """Name, size and SHA-256 of a file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}


def versions() -> dict[str, str]:
    """What the numbers depend on."""
    return {
        "mixtura": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }


def plain(value: Any) -> Any:
    """The same value in types that JSON knows."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, torch.device) else value
