"""JSON Lines and JSON arrays, as records with their line numbers."""

import json
import re
from collections.abc import Generator, Iterator
from typing import Any, NoReturn

_BLANK = re.compile(r"\s*")


class BadJson(Exception):
    """A value that cannot be read. `key` names the key at fault, if there is one."""

    def __init__(self, line: int, message: str, *, key: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.key = key


def read_lines(text: str) -> Iterator[tuple[int, Any] | BadJson]:
    """Yield each line's number and value, or its error. Only a line feed ends a line: strings may hold other breaks."""
    for number, line in enumerate(text.split("\n"), start=1):
        if stripped := line.strip():
            try:
                value, end = _decode(stripped, 0, line=number)
            except BadJson as bad:
                yield bad
                continue
            rest = end != len(stripped)
            yield BadJson(number, f"is not JSON: extra data at column {end + 1}") if rest else (number, value)


def read_document(text: str) -> Iterator[tuple[int, Any] | BadJson]:
    """Yield the elements of a JSON array, or of an object that holds only an array, each with its first line's number.

    Another object is one record. Any other text is read as JSON Lines, because such files are often called `.json`.
    """
    position = _skip_blanks(text, 0)
    try:
        if text[position : position + 1] != "[":
            whole, end = _decode(text, position, line=1)
            if text[end:].strip():
                yield from read_lines(text)
            elif _holds_an_array(whole):
                yield from _read_elements(text, _find_array(text, position) + 1)
            else:
                yield 1 + text.count("\n", 0, position), whole
            return
        end = yield from _read_elements(text, position + 1)
        if rest := text[end + 1 :].strip():
            yield BadJson(1 + text.count("\n", 0, end), f"is not JSON: the array is followed by {rest[:20]!r}")
    except BadJson as bad:
        yield bad


def _holds_an_array(value: Any) -> bool:
    """Return whether a value is an object with one array and nothing else. Any other object is a record of its own."""
    return isinstance(value, dict) and [type(each) for each in value.values()] == [list]


def _find_array(text: str, position: int) -> int:
    """Return where the value of an object's first key begins."""
    _, end = _decode(text, _skip_blanks(text, position + 1), line=1)
    return _skip_blanks(text, _skip_blanks(text, end) + len(":"))


def _read_elements(text: str, position: int) -> Generator[tuple[int, Any], None, int]:
    """Yield the elements from a position on. Returns where the array ends."""
    line, counted = 1, 0
    position = _skip_blanks(text, position)
    is_first = True
    while text[position : position + 1] != "]":
        if not is_first:
            position = _skip_blanks(text, _expect(text, position, ",", line=line))
        line, counted = line + text.count("\n", counted, position), position
        value, position = _decode(text, position, line=line)
        yield line, value
        position = _skip_blanks(text, position)
        is_first = False
    return position


def _expect(text: str, position: int, mark: str, *, line: int) -> int:
    if text[position : position + 1] != mark:
        raise BadJson(line, f"is not JSON: {mark!r} or ']' is missing after this element")
    return position + 1


def _skip_blanks(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return found.end() if found else position


def _decode(text: str, position: int, *, line: int) -> tuple[Any, int]:
    """Return the value at a position, and where it ends. Refuses keys given twice, `NaN` and `Infinity`."""

    def refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise BadJson(line, "is given twice", key=next(key for key in keys if keys.count(key) > 1))
        return found

    def refuse_constant(word: str) -> NoReturn:
        raise BadJson(line, f"is not JSON: {word} is not a value")

    decoder = json.JSONDecoder(object_pairs_hook=refuse_twins, parse_constant=refuse_constant)
    try:
        return decoder.raw_decode(text, position)
    except json.JSONDecodeError as error:
        message = f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]} at column {error.colno}"
        raise BadJson(line + text.count("\n", position, error.pos), message) from None
    except (ValueError, RecursionError):
        raise BadJson(line, "is not readable JSON: it is too deep, or a number is too long") from None
