"""CSV and TSV files, piece by piece: separators, decimal commas and column names, with nothing dropped in silence."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixtura.data.arrow import is_number, piece_of, pyarrow, refuse_text
from mixtura.data.base import About, Source
from mixtura.data.columns import Wanted, listed, read_columns, told
from mixtura.data.stream import Piece, Stream

SNIFFED = 2**20
"""Bytes read to find the separator and the header."""

LINES, WIDEST = 4, 2**28
"""Where so many bytes hold fewer lines, more are read, up to the second number."""

NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
WHOLE = "^(0|-?[1-9][0-9]{0,17})$"
"""An identifier that is read back as it was written when it is kept as a number; 007 is not."""

COMMA_NUMBER = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Dialect:
    """How a text is a table.

    Attributes:
        separator: between cells.
        decimal: the decimal point.
        names: of all columns, each once.
        lines: up to the end of the header.
        block: bytes that hold several lines.
    """

    separator: str
    decimal: str
    names: list[str]
    lines: int
    block: int = SNIFFED

    def parsing(self) -> Any:
        """The same in the words of pyarrow."""
        from pyarrow import csv as arrow

        # In a table of one column an empty line is a missing value, not decoration; a quoted cell may hold line breaks.
        several = len(self.names) > 1
        return arrow.ParseOptions(delimiter=self.separator, ignore_empty_lines=several, newlines_in_values=True)


class Csv(Stream):
    """A text file of numbers with a header.

    Args:
        path: the file, which may be compressed.
        dialect: how it is a table.
        about: the columns that are used.
    """

    def __init__(self, path: Path, dialect: Dialect, about: About) -> None:
        super().__init__(path.name, about, path=path)
        self._dialect = dialect
        self._id_type: Any = None

    def pieces(self, *, ids: bool) -> Iterator[Piece]:
        import pyarrow

        types = {name: pyarrow.float64() for name in read_columns(self.about)}
        with self._complaints():
            if self.about.id is not None and self.about.id not in (self.about.names or ()):
                del types[self.about.id]
                if ids:
                    types[self.about.id] = self._type_of_ids()
            for batch in reading(self.path, self._dialect, types):
                if batch.num_rows:
                    yield piece_of(batch, self.about, np.dtype(np.float64), ids=ids)

    def _type_of_ids(self) -> Any:
        """Whole numbers where every identifier is written as one, else text: looked for once, through all rows."""
        import pyarrow
        from pyarrow import compute

        if self._id_type is None:
            assert self.about.id is not None
            self._id_type = pyarrow.int64()
            for batch in reading(self.path, self._dialect, {self.about.id: pyarrow.string()}):
                if not compute.all(compute.match_substring_regex(batch.column(0), WHOLE)).as_py():
                    self._id_type = pyarrow.string()
                    break
        return self._id_type

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        import pyarrow

        try:
            yield
        except (pyarrow.ArrowException, OSError) as error:
            if getattr(error, "errno", None):
                raise
            raise ValueError(_sentence(str(error), self.place, self._dialect.names)) from None


def reading(path: Any, dialect: Dialect, types: dict[str, Any]) -> Any:
    """A reader of some columns, piece by piece, in one thread: only then does it say where something is wrong."""
    from pyarrow import csv as arrow

    return arrow.open_csv(
        str(path),
        read_options=arrow.ReadOptions(
            use_threads=False, column_names=dialect.names, skip_rows=dialect.lines, block_size=dialect.block
        ),
        parse_options=dialect.parsing(),
        convert_options=arrow.ConvertOptions(
            include_columns=list(types), column_types=types, decimal_point=dialect.decimal
        ),
    )


def open_source(data: Path, wanted: Wanted) -> Source:
    """Numeric columns of a text table with a header; comma, semicolon or tab between cells.

    A decimal comma is understood where cells are separated by semicolons or tabs. Empty cells become NaN. A name that
    comes again is given a number, as data frames do.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
        NoColumn: there is no such column.
        ValueError: the file is no such table, or a column is not numeric.
    """
    pyarrow("CSV")
    lines = _first_lines(data)
    separator = wanted.separator or _delimiter(lines, tabs=".tsv" in data.suffixes or ".tab" in data.suffixes)
    header, at = _header(lines, separator, data)
    _check_header(header, data, wanted)
    names, said = _unique(header)
    decimal = wanted.decimal or _decimal(lines, separator)
    if decimal not in (".", ",") or decimal == separator:
        raise ValueError(f"decimal is {decimal!r} beside the separator {separator!r}, expected '.' or ','")
    longest = max(map(len, lines.splitlines()))
    dialect = Dialect(separator, decimal, names, at, max(SNIFFED, 8 * longest))
    about = wanted.of(names, data.name)
    _check_numeric(lines, dialect, about, data)
    shown = {"\t": "tabs"}.get(separator, repr(separator))
    unusual = f"Cells are separated by {shown}, the decimal point is {decimal!r}." if decimal == "," else ""
    return Csv(data, dialect, told(about, said, unusual))


def _first_lines(path: Path) -> str:
    import pyarrow

    try:
        with pyarrow.input_stream(str(path), compression="detect") as stream:
            raw = stream.read(SNIFFED)
            # Very wide tables: a header and a row or two.
            while raw.count(b"\n") < LINES and len(raw) < WIDEST and (more := stream.read(SNIFFED)):
                raw += more
    except (pyarrow.ArrowInvalid, OSError) as error:
        if getattr(error, "errno", None):
            raise
        raise ValueError(f"{path.name} cannot be decompressed: {_reason(str(error))}") from None
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


def _header(lines: str, delimiter: str, path: Path) -> tuple[list[str], int]:
    """The first line that is not empty, and how many lines there are up to its end."""
    reader = csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if row:
                return row, reader.line_num
    except csv.Error as error:
        raise ValueError(f"{path.name} cannot be read as a table: {error}") from None
    raise ValueError(f"{path.name} is empty: it has neither column names nor rows")


def _check_header(have: list[str], path: Path, wanted: Wanted) -> None:
    # What data frames write for unnamed columns (0, 1, 2, ...) is a header; a line of measurements is not.
    counted = {tuple(str(j) for j in range(first, first + len(have))) for first in (0, 1)}
    if all(NUMBER.fullmatch(name) for name in have) and tuple(have) not in counted:
        raise ValueError(f"{path.name} begins with numbers ({listed(have, 3)}): put a line of column names first")
    if "" in have and wanted.columns is None and wanted.id != "":
        at = have.index("") + 1
        raise ValueError(
            f"{path.name} has no name for column {at} (row numbers, perhaps): name it, choose others with columns=, "
            "or use it with id=''"
        )


def _unique(header: list[str]) -> tuple[list[str], str]:
    """The names with a number behind those that come again, and what is to be said of that."""
    names: dict[str, None] = {}
    again: Counter[str] = Counter()
    for name in header:
        unique = name
        while unique in names:
            again[name] += 1
            unique = f"{name}.{again[name]}"
        names[unique] = None
    new = [name for name, old in zip(names, header, strict=True) if name != old]
    return list(names), f"Columns with a name that was there before are called {listed(new)}." if new else ""


def _check_numeric(lines: str, dialect: Dialect, about: About, path: Path) -> None:
    """Complain of all columns of text at once, by the first rows; a later stray mark is found when it is read."""
    import pyarrow
    from pyarrow import csv as arrow

    whole = lines if len(lines.encode()) < SNIFFED else _whole_rows(lines)
    asked = list(dict.fromkeys([*(about.names or ()), *([about.weight] if about.weight is not None else [])]))
    try:
        table = arrow.read_csv(
            pyarrow.py_buffer(whole.encode()),
            read_options=arrow.ReadOptions(
                use_threads=False, column_names=dialect.names, skip_rows=dialect.lines, block_size=dialect.block
            ),
            parse_options=dialect.parsing(),
            convert_options=arrow.ConvertOptions(include_columns=asked, decimal_point=dialect.decimal),
        )
    except pyarrow.ArrowException as error:
        raise ValueError(_sentence(str(error), path.name, dialect.names)) from None
    if not table.num_rows:
        raise ValueError(f"{path.name} has column names but no rows: check how it was written")
    text = [name for name in asked if not is_number(table.schema.field(name).type, named=False)]
    refuse_text(text, path.name, _example(table[text[0]]) if text else "")


def _whole_rows(lines: str) -> str:
    """The lines but for a last row that may be cut short, also within a quoted cell."""
    end = lines.rfind("\n") + 1
    while end and lines.count('"', 0, end) % 2:
        end = lines.rfind("\n", 0, end - 1) + 1
    return lines[:end] or lines


def _example(column: Any) -> str:
    """The first cell of a mixed column that is text, so that a stray mark can be found."""
    cells = column.to_pylist()
    odd = [(row, cell) for row, cell in enumerate(cells) if cell is not None and not NUMBER.fullmatch(str(cell))]
    if not odd:
        return ""
    row, cell = odd[0]
    return f" (row {row} holds {str(cell)[:40]!r})"


def _sentence(message: str, place: str, names: list[str]) -> str:
    """What pyarrow says, in the words of who wrote the file."""
    stray = re.search(r"CSV column #(\d+):(?: Row #(\d+):)? .*invalid value '(.*)'", message)
    if stray is None:
        return f"{place} cannot be read as a table: {_reason(message)}"
    column, row, cell = int(stray[1]), stray[2], stray[3]
    where = f" in line {row}" if row else ""
    return (
        f"{place} has columns that are not numeric: {names[column]!r} holds {cell[:40]!r}{where}; choose the numeric "
        "ones with columns=, or name the rows with id="
    )


def _reason(message: str) -> str:
    return message.strip().splitlines()[0].rstrip(".")
