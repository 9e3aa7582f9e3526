"""The records of a prompt file, whatever its format: lines, problems by line, and the meaning of their keys."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

from cli.prompt_file.columns import CLIENT_REF, METADATA, PROMPT, ColumnOptions, assign_columns, check_chosen
from rushes.errors import InvalidInput, Problem, Refused
from rushes.jobs.own_values import CLIENT_REF_LIMIT


@dataclass(frozen=True, slots=True)
class Line:
    """One job of a file. Values may still be text: its video model determines their types."""

    number: int
    fields: dict[str, Any]
    client_ref: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LineProblem:
    """A problem with a line. Number 0 stands for the whole file."""

    number: int
    problem: Problem


_NO_PROMPTS = frozenset({"", "total", "totals", "sum", "subtotal", "summe", "gesamt"})
"""Texts in the column of prompts that are none: people sum up their tables."""


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


class HeaderMissing(FileRefused):
    """The first row names no column of prompts. It may be a prompt itself."""


@dataclass(slots=True)
class PromptFile:
    """A file's name as problems show it, its lines, and what was left out or kept as metadata."""

    name: str
    lines: list[Line] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    metadata: dict[str, None] = field(default_factory=dict)
    """The columns whose values are kept as the jobs' metadata, in the order of the file."""
    unmarked: list[int] = field(default_factory=list)
    """Lines without the list mark that most other lines have."""


class RecordReader:
    """Turns records into lines of a file: each key is a field of the job, or metadata."""

    def __init__(self, options: ColumnOptions, file: PromptFile) -> None:
        self._options = options
        self._file = file
        self._assigned: dict[tuple[str, ...], tuple[dict[str, str], list[str]]] = {}

    def add_row(self, number: int, row: Mapping[str, str]) -> list[LineProblem]:
        """Add a row of a table. An empty cell sets nothing. Returns the problems instead, if there are any."""
        if row.get("", "").strip():
            return [LineProblem(number, Problem("", "has a value in a column without a name"))]
        record = {column: cell for column, cell in row.items() if column}
        with suppress(InvalidInput):
            fields, _ = self._assign(tuple(record))
            prompt = next((cell for column, cell in record.items() if fields.get(column) == PROMPT), "")
            if prompt.strip().casefold() in _NO_PROMPTS:
                return [LineProblem(number, Problem("", "has no prompt: fill it in, or remove the row"))]
        return self.add(number, record, is_set=lambda cell: bool(cell.strip()))

    def add(
        self, number: int, record: Mapping[str, Any], *, is_set: Callable[[Any], bool] = lambda value: value is not None
    ) -> list[LineProblem]:
        """Add a record's line. Returns the problems with its keys instead, if there are any."""
        try:
            fields, others = self._assign(tuple(record))
            given = {fields[key]: value for key, value in record.items() if key in fields and is_set(value)}
            own = {key: record[key] for key in others if record[key] is None or is_set(record[key])}
            metadata = _read_metadata(given.pop(METADATA, None)) | own
            reference = _read_reference(given.pop(CLIENT_REF, None))
        except InvalidInput as error:
            return [LineProblem(number, each) for each in error.problems]
        self._file.metadata.update(dict.fromkeys(own))
        self._file.lines.append(Line(number, given, reference, metadata))
        return []

    def check_options(self) -> list[LineProblem]:
        """Return a problem for each option that names a key which no record has."""
        try:
            check_chosen(dict.fromkeys(key for keys in self._assigned for key in keys), self._options)
        except InvalidInput as error:
            return [LineProblem(0, each) for each in error.problems]
        return []

    def _assign(self, keys: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
        if keys not in self._assigned:
            self._assigned[keys] = assign_columns(keys, self._options)
        return self._assigned[keys]


def _read_reference(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, NoneType)):
        raise InvalidInput([Problem(CLIENT_REF, "must be text or a whole number")])
    reference = "" if value is None else str(value).strip()
    if len(reference) > CLIENT_REF_LIMIT:
        raise InvalidInput([Problem(CLIENT_REF, f"must have at most {CLIENT_REF_LIMIT} characters")])
    return reference or None


def _read_metadata(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput([Problem(METADATA, "must be a JSON object")])
    return value


def check_jobs(file: PromptFile, problems: list[LineProblem]) -> PromptFile:
    """Return the file. Raises `FileRefused` if there are problems, or no jobs."""
    if not file.lines and not problems:
        problems = [LineProblem(0, Problem("", "holds no jobs"))]
    if problems:
        raise FileRefused(file.name, problems)
    return file
