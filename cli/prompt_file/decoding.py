"""From the bytes of a prompt file to its text."""

import codecs

from charset_normalizer import from_bytes

_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 100_000
_COMMON = ["cp1252", "cp1250", "cp1251", "mac_roman", "shift_jis", "gb18030", "big5", "euc_kr", "euc_jp"]


class Undecodable(Exception):
    """The bytes are no text that can be read with certainty. `line` is the first line at fault, or 0."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def decode(data: bytes) -> str:
    """Decode UTF-8, or UTF-16 and UTF-32 with a byte order mark. Raises `Undecodable`, which names the encoding."""
    if b"\0" in data and not data.startswith(tuple(mark for mark, _ in _MARKS)):
        raise Undecodable(0, "is no text, or UTF-16 without a byte order mark: save it as UTF-8")
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise Undecodable(0, f"begins like {encoding.upper()}, but is not: save it as UTF-8") from None
        line = data[: error.start].count(b"\n") + 1
        advice = "save it as UTF-8, which Excel calls CSV UTF-8"
        raise Undecodable(line, f"is not UTF-8 text{_guess(data, error.start)}: {advice}") from None


def _guess(data: bytes, position: int) -> str:
    start = max(0, position - _SAMPLE_BYTES // 2)
    found = from_bytes(data[start : start + _SAMPLE_BYTES], cp_isolation=_COMMON)
    best = min(found, key=lambda each: (each.chaos, _COMMON.index(each.encoding)), default=None)
    return f" (it looks like {best.encoding.replace('_', '-')})" if best else f" (byte 0x{data[position]:02x})"
