"""Read the provider's answers: the envelope `{code, message, data}`, the message, and `Retry-After`.

Tolerant on purpose: every answer is read as far as possible, and nothing here raises.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from rushes.timing import read_retry_after
from rushes.wavespeed.transport import Answer

WORDS_LIMIT = 500
_HOOK = re.compile(r"(hooks(?:\\?/|%2F)wavespeed(?:\\?/|%2F))[\w%-]+", re.IGNORECASE)
"""A webhook address of ours in a foreign text. Anybody with its token could request an early check of a render."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the provider, read as far as possible.

    `status` is the HTTP status. `meaning` equals it, unless HTTP says success and the envelope has a `code`: then it is
    that code. `envelope` is None if the body is not a JSON object. `words` is the provider's message, safe to show:
    without our key, on one line, of limited length.
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
        """The status for a person to read: `429`, or `200 with code 429`."""
        return str(self.status) if self.meaning == self.status else f"{self.status} with code {self.meaning}"


def read_reply(answer: Answer, *, secret: str, now: datetime, exact_numbers: bool = False) -> Reply:
    """Read an answer. `exact_numbers` reads fractions as `Decimal`, for money. `secret` is removed from `words`."""
    envelope = read_object(answer.body, exact_numbers=exact_numbers)
    words = _find_words(envelope) if envelope is not None else _plain_text(answer.body)
    return Reply(
        status=answer.status,
        meaning=_meaning_of(answer.status, envelope),
        envelope=envelope,
        words=clean_words(words, secret),
        retry_after=read_retry_after(answer.retry_after, now=now) if answer.retry_after else None,
    )


def read_object(body: bytes, *, exact_numbers: bool = False) -> dict[str, Any] | None:
    """Return the JSON object in a body, or None if it holds anything else."""
    try:
        found = json.loads(body, parse_float=Decimal if exact_numbers else None, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def clean_words(text: str, secret: str, limit: int = WORDS_LIMIT) -> str:
    """Make foreign text safe to store, log and show: one line, no secret, no control characters."""
    text = _HOOK.sub(r"\1[token]", text)
    if secret:
        text = text.replace(secret, "[key]")
    text = text[: 4 * limit]
    if not text.isprintable():  # a page of the list has hundreds of texts, and nearly all are printable
        text = "".join(char if char.isprintable() else " " for char in text)
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def text_of(value: object) -> str:
    """Return a message as text, whether it came as a string, as an object that holds one, or as anything else."""
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
    """Read a whole number, which may have come as digits in a string; None for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_amount(value: object) -> Decimal | None:
    """Read an amount in dollars, exact and never a float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, str, Decimal)):
        return None
    try:
        amount = Decimal(value)
    except ArithmeticError:
        return None
    return amount if amount.is_finite() else None


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
