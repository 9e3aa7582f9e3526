"""Tables: delimiters, headers, columns of the caller's own, and workbooks."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from cli.prompt_file.columns import read_column_options
from cli.prompt_file.parse import ReadOptions, read_prompt_file
from cli.prompt_file.records import FileRefused, HeaderMissing, Line, PromptFile
from rushes.errors import InvalidInput

CHOOSE = "add --column prompt='text', or --ignore 'video_prompt'"
NAME_THEM = "name each with --column, such as --column duration=1, or add --ignore 1"


def read(folder: Path, content: str | bytes, *, name: str = "a.csv", options: ReadOptions | None = None) -> PromptFile:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_prompt_file(str(path), options)


def refusals(folder: Path, content: str | bytes, **given: Any) -> list[str]:
    with pytest.raises(FileRefused) as caught:
        read(folder, content, **given)
    return [line.removeprefix(f"{folder}/") for line in caught.value.lines()]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("prompt,duration\na fox,8\n", [(2, {"prompt": "a fox", "duration": "8"})]),
        (b'\xef\xbb\xbfprompt\r\n"a, ""b"""\r\n', [(2, {"prompt": 'a, "b"'})]),
        (
            'prompt,seed\n"two\nlines",1\nnext,\n',
            [(2, {"prompt": "two\nlines", "seed": "1"}), (4, {"prompt": "next"})],
        ),
        (
            " prompt ,model,\nx,ltx-2-pro,\n\n,,\ny,,\n",
            [(2, {"prompt": "x", "model": "ltx-2-pro"}), (5, {"prompt": "y"})],
        ),
        ("Prompt;Duration (s)\na fox, red;6,0\n", [(2, {"prompt": "a fox, red", "duration": "6,0"})]),
        ("sep=|\r\nText|Seconds\r\na fox|6\r\n", [(3, {"prompt": "a fox", "duration": "6"})]),
        ("Text\tSeconds\r\na fox\t6\r\n".encode("utf-16"), [(2, {"prompt": "a fox", "duration": "6"})]),
        ("prompt\rone\rtwo", [(2, {"prompt": "one"}), (3, {"prompt": "two"})]),
        (
            'prompt\na fox, red, big\n"a hen, blue"\n',
            [(2, {"prompt": "a fox, red, big"}), (3, {"prompt": "a hen, blue"})],
        ),
    ],
)
def test_a_table_becomes_records_with_line_numbers(tmp_path: Path, content: str | bytes, expected: list[Any]) -> None:
    assert [(line.number, line.fields) for line in read(tmp_path, content).lines] == expected


def test_own_columns_become_the_reference_and_metadata(tmp_path: Path) -> None:
    file = read(tmp_path, "Scene ID,prompt,Notes,take\nS-1,a fox,good,\nS-2,a hen,,2\n")
    assert file.lines == [
        Line(2, {"prompt": "a fox"}, "S-1", {"Notes": "good"}),
        Line(3, {"prompt": "a hen"}, "S-2", {"take": "2"}),
    ]
    assert list(file.metadata) == ["Notes", "take"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("prompt\n", ["a.csv: holds no jobs"]),
        ("", ["a.csv: holds no jobs"]),
        ("prompt,prompt\na,b\n", ["a.csv:1: prompt: is given twice: rename one of the columns"]),
        (
            "prompt,duration\na,8,9\nb\n",
            ["a.csv:2: has 3 cells, but the header has 2", "a.csv:3: has 1 cells, but the header has 2"],
        ),
        ("prompt,description\n,b\n", ["a.csv:2: has no prompt: fill it in, or remove the row"]),
        (
            "text,video_prompt\na,b\n",
            [f"a.csv:1: prompt: 'text' and 'video_prompt' may be this: {CHOOSE}"],
        ),
        ("prompt,x\n,b\n", ["a.csv:2: has no prompt: fill it in, or remove the row"]),
        ("prompt,\na,b\n", ["a.csv:2: has a value in a column without a name"]),
        ('prompt\nfine\n"never closed\nto the end\n', ["a.csv:3: a quote is opened and never closed"]),
        (
            'prompt\n"a" b\n',
            ["a.csv:2: a quoted cell is followed by more text: quote the whole cell, and double the quotes inside it"],
        ),
        ("prompt\n" + "x" * 2_000_000, ["a.csv:2: cannot be read: field larger than field limit (1048576)"]),
        (
            "promt,duration\na,8\n",
            ["a.csv:1: promt: is close to prompt: rename it, or add --column prompt='promt' or --ignore 'promt'"],
        ),
        (
            "prompt,text;prompt;x\na,b\n",
            ["a.csv:1: the columns may be separated by a comma or a semicolon: add a first line such as sep=,"],
        ),
        ("sep=\tx\nprompt\na\n", ["a.csv:1: must name one character after sep=, not '\\tx'"]),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_by_line(tmp_path: Path, content: str, expected: list[str]) -> None:
    assert refusals(tmp_path, content) == expected


def test_a_table_without_a_header_is_refused_with_what_to_do(tmp_path: Path) -> None:
    content = "a fox, red, big\na hen, blue\n"
    with pytest.raises(HeaderMissing, match="add --no-header if this line is a prompt"):
        read(tmp_path, content)
    file = read(tmp_path, content, options=ReadOptions(has_header=False))
    assert [line.fields["prompt"] for line in file.lines] == ["a fox, red, big", "a hen, blue"]


def test_columns_without_a_header_are_named_by_number(tmp_path: Path) -> None:
    content = "S1;a fox;8\nS2;a hen;6\n"
    assert refusals(tmp_path, content, options=ReadOptions(has_header=False)) == [
        "a.csv: has 3 columns: name the one with the prompts, such as --column prompt=1"
    ]
    only_prompts = ReadOptions(has_header=False, columns=read_column_options(["prompt=2"], []))
    assert refusals(tmp_path, content, options=only_prompts) == [
        f"a.csv: has columns without a name (1, 3): {NAME_THEM}"
    ]
    chosen = read_column_options(["prompt=2", "client_ref=1", "duration=3"], [])
    file = read(tmp_path, content, options=ReadOptions(has_header=False, columns=chosen))
    assert file.lines[0] == Line(1, {"prompt": "a fox", "duration": "8"}, "S1")


def test_options_name_and_ignore_columns(tmp_path: Path) -> None:
    content = "Shot,Line of text,notes,fps\nS-1,a fox,good,24\n"
    columns = read_column_options(["prompt=Line of text", "client_ref = shot"], ["notes", "FPS"])
    file = read(tmp_path, content, options=ReadOptions(columns=columns))
    assert file.lines == [Line(2, {"prompt": "a fox"}, "S-1", {})]
    wrong = ReadOptions(columns=read_column_options(["prompt=Words"], ["mood"]))
    assert refusals(tmp_path, "text\na\n", options=wrong) == [
        "a.csv:1: --column: there is no column 'Words'; the columns are text",
        "a.csv:1: --ignore: there is no column 'mood'; the columns are text",
    ]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("prompt", "--column: must be FIELD=COLUMN, such as prompt=Text, not 'prompt'"),
        ("style=Look", "--column: has no field 'style'; fields: client_ref, duration"),
    ],
)
def test_an_option_that_names_no_field_is_refused(chosen: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_column_options([chosen], [])


def make_workbook(*sheets: list[list[object]]) -> bytes:
    data = io.BytesIO()
    with xlsxwriter.Workbook(data) as workbook:
        for rows in sheets:
            sheet = workbook.add_worksheet()
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return data.getvalue()


def test_a_workbook_is_read_like_a_table(tmp_path: Path) -> None:
    first = [
        ["Prompt", "Seconds", "Audio", "ID"],
        ["a fox, red", 6, False, "S-1"],
        ["", "", "", ""],
        ["a hen", 8.0, True, 7],
    ]
    file = read(tmp_path, make_workbook([["How to use this file"]], [["Shot list"], [], *first]), name="a.xlsx")
    assert file.lines == [
        Line(4, {"prompt": "a fox, red", "duration": "6", "generate_audio": "false"}, "S-1"),
        Line(6, {"prompt": "a hen", "duration": "8", "generate_audio": "true"}, "7"),
    ]
    assert file.skipped == {"sheet besides Sheet2": 1, "line above the header": 1}


def test_a_workbook_with_two_sheets_of_prompts_is_refused(tmp_path: Path) -> None:
    sheet = [["prompt"], ["a fox"]]
    assert refusals(tmp_path, make_workbook(sheet, [["notes"]], sheet), name="a.xlsx") == [
        "a.xlsx: has several sheets of prompts: save one of Sheet1, Sheet3 as a file of its own"
    ]


def test_a_table_saved_as_text_is_read_as_a_table(tmp_path: Path) -> None:
    file = read(tmp_path, "ID\tPrompt\tSeconds\r\nS-1\ta fox\t6\r\n".encode("utf-16"), name="a.txt")
    assert file.lines == [Line(2, {"prompt": "a fox", "duration": "6"}, "S-1")]


@pytest.mark.parametrize("content", [b"", b"prompt\na fox\n", make_workbook([["prompt"], ["a"]])[:-40]])
def test_a_file_that_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    (line,) = refusals(tmp_path, content, name="a.xlsx")
    assert line.startswith("a.xlsx: is not a readable workbook: ")


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).filter(str.strip)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1), st.sampled_from(",;\t|"), st.sampled_from(["utf-8", "utf-16"]))
def test_any_cells_come_back_whatever_the_delimiter(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str, encoding: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("prompt", "mood"), *rows])
    file = read(tmp_path_factory.mktemp("table"), text.getvalue().encode(encoding))
    assert [(line.fields["prompt"], line.metadata["mood"]) for line in file.lines] == rows
