"""Prompt files: what is read, and what is refused by line."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.prompt_file.parse import FileRefused, read_prompt_file

UNREADABLE = "a.jsonl:1: is not readable JSON: it is too deep, or a number is too long"


def read(folder: Path, name: str, content: str | bytes) -> list[tuple[int, dict[str, Any]]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return [(line.number, line.fields) for line in read_prompt_file(str(path)).lines]


def refusals(folder: Path, name: str, content: str | bytes) -> list[str]:
    with pytest.raises(FileRefused) as caught:
        read(folder, name, content)
    return [line.removeprefix(f"{folder}/") for line in caught.value.lines()]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "a fox\n\n  a hen \r\n", [(1, {"prompt": "a fox"}), (3, {"prompt": "a hen"})]),
        ("a.txt", b"\xef\xbb\xbfa fox", [(1, {"prompt": "a fox"})]),
        ("A.TXT", "one\u2028two\x0bthree", [(1, {"prompt": "one\u2028two\x0bthree"})]),
        (
            "a.jsonl",
            '{"prompt": "a", "duration": 8}\n\n{"x": null}\r\n',
            [(1, {"prompt": "a", "duration": 8}), (3, {"x": None})],
        ),
        ("a.jsonl", b'\xef\xbb\xbf{"prompt": "\xe2\x80\xa8"}', [(1, {"prompt": "\u2028"})]),
        ("a.ndjson", "{}", [(1, {})]),
        ("a.csv", "prompt,duration\na fox,8\n", [(2, {"prompt": "a fox", "duration": "8"})]),
        ("a.csv", b'\xef\xbb\xbfprompt\r\n"a, ""b"""\r\n', [(2, {"prompt": 'a, "b"'})]),
        (
            "a.csv",
            'prompt,seed\n"two\nlines",1\nnext,\n',
            [(2, {"prompt": "two\nlines", "seed": "1"}), (4, {"prompt": "next"})],
        ),
        (
            "a.csv",
            " prompt ,model,\nx,ltx-2-pro,\n\n,,\ny,,\n",
            [(2, {"prompt": "x", "model": "ltx-2-pro"}), (5, {"prompt": "y"})],
        ),
    ],
)
def test_a_file_becomes_records_with_line_numbers(
    tmp_path: Path, name: str, content: str | bytes, expected: list[tuple[int, dict[str, Any]]]
) -> None:
    assert read(tmp_path, name, content) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.doc", "x", ["a.doc: must end in .jsonl, .csv or .txt, not .doc: the ending selects the format"]),
        ("prompts", "x", ["prompts: must end in .jsonl, .csv or .txt: the ending selects the format"]),
        ("a.txt", "\n \n", ["a.txt: holds no jobs"]),
        ("a.csv", "prompt\n", ["a.csv: holds no jobs"]),
        ("a.txt", b"fine\ncaf\xe9\n", ["a.txt:2: is not UTF-8 text (byte 0xe9)"]),
        ("a.txt", "a fox".encode("utf-16"), ["a.txt: is UTF-16 text: save it as UTF-8"]),
        ("a.jsonl", '{"prompt": "a"}\n[1]', ['a.jsonl:2: must be a JSON object, such as {"prompt": "..."}']),
        ("a.jsonl", '{"a": 1 "b": 2}', ["a.jsonl:1: is not JSON: expecting ',' delimiter at column 9"]),
        ("a.jsonl", '{"a": 1, "a": 2}', ["a.jsonl:1: a: is given twice"]),
        ("a.jsonl", '{"a": NaN}', ["a.jsonl:1: is not JSON: NaN is not a value"]),
        ("a.jsonl", '{"a": ' + "9" * 5000 + "}", [UNREADABLE]),
        ("a.jsonl", "[" * 100_000, [UNREADABLE]),
        (
            "a.jsonl",
            "x\n{}\ny",
            [
                "a.jsonl:1: is not JSON: expecting value at column 1",
                "a.jsonl:3: is not JSON: expecting value at column 1",
            ],
        ),
        ("a.csv", "duration\n8\n", ["a.csv:1: the header has no column named prompt"]),
        (
            "a.csv",
            "prompt;duration\na;8\n",
            ["a.csv:1: the header has no column named prompt; columns are separated by commas"],
        ),
        ("a.csv", "prompt,prompt\na,b\n", ["a.csv:1: the header names 'prompt' twice"]),
        (
            "a.csv",
            "prompt,duration\na,8,9\nb\n",
            ["a.csv:2: has 3 cells, but the header has 2", "a.csv:3: has 1 cells, but the header has 2"],
        ),
        ("a.csv", "prompt,\na,b\n", ["a.csv:2: has a value in a column without a name"]),
        ("a.csv", 'prompt\nfine\n"never closed\nto the end\n', ["a.csv:3: a quote is opened and never closed"]),
        ("a.csv", 'prompt\n"a" b\n', ["a.csv:2: is not CSV: ',' expected after '\"'"]),
        ("a.csv", "prompt\n" + "x" * 200_000, ["a.csv:2: is not CSV: field larger than field limit (131072)"]),
    ],
)
def test_a_line_that_cannot_be_read_is_refused_by_number(
    tmp_path: Path, name: str, content: str | bytes, expected: list[str]
) -> None:
    assert refusals(tmp_path, name, content) == expected


def test_a_missing_file_and_a_folder_are_refused_with_the_system_s_reason(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    for name, reason in (("none.txt", "no such file or directory"), ("folder.txt", "is a directory")):
        with pytest.raises(FileRefused, match=f"{name}: cannot be read: {reason}"):
            read_prompt_file(str(tmp_path / name))


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(FileRefused, match="cannot be read"):
        read_prompt_file("a\0b.txt")


def test_a_dash_reads_json_lines_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b'{"prompt": "a"}\n')))
    file = read_prompt_file("-")
    assert (file.name, file.lines[0].fields) == ("stdin", {"prompt": "a"})


def test_past_the_limit_problems_are_only_counted(tmp_path: Path) -> None:
    with pytest.raises(FileRefused) as caught:
        read(tmp_path, "a.jsonl", "x\n" * 1030)
    lines = caught.value.lines(20)
    assert len(lines) == 21
    assert lines[-1] == "and 1,010 more"


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.booleans()), min_size=1))
def test_json_lines_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, records: list[Any]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_text("\n".join(json.dumps(record, ensure_ascii=True) for record in records))
    assert [line.fields for line in read_prompt_file(str(path)).lines] == records
