"""Scan: a source from a file or an object, by the module that knows its kind, which is imported only then."""

import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from mixtura.data.base import Source
from mixtura.data.columns import Wanted
from mixtura.data.steps import asinh


class Kind(NamedTuple):
    """A kind of place that rows come from.

    Attributes:
        module: in this package; its ``open_source(data, wanted)`` makes the source.
        endings: of the files it reads.
        begins: an expression for the first bytes of such a file, where they tell it from a text.
        types: of the objects it takes, by module and name, or by a method that they have.
        takes: which options of :func:`scan` have a meaning for it.
    """

    module: str
    endings: tuple[str, ...] = ()
    begins: bytes = b""
    types: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()

    def tells(self, first: bytes) -> bool:
        """A file with these first bytes is of this kind."""
        return bool(self.begins) and re.match(self.begins, first, re.DOTALL) is not None


KINDS = (
    Kind("npy", (".npy", ".npz"), takes=("array",)),
    Kind("csv", (".csv", ".tsv", ".tab", ".txt"), takes=("separator", "decimal")),
    Kind("parquet", (".parquet", ".pq"), rb"PAR1($|[^ -~\t\r\n])"),
    Kind("arrow", (".arrow", ".feather", ".ipc"), rb"ARROW1\0", types=("__arrow_c_stream__",)),
    Kind("fcs", (".fcs", ".lmd"), rb"FCS[23]\.\d {4}", takes=("compensate",)),
    Kind("h5ad", (".h5ad",), rb"\x89HDF\r\n\x1a\n", takes=("use_rep", "layer", "n_dims")),
    Kind("annotated", types=("anndata._core.anndata.AnnData", "anndata.AnnData"), takes=("use_rep", "layer", "n_dims")),
    Kind("frame", types=("numpy.ndarray", "torch.Tensor", "list", "tuple", "__dlpack__", "__array__")),
    Kind("loader", types=("__iter__",)),
)
"""What can be scanned, in the order in which it is asked."""

COMPRESSED = (".gz", ".bz2", ".zst")


def scan(
    data: Any,
    columns: Sequence[str] | None = None,
    weight: str | None = None,
    id: str | None = None,  # noqa: A002
    *,
    transform: str | None = None,
    cofactor: float | int = 150,
    transform_columns: Sequence[str] | None = None,
    separator: str | None = None,
    decimal: str | None = None,
    array: str | None = None,
    compensate: bool | None = None,
    use_rep: str | None = None,
    layer: str | None = None,
    n_dims: int | None = None,
) -> Source:
    r"""Rows of a file or an object as a source: read in every pass, in constant memory, never held.

    Args:
        data: a path that ends in ``.npy``, ``.npz``, ``.csv``, ``.tsv``, ``.parquet``, ``.arrow``, ``.feather``,
            ``.fcs`` or ``.h5ad`` (text may be compressed), or an array, a tensor, a data frame, an Arrow table, an
            AnnData, or a ``torch.utils.data.DataLoader`` that does not shuffle, or another iterable of batches that
            begins anew.
        columns: names of the features; None uses all columns but ``weight`` and ``id`` (of an FCS file all channels but
            the time and the widths). The columns of an array are named by their index: ``"0"``, ``"1"``, …,
            those of an embedding in obsm ``"X_pca-0"``, ``"X_pca-1"``, ….
        weight: column of row weights; of an AnnData a column of obs.
        id: column that identifies rows; it is handed on and never fitted. Cells are identified by the names of obs.
        transform: ``"asinh"`` gives asinh(x / cofactor), which is linear near 0 and logarithmic far from it.
        cofactor: of the transform: 150 is usual for flow cytometry, 5 for mass cytometry.
        transform_columns: features to transform; None is all of them (of an FCS file all but the scatter channels).
        separator: between the cells of a text; None finds it.
        decimal: ``"."`` or ``","`` in the numbers of a text; None finds it.
        array: name of the array in an ``.npz`` file; not needed where there is one.
        compensate: whether the spillover between the channels of an FCS file is taken out; None does so where the file
            holds a matrix for it.
        use_rep: which matrix of an AnnData is read: a key of obsm, or ``"X"``; None is ``"X_pca"``.
        layer: a key of its layers, in place of ``use_rep``.
        n_dims: the first so many columns of that matrix.

    Returns:
        A source: ``fit`` and ``predict`` take it in place of an array.

    Raises:
        NoColumn: a column is not there; the message lists those that are.
        ValueError: the file or one of its columns cannot be used.
        TypeError: rows cannot be read from such an object.
        OSError: the file cannot be opened.
        ModuleNotFoundError: an optional package is needed to read it.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import mixtura
        >>> with tempfile.TemporaryDirectory() as place:
        ...     path = Path(place) / "cells.csv"
        ...     _ = path.write_text("cell,area\nc1,1.0\nc2,1.2\nc3,7.0\nc4,7.1\n")
        ...     source = mixtura.scan(path, id="cell")
        ...     gm = mixtura.GaussianMixture(2, covariance_type="tied", random_state=0).fit(source)
        ...     gm.predict(source)
        array([0, 0, 1, 1])
    """
    options: dict[str, Any] = {"separator": separator, "decimal": decimal, "array": array, "compensate": compensate}
    options |= {"use_rep": use_rep, "layer": layer, "n_dims": n_dims}
    kind = kind_of(data)
    for name, value in options.items():
        if value is not None and name not in kind.takes:
            raise ValueError(f"{name}={value!r} has no meaning for this kind of data: leave it out")
    given = None if columns is None else tuple(map(str, columns))
    module = import_module(f"mixtura.data.{kind.module}")
    wanted = Wanted(given, weight, id, **options)
    source: Source = module.open_source(Path(data) if _is_path(data) else data, wanted)
    if transform is None:
        return source
    if transform != "asinh":
        raise ValueError(f"transform is {transform!r}, expected 'asinh' or None")
    usual = getattr(module, "transformed_channels", None)
    chosen = usual(source) if transform_columns is None and usual is not None else transform_columns
    return asinh(source, cofactor, chosen)


def kind_of(data: Any) -> Kind:
    """The kind of place that a path or an object is.

    Raises:
        ValueError: a file of no known kind, an empty one, or a directory.
        FileNotFoundError: there is no such file.
        TypeError: an object of no known kind.
    """
    if _is_path(data):
        return _kind_of_file(Path(data))
    above = {f"{c.__module__}.{c.__qualname__}".removeprefix("builtins.") for c in type(data).__mro__}
    for kind in KINDS:
        if any(name in above or (name.startswith("__") and hasattr(data, name)) for name in kind.types):
            return kind
    raise TypeError(
        f"rows cannot be read from a {type(data).__name__}: give a path, an array, a data frame or a DataLoader"
    )


def _is_path(data: Any) -> bool:
    return isinstance(data, str) or hasattr(data, "__fspath__")


def _kind_of_file(path: Path) -> Kind:
    if path.is_dir():
        raise ValueError(f"{path} is a directory, not a file: give one table")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}: check the name and the current directory")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: it has neither column names nor rows")
    endings = [e.lower() for e in path.suffixes]
    if endings and endings[-1] in COMPRESSED:
        endings.pop()
    ending = endings[-1] if endings else ""
    with path.open("rb") as stream:
        first = stream.read(16)
    by_bytes = next((k for k in KINDS if k.tells(first)), None)
    by_name = next((k for k in KINDS if ending in k.endings), None)
    found = by_name or by_bytes
    if found is None:
        known = ", ".join(e for k in KINDS for e in k.endings)
        raise ValueError(
            f"{path.name} ends in {ending or 'nothing'!r}, which is not a known kind of table: give {known}"
        )
    wrong = found.begins and not found.tells(first)
    if wrong or (by_bytes is not None and by_bytes is not found):
        real = "" if by_bytes is None else f"; its bytes are those of {by_bytes.endings[0]}"
        raise ValueError(
            f"{path.name} is not a {found.endings[0]} file, whatever its name says{real}: check how it was written"
        )
    return found
