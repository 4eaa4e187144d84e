"""Options: the kinds of values that arguments of the command take, and groups of arguments that commands share."""

import argparse
import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mixtura.criteria import NAMES

COVARIANCES = "full, tied, diag, spherical, tied_diag, tied_spherical, VEI, EVI, VEE, EVE, VVE, EEV, VEV, EVV"

READS = ".csv, .tsv, .parquet, .arrow, .feather, .npy, .npz, .fcs or .h5ad"


def add_reading(command: argparse.ArgumentParser) -> None:
    """How a file becomes rows."""
    group = command.add_argument_group("reading the data")
    add = group.add_argument
    add("--columns", metavar="A,B", type=names, help="columns to use; of an array their indices from 0")
    add("--id", metavar="COLUMN", help="column that identifies rows; it is copied and not fitted")
    add("--weight", metavar="COLUMN", help="column that says how often each row counts")
    add("--transform", choices=["asinh"], help="fit asinh(x / cofactor), usual for cytometry")
    add("--cofactor", metavar="C", type=cofactor, help="of the transform (default: 150)")
    add(
        "--transform-columns",
        metavar="A,B",
        type=names,
        help="columns to transform (default: all but scatter)",
    )
    add_layout(group)
    add("--no-compensation", action="store_true", help="leave the spillover of an FCS file in")


def add_layout(group: Any) -> None:
    """How the values lie in a file."""
    group.add_argument("--separator", metavar="S", help="between the cells of a text (default: found)")
    group.add_argument("--decimal", choices=[".", ","], help="the decimal point of a text (default: found)")
    group.add_argument("--array", metavar="NAME", help="array in an .npz file")
    group.add_argument("--use-rep", metavar="KEY", help="matrix of an .h5ad file: a key of obsm, or X (default: X_pca)")
    group.add_argument("--layer", metavar="KEY", help="one of its layers instead")
    group.add_argument("--n-dims", metavar="D", type=positive, help="the first D columns of that matrix")


def layout(asked: argparse.Namespace) -> dict[str, Any]:
    """These options as arguments of a reading."""
    separator = {"\\t": "\t", "tab": "\t"}.get(asked.separator, asked.separator)
    cells = {"use_rep": asked.use_rep, "layer": asked.layer, "n_dims": asked.n_dims}
    return {"separator": separator, "decimal": asked.decimal, "array": asked.array, **cells}


def reading(asked: argparse.Namespace) -> dict[str, Any]:
    """These options as arguments of a reading."""
    found: dict[str, Any] = {
        "columns": asked.columns,
        "id": asked.id,
        "weight": asked.weight,
        "transform": asked.transform,
        "cofactor": asked.cofactor or 150.0,
        "transform_columns": asked.transform_columns,
        **layout(asked),
        "compensate": False if asked.no_compensation else None,
    }
    return found


def names(given: str) -> list[str]:
    """A list of names, read as a line of CSV, so that a name with a comma in it can be quoted."""
    return [name.strip() for name in next(csv.reader([given], skipinitialspace=True), [])]


def sizes(given: str) -> tuple[int, ...]:
    """Numbers of components: ``3``, ``1:9`` with both ends, or ``2,4,8``."""
    first, colon, last = given.partition(":")
    if colon and first.isdecimal() and last.isdecimal() and int(first) > int(last):
        raise argparse.ArgumentTypeError(f"{given!r} holds no number, expected the smaller end first: {last}:{first}")
    try:
        found = range(int(first), int(last) + 1) if colon else [int(part) for part in given.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1 or len(found) > 1000:
        raise argparse.ArgumentTypeError(f"{given!r} was given, expected whole numbers from 1: 3, 1:9 or 2,4,8")
    return tuple(sorted(set(found)))


def merging(given: str) -> int:
    """A number of clusters from 1, or 0 for ``auto``."""
    if given != "auto" and not (given.isdecimal() and int(given)):
        raise argparse.ArgumentTypeError(f"{given!r} was given, expected auto or a whole number from 1")
    return 0 if given == "auto" else int(given)


def add_choosing(add: Callable[..., Any]) -> None:
    """Options about structures, and what chooses."""
    structures = f"{COVARIANCES}; several with commas; auto or all (default: full)"
    add("--covariance", metavar="NAME", type=names, default="full", help=structures)
    size = "nec, stability and lrt compare numbers of components only"
    about = f"what chooses; cv holds the rows in memory; {size} (default: bic)"
    add("--criterion", choices=list(NAMES), default="bic", help=about)


def add_merging(add: Any, how: str) -> None:
    """Clusters of components."""
    add("--merge", metavar="N", type=merging, help=f"{how}: a number of them, or auto, where the entropy bends")


def positive(given: str) -> int:
    """A whole number from 1."""
    value = natural(given)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{given} was given, expected a whole number from 1")
    return value


def natural(given: str) -> int:
    """A whole number from 0."""
    if not given.isdecimal():
        raise argparse.ArgumentTypeError(f"{given!r} was given, expected a whole number")
    return int(given)


def cofactor(given: str) -> float:
    """A number above 0."""
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{given!r} was given, expected a number above 0, such as 5 or 150")
    return value


def add_common(command: argparse.ArgumentParser, *, device: bool = True) -> None:
    """What most commands take."""
    if device:
        command.add_argument("--device", metavar="NAME", help="cpu, cuda, mps or auto (default: cpu)")
    command.add_argument("--json", action="store_true", help="print the result as JSON")
    command.add_argument("--quiet", action="store_true", help="no notes on stderr")


def add_output(command: argparse.ArgumentParser, what: str, *, metavar: str = "FILE") -> None:
    """Where the result goes."""
    command.add_argument("-o", "--output", metavar=metavar, type=Path, required=True, help=what)
