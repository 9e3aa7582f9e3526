"""A prediction as the provider describes it, read tolerantly: only the id is required.

Sources: the provider's get-result page for fields and statuses; its own clients for `cancelled`, `timeout`, `deleted`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from rushes.wavespeed.envelope import Reply, clean_words, text_of, whole_number

ERROR_LIMIT = 2_000
LONGEST_ADDRESS = 2_000
LONGEST_EXECUTION = timedelta(days=30)
_USABLE_ID = re.compile(r"[A-Za-z0-9][!-~]{0,199}")


class PredictionStatus(StrEnum):
    """Where a prediction stands, in the provider's words."""

    CREATED = "created"  # accepted; it waits here if the provider queues it
    PENDING = "pending"  # seen in one client only
    PROCESSING = "processing"  # rendering
    COMPLETED = "completed"  # over, with outputs
    FAILED = "failed"  # over, with an error
    CANCELLED = "cancelled"  # over; the documentation gives no way to cause it
    TIMEOUT = "timeout"  # over: the provider gave up
    DELETED = "deleted"  # over: removed by somebody
    UNKNOWN = "unknown"  # a word that is not in this list: watch slowly and notify a person

    @property
    def is_terminal(self) -> bool:
        return self in _TERMINAL


_TERMINAL = frozenset(
    {
        PredictionStatus.COMPLETED,
        PredictionStatus.FAILED,
        PredictionStatus.CANCELLED,
        PredictionStatus.TIMEOUT,
        PredictionStatus.DELETED,
    }
)


@dataclass(frozen=True, slots=True)
class ProviderPrediction:
    """One prediction. `status_text` is the provider's own word; `error` is clean text without our key."""

    id: str
    status: PredictionStatus
    video_model_id: str = ""
    status_text: str = ""
    outputs: tuple[str, ...] = ()
    error: str = ""
    error_code: int | None = None
    """The provider's task error code (`rushes.wavespeed.render_failures`); None when it gave none or 0."""
    created_at: datetime | None = None
    execution_time: timedelta | None = None
    """None until the provider gives a time above zero."""
    has_nsfw: bool = False
    inputs: dict[str, Any] | None = field(default=None, repr=False)
    """The submitted input, if we asked for it and the provider returned it."""
    webhook: str | None = field(default=None, repr=False)
    """The webhook address that we gave, if the provider returns it, which is not documented. A secret."""

    @property
    def is_terminal(self) -> bool:
        """True if the prediction is over."""
        return self.status.is_terminal

    @property
    def has_known_status(self) -> bool:
        return self.status is not PredictionStatus.UNKNOWN

    @property
    def has_succeeded(self) -> bool:
        """True if there is something to fetch. `completed` without outputs is not a success."""
        return self.status is PredictionStatus.COMPLETED and bool(self.outputs)


@dataclass(frozen=True, slots=True)
class PredictionPage:
    """One page of the list, newest first. Entries without a readable id are counted, because any may be ours."""

    items: tuple[ProviderPrediction, ...]
    unreadable: int
    is_last: bool


def read_prediction(found: object, *, secret: str = "", default_id: str = "") -> ProviderPrediction | None:
    """Return the prediction that a JSON object describes, or None if it has no usable id. Never raises."""
    if not isinstance(found, Mapping):
        return None
    prediction_id = _read_id(found.get("id")) or default_id
    if not prediction_id:
        return None
    status, status_text = _read_status(found.get("status"))
    return ProviderPrediction(
        id=prediction_id,
        status=status,
        video_model_id=_text(found.get("model")),
        status_text=status_text,
        outputs=_read_outputs(found.get("outputs")),
        error=clean_words(text_of(found.get("error")), secret, ERROR_LIMIT),
        error_code=_read_error_code(found),
        created_at=_read_moment(found.get("created_at")),
        execution_time=_read_milliseconds(found.get("executionTime")),
        has_nsfw=_read_nsfw(found.get("has_nsfw_contents")),
        inputs=_read_inputs(found),
        webhook=_read_webhook(found),
    )


def find_prediction(reply: Reply, *, secret: str) -> ProviderPrediction | None:
    """Return the prediction in a reply, whatever its status and code: in the envelope, or bare as in webhooks."""
    if found := read_prediction(reply.data, secret=secret):
        return found
    bare = reply.envelope or {}
    # An error body may have its own `id`, for example of the request. A bare task has more fields than that.
    if isinstance(bare.get("status"), str) and any(key in bare for key in ("model", "outputs", "urls")):
        return read_prediction(bare, secret=secret)
    return None


def read_page(reply: Reply, *, secret: str, page_size: int) -> PredictionPage | None:
    """Return the page of the list in a reply, or None if there is none. An empty page may have null for its items."""
    data = reply.data if reply.is_success else None
    if not isinstance(data, Mapping) or "items" not in data:
        return None
    listed = data["items"] if data["items"] is not None else []
    if not isinstance(listed, list):
        return None
    found = [read_prediction(each, secret=secret) for each in listed]
    items = tuple(each for each in found if each)
    return PredictionPage(items, len(found) - len(items), is_last=len(found) < page_size)


def _read_id(value: object) -> str | None:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return text if isinstance(text, str) and _USABLE_ID.fullmatch(text) else None


def _read_status(value: object) -> tuple[PredictionStatus, str]:
    text = _text(value)
    word = text.lower()
    try:
        return PredictionStatus("cancelled" if word == "canceled" else word), text
    except ValueError:
        return PredictionStatus.UNKNOWN, text


def _read_outputs(value: object) -> tuple[str, ...]:
    found = value if isinstance(value, list) else [value]
    urls = (each.get("url") if isinstance(each, Mapping) else each for each in found)
    return tuple(url for url in urls if isinstance(url, str) and url.isprintable() and url.strip())


def _read_error_code(found: Mapping[str, Any]) -> int | None:
    error = found.get("error")
    codes = (found.get("code"), error.get("code") if isinstance(error, Mapping) else None)
    return next((code for code in map(whole_number, codes) if code), None)


def _read_moment(value: object) -> datetime | None:
    """Read RFC 3339 with 0 to 9 fractional digits. Digits beyond microseconds are cut; no zone means UTC."""
    try:
        moment = datetime.fromisoformat(_text(value).upper())
        utc = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    # A server without a time may send its zero value, the year 1.
    return utc if utc.year >= 2000 else None


def _read_milliseconds(value: object) -> timedelta | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not 0 < value <= LONGEST_EXECUTION / timedelta(milliseconds=1):
        return None
    return timedelta(milliseconds=value)


def _read_nsfw(value: object) -> bool:
    return any(each is True for each in value) if isinstance(value, list) else value is True


def _read_inputs(found: Mapping[str, Any]) -> dict[str, Any] | None:
    candidates = (found.get(key) for key in ("input", "inputs"))
    return next((each for each in candidates if isinstance(each, dict)), None)


def _read_webhook(found: Mapping[str, Any]) -> str | None:
    shown = (found.get(key) for key in ("webhook", "webhook_url"))
    return next((each for each in shown if isinstance(each, str) and 0 < len(each) <= LONGEST_ADDRESS), None)


def _text(value: object) -> str:
    return clean_words(value, "") if isinstance(value, str) else ""
