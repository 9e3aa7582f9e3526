"""RFC 3339 times as the provider writes them (0 to 9 digits of a second) and reads them."""

import re
from datetime import UTC, datetime

NANOSECONDS = 1_000_000_000
SHORT_FRACTION_ERROR_NS = 50_000_000
"""Fewer than three digits are used only if that shifts the moment by at most this much."""

_ISO_8601 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:?\d\d)?")


def shorten(moment_ns: int, digits: int) -> tuple[int, str]:
    """A moment cut to `digits` fractional digits, and its text, which represents the returned moment exactly.

    Short fractions are rare on a running clock, so 3 digits replace 0 to 2 digits if those would shift the moment too
    much. The result is never later than the argument.
    """
    if moment_ns % 10 ** (9 - digits) > SHORT_FRACTION_ERROR_NS:
        digits = 3
    exact = moment_ns - moment_ns % 10 ** (9 - digits)
    return exact, format_time(exact, digits)


def format_time(moment_ns: int, digits: int = 3) -> str:
    """`moment_ns` nanoseconds since 1970 as RFC 3339 in UTC with exactly `digits` fractional digits."""
    seconds, fraction = divmod(moment_ns, NANOSECONDS)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}"[: len(text) + 1 + digits] + "Z" if digits else f"{text}Z"


def parse_time(text: object) -> int | None:
    """Nanoseconds since 1970 from an ISO 8601 time; None for anything else. No zone means UTC."""
    if not isinstance(text, str) or not (match := _ISO_8601.fullmatch(text.strip())):
        return None
    day, clock, fraction, zone = match.groups()
    zone = "+00:00" if zone in {None, "Z", "z"} else zone
    try:
        whole = datetime.fromisoformat(f"{day}T{clock}{zone}")
    except ValueError:
        return None
    return int(whole.timestamp()) * NANOSECONDS + int((fraction or "").ljust(9, "0"))


def to_ns(seconds: float) -> int:
    return int(seconds * NANOSECONDS)
