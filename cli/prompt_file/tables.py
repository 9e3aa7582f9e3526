"""Rows of delimited text and of workbooks, with their line numbers."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from python_calamine import CalamineError, CalamineWorkbook

DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_ONE_COLUMN = "\x1f"  # in no file: a line of one column may hold every other mark
_CELL_LIMIT = 1 << 20
TITLE_ROWS = 10
"""The header is among this many first rows: people write a title above it."""

Row = tuple[int, list[str]]


class BadTable(Exception):
    """A row that cannot be read. Nothing after it can be read either."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def read_delimited(text: str, *, suffix: str, is_header: Callable[[list[str]], bool] | None) -> Iterator[Row]:
    """Yield the rows of delimited text that are not blank.

    The delimiter is what a first line `sep=;` says, the tab in a `.tsv` file, or else the one that makes the first row
    a header (`is_header`), or without a header gives every row the same number of cells. A file that no delimiter
    divides has one column, whose cells may hold commas. Raises `BadTable`.
    """
    skipped = 0
    if text[:4].lower() == "sep=":
        first, _, text = text.partition("\n")
        delimiter, skipped = first[4:].strip("\r") or ",", 1
        if len(delimiter) != 1:
            raise BadTable(1, f"must name one character after sep=, not {delimiter!r}")
    else:
        delimiter = _find_delimiter(text, suffix=suffix, is_header=is_header)
    yield from _read_rows(text, delimiter, skipped=skipped)


def read_workbook(data: bytes) -> dict[str, list[Row]]:
    """Return the rows of each sheet of a workbook that are not blank, by the sheet's name. Raises `BadTable`."""
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(data))
        cells = {
            name: workbook.get_sheet_by_name(name).to_python(skip_empty_area=False) for name in workbook.sheet_names
        }
    except (CalamineError, OSError, ValueError) as error:
        raise BadTable(0, f"is not a readable workbook: {error}") from None
    return {name: list(_show_rows(rows)) for name, rows in cells.items()}


def _show_rows(rows: Iterable[list[Any]]) -> Iterator[Row]:
    for number, row in enumerate(rows, start=1):
        cells = list(map(_show_cell, row))
        if any(cell.strip() for cell in cells):
            yield number, cells


def _show_cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _find_delimiter(text: str, *, suffix: str, is_header: Callable[[list[str]], bool] | None) -> str:
    if suffix == ".tsv":
        return "\t"
    fitting = [mark for mark in DELIMITERS if _divides(text, mark, is_header=is_header)] or [
        mark for mark in DELIMITERS if is_header and _divides(text, mark, is_header=None)
    ]
    if len(fitting) > 1:
        names = " or ".join(DELIMITERS[mark] for mark in fitting)
        raise BadTable(1, f"the columns may be separated by {names}: add a first line such as sep={fitting[0]}")
    return fitting[0] if fitting else _ONE_COLUMN


def _divides(text: str, delimiter: str, *, is_header: Callable[[list[str]], bool] | None) -> bool:
    try:
        rows = [cells for _, cells in islice(_read_rows(text, delimiter), None if is_header is None else TITLE_ROWS)]
    except BadTable:
        return False
    if is_header is not None:
        return any(len(cells) > 1 and is_header(cells) for cells in rows)
    return bool(rows) and len(rows[0]) > 1 and all(len(cells) == len(rows[0]) for cells in rows)


def _read_rows(text: str, delimiter: str, *, skipped: int = 0) -> Iterator[Row]:
    """Yield rows with the line they begin on, because a quoted cell may span several lines."""
    csv.field_size_limit(_CELL_LIMIT)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1 + skipped
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadTable(number, _explain(str(error))) from None
        if any(cell.strip() for cell in cells):
            yield number, cells


def _explain(error: str) -> str:
    if "end of data" in error:
        return "a quote is opened and never closed"
    if "expected after" in error:
        return "a quoted cell is followed by more text: quote the whole cell, and double the quotes inside it"
    return f"cannot be read: {error}"
