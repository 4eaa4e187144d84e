"""The commands ``mixtura predict`` and ``mixtura sample``: labels of new rows, and new rows, from a saved model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mixtura.apps import columns, h5ad, labels
from mixtura.apps.job import is_h5ad, reading_of
from mixtura.apps.labels import Tally
from mixtura.apps.store import load
from mixtura.apps.summary import file_facts, merging, of_model, plain, versions
from mixtura.apps.together import Together

DRAWN = 65536
"""Rows that are drawn and written at a time."""


def predict(
    model_path: Path, data: Path, output: Path, device: str | None = None, key: str = "gmm", **options: Any
) -> dict[str, Any]:
    """Label the rows of a file, one block at a time.

    Args:
        model_path: a saved model.
        data: the file; its columns are found by name, and its values are transformed as those of the fit.
        output: ends in ``.parquet`` or ``.csv``, or in ``.h5ad``: then a copy of the file, which is one, gets them.
        device: where to compute.
        key: of the results in such a copy.
        **options: of the reading, such as ``id``.

    Returns:
        What was found, in types that JSON knows.

    Raises:
        ValueError: the model or the data cannot be used; nothing was written.
        OSError: a file cannot be read or written.
    """
    written = _writer(data, output, key)
    model = load(model_path, device=device)
    source = reading_of(model, data, **options).source()
    file = file_facts(data)
    tally = Tally.of(model)
    with Together(output.parent) as outputs:
        stage = outputs.path(output.name)
        outputs.spare(data, model_path)
        with written(stage, model, matrix=str(source.about.matrix)) as append:
            for chunk in labels.chunks(model, source, tally):
                append(chunk)
    return plain(
        {
            "model": model_path.name,
            "input": file,
            "labels": output.name,
            "rows": tally.rows,
            "counts": tally.counts,
            "mean_log_density": tally.loglik / tally.weight if tally.weight else None,
            "doubt": tally.doubt.told(),
            "merging": merging(tally),
            "versions": versions(),
        }
    )


def _writer(data: Path, output: Path, key: str) -> Callable[..., Any]:
    """What writes labels into an output of this name.

    Raises:
        ValueError: its ending is not known, or it is an AnnData file and the data are none.
    """
    if output.suffix.lower() != ".h5ad":
        kind = columns.kind_of(output)
        return lambda stage, model, matrix: columns.writer(stage, kind)
    if data.exists() and not is_h5ad(data):
        raise ValueError(
            f"{output.name} would be a copy of {data.name}, which is no .h5ad file: name it .parquet or .csv"
        )

    @contextmanager
    def copied(stage: Path, model: Any, matrix: str) -> Iterator[Callable[[dict[str, Any]], None]]:
        with h5ad.annotated(data, stage, key) as copy:
            yield copy.append
            told = h5ad.told_of(model, of_model(model) | {"matrix": matrix}, None)
            copy.finish(told, getattr(model, "merging_", None))

    return copied


def sample(model_path: Path, count: int, output: Path, seed: int | None = None) -> dict[str, Any]:
    """Draw rows from a saved model, in the units of the data that it was fitted to.

    Args:
        model_path: a saved model.
        count: rows.
        output: ends in ``.parquet`` or ``.csv``.
        seed: of the draws; None takes fresh entropy.

    Returns:
        What was done, in types that JSON knows.

    Raises:
        ValueError: the model cannot be used; nothing was written.
        OSError: a file cannot be read or written.
    """
    kind = columns.kind_of(output)
    model = load(model_path)
    known = getattr(model, "source_", {"columns": None, "steps": []})
    names = known["columns"] or [f"x{j}" for j in range(model.n_features_in_)]
    back = _untransformed(known["steps"], names)
    generator = np.random.default_rng(seed)
    label = next(name for name in ("label", "component", "drawn_from", "_label") if name not in names)
    with Together(output.parent) as outputs, columns.writer(outputs.path(output.name), kind) as append:
        for start in range(0, count, DRAWN):
            x, drawn = model.sample(min(DRAWN, count - start), random_state=generator, shuffle=True)
            x = back(np.asarray(x))
            append({**{name: x[:, j] for j, name in enumerate(names)}, label: np.asarray(drawn)})
    return plain({"model": model_path.name, "draws": output.name, "rows": count, "seed": seed, "columns": names})


def _untransformed(steps: list[dict[str, Any]], names: list[str]) -> Callable[[np.ndarray], np.ndarray]:
    """What brings transformed values back to the units of the data."""

    def back(x: np.ndarray) -> np.ndarray:
        for step in reversed(steps):
            if step["name"] == "asinh":
                at = [names.index(name) for name in step["columns"]]
                x[:, at] = np.sinh(x[:, at]) * step["cofactor"]
        return x

    return back
