"""Summary: what a command found, as plain numbers for ``summary.json`` and as text for the terminal."""

import math
from typing import Any

import numpy as np
import sklearn
import torch

from mixtura import __version__
from mixtura.apps import words
from mixtura.apps.job import Done, Job
from mixtura.criteria import Figures, aic, bic, icl
from mixtura.data.table import Table
from mixtura.fitted import place
from mixtura.inputs import Kind

FORMAT = 1
"""Version of the layout of ``summary.json``; raised when a key changes its meaning or goes."""


def summary(model: Any, table: Table, job: Job, *, counts: list[int], log_best: float) -> dict[str, Any]:
    """What a fit found and how it was made, in types that JSON knows; numbers that are not finite become None.

    Args:
        model: fitted.
        table: the rows as they were fitted.
        job: what was asked for.
        counts: (K,) rows of each component.
        log_best: Σ log max p(k | x).
    """
    figures = Figures(model.loglik_, model.n_parameters_, len(table), log_best)
    told = {
        "format_version": FORMAT,
        "versions": versions(),
        "seed": model.seed_,
        "device": str(place(job.device, Kind(torch.float64, None))),
        "threads": torch.get_num_threads(),
        "rows": len(table),
        "columns": table.columns,
        "columns_left_out": table.left_out,
        "id": job.id,
        "transform": None if job.cofactor is None else {"name": "asinh", "cofactor": job.cofactor},
        "covariance_type": model.covariance_type,
        "n_components": model.n_components,
        "weights": model.weights_,
        "means": model.means_,
        "covariances": model.covariances_,
        "counts": counts,
        "loglik": model.loglik_,
        "bic": bic(figures),
        "aic": aic(figures),
        "icl": icl(figures),
        "n_parameters": figures.parameters,
        "status": model.status_,
        "n_iter": model.n_iter_,
        "converged": model.converged_,
        "findings": [{"kind": f.kind, "component": f.component, "message": f.message} for f in model.diagnose()],
        "starts": model.starts_,
    }
    return {key: plain(value) for key, value in told.items()}


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


def text(done: Done) -> str:
    """What a fit found, in words and a table for the terminal.

    Args:
        done: what came of the job.
    """
    told = done.summary
    notes = [f"means are of asinh(x / {told['transform']['cofactor']:g})"] if told["transform"] else []
    known = math.nan if told["icl"] is None else told["icl"]
    return words.describe(done.model, columns=told["columns"], counts=told["counts"], icl=known, notes=notes)
