"""Summary: a fit as plain numbers and words, for ``summary.json`` and for the terminal."""

import math
from typing import Any

import numpy as np
import sklearn
import torch

from mixtura import __version__
from mixtura.apps.job import Job
from mixtura.data.table import Table
from mixtura.fitted import place
from mixtura.inputs import Kind

FORMAT = 1
"""Version of the layout of ``summary.json``; raised when a key changes its meaning or goes."""

SHOWN = 8
"""Most columns in the table on the terminal."""


def summary(model: Any, table: Table, job: Job, *, counts: list[int], log_best: float) -> dict[str, Any]:
    """What a fit found and how it was made, in types that JSON knows; numbers that are not finite become None.

    Args:
        model: fitted.
        table: the rows as they were fitted.
        job: what was asked for.
        counts: (K,) rows of each component.
        log_best: Σ log max p(k | x).
    """
    rows, parameters = len(table), model.n_parameters_
    bic = -2 * model.loglik_ + parameters * math.log(rows)
    told = {
        "format_version": FORMAT,
        "versions": versions(),
        "seed": model.seed_,
        "device": str(place(job.device, Kind(torch.float64, None))),
        "threads": torch.get_num_threads(),
        "rows": rows,
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
        "bic": bic,
        "aic": -2 * model.loglik_ + 2 * parameters,
        "icl": bic - 2 * log_best,
        "n_parameters": parameters,
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


def text(told: dict[str, Any]) -> str:
    """A summary as a short table.

    Args:
        told: what :func:`summary` made.
    """
    names = told["columns"][:SHOWN]
    head = ["component", "weight", "rows", *names]
    body = [
        [str(k), f"{weight:.4f}", f"{count:,}", *(_short(m) for m in mean[:SHOWN])]
        for k, (weight, count, mean) in enumerate(zip(told["weights"], told["counts"], told["means"], strict=True))
    ]
    widths = [max(len(row[j]) for row in [head, *body]) for j in range(len(head))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *body]]
    more = len(told["columns"]) - len(names)
    if more:
        lines.append(f"means of {more} more columns: see summary.json")
    if told["transform"]:
        lines.append(f"means are of asinh(x / {told['transform']['cofactor']:g})")
    figures = ", ".join(f"{name} {'nan' if told[key] is None else format(told[key], '.2f')}" for name, key in FIGURES)
    lines += ["", f"{figures}, status {told['status']}", *(finding["message"] for finding in told["findings"])]
    return "\n".join(lines)


FIGURES = (("log likelihood", "loglik"), ("BIC", "bic"), ("ICL", "icl"))


def _short(value: float | None) -> str:
    if value is None:
        return "nan"
    return f"{value:.2f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"
