"""CSV and TSV files through pyarrow: separators, decimal commas and column names, with nothing dropped in silence."""

import csv
import io
import re
from pathlib import Path
from typing import Any

from mixtura.data.table import Table, chosen, listed

SNIFFED = 2**20
"""Bytes read to find the separator and the header."""

NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
COMMA_NUMBER = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")


def read_csv(path: Path, columns: list[str] | None, id: str | None) -> Table:  # noqa: A002
    """Numeric columns of a text table with a header; comma, semicolon or tab between cells.

    A decimal comma is understood where cells are separated by semicolons or tabs. Empty cells become NaN.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
        NoColumn: there is no such column.
        ValueError: the file is no such table, or a column is not numeric.
    """
    try:
        import pyarrow
        from pyarrow import csv as arrow
    except ModuleNotFoundError:
        raise ModuleNotFoundError('reading CSV needs pyarrow: pip install "mixtura[table]"') from None
    lines = _first_lines(path)
    delimiter = _delimiter(lines, tabs=".tsv" in path.suffixes or ".tab" in path.suffixes)
    have = _header(lines, delimiter, path)
    _check_header(have, path, named=columns is not None, id=id)
    used = chosen(have, columns, id, path)
    # In a table of one column an empty line is a missing value, not decoration.
    parse = arrow.ParseOptions(delimiter=delimiter, ignore_empty_lines=len(have) > 1)
    asked = list(dict.fromkeys([*used, *([] if id is None else [id])]))
    try:
        table = arrow.read_csv(
            str(path),
            parse_options=parse,
            convert_options=arrow.ConvertOptions(include_columns=asked, decimal_point=_decimal(lines, delimiter)),
        )
    except (pyarrow.ArrowInvalid, pyarrow.ArrowKeyError, OSError) as error:
        if getattr(error, "errno", None):
            raise
        raise ValueError(f"{path.name} cannot be read as a table: {_reason(error)}") from None
    if not table.num_rows:
        raise ValueError(f"{path.name} has column names but no rows: check how it was written")
    ids = None if id is None else table[id]
    left_out = [name for name in have if name not in asked]
    return Table(_floats(table.select(used), path), used, left_out, ids, id)


def _first_lines(path: Path) -> str:
    import pyarrow

    try:
        with pyarrow.input_stream(str(path), compression="detect") as stream:
            raw = stream.read(SNIFFED)
    except (pyarrow.ArrowInvalid, OSError) as error:
        if getattr(error, "errno", None):
            raise
        raise ValueError(f"{path.name} cannot be decompressed: {_reason(error)}") from None
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:4096]:
        raise ValueError(f"{path.name} is not UTF-8 text: save it as CSV with UTF-8 encoding")
    try:
        text: str = bytes(raw).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(raw) - 4:
            raise ValueError(f"{path.name} is not UTF-8 text: save it as CSV with UTF-8 encoding") from None
        text = bytes(raw[: error.start]).decode("utf-8-sig")
    if not text.strip():
        raise ValueError(f"{path.name} is empty: it has neither column names nor rows")
    return text


def _rows(lines: str, delimiter: str, most: int) -> list[list[str]]:
    reader = csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter)
    found: list[list[str]] = []
    try:
        for row in reader:
            if row:
                found.append(row)
            if len(found) == most:
                break
    except csv.Error:
        pass  # pyarrow, which reads the whole file, says what is wrong and where
    return found


def _delimiter(lines: str, *, tabs: bool) -> str:
    """The separator that cuts the first lines into most cells, equally many in each of them."""
    if tabs:
        return "\t"
    best, most = ",", 1
    for delimiter in (",", ";", "\t"):
        rows = _rows(lines, delimiter, 20)
        # The last line may be cut in the middle where the file is longer than what was read.
        widths = {len(row) for row in (rows[:-1] if len(rows) > 2 else rows)}
        if len(widths) == 1 and (width := widths.pop()) > most:
            best, most = delimiter, width
    if most > 1:
        return best
    head = lines.splitlines()[0]
    return max((",", ";", "\t"), key=head.count)


def _decimal(lines: str, delimiter: str) -> str:
    if delimiter == ",":
        return "."
    cells = [cell for row in _rows(lines, delimiter, 200)[1:] for cell in row]
    commas = any(COMMA_NUMBER.fullmatch(cell) for cell in cells)
    points = any("." in cell and NUMBER.fullmatch(cell) for cell in cells)
    return "," if commas and not points else "."


def _header(lines: str, delimiter: str, path: Path) -> list[str]:
    rows = _rows(lines, delimiter, 1)
    if not rows:
        raise ValueError(f"{path.name} is empty: it has neither column names nor rows")
    return rows[0]


def _check_header(have: list[str], path: Path, *, named: bool, id: str | None) -> None:  # noqa: A002
    twice = sorted({name for name in have if have.count(name) > 1})
    if twice and twice != [""]:
        raise ValueError(f"{path.name} has more than one column named {listed(twice)}: give each its own name")
    # What data frames write for unnamed columns (0, 1, 2, ...) is a header; a line of measurements is not.
    counted = {tuple(str(j) for j in range(first, first + len(have))) for first in (0, 1)}
    if all(NUMBER.fullmatch(name) for name in have) and tuple(have) not in counted:
        raise ValueError(f"{path.name} begins with numbers ({listed(have, 3)}): put a line of column names first")
    if "" in have and not named and id != "":
        at = have.index("") + 1
        raise ValueError(
            f"{path.name} has no name for column {at} (row numbers, perhaps): name it, choose others with --columns, "
            "or use it with --id ''"
        )


def _floats(table: Any, path: Path) -> Any:
    """The same columns as float64, empty cells as NaN."""
    import pyarrow
    from pyarrow import compute

    types = {f.name: f.type for f in table.schema}
    is_number = (pyarrow.types.is_integer, pyarrow.types.is_floating, pyarrow.types.is_null)
    text = [name for name, kind in types.items() if not any(test(kind) for test in is_number)]
    if text:
        raise ValueError(
            f"{path.name} has columns that are not numeric: {listed([*text])}{_example(table[text[0]])}; choose the "
            "numeric ones with --columns, or name the rows with --id"
        )
    arrays = []
    for name in table.column_names:
        column = compute.cast(table[name], pyarrow.float64(), safe=False).combine_chunks()
        arrays.append(compute.fill_null(column, float("nan")))
    return pyarrow.table(arrays, names=table.column_names)


def _example(column: Any) -> str:
    """The first cell of a mixed column that is text, so that a stray mark can be found."""
    cells = column.to_pylist()
    odd = [(row, cell) for row, cell in enumerate(cells) if cell is not None and not NUMBER.fullmatch(str(cell))]
    if not odd:
        return ""
    row, cell = odd[0]
    return f" (row {row} holds {str(cell)[:40]!r})"


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
