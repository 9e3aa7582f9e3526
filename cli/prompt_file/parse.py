"""Read prompt files (JSON lines, CSV or plain text) into one record per job. The catalogue is not consulted."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rushes.errors import Problem, Refused

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Line:
    """One job of a file. If `is_text`, its values are still text, and its video model determines their types."""

    number: int
    fields: dict[str, Any]
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class LineProblem:
    """A problem with a line. Number 0 stands for the whole file."""

    number: int
    problem: Problem


class FileRefused(Refused):
    """A prompt file that cannot be used, with all its problems as `FILE:17: field: message`."""

    def __init__(self, name: str, problems: list[LineProblem]) -> None:
        self.name = name
        self.problems = problems
        super().__init__("; ".join(self.lines()))

    def lines(self, limit: int | None = None) -> list[str]:
        """Return one line per problem. Problems past the limit are only counted."""
        shown = self.problems[:limit]
        lines = [f"{self.name}{f':{each.number}' if each.number else ''}: {each.problem}" for each in shown]
        hidden = len(self.problems) - len(shown)
        return [*lines, f"and {hidden:,} more"] if hidden else lines


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A file's name as problems show it, and its lines."""

    name: str
    lines: list[Line]


class _BadLine(Exception):
    """The line is not a record, or nothing after it can be read."""

    def __init__(self, number: int, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.found = LineProblem(number, Problem(field, message))


def read_prompt_file(source: str) -> PromptFile:
    """Read `.jsonl`, `.csv` or `.txt`; for `-`, read JSON lines from standard input. Raises `FileRefused`."""
    name, suffix = ("stdin", ".jsonl") if source == STDIN else (source, Path(source).suffix.lower())
    parse = _find_parser(name, suffix)
    text = _decode(name, _read_bytes(source))
    lines: list[Line] = []
    problems: list[LineProblem] = []
    try:
        for each in parse(text):
            if isinstance(each, Line):
                lines.append(each)
            else:
                problems.append(each)
    except _BadLine as stop:
        problems.append(stop.found)
    if not lines and not problems:
        problems = [LineProblem(0, Problem("", "holds no jobs"))]
    if problems:
        raise FileRefused(name, problems)
    return PromptFile(name, lines)


def _refuse(name: str, message: str, *, number: int = 0) -> NoReturn:
    raise FileRefused(name, [LineProblem(number, Problem("", message))])


def _read_bytes(source: str) -> bytes:
    if source == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        _refuse(source, f"cannot be read: {reason.lower()}")


def _decode(name: str, data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        _refuse(name, "is UTF-16 text: save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        number = before.count(b"\n") + 1
        _refuse(name, f"is not UTF-8 text (byte 0x{error.object[error.start]:02x})", number=number)


def _split(text: str) -> Iterator[tuple[int, str]]:
    """Yield non-blank lines with their numbers. Only line feeds end a line: JSON strings may hold other line breaks."""
    for number, line in enumerate(text.split("\n"), start=1):
        if stripped := line.strip():
            yield number, stripped


def _parse_text(text: str) -> Iterator[Line | LineProblem]:
    for number, line in _split(text):
        yield Line(number, {"prompt": line})


def _parse_json_lines(text: str) -> Iterator[Line | LineProblem]:
    for number, line in _split(text):
        try:
            yield Line(number, _read_object(number, line))
        except _BadLine as bad:
            yield bad.found


def _read_object(number: int, line: str) -> dict[str, Any]:
    def refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise _BadLine(number, "is given twice", field=key)
            found[key] = value
        return found

    def refuse_constant(word: str) -> NoReturn:
        raise _BadLine(number, f"is not JSON: {word} is not a value")

    try:
        value = json.loads(line, object_pairs_hook=refuse_twins, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        raise _BadLine(number, f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]} at column {error.colno}") from None
    except (ValueError, RecursionError):
        raise _BadLine(number, "is not readable JSON: it is too deep, or a number is too long") from None
    if not isinstance(value, dict):
        raise _BadLine(number, 'must be a JSON object, such as {"prompt": "..."}')
    return value


def _parse_csv(text: str) -> Iterator[Line | LineProblem]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    for number, cells in _read_rows(reader):
        if not any(cell.strip() for cell in cells):
            continue
        if header is None:
            header = _check_header(number, cells)
        elif len(cells) != len(header):
            message = f"has {len(cells)} cells, but the header has {len(header)}"
            yield LineProblem(number, Problem("", message))
        else:
            yield from _read_row(number, header=header, cells=cells)


def _read_rows(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield rows with the line they begin on, because a quoted cell may span several lines."""
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            what = "a quote is opened and never closed" if "end of data" in str(error) else f"is not CSV: {error}"
            raise _BadLine(number, what) from None
        yield number, cells


def _check_header(number: int, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    named = [name for name in header if name]
    for name in named:
        if named.count(name) > 1:
            raise _BadLine(number, f"the header names {name!r} twice")
    if "prompt" not in named:
        separated = any(mark in header[0] for mark in ";\t") and len(header) == 1
        advice = "; columns are separated by commas" if separated else ""
        raise _BadLine(number, f"the header has no column named prompt{advice}")
    return header


def _read_row(number: int, *, header: list[str], cells: list[str]) -> Iterator[Line | LineProblem]:
    """Read a row. An empty cell does not set its parameter."""
    if any(cell.strip() for name, cell in zip(header, cells, strict=True) if not name):
        yield LineProblem(number, Problem("", "has a value in a column without a name"))
        return
    given = {name: cell for name, cell in zip(header, cells, strict=True) if name and cell.strip()}
    yield Line(number, given, is_text=True)


_PARSERS: dict[str, Callable[[str], Iterator[Line | LineProblem]]] = {
    ".jsonl": _parse_json_lines,
    ".ndjson": _parse_json_lines,
    ".csv": _parse_csv,
    ".txt": _parse_text,
}


def _find_parser(name: str, suffix: str) -> Callable[[str], Iterator[Line | LineProblem]]:
    if suffix not in _PARSERS:
        but = f", not {suffix}" if suffix else ""
        _refuse(name, f"must end in .jsonl, .csv or .txt{but}: the ending selects the format")
    return _PARSERS[suffix]
