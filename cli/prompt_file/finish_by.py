"""Read a batch's deadline as people write it: a time with its zone, or a length from now."""

import re
from datetime import UTC, datetime, timedelta

from rushes.errors import InvalidInput, Problem

_LENGTH = re.compile(r"(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?")


def read_finish_by(finish_by: str | None, finish_in: str | None, *, now: datetime | None = None) -> str | None:
    """Return the time for the API; None if neither is given. Raises `InvalidInput`, which names the option."""
    if finish_by is not None and finish_in is not None:
        raise InvalidInput([Problem("--finish-in", "cannot be given together with --finish-by")])
    if finish_in is not None:
        return _spell((now or datetime.now(UTC)) + _read_length(finish_in))
    return None if finish_by is None else _spell(_read_time(finish_by))


def _read_time(words: str) -> datetime:
    try:
        at = datetime.fromisoformat(words)
    except ValueError:
        raise InvalidInput(
            [Problem("--finish-by", f"must be a time such as 2026-01-01T12:00Z, not {words!r}")]
        ) from None
    if at.tzinfo is None:
        message = f"must name its time zone, such as {words}Z or {words}+01:00"
        raise InvalidInput([Problem("--finish-by", message)])
    return at


def _read_length(words: str) -> timedelta:
    found = _LENGTH.fullmatch(words.replace(" ", ""))
    if not found or not any(found.groups()):
        raise InvalidInput([Problem("--finish-in", f"must be a length such as 2h, 90m or 1d12h, not {words!r}")])
    days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _spell(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
