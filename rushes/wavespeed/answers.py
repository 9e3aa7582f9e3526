"""The meaning of the provider's answers: one table of statuses and message texts, with the error for each."""

import re
from collections.abc import Container
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from rushes.errors import RushesError, Transient
from rushes.wavespeed.errors import (
    ConcurrencyLimited,
    InputRefused,
    KeyRefused,
    NoCredit,
    PredictionNotFound,
    ProviderUnavailable,
    RateLimited,
    SubmitOutcomeUnknown,
)
from rushes.wavespeed.replies import Reply


class Call(StrEnum):
    """The kind of request."""

    SUBMIT = "submit"  # buy a prediction
    CHECK = "check"  # one prediction by its id
    ASK = "ask"  # the list, the balance, the webhook secret


@dataclass(frozen=True, slots=True)
class Row:
    """The error that an answer raises, for each kind of call.

    A row fits if the status is in `statuses` (None: any) and the provider's message matches `says`. With `only_json`
    the body must also be a JSON object, because a gateway's own 404 page proves nothing.
    """

    statuses: Container[int] | None
    submit: type[RushesError]
    check: type[RushesError]
    ask: type[RushesError]
    says: re.Pattern[str] | None = None
    only_json: bool = False

    def fits(self, reply: Reply, ours: str) -> bool:
        if self.statuses is not None and reply.meaning not in self.statuses:
            return False
        if self.only_json and reply.envelope is None:
            return False
        if self.says is None:
            return True
        # A message may quote our input. A prompt that mentions credit must not stop the account.
        return bool(self.says.search(reply.words)) and not self.says.search(ours)


_CREDIT = re.compile(r"insufficient (account )?(credit|balance|fund)", re.IGNORECASE)


_CONCURRENCY = re.compile(r"concurren|simultaneous|in parallel", re.IGNORECASE)


ANSWERS: tuple[Row, ...] = (
    # status                   submit              check                 any other question
    Row({400, 402, 403}, NoCredit, NoCredit, NoCredit, says=_CREDIT),
    Row({402}, NoCredit, NoCredit, NoCredit),
    Row({401, 403}, KeyRefused, KeyRefused, KeyRefused),
    Row({429}, ConcurrencyLimited, RateLimited, RateLimited, says=_CONCURRENCY),
    Row({429}, RateLimited, RateLimited, RateLimited),
    Row({400, 413, 422}, InputRefused, ProviderUnavailable, ProviderUnavailable, only_json=True),
    Row({404}, InputRefused, PredictionNotFound, ProviderUnavailable, only_json=True),
    Row(None, SubmitOutcomeUnknown, ProviderUnavailable, ProviderUnavailable),
)
"""The first row that fits decides. Sources: the provider's error pages for 200, 400, 401, 403, 429 and 500; its clients
and third parties for the rest. The status for a lack of credit is not documented anywhere."""


def find_row(reply: Reply, *, ours: str = "") -> Row:
    """Find the row of `ANSWERS` for a reply. `ours` is the body we sent; its text does not count as the provider's."""
    return next(row for row in ANSWERS if row.fits(reply, ours))


def error_for(call: Call, reply: Reply, *, ours: str = "") -> RushesError:
    """Return the error to raise for a reply that holds no prediction."""
    row = find_row(reply, ours=ours)
    kind = {Call.SUBMIT: row.submit, Call.CHECK: row.check, Call.ASK: row.ask}[call]
    surprise = ", but without the requested data" if 200 <= reply.meaning < 300 else ""
    words = f": {reply.words}" if reply.words else ""
    return _make(kind, f"WaveSpeed answered {reply.heading}{surprise}{words}", reply.retry_after)


def _make(kind: type[RushesError], message: str, retry_after: timedelta | None) -> RushesError:
    if issubclass(kind, (Transient, SubmitOutcomeUnknown)):
        return kind(message, retry_after=retry_after)
    return kind(message)
