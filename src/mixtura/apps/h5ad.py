"""H5ad: a copy of an AnnData file that is given the labels of its cells block by block, in the format of anndata."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mixtura.apps.annotate import POSTERIOR_BYTES, category_names, check_key, colours, plain, record
from mixtura.data.h5ad import frame_of, opened, strings

LOGGED = "the posteriors take more than 1 GiB and are not kept in obsm"


class Annotated:
    """A copy of an AnnData file with more in it.

    Args:
        file: the open copy.
        key: of the results.
    """

    def __init__(self, file: Any, key: str) -> None:
        self._file, self._key = file, check_key(key, "key")
        obs = frame_of(file, "obs", Path(file.filename).name)
        index = obs[str(obs.attrs["_index"])]
        self._rows = len(index if hasattr(index, "dtype") else index["values"])
        self._at = self._components = 0
        self.told: list[str] = []

    def append(self, chunk: dict[str, Any]) -> None:
        """Write the labels of the next cells.

        Args:
            chunk: columns as :func:`mixtura.apps.labels.chunks` makes them.
        """
        posterior = [chunk[name] for name in chunk if name.startswith("posterior_")]
        if not self._at:
            self._begin(len(posterior), chunk["uncertainty"].dtype, merged="cluster" in chunk)
        here = slice(self._at, self._at + len(chunk["label"]))
        obs = self._file["obs"]
        # Label −1 is noise, the category after the last component.
        label = chunk["label"]
        obs[f"{self._key}/codes"][here] = np.where(label < 0, self._components, label)
        if "cluster" in chunk:
            obs[f"{self._merged}/codes"][here] = chunk["cluster"]
        obs[f"{self._key}_uncertainty"][here] = chunk["uncertainty"]
        if f"{self._key}_posterior" in self._file["obsm"]:
            self._file["obsm"][f"{self._key}_posterior"][here] = np.stack(posterior, 1).astype(np.float32)
        self._at = here.stop

    @property
    def _merged(self) -> str:
        """The key of the clusters that components were merged into."""
        return f"{self._key}_merged"

    def _begin(self, components: int, dtype: np.dtype, *, merged: bool) -> None:
        """Make room for all cells."""
        self._components = components
        obs, obsm = self._file["obs"], group(self._file, "obsm")
        names = [str(name) for name in strings(obs.attrs["column-order"])]
        uncertainty, labels = f"{self._key}_uncertainty", [self._key, *([self._merged] if merged else [])]
        added = [*labels, uncertainty]
        drop(obs, *added)
        drop(obsm, f"{self._key}_posterior")
        code = np.int8 if components < 127 else np.int32
        for name in labels:
            column = obs.create_group(name)
            column.attrs.update({**encoding("categorical", "0.2.0"), "ordered": False})
            array(column, "codes", (self._rows,), code)
        array(obs, uncertainty, (self._rows,), dtype)
        put_names(obs, [*(name for name in names if name not in added), *added])
        if 4 * self._rows * components <= POSTERIOR_BYTES:
            array(obsm, f"{self._key}_posterior", (self._rows, components), np.float32)
        else:
            self.told.append(LOGGED)

    def finish(self, told: dict[str, Any], merging: Mapping[str, Any] | None = None, *, noise: bool = False) -> None:
        """Write what is known of the fit, after the last cells.

        Args:
            told: plain types.
            merging: the same of the clusters that components were merged into; None where they were not.
            noise: some label is −1.
        """
        names = category_names(self._components, noise)
        painted = colours(names)
        self._named(self._key, names, painted, told)
        if merging is not None:
            of = np.asarray(merging["components"])
            # Components come by weight, so that the first of a cluster is its largest.
            first = [int((of == c).argmax()) for c in range(int(of.max()) + 1)]
            self._named(self._merged, category_names(len(first)), [painted[k] for k in first], plain(merging))

    def _named(self, key: str, names: list[str], painted: list[str], told: dict[str, Any]) -> None:
        put(self._file["obs"][key], "categories", np.array(names, dtype=object))
        uns = group(self._file, "uns")
        drop(uns, key, f"{key}_colors")
        put(uns, key, told)
        put(uns, f"{key}_colors", np.array(painted, dtype=object))


@contextmanager
def annotated(data: Path, place: Path, key: str) -> Iterator[Annotated]:
    """A copy of a file, to be annotated.

    Args:
        data: the AnnData file, which is left as it is.
        place: where the copy goes.
        key: of the results.
    """
    check_key(key, "key")
    shutil.copyfile(data, place)
    with opened(place, "r+") as file:
        yield Annotated(file, key)


def told_of(model: Any, summary: dict[str, Any], call: str | None) -> dict[str, Any]:
    """The record of a fit that a command made, by its summary."""
    matrix = str(summary.get("matrix") or getattr(model, "source_", {}).get("matrix", ""))
    bic, icl = summary["bic"], summary.get("icl")
    log_best = float("nan") if bic is None or icl is None else (bic - icl) / 2
    params = {"call": call, "covariance_type": model.covariance_type, "n_components": model.n_components}
    return record(model, params, log_best=log_best, matrix=matrix, columns=summary["columns"])


def group(parent: Any, name: str) -> Any:
    """A group of a file, made where it is not there."""
    if name not in parent:
        parent.create_group(name).attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
    return parent[name]


def drop(parent: Any, *names: str) -> None:
    """Take entries out of a group, where they are there."""
    for name in names:
        if name in parent:
            del parent[name]


def array(parent: Any, name: str, shape: tuple[int, ...], dtype: Any) -> None:
    """An array that is written later."""
    parent.create_dataset(name, shape, dtype=dtype).attrs.update(encoding("array", "0.2.0"))


def encoding(kind: str, version: str) -> dict[str, str]:
    """What anndata knows an element by."""
    return {"encoding-type": kind, "encoding-version": version}


def put_names(frame: Any, names: list[str]) -> None:
    """The names of a data frame's columns."""
    import h5py

    frame.attrs["column-order"] = np.array(names, dtype=h5py.string_dtype())


def put(parent: Any, name: str, value: Any) -> None:
    """Write a plain value as anndata does."""
    import h5py

    text = h5py.string_dtype()
    if isinstance(value, dict):
        made = parent.create_group(name)
        made.attrs.update(encoding("dict", "0.1.0"))
        for key, inner in value.items():
            put(made, key, inner)
    elif isinstance(value, str):
        parent.create_dataset(name, data=value, dtype=text).attrs.update(encoding("string", "0.2.0"))
    elif isinstance(value, np.ndarray):
        of_text = value.dtype.kind == "O"
        made = parent.create_dataset(name, data=value, dtype=text if of_text else value.dtype)
        made.attrs.update(encoding("string-array" if of_text else "array", "0.2.0"))
    else:
        parent.create_dataset(name, data=value).attrs.update(encoding("numeric-scalar", "0.2.0"))
