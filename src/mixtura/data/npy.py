"""NumPy files, memory-mapped: rows are read from disk as they are needed."""

from pathlib import Path

import numpy as np

from mixtura.data.table import Table, chosen


def read_npy(path: Path, columns: list[str] | None, id: str | None) -> Table:  # noqa: A002
    """The columns of a two-dimensional array; all of them stay in the file until they are read.

    Raises:
        NoColumn: there is no such column.
        ValueError: the file is damaged, or holds something other than a table of real numbers.
    """
    x = _open(path)
    have = [str(j) for j in range(x.shape[1])]
    used = chosen(have, columns, id, path)
    ids = None if id is None else x[:, int(id)]
    kept = {*used, id}
    left_out = [name for name in have if name not in kept]
    x = x if used == have else x[:, [int(name) for name in used]]
    return Table(x, used, left_out, ids, id)


def _open(path: Path) -> np.ndarray:
    try:
        # Never unpickled: an array of Python objects can run any code when it is loaded.
        x = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        if "Python objects" in str(error) or "Object arrays" in str(error):
            raise ValueError(f"{path.name} holds Python objects, which are not loaded: save plain numbers") from None
        raise ValueError(
            f"{path.name} is not a complete .npy file ({_first(error)}): it may be cut short; write it again"
        ) from None
    if not isinstance(x, np.ndarray):
        raise ValueError(f"{path.name} is an archive of arrays, not a .npy file: save one array with numpy.save")
    if x.dtype.kind not in "fiu":
        raise ValueError(f"{path.name} has dtype {x.dtype}, expected real numbers: convert it with astype(float)")
    if x.ndim != 2:
        hint = "; X.reshape(-1, 1) makes one column" if x.ndim == 1 else ""
        raise ValueError(f"{path.name} has shape {x.shape}, expected two dimensions, rows and columns{hint}")
    return x


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
