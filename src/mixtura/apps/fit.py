"""The command ``mixtura fit``: read a table, fit a mixture, write labels and a summary, and say what was found."""

import hashlib
import json
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mixtura.apps import labels
from mixtura.apps.job import Done, Job
from mixtura.apps.summary import summary
from mixtura.apps.together import Together
from mixtura.data.table import Table, read_table

Note = Callable[[str], None]
"""Receives one line about progress or a reservation."""


def run(job: Job, note: Note) -> Done:
    """Do a job.

    Raises:
        ValueError: the table, a column, a value or a parameter cannot be used; nothing was written.
        OSError: a file cannot be read or written.
        ModuleNotFoundError: an optional package is needed.
    """
    kind = job.labels or labels.default_format()
    if kind == "parquet":
        labels.check_parquet()
    table = read_table(job.data, job.columns, job.id)
    note(f"read {len(table):,} rows and {len(table.columns)} columns from {job.data.name}")
    if job.components > len(table):
        raise ValueError(f"-k {job.components} asks for more components than the {len(table)} rows: use fewer")
    if job.output is None:
        return _done(job, table, note, lambda chunk: None)
    name = f"labels.{kind}"
    with Together(job.output) as outputs:
        with labels.writer(outputs.path(name), kind) as append:
            done = _done(job, table, note, append)
        done.summary["labels"] = name
        if (earlier := _labels_of(job.output)) not in (None, name):
            outputs.drop(str(earlier))
            note(f"{earlier} of an earlier run goes: {name} takes its place")
        text = json.dumps(done.summary, indent=2, ensure_ascii=False, allow_nan=False)
        outputs.path("summary.json").write_text(text + "\n", encoding="utf-8")
    return replace(done, files=[job.output / name, job.output / "summary.json"])


def _done(job: Job, table: Table, note: Note, append: Callable[[dict[str, Any]], None]) -> Done:
    # The digest comes before the fit, so that it is of the bytes that were read.
    digest = {"file": job.data.name, "bytes": job.data.stat().st_size, "sha256": sha256(job.data)}
    table = transformed(table, job.cofactor)
    model = fitted(job, table, note)
    found, facts = scored(model, table, append)
    return Done(model, table, found, {**summary(model, table, job, **facts), "input": digest}, [])


def fitted(job: Job, table: Table, note: Note) -> Any:
    """The estimator, fitted; its warnings become notes."""
    from mixtura import GaussianMixture

    model = GaussianMixture(job.components, covariance_type=job.covariance, random_state=job.seed, device=job.device)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(table.x)
    for warning in caught:
        if issubclass(warning.category, UserWarning):
            note(f"warning: {warning.message}")
    note(f"fitted {job.components} components in {model.n_iter_} iterations: {model.status_}")
    return model


def transformed(table: Table, cofactor: float | None) -> Table:
    """asinh(x / cofactor) of every column; without a cofactor the table itself.

    The transform is roughly linear within ± the cofactor and logarithmic beyond, on both sides of 0.
    """
    if cofactor is None:
        return table
    if isinstance(table.x, np.ndarray):
        kept = table.x if table.x.dtype in (np.float32, np.float64) else table.x.astype(np.float64)
        return replace(table, x=np.arcsinh(kept / kept.dtype.type(cofactor)))
    import pyarrow

    arrays = [np.arcsinh(table.x[name].to_numpy() / cofactor) for name in table.columns]
    return replace(table, x=pyarrow.table(arrays, names=table.columns))


def scored(model: Any, table: Table, append: Callable[[dict[str, Any]], None]) -> tuple[np.ndarray, dict[str, Any]]:
    """Every row's label, with each chunk handed on, and the sums over rows that a summary needs."""
    found = np.empty(len(table), dtype=np.int64)
    best = 0.0
    start = 0
    for chunk in labels.chunks(model, table):
        append(chunk)
        here = chunk["label"]
        found[start : start + len(here)] = here
        best += float(np.log1p(-chunk["uncertainty"].astype(np.float64)).sum())
        start += len(here)
    counts = np.bincount(found, minlength=len(model.weights_)).tolist()
    return found, {"counts": counts, "log_best": best if math.isfinite(best) else math.nan}


def sha256(path: Path) -> str:
    """The digest of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _labels_of(directory: Path) -> str | None:
    """The file of labels that an earlier run wrote beside its summary."""
    try:
        name = json.loads((directory / "summary.json").read_text(encoding="utf-8"))["labels"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if name in ("labels.parquet", "labels.csv") else None
