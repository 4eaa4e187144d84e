"""Job: what a command was asked for, and what came of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mixtura.data.base import Source
from mixtura.data.scan import kind_of, scan


@dataclass(frozen=True)
class Reading:
    """Which rows, and how they are read: the arguments of :func:`mixtura.scan`.

    Attributes:
        data: the file.
        columns: features; None uses all but ``id`` and ``weight``.
        id: column that identifies rows.
        weight: column of row weights.
        transform: ``asinh`` or None.
        cofactor: of the transform.
        transform_columns: features to transform; None is all that it is meant for.
        separator: between the cells of a text; None finds it.
        decimal: the decimal point of a text; None finds it.
        array: name in an ``.npz`` file.
        compensate: take out the spillover of an FCS file; None where it holds a matrix.
        use_rep: which matrix of an AnnData: a key of obsm, or ``X``.
        layer: a key of its layers instead.
        n_dims: the first so many columns of it.
    """

    data: Path
    columns: list[str] | None = None
    id: str | None = None
    weight: str | None = None
    transform: str | None = None
    cofactor: float = 150.0
    transform_columns: list[str] | None = None
    separator: str | None = None
    decimal: str | None = None
    array: str | None = None
    compensate: bool | None = None
    use_rep: str | None = None
    layer: str | None = None
    n_dims: int | None = None

    def source(self) -> Source:
        """The rows."""
        options = {name: value for name, value in vars(self).items() if name != "data"}
        return scan(self.data, **options)


@dataclass(frozen=True)
class Job:
    """What to fit, and where the results go.

    Attributes:
        reading: the rows.
        components: numbers of components to try.
        covariance: names of structures to try, or ``auto`` or ``all``.
        criterion: which of them is best.
        merge: merge components into clusters; into how many, or 0 where the entropy bends. None merges none.
        effort: how hard the optimum is looked for.
        missing: what gaps mean: ``error`` or ``em``.
        seed: of all random draws.
        device: where to compute.
        output: directory of the results; None writes nothing.
        labels: ``parquet`` or ``csv``; None takes Parquet where it can be written.
        report: write a report; None where it can be written.
        key: of the results in a copy of an AnnData file.
        credit: whose data these are, for the report.
        call: how the job was asked for, as text.
    """

    reading: Reading
    components: tuple[int, ...]
    covariance: str | tuple[str, ...] = "full"
    criterion: str = "bic"
    merge: int | None = None
    effort: str = "standard"
    missing: str = "error"
    seed: int = 0
    device: str | None = None
    output: Path | None = None
    labels: str | None = None
    report: bool | None = None
    key: str = "gmm"
    credit: str | None = None
    call: str | None = None


@dataclass(frozen=True)
class Done:
    """What came of a job.

    Attributes:
        model: the fitted estimator.
        summary: everything in ``summary.json``.
        sample: (n, D), at most 20,000 of the rows as they were fitted, drawn evenly.
        labels: (n,) the components of these.
        remarks: what deserves a word about the columns.
        files: what was written.
    """

    model: Any
    summary: dict[str, Any]
    sample: np.ndarray
    labels: np.ndarray
    remarks: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


def reading_of(model: Any, data: Path, **options: Any) -> Reading:
    """How to read new rows for a model: its columns, and what was done to their values."""
    known = getattr(model, "source_", None)
    if known is None:
        names = getattr(model, "feature_names_in_", None)
        return Reading(data, None if names is None else [str(n) for n in names], **options)
    steps = {step["name"]: step for step in known["steps"]}
    columns: list[str] | None = list(known["columns"])
    taken = steps.get("asinh")
    if taken is not None:
        options |= {"transform": "asinh", "cofactor": taken["cofactor"], "transform_columns": list(taken["columns"])}
    if "compensate" in steps and data.exists() and kind_of(data).module != "fcs":
        raise ValueError(
            f"{data.name} is no FCS file, but the model was fitted to compensated channels: give an FCS file"
        )
    if "compensate" in steps:
        options |= {"compensate": True}
    elif data.suffix.lower() in (".fcs", ".lmd"):
        options |= {"compensate": False}
    part, _, key = str(known.get("matrix") or "").partition("/")
    if part and is_h5ad(data):
        named = {name: options[name] for name in ("use_rep", "layer") if options.get(name) is not None}
        own = {"layers": {"layer": key}, "obsm": {"use_rep": key}}.get(part, {"use_rep": part})
        if part == "obsm" and named not in ({}, own):
            # The columns of another embedding are called otherwise; what counts is how many there are.
            columns, options["n_dims"] = None, options.get("n_dims") or len(known["columns"])
        options |= named or own
    return Reading(data, columns, **options)


def is_h5ad(path: Path) -> bool:
    """A file is there, and is an AnnData's."""
    return path.exists() and kind_of(path).module == "h5ad"
