"""Reading what the provider answered: the envelope `{code, message, data}`, its words, its wish to be left alone.

Tolerant on purpose: whatever comes back is read as far as it can be, and nothing here raises.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from rushes.wavespeed.transport import Answer

WORDS_LIMIT = 500
_HOOK = re.compile(r"(hooks(?:\\?/|%2F)wavespeed(?:\\?/|%2F))[\w%-]+", re.IGNORECASE)
"""An address of ours in somebody's words: whoever knows its token could hint at a render."""
LONGEST_RETRY_AFTER = timedelta(days=1)
"""A longer wish is taken for this one: an account is never shut out for good by a header."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the provider, read as far as it can be.

    `status` is HTTP's; `meaning` is the same unless HTTP says success and the envelope's `code` does not: then it is
    that code. `envelope` is None when the body is not a JSON object. `words` is the provider's own message, fit to
    be shown: without our key, in one line, of limited length.
    """

    status: int
    meaning: int
    envelope: Mapping[str, Any] | None
    words: str = ""
    retry_after: timedelta | None = None

    @property
    def is_success(self) -> bool:
        return self.envelope is not None and self.meaning == 200

    @property
    def data(self) -> Any:
        return self.envelope.get("data") if self.envelope is not None else None

    @property
    def heading(self) -> str:
        """The status, as a person says it: `429`, or `200 with code 429`."""
        return str(self.status) if self.meaning == self.status else f"{self.status} with code {self.meaning}"


def read_reply(answer: Answer, *, secret: str, now: datetime, exact_numbers: bool = False) -> Reply:
    """Read an answer. `exact_numbers` reads fractions as `Decimal`, for money; `secret` is blotted out of `words`."""
    envelope = read_object(answer.body, exact_numbers=exact_numbers)
    words = _find_words(envelope) if envelope is not None else _plain_text(answer.body)
    return Reply(
        status=answer.status,
        meaning=_meaning_of(answer.status, envelope),
        envelope=envelope,
        words=clean_words(words, secret),
        retry_after=read_retry_after(answer.headers.get("Retry-After"), now=now),
    )


def read_object(body: bytes, *, exact_numbers: bool = False) -> dict[str, Any] | None:
    """The JSON object that a body holds; None when it holds anything else."""
    try:
        found = json.loads(body, parse_float=Decimal if exact_numbers else None, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """`Retry-After` in either form of RFC 9110 10.2.3, seconds or a date, as a wait from `now`; None when unreadable.

    The provider documents no such header; gateways in front of it send it.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), LONGEST_RETRY_AFTER.total_seconds()))
    try:
        moment = parsedate_to_datetime(text)
        wait = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, timedelta(0)), LONGEST_RETRY_AFTER)


def clean_words(text: str, secret: str, limit: int = WORDS_LIMIT) -> str:
    """Somebody else's text, fit for a database, a log and a person: one line, no secret, no control characters."""
    text = _HOOK.sub(r"\1[token]", text)
    if secret:
        text = text.replace(secret, "[key]")
    printable = "".join(char if char.isprintable() else " " for char in text[: 4 * limit])
    line = " ".join(printable.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def text_of(value: object) -> str:
    """A message as text, whether it came as a string, as an object that holds one, or as something else."""
    match value:
        case None | False | "":
            return ""
        case str():
            return value
        case dict():
            inner = (value.get(key) for key in ("message", "error", "detail", "msg"))
            found = next((each for each in inner if isinstance(each, str) and each), None)
            return found or _as_json(value)
        case _:
            return _as_json(value)


def whole_number(value: object) -> int | None:
    """A number that may have come as digits in a string; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _meaning_of(status: int, envelope: Mapping[str, Any] | None) -> int:
    code = whole_number(envelope.get("code")) if envelope is not None else None
    return code if code is not None and 200 <= status < 300 else status


def _find_words(envelope: Mapping[str, Any]) -> str:
    found = [text_of(envelope.get(key)) for key in ("message", "error", "detail", "error_code")]
    data = envelope.get("data")
    if isinstance(data, dict):
        found.append(text_of(data.get("error")))
    kept = dict.fromkeys(text for text in found if text and text != "success")
    return "; ".join(kept)


def _plain_text(body: bytes) -> str:
    text = body[:2_000].decode("utf-8", "replace").strip()
    return "a page of HTML" if text.startswith("<") else text


def _as_json(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
