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

from cli.prompt_file.parse import read_prompt_file
from cli.prompt_file.records import FileRefused

ENDINGS = "must end in .jsonl, .ndjson, .json, .csv, .tsv, .xlsx, .txt"
NO_TEXT = "is no text, or UTF-16 without a byte order mark: save it as UTF-8"
NO_RECORD = 'must be a JSON object, such as {"prompt": "..."}, or a prompt in quotes'
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
        (
            "a.jsonl",
            '{"prompt": "a", "duration": 8}\n\n{"model": null}\r\n',
            [(1, {"prompt": "a", "duration": 8}), (3, {})],
        ),
        ("a.jsonl", b'\xef\xbb\xbf{"prompt": "\xe2\x80\xa8"}', [(1, {"prompt": "\u2028"})]),
        ("a.ndjson", '"a fox"\n{}', [(1, {"prompt": "a fox"}), (2, {})]),
        ("a.json", '[{"prompt": "a"},\n\n"b"]', [(1, {"prompt": "a"}), (3, {"prompt": "b"})]),
        ("a.json", '{"prompts": [\n"a",\n"b"]}', [(2, {"prompt": "a"}), (3, {"prompt": "b"})]),
        ("a.json", '{"prompt": "a fox", "tags": ["red", "snow"]}', [(1, {"prompt": "a fox"})]),
        ("a.json", '\n{\n"prompt": "a"\n}', [(2, {"prompt": "a"})]),
        ("a.json", b'\xef\xbb\xbf {"prompt": "a"}\n{"prompt": "b"}', [(1, {"prompt": "a"}), (2, {"prompt": "b"})]),
    ],
)
def test_a_file_becomes_records_with_line_numbers(
    tmp_path: Path, name: str, content: str | bytes, expected: list[tuple[int, dict[str, Any]]]
) -> None:
    assert read(tmp_path, name, content) == expected


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.doc",
            "x",
            [f"a.doc: {ENDINGS}, not .doc: the ending selects the format"],
        ),
        (
            "prompts",
            "x",
            [f"prompts: {ENDINGS}: the ending selects the format"],
        ),
        ("a.txt", "\n \n", ["a.txt: holds no jobs"]),
        (
            "a.txt",
            "fine\nun café crème brûlée déjà vu, très près de la forêt\n".encode("cp1252"),
            ["a.txt:2: is not UTF-8 text (it looks like cp1252): save it as UTF-8, which Excel calls CSV UTF-8"],
        ),
        ("a.txt", "a fox".encode("utf-16-le"), [f"a.txt: {NO_TEXT}"]),
        ("a.jsonl", b"\xff\xfea", ["a.jsonl: begins like UTF-16, but is not: save it as UTF-8"]),
        (
            "a.json",
            '[{"prompt": "a"}\n{"prompt": "b"}]',
            ["a.json:1: is not JSON: ',' or ']' is missing after this element"],
        ),
        ("a.json", '["a",\n"b"', ["a.json:2: is not JSON: ',' or ']' is missing after this element"]),
        ("a.json", '["a"] ["b"]', ["a.json:1: is not JSON: the array is followed by '[\"b\"]'"]),
        ("a.json", "[]", ["a.json: holds no jobs"]),
        ("a.jsonl", '{"prompt": "a"}\n[1]', [f"a.jsonl:2: {NO_RECORD}"]),
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


RECORDS = st.lists(
    st.fixed_dictionaries(
        {"prompt": st.text()},
        optional={"duration": st.integers(), "mood": st.text() | st.booleans() | st.lists(st.none())},
    ),
    min_size=1,
)


@given(
    RECORDS, st.sampled_from([(".jsonl", "", "\n", ""), (".json", "[\n", ",\n", "]"), (".json", " [", " ,", "\n]\n")])
)
def test_json_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], form: tuple[str, str, str, str]
) -> None:
    suffix, begin, between, end = form
    path = tmp_path_factory.mktemp("records") / f"a{suffix}"
    path.write_text(begin + between.join(json.dumps(record) for record in records) + end)
    assert [line.fields | line.metadata for line in read_prompt_file(str(path)).lines] == records


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"prompt": "a", "scene_id": "S-1", "notes": "good"}, ("S-1", {"notes": "good"})),
        ({"prompt": "a", "id": 7, "metadata": {"shot": 3}, "mood": None}, ("7", {"shot": 3, "mood": None})),
        ({"prompt": "a", "client_ref": "r", "id": "1"}, ("r", {"id": "1"})),
    ],
)
def test_keys_that_are_no_parameter_are_kept(
    tmp_path: Path, record: dict[str, Any], expected: tuple[str, dict[str, Any]]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(record))
    (line,) = read_prompt_file(str(path)).lines
    assert (line.client_ref, line.metadata, line.fields) == (*expected, {"prompt": "a"})


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"promt": "a"}, "promt: is close to prompt: rename it, or add --column prompt='promt' or --ignore 'promt'"),
        (
            {"prompt": "a", "fps": 24},
            "fps: no video model has this parameter: remove the column, or add --ignore 'fps'",
        ),
        ({"prompt": "a", "Prompt": "b"}, "Prompt: has the same name as 'prompt': rename one of the columns"),
        ({"prompt": "a", "id": 1.5}, "client_ref: must be text or a whole number"),
        ({"prompt": "a", "metadata": "x"}, "metadata: must be a JSON object"),
    ],
)
def test_a_key_that_would_be_bought_without_effect_is_refused(
    tmp_path: Path, record: dict[str, Any], message: str
) -> None:
    assert refusals(tmp_path, "a.jsonl", json.dumps(record)) == [f"a.jsonl:1: {message}"]
