"""Read a prompt file (JSON, a table or plain text) into one record per job. The catalogue is not consulted."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn

from cli.prompt_file.columns import PROMPT, ColumnOptions, assign_columns, check_chosen, is_header, names_prompts
from cli.prompt_file.decoding import Undecodable, decode
from cli.prompt_file.json_records import BadJson, read_document, read_lines
from cli.prompt_file.records import FileRefused, HeaderMissing, Line, LineProblem, PromptFile, RecordReader, check_jobs
from cli.prompt_file.tables import TITLE_ROWS, BadTable, Row, read_delimited, read_workbook
from cli.prompt_file.text import AmbiguousText, Split, read_prompts
from rushes.errors import InvalidInput, Problem

STDIN = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """How to read a file where its content alone does not say."""

    split: Split = Split.AUTO
    has_header: bool = True
    columns: ColumnOptions = field(default_factory=ColumnOptions)


def read_prompt_file(source: str, options: ReadOptions | None = None) -> PromptFile:
    """Read a file by its ending; for `-`, read JSON lines from standard input.

    Raises `FileRefused` with every problem by line, and `HeaderMissing` for a table whose first row may be a prompt.
    """
    name, suffix = ("stdin", ".jsonl") if source == STDIN else (source, Path(source).suffix.lower())
    if suffix not in _READERS:
        but = f", not {suffix}" if suffix else ""
        _refuse(name, f"must end in {', '.join(_READERS)}{but}: the ending selects the format")
    return _READERS[suffix](name, _read_bytes(source), options or ReadOptions())


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
    try:
        return decode(data)
    except Undecodable as error:
        _refuse(name, str(error), number=error.line)


def _read_text(name: str, data: bytes, options: ReadOptions) -> PromptFile:
    text = _decode(name, data)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if "\t" in first and is_header(first.split("\t"), options.columns):
        return _read_delimited(name, data, options, suffix=".tsv")  # Excel saves "Unicode text" as .txt
    if first.lstrip()[:1] in ("{", "["):
        _refuse(name, "looks like JSON: give it the ending .jsonl or .json")
    if any(mark in first and names_prompts(first.split(mark), options.columns) for mark in ",;|"):
        _refuse(name, "looks like a table: give it the ending .csv")
    if options.columns != ColumnOptions() or not options.has_header:
        _refuse(name, "is text, which has no columns: --column, --ignore and --no-header are for tables")
    try:
        found = read_prompts(text, options.split)
    except AmbiguousText as error:
        _refuse(name, f"holds lines that may belong together: {error}")
    file = PromptFile(name, [Line(each.number, {PROMPT: each.text}) for each in found.prompts], found.skipped)
    file.unmarked = found.unmarked
    return check_jobs(file, [])


def _read_json(
    name: str, data: bytes, options: ReadOptions, *, read: Callable[[str], Iterator[tuple[int, Any] | BadJson]]
) -> PromptFile:
    file, problems = PromptFile(name), list[LineProblem]()
    records = RecordReader(options.columns, file)
    for each in read(_decode(name, data)):
        if isinstance(each, BadJson):
            problems.append(LineProblem(each.line, Problem(each.key, str(each))))
            continue
        number, value = each
        record = {PROMPT: value} if isinstance(value, str) else value
        if isinstance(record, dict):
            problems += records.add(number, record)
        else:
            message = 'must be a JSON object, such as {"prompt": "..."}, or a prompt in quotes'
            problems.append(LineProblem(number, Problem("", message)))
    return check_jobs(file, problems + records.check_options())


def _read_delimited(name: str, data: bytes, options: ReadOptions, *, suffix: str = "") -> PromptFile:
    names_fields = partial(is_header, options=options.columns) if options.has_header else None
    suffix = suffix or Path(name).suffix.lower()
    return _read_table(name, read_delimited(_decode(name, data), suffix=suffix, is_header=names_fields), options)


def _read_workbook(name: str, data: bytes, options: ReadOptions) -> PromptFile:
    """Read the only sheet that has a header, or else the first one."""
    try:
        sheets = {sheet: rows for sheet, rows in read_workbook(data).items() if rows}
    except BadTable as error:
        _refuse(name, str(error))
    headed = [
        sheet
        for sheet, rows in sheets.items()
        if any(is_header(cells, options.columns) for _, cells in rows[:TITLE_ROWS])
    ]
    if len(headed) > 1:
        _refuse(name, f"has several sheets of prompts: save one of {', '.join(headed)} as a file of its own")
    chosen = next(iter(headed or sheets), "")
    file = _read_table(name, iter(sheets.get(chosen, [])), options)
    if len(sheets) > 1:
        file.skipped[f"sheet besides {chosen}"] += len(sheets) - 1
    return file


def _read_table(name: str, rows: Iterator[Row], options: ReadOptions) -> PromptFile:
    file, problems = PromptFile(name), list[LineProblem]()
    records = RecordReader(options.columns, file)
    try:
        top = list(islice(rows, TITLE_ROWS))
        place = _find_header_row(top, options)
        header = _find_header(name, top[place], options) if top else []
        file.skipped["line above the header"] += place
        for number, cells in chain(top[place + options.has_header :], rows):
            if len(cells) == len(header):
                problems += records.add_row(number, dict(zip(header, cells, strict=True)))
            else:
                message = f"has {len(cells)} cells, but the header has {len(header)}"
                problems.append(LineProblem(number, Problem("", message)))
    except BadTable as error:
        problems.append(LineProblem(error.line, Problem("", str(error))))
    file.skipped += Counter()
    return check_jobs(file, problems)


def _find_header_row(top: Sequence[Row], options: ReadOptions) -> int:
    """Return which row is the header. People write titles above it."""
    if not options.has_header:
        return 0
    return next((place for place, (_, cells) in enumerate(top) if names_prompts(cells, options.columns)), 0)


def _find_header(name: str, first: Row, options: ReadOptions) -> list[str]:
    """Return the columns' names. Without a header they are 1, 2, 3, and a single column holds the prompts."""
    number, cells = first
    if not options.has_header:
        numbers = [str(each) for each in range(1, len(cells) + 1)]
        header = numbers if options.columns.chosen or len(cells) > 1 else [PROMPT]
    else:
        header = [cell.strip() for cell in cells]
    named = [column for column in header if column]
    try:
        fields, others = assign_columns(named, options.columns)
        check_chosen(named, options.columns)
    except InvalidInput as error:
        raise FileRefused(name, [LineProblem(number, each) for each in error.problems]) from None
    if PROMPT not in fields.values():
        if not options.has_header:
            _refuse(name, f"has {len(cells)} columns: name the one with the prompts, such as --column prompt=1")
        advice = "name it with --column prompt=COLUMN, or add --no-header if this line is a prompt"
        message = f"the header has no column named prompt, but {', '.join(named)}: {advice}"
        raise HeaderMissing(name, [LineProblem(number, Problem("", message))])
    if others and not options.has_header:
        advice = f"name each with --column, such as --column duration={others[0]}, or add --ignore {others[0]}"
        _refuse(name, f"has columns without a name ({', '.join(others)}): {advice}")
    return header


_READERS: Mapping[str, Callable[[str, bytes, ReadOptions], PromptFile]] = {
    ".jsonl": partial(_read_json, read=read_lines),
    ".ndjson": partial(_read_json, read=read_lines),
    ".json": partial(_read_json, read=read_document),
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".xlsx": _read_workbook,
    ".txt": _read_text,
}
