"""Job and Done: what the command ``mixtura fit`` was asked for, and what came of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixtura.data.table import Table


@dataclass(frozen=True)
class Job:
    """What to fit, and where the results go.

    Attributes:
        data: the table.
        components: K.
        covariance: name of the structure.
        columns: columns to use; None uses all but ``id``.
        id: column that identifies rows.
        cofactor: fit asinh(x / cofactor); None fits x.
        seed: of all random draws.
        device: where to compute.
        output: directory of the results; None writes nothing.
        labels: ``parquet`` or ``csv``; None takes Parquet where it can be written.
    """

    data: Path
    components: int
    covariance: str = "full"
    columns: list[str] | None = None
    id: str | None = None
    cofactor: float | None = None
    seed: int = 0
    device: str | None = None
    output: Path | None = None
    labels: str | None = None


@dataclass(frozen=True)
class Done:
    """What came of a job.

    Attributes:
        model: the fitted estimator.
        table: the rows as they were fitted.
        labels: (N,) the component of every row.
        summary: everything in ``summary.json``.
        files: what was written.
    """

    model: Any
    table: Table
    labels: np.ndarray
    summary: dict[str, Any]
    files: list[Path]
