"""What all schemas share: money, times, cursors, pages, and how a row is shown."""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Generic, Self, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from models.queries.job_lists import JobPlace
from rushes.forecasting.forecaster import UnknownReason
from rushes.forecasting.time_left import TimeLeft
from rushes.jobs.views import Page

Item = TypeVar("Item")

Money = Annotated[
    Decimal,
    PlainSerializer(lambda amount: f"{amount:.4f}", return_type=str),
    WithJsonSchema({"type": "string", "format": "decimal", "pattern": r"^\d+\.\d{4}$", "examples": ["0.3600"]}),
]
"""US dollars as text with four decimals, because JSON numbers would round them."""

Time = Annotated[
    datetime,
    PlainSerializer(lambda at: at.astimezone(UTC).isoformat().replace("+00:00", "Z"), return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-11-05T12:00:00.000000Z"]}),
]
"""RFC 3339, always UTC and ending in Z."""

ToTenths = Annotated[float, AfterValidator(partial(round, ndigits=1))]
ToThousandths = Annotated[float, AfterValidator(partial(round, ndigits=3))]


class Shown(BaseModel):
    """A part of an answer that shows a row, or another object of ours."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def copy_from(cls, source: object, **others: Any) -> Self:
        """Copy each field from the attribute of the same name. `others` are the fields that are not copied."""
        names = cls.model_fields.keys() - others.keys()
        return cls.model_validate({name: getattr(source, name) for name in names if hasattr(source, name)} | others)


class TimeLeftEstimate(BaseModel):
    """The remaining time. Nine times in ten it lies between `low_seconds` and `high_seconds`."""

    expected_seconds: float = Field(description="On average.")
    low_seconds: float
    high_seconds: float

    @classmethod
    def find(cls, left: TimeLeft | None) -> Self | None:
        return cls(**left.as_numbers()) if left is not None else None


TimeLeftUnknown = Annotated[
    UnknownReason | None,
    Field(
        description="Why there is no forecast of the end. `paused`: submissions are still to be made, and the account "
        "takes none until a person resumes it. `job_paused`: a person has paused some of the jobs. "
        "`undecided`: an unconfirmed submission waits for a person "
        "(`rushes unconfirmed list`). `no_dispatcher`: no dispatcher assigns the slots, or all of its turns fail. "
        "`no_credit`, `key_rejected`, `provider_unreachable`, `store_unusable`: the account's status. `spending_cap`: "
        "the daily spending cap leaves too little for the queue up to the last of these jobs."
    ),
]


def encode_cursor(key: UUID | int | JobPlace | None) -> str | None:
    """Encode the last key of a page as text for a URL, opaque to the client. None stays None."""
    match key:
        case None:
            return None
        case JobPlace(job_id, value):
            value = value.astimezone(UTC) if isinstance(value, datetime) else value
            content = job_id.bytes + ("" if value is None else str(value)).encode()
        case UUID():
            content = key.bytes
        case int():
            content = key.to_bytes(8)
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Body(BaseModel):
    """The body of a request. Unknown fields are refused, and no type is converted to another."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PageShown(BaseModel, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[Any, Any], show: Callable[[Any], Item]) -> Self:
        return cls(items=[show(each) for each in page.items], next_cursor=encode_cursor(page.next_key))


NOT_A_CURSOR = "must be a `next_cursor` of this listing"


def _decode(cursor: object, *, length: int | None = None) -> bytes:
    try:
        content = base64.b64decode(f"{cursor}{'=' * (-len(str(cursor)) % 4)}", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        content = b""
    if not content or len(content) != (length or len(content)):
        raise ValueError(NOT_A_CURSOR)
    return content


def _read_id_cursor(cursor: object) -> object:
    return UUID(bytes=_decode(cursor, length=16)) if cursor else None


def _read_number_cursor(cursor: object) -> object:
    if not cursor:
        return 0
    number = int.from_bytes(_decode(cursor, length=8))
    if number >= 2**63:
        raise ValueError(NOT_A_CURSOR)
    return number


def _read_job_cursor(cursor: object) -> object:
    if not cursor:
        return None
    content = _decode(cursor)
    words, value = content[16:].decode(errors="replace"), None
    try:
        if words:
            value = Decimal(words) if _PRICE.fullmatch(words) else datetime.fromisoformat(words).replace(tzinfo=UTC)
        return JobPlace(UUID(bytes=content[:16]), value)
    except ValueError:
        raise ValueError(NOT_A_CURSOR) from None


_PRICE = re.compile(r"[0-9]{1,8}\.[0-9]{4}")
_TEXT: dict[str, Any] = {"type": "string"}
IdCursor = Annotated[UUID | None, BeforeValidator(_read_id_cursor), WithJsonSchema(_TEXT)]
"""The start of a page of batches."""
JobCursor = Annotated[JobPlace | None, BeforeValidator(_read_job_cursor), WithJsonSchema(_TEXT)]
"""The start of a page of jobs."""
NumberCursor = Annotated[int, BeforeValidator(_read_number_cursor), WithJsonSchema(_TEXT)]
"""The start of a page of events; 0 for the first page."""


def drop_blanks(query: dict[str, Any]) -> dict[str, Any]:
    """Treat empty query parameters as ones that were not given."""
    return {name: value for name, value in query.items() if value not in ("", [""])}
